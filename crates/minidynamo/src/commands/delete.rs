//! `delete TABLE KEY`

use std::ffi::OsString;

use super::{Context, bytes_of};
use crate::cli::Failure;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the table
    pub table: String,
    /// Key
    #[arg(allow_negative_numbers = true)]
    pub key: OsString,
}

/// Removes the item; prints nothing.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let key = bytes_of(args.key);
    Ok(context.client.delete(&args.table, key).await?)
}
