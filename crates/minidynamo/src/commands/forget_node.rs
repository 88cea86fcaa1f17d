//! `forget-node NODE`

use super::Context;
use crate::cli::Failure;
use crate::output;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the data node, as list-nodes shows it
    pub node: String,
}

/// Prints what it means that the node is forgotten. It asks nothing: a node that is alive is refused anyway.
pub async fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let forgotten = context.client.forget_node(&args.node).await?;
    output::print(&if context.json() {
        output::json::forgotten(&args.node, &forgotten)
    } else {
        output::nodes::forgotten(&args.node, &forgotten)
    })
}
