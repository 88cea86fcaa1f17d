//! `drop-quarantined TABLE-ID`

use super::Context;
use crate::cli::Failure;
use crate::output;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the table, as list-quarantined shows it
    pub table_id: String,
    /// Only the replicas of this data node
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
}

/// Prints which nodes have destroyed what they had, and which still have to.
pub async fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let dropped = context
        .client
        .drop_quarantined(&args.table_id, args.node.as_deref())
        .await?;
    output::print(&if context.json() {
        output::json::dropped(&args.table_id, &dropped)
    } else {
        output::quarantine::dropped(&args.table_id, &dropped)
    })
}
