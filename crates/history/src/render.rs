//! A history as text for people: one line per operation, in columns.

use std::fmt::{self, Write as _};

use crate::{Call, Condition, Operation, Outcome, Refusal, Response, TransactItem};

/// Longest text of a key or value; of a longer one its two ends are shown, since generators often count at
/// the end.
const SHOWN: usize = 40;
/// So much of the beginning of a value is shown where it is to be brief.
const SHOWN_BRIEFLY: usize = 12;

/// The operations as a table of time, client, call and outcome.
///
/// ```text
/// invoked  returned  client  call          outcome
///      10        25  c1 #1   put t/k = v1  version 4
///      30         -  c2 #1   get! t/k      unknown
/// ```
///
/// `get!` is a consistent read.
pub fn render(operations: &[Operation]) -> String {
    let mut rows = vec![["invoked", "returned", "client", "call", "outcome"].map(str::to_owned)];
    rows.extend(operations.iter().map(|operation| {
        [
            operation.invoked.to_string(),
            operation
                .returned
                .map_or_else(|| "-".to_owned(), |at| at.to_string()),
            format!("c{} #{}", operation.client, operation.sequence),
            operation.call.to_string(),
            operation.outcome.to_string(),
        ]
    }));
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let [a, b, c, d] = [0, 1, 2, 3].map(width);
    let mut text = String::new();
    for [invoked, returned, client, call, outcome] in &rows {
        // Writing to a string has no failing case.
        let _ = writeln!(
            text,
            "{invoked:>a$}  {returned:>b$}  {client:<c$}  {call:<d$}  {outcome}"
        );
    }
    text
}

/// Bytes as text: what is printable as it is, the rest escaped, the middle of long ones left out.
pub(crate) fn text(bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN {
        return bytes.escape_ascii().to_string();
    }
    let (head, tail) = (&bytes[..SHOWN / 2], &bytes[bytes.len() - SHOWN / 2..]);
    format!(
        "{}…{} ({} bytes)",
        head.escape_ascii(),
        tail.escape_ascii(),
        bytes.len()
    )
}

/// A value as text; with `{:#}` only its beginning and its length, for lines that are read as they pass by.
fn value_text(f: &fmt::Formatter<'_>, value: &[u8]) -> String {
    match value.split_at_checked(SHOWN_BRIEFLY) {
        Some((head, rest)) if f.alternate() && !rest.is_empty() => {
            format!("{}… ({} bytes)", head.escape_ascii(), value.len())
        }
        _ => text(value),
    }
}

/// A register as text: `table/key`.
pub(crate) fn place(table: &str, key: &[u8]) -> String {
    format!("{table}/{}", text(key))
}

/// A few words for a sentence: who did what when.
pub(crate) fn brief(operation: &Operation) -> String {
    format!(
        "c{} #{} ({})",
        operation.client, operation.sequence, operation.call
    )
}

/// `{:#}` shows of a value only its beginning and its length.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get {
                table,
                key,
                consistent,
            } => {
                let name = if *consistent { "get!" } else { "get" };
                write!(f, "{name} {}", place(table, key))
            }
            Self::Put {
                table,
                key,
                value,
                condition,
            } => {
                let value = value_text(f, value);
                write!(f, "put {} = {value}{condition}", place(table, key))
            }
            Self::Delete {
                table,
                key,
                condition,
            } => write!(f, "delete {}{condition}", place(table, key)),
            Self::TransactPut { items } => {
                f.write_str("transact-put ")?;
                list(f, items, |f, item| item.fmt(f))
            }
            Self::TransactGet { keys } => {
                f.write_str("transact-get ")?;
                list(f, keys, |f, (table, key)| f.write_str(&place(table, key)))
            }
        }
    }
}

impl fmt::Display for TransactItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = place(&self.table, &self.key);
        match &self.value {
            Some(value) => write!(f, "{place} = {}{}", value_text(f, value), self.condition),
            None => write!(f, "check {place}{}", self.condition),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Present => f.write_str(" if present"),
            Self::Absent => f.write_str(" if absent"),
            Self::Version(version) => write!(f, " if version {version}"),
        }
    }
}

/// `{:#}` shows of a value only its beginning and its length.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(response) => response.fmt(f),
            Self::Refused(Refusal::ConditionFailed) => f.write_str("refused: condition failed"),
            Self::Refused(Refusal::Cancelled) => f.write_str("refused: cancelled"),
            Self::Refused(Refusal::Other) => f.write_str("refused"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Got { value, version } => {
                write!(f, "{} (version {version})", value_text(f, value))
            }
            Self::Missing => f.write_str("missing"),
            Self::Put { version } => write!(f, "version {version}"),
            Self::Deleted => f.write_str("deleted"),
            Self::TransactPut { versions } if versions.is_empty() => f.write_str("done"),
            Self::TransactPut { versions } => {
                f.write_str("versions ")?;
                list(f, versions, |f, version| match version {
                    Some(version) => write!(f, "{version}"),
                    None => f.write_str("?"),
                })
            }
            Self::TransactGet { items } => list(f, items, |f, item| match item {
                Some((value, version)) => {
                    write!(f, "{} (version {version})", value_text(f, value))
                }
                None => f.write_str("missing"),
            }),
        }
    }
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    mut one: impl FnMut(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        one(f, item)?;
    }
    Ok(())
}
