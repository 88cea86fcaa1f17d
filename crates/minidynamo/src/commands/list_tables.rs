//! `list-tables`

use super::Context;
use crate::cli::Failure;
use crate::output;

/// Prints all tables in the order of their names.
pub async fn run(context: &Context) -> Result<(), Failure> {
    let tables = context.client.list_tables().await?;
    if context.json() {
        return output::print(&output::json::tables(&tables));
    }
    if tables.is_empty() {
        eprintln!("no tables; `minidynamo create-table NAME SHARDS REPLICAS` makes one");
        return Ok(());
    }
    output::print(&output::list::tables(&tables))
}
