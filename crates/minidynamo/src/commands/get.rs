//! `get TABLE KEY [--consistent]`

use std::ffi::OsString;

use client::Consistency;

use super::{Context, bytes_of};
use crate::cli::Failure;
use crate::output;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the table
    pub table: String,
    /// Key
    #[arg(allow_negative_numbers = true)]
    pub key: OsString,
    /// Show every write that was confirmed before; without it, maybe an older state
    #[arg(long)]
    pub consistent: bool,
    /// Print just the bytes of the value, without a newline
    #[arg(long)]
    pub raw: bool,
}

/// Prints the value and a newline.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if args.raw && context.json() {
        return Err(Failure::usage(
            "--raw and --output json exclude each other: choose one",
        ));
    }
    let consistency = if args.consistent {
        Consistency::Strong
    } else {
        Consistency::Eventual
    };
    let key = bytes_of(args.key);
    let item = context
        .client
        .get(&args.table, key.clone(), consistency)
        .await?;
    if context.json() {
        output::print(&output::json::item(&args.table, &key, item.as_ref()))?;
    }
    let Some(item) = item else {
        let shown = String::from_utf8_lossy(&key);
        return Err(Failure::key_not_found(format!(
            "no item with key `{shown}` in table `{}`",
            args.table
        )));
    };
    if !context.json() {
        let newline: &[u8] = if args.raw { b"" } else { b"\n" };
        output::print_bytes(&[&item.value, newline].concat())?;
    }
    Ok(())
}
