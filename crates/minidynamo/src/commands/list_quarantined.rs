//! `list-quarantined`

use super::Context;
use crate::cli::Failure;
use crate::output;

/// Prints the tables that data nodes have replicas of although they are neither listed nor deleted.
pub async fn run(context: &Context) -> Result<(), Failure> {
    let quarantined = context.client.list_quarantined().await?;
    if context.json() {
        return output::print(&output::json::quarantined(&quarantined));
    }
    if !quarantined.silent.is_empty() {
        let silent = quarantined.silent.join(", ");
        eprintln!("what they have is not shown, because they don't answer: data node {silent}");
    }
    if quarantined.tables.is_empty() {
        eprintln!("nothing is quarantined");
        return Ok(());
    }
    output::print(&output::quarantine::tables(&quarantined))
}
