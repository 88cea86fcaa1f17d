//! `put TABLE KEY VALUE [--if-absent | --if-present | --if-version N]`

use std::ffi::OsString;
use std::io::Read;

use bytes::Bytes;
use model::limits::MAX_VALUE_BYTES;

use super::condition::PutCondition;
use super::{Context, bytes_of};
use crate::cli::Failure;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  minidynamo put people ada 'Ada Lovelace'
  minidynamo put people ada - < ada.txt               the value comes from a file
  minidynamo put people ada 'Ada Lovelace' --if-absent
  minidynamo put people ada 'Countess' --if-version 7

If the condition does not hold, nothing is written and the exit code is 4. `minidynamo --output json get` \
shows an item's version.";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Name of the table
    pub table: String,
    /// Key, 1 byte to 2 KiB
    #[arg(allow_negative_numbers = true)]
    pub key: OsString,
    /// Value, up to 400 KiB; `-` reads it from standard input, as it is
    #[arg(allow_negative_numbers = true)]
    pub value: OsString,
    /// What must hold.
    #[command(flatten)]
    pub condition: PutCondition,
}

/// Writes the item. Prints nothing as text, the new version as JSON.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let value = if args.value == "-" {
        read_value(std::io::stdin().lock())?
    } else {
        bytes_of(args.value)
    };
    let key = bytes_of(args.key);
    let condition = args.condition.condition();
    let version = context
        .client
        .put_if(&args.table, key.clone(), value, condition)
        .await?;
    if context.json() {
        output::print(&output::json::written(&args.table, &key, version))?;
    }
    Ok(())
}

/// Reads to the end, but no more than shows that it is too much.
pub(super) fn read_value(input: impl Read) -> Result<Bytes, Failure> {
    let mut value = Vec::new();
    input
        .take(MAX_VALUE_BYTES as u64 + 1)
        .read_to_end(&mut value)
        .map_err(|error| Failure::new(format!("can't read standard input: {error}")))?;
    if value.len() > MAX_VALUE_BYTES {
        return Err(Failure::usage(format!(
            "INVALID_REQUEST: value: a value has at most {MAX_VALUE_BYTES} bytes, standard input has more"
        )));
    }
    Ok(Bytes::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_is_taken_as_it_is_up_to_the_largest_value() {
        assert_eq!(read_value(&b"a\n\xff"[..]).unwrap(), &b"a\n\xff"[..]);
        let most = vec![0; MAX_VALUE_BYTES];
        assert_eq!(read_value(most.as_slice()).unwrap().len(), MAX_VALUE_BYTES);
        assert_eq!(read_value(std::io::repeat(0)).unwrap_err().exit, 2);
    }
}
