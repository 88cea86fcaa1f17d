//! `status`

use super::Context;
use crate::cli::Failure;
use crate::output;

/// Prints routers, data nodes, and shards without leader or quorum. Problems are no failure of the command.
pub async fn run(context: &Context) -> Result<(), Failure> {
    let status = context.client.status().await?;
    output::print(&if context.json() {
        output::json::status(&status)
    } else {
        output::status::cluster(&status)
    })
}
