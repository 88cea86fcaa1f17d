//! `transact-put TABLE KEY VALUE [TABLE KEY VALUE]… [--token T]`

use std::ffi::OsString;

use client::TransactItem;

use super::condition::ItemConditions;
use super::put::read_value;
use super::{Context, bytes_of, table_of};
use crate::cli::Failure;

const EXAMPLES: &str = "\
Examples:
  minidynamo transact-put people ada 'Countess' cities london 'Ada lives here'
  minidynamo transact-put people ada 'Countess' people bob 'Smith' --if-version 1=7 --if-absent 2
  minidynamo transact-put people ada 'Countess' people bob 'Smith' --token booking-4711

If a condition does not hold or something else is in the way, nothing is written, the exit code is 4 and the \
error names the reason of each item.

With a token the same command can be run again, until 10 minutes after its end, and takes effect once: do so \
after exit code 6 (outcome unknown). For another transaction take another token.";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "minidynamo transact-put [OPTIONS] <TABLE> <KEY> <VALUE> [<TABLE> <KEY> <VALUE>]...",
    after_help = EXAMPLES
)]
pub struct Args {
    /// 1 to 100 items, each a table, a key and a value; one value may be `-`, standard input
    #[arg(
        required = true,
        num_args = 3..,
        value_names = ["TABLE", "KEY", "VALUE"],
        allow_negative_numbers = true
    )]
    pub items: Vec<OsString>,
    /// Makes it safe to run the same command again; 1 to 36 bytes, new for each transaction
    #[arg(long)]
    pub token: Option<String>,
    /// What must hold.
    #[command(flatten)]
    pub conditions: ItemConditions,
}

/// Writes the items; prints nothing.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let mut items = items_of(args.items, || read_value(std::io::stdin().lock()))?;
    args.conditions.apply(&mut items)?;
    let names: Vec<_> = items.iter().map(name).collect();
    let token = args.token.as_deref();
    let put = context.client.transact_put(items, token);
    put.await
        .map_err(|error| failure(error, &names, token.is_some()))
}

/// Three arguments make an item.
fn items_of(
    arguments: Vec<OsString>,
    mut input: impl FnMut() -> Result<bytes::Bytes, Failure>,
) -> Result<Vec<TransactItem>, Failure> {
    if !arguments.len().is_multiple_of(3) {
        return Err(Failure::usage(format!(
            "each item is a table, a key and a value, so their number can't be {}: add what is missing",
            arguments.len()
        )));
    }
    let from_input = arguments.iter().skip(2).step_by(3);
    if from_input.filter(|value| *value == "-").count() > 1 {
        return Err(Failure::usage(
            "standard input can be the value of one item only: give `-` once",
        ));
    }
    let mut items = Vec::new();
    let mut arguments = arguments.into_iter();
    while let (Some(table), Some(key), Some(value)) =
        (arguments.next(), arguments.next(), arguments.next())
    {
        let value = if value == "-" {
            input()?
        } else {
            bytes_of(value)
        };
        items.push(TransactItem::new(table_of(table)?, bytes_of(key), value));
    }
    Ok(items)
}

/// As errors name an item: a long key is cut.
fn name(item: &TransactItem) -> String {
    const LONGEST: usize = 40;
    let key = String::from_utf8_lossy(&item.key);
    let cut: String = key.chars().take(LONGEST).collect();
    let rest = if cut.len() < key.len() { "…" } else { "" };
    format!("{} {cut}{rest}", item.table)
}

/// The error's line, with the reason of each item of a cancelled transaction, and with the way out that a token is.
fn failure(error: client::Error, names: &[String], has_token: bool) -> Failure {
    let reasons = error.cancellation_reasons().unwrap_or_default();
    let again = has_token && !error.certainly_not_applied();
    let mut failure = Failure::from(error);
    if reasons.len() == names.len() && !reasons.is_empty() {
        let items = reasons.iter().zip(names).zip(1..);
        let items = items.map(|((reason, name), position)| match reason {
            Some(reason) => format!("item {position} ({name}): {reason}"),
            None => format!("item {position}: NONE"),
        });
        let items: Vec<_> = items.collect();
        failure.message = format!("{} [{}]", failure.message, items.join(", "));
    }
    if again {
        failure.message +=
            "; or run the same command again: with the same token it takes effect once";
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn three_arguments_make_an_item_and_one_value_may_be_standard_input() {
        let mut reads = 0;
        let items = items_of(arguments("t k v u - -"), || {
            reads += 1;
            Ok("from input".into())
        });
        let expected = [
            TransactItem::new("t", "k", "v"),
            TransactItem::new("u", "-", "from input"),
        ];
        assert_eq!(items.unwrap(), expected);
        assert_eq!(reads, 1);
    }

    #[test]
    fn an_incomplete_item_and_standard_input_twice_are_mistakes() {
        for (line, said) in [
            ("t k v t", "can't be 4"),
            ("t k v t k", "can't be 5"),
            ("t k - t l -", "give `-` once"),
        ] {
            let failure = items_of(arguments(line), || Ok("".into())).unwrap_err();
            assert_eq!(failure.exit, 2);
            assert!(failure.message.contains(said), "{}", failure.message);
        }
    }

    #[test]
    fn a_cancelled_transaction_names_the_reason_of_each_item() {
        let items = [
            TransactItem::new("people", "ada", "v"),
            TransactItem::new("people", "bob", "v"),
        ];
        let names: Vec<_> = items.iter().map(name).collect();
        let cancelled = api::Error::new(
            api::Reason::TransactionCancelled,
            "nothing was written: see the reasons",
        );
        let with_reasons = cancelled.clone().with("reasons", "NONE,CONDITION_FAILED");
        let told = failure(with_reasons.into(), &names, true);
        assert_eq!(told.exit, 4);
        assert_eq!(
            told.message,
            "TRANSACTION_CANCELLED: nothing was written: see the reasons \
             [item 1: NONE, item 2 (people bob): CONDITION_FAILED]"
        );
        for reasons in ["NONE", "NONE,NONE,NONE"] {
            let strange = cancelled.clone().with("reasons", reasons);
            let told = failure(strange.into(), &names, true);
            assert!(
                told.message.ends_with("see the reasons"),
                "{}",
                told.message
            );
        }
    }

    #[test]
    fn after_an_unknown_outcome_the_token_is_a_way_out() {
        let told = |has_token| {
            let unknown = api::Error::outcome_unknown("no confirmation came");
            let told = failure(unknown.into(), &[], has_token);
            assert_eq!(told.exit, 6);
            told.message.contains("run the same command again")
        };
        assert_eq!([true, false].map(told), [true, false]);
    }

    #[test]
    fn a_long_key_is_cut_in_errors() {
        let long = TransactItem::new("t", "ä".repeat(50), "v");
        assert_eq!(name(&long), format!("t {}…", "ä".repeat(40)));
        let fits = TransactItem::new("t", "ä".repeat(40), "v");
        assert_eq!(name(&fits), format!("t {}", "ä".repeat(40)));
    }
}
