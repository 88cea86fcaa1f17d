//! `list-nodes`

use super::Context;
use crate::cli::Failure;
use crate::output;

/// Prints all data nodes that are known, in the order of their ids.
pub async fn run(context: &Context) -> Result<(), Failure> {
    let nodes = context.client.list_nodes().await?;
    if context.json() {
        return output::print(&output::json::nodes(&nodes));
    }
    if nodes.is_empty() {
        eprintln!("no data nodes; `minidynamo datanode` starts one");
        return Ok(());
    }
    output::print(&output::nodes::list(&nodes))
}
