//! `transact-get TABLE KEY [TABLE KEY]…`

use std::ffi::OsString;

use bytes::Bytes;

use super::{Context, bytes_of, table_of};
use crate::cli::Failure;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  minidynamo transact-get people ada cities london
  minidynamo --output json transact-get people ada people bob

There is one line for each key, in order. An absent item is shown as (nil) and is no error. In a value a \
newline is written \\n, a carriage return \\r and a backslash \\\\; a value that is the text (nil) is \
written \\(nil).";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "minidynamo transact-get [OPTIONS] <TABLE> <KEY> [<TABLE> <KEY>]...",
    after_help = EXAMPLES
)]
pub struct Args {
    /// 1 to 100 keys, each with its table before it
    #[arg(
        required = true,
        num_args = 2..,
        value_names = ["TABLE", "KEY"],
        allow_negative_numbers = true
    )]
    pub keys: Vec<OsString>,
}

/// Prints a line for each key, in order.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let keys = keys_of(args.keys)?;
    let items = context.client.transact_get(keys.clone()).await?;
    let mut lines = Vec::new();
    for ((table, key), item) in keys.iter().zip(&items) {
        if context.json() {
            lines.extend_from_slice(output::json::item(table, key, item.as_ref()).as_bytes());
        } else {
            lines.extend(output::line::value(item.as_ref().map(|item| &*item.value)));
        }
        lines.push(b'\n');
    }
    output::print_bytes(&lines)
}

/// Two arguments make a key.
fn keys_of(arguments: Vec<OsString>) -> Result<Vec<(String, Bytes)>, Failure> {
    if !arguments.len().is_multiple_of(2) {
        return Err(Failure::usage(format!(
            "each key has its table before it, so their number can't be {}: add what is missing",
            arguments.len()
        )));
    }
    let mut keys = Vec::new();
    let mut arguments = arguments.into_iter();
    while let (Some(table), Some(key)) = (arguments.next(), arguments.next()) {
        keys.push((table_of(table)?, bytes_of(key)));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_arguments_make_a_key() {
        let arguments = |line: &str| line.split(' ').map(OsString::from).collect();
        let keys = keys_of(arguments("t k u l")).unwrap();
        let key = |table: &str, key: &'static str| (table.to_owned(), Bytes::from(key));
        assert_eq!(keys, [key("t", "k"), key("u", "l")]);
        assert_eq!(keys_of(arguments("t k u")).unwrap_err().exit, 2);
    }
}
