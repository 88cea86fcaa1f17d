//! `delete-table NAME`

use std::time::Duration;

use api::Reason;
use api::v1::TableState;
use client::Client;

use super::Context;
use crate::cli::Failure;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the table
    pub name: String,
}

/// Between two looks at a table that is being deleted.
const POLL: Duration = Duration::from_millis(250);

/// Returns once the table is gone.
///
/// A deletion that the router could not finish within its deadline goes on, and so does the waiting,
/// unless the user set a limit.
pub async fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    match context.client.delete_table(&args.name).await {
        Ok(()) => Ok(()),
        Err(error) if error.reason() == Some(Reason::TableNotReady) => {
            if context.timeout.is_some() || !is_deleting(&context.client, &args.name).await? {
                return Err(error.into());
            }
            eprintln!("still being deleted: {error}; waiting until it is gone");
            wait(&context.client, &args.name).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn wait(client: &Client, name: &str) -> Result<(), Failure> {
    while is_deleting(client, name).await? {
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Whether a table is on its way out. One that is gone, or that somebody made again, is not.
///
/// The deletion is decided, so a failure to look at it is never reported as "certainly not applied".
async fn is_deleting(client: &Client, name: &str) -> Result<bool, Failure> {
    match client.describe_table(name).await {
        Ok(table) => Ok(table
            .summary
            .is_some_and(|summary| summary.state() == TableState::Deleting)),
        Err(error) if error.reason() == Some(Reason::TableNotFound) => Ok(false),
        Err(error) => Err(Failure::new(format!(
            "table {name} is being created or deleted, and whether that is finished can't be seen ({error}): \
             look with `minidynamo describe-table {name}`"
        ))),
    }
}
