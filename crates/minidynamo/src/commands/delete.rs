//! `delete TABLE KEY [--if-version N]`

use std::ffi::OsString;

use client::Condition;

use super::{Context, bytes_of};
use crate::cli::Failure;

const EXAMPLES: &str = "\
Examples:
  minidynamo delete people ada
  minidynamo delete people ada --if-version 7

If there is no item of that version, nothing is removed and the exit code is 4.";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Name of the table
    pub table: String,
    /// Key
    #[arg(allow_negative_numbers = true)]
    pub key: OsString,
    /// Only if there is an item and this is its version
    #[arg(long, value_name = "N")]
    pub if_version: Option<u64>,
}

/// Removes the item; prints nothing.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let key = bytes_of(args.key);
    let condition = args
        .if_version
        .map_or(Condition::Always, Condition::VersionIs);
    Ok(context
        .client
        .delete_if(&args.table, key, condition)
        .await?)
}
