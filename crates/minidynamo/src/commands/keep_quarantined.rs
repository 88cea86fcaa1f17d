//! `keep-quarantined TABLE-ID`

use super::Context;
use crate::cli::Failure;
use crate::output;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the table, as list-quarantined shows it
    pub table_id: String,
    /// Name instead of the one that the table had
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// Prints the table, which is listed again.
pub async fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let table = context
        .client
        .keep_quarantined(&args.table_id, args.name.as_deref())
        .await?;
    output::print(&if context.json() {
        output::json::table(&table)
    } else {
        output::describe::headline(&table)
    })
}
