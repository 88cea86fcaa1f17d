//! `create-table NAME SHARDS REPLICAS`

use super::Context;
use crate::cli::Failure;
use crate::output;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Unique name: 3 to 255 of A-Z a-z 0-9 _ . -
    pub name: String,
    /// Number of shards, 1 to 4096
    pub shards: u32,
    /// Replicas of each shard: 3 or 5 (1 under `dev --nodes 1`)
    pub replicas: u32,
}

/// Prints the table, once it is available.
pub async fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let table = context
        .client
        .create_table(&args.name, args.shards, args.replicas)
        .await?;
    output::print(&if context.json() {
        output::json::table(&table)
    } else {
        output::describe::headline(&table)
    })
}
