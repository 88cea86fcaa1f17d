//! The one way in which a command fails.

use std::io::{self, Write};

/// An exit code, and one line that says what happened and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Of the process.
    pub exit: u8,
    /// Without the `error: ` in front.
    pub message: String,
}

impl Failure {
    /// The general error, exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            exit: 1,
            message: message.into(),
        }
    }

    /// A command line or configuration that has to be mended, exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: 2,
            message: message.into(),
        }
    }

    /// There is no such item, exit code 3.
    pub fn key_not_found(message: impl Into<String>) -> Self {
        Self {
            exit: 3,
            message: message.into(),
        }
    }

    /// Writes the line to standard error. A failure without a message stays silent.
    pub fn report(&self) {
        if self.message.is_empty() {
            return;
        }
        // Who closed standard error does not want to hear of it.
        let _ = writeln!(io::stderr(), "error: {}", one_line(&self.message));
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        Self {
            exit: error.exit_code(),
            message: error.to_string(),
        }
    }
}

/// Nothing that comes from elsewhere may break the line, or control the terminal.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().flat_map(|c| {
            let control = c.is_control();
            let escaped = control.then(|| c.escape_default());
            let plain = (!control).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        }));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Reason;

    #[test]
    fn every_reason_has_the_exit_code_of_the_contract() {
        for &reason in Reason::ALL {
            let expected = match reason.as_str() {
                "INVALID_REQUEST" | "IDEMPOTENCY_MISMATCH" => 2,
                "TABLE_NOT_FOUND" => 7,
                "TABLE_ALREADY_EXISTS"
                | "CONDITION_FAILED"
                | "TRANSACTION_CANCELLED"
                | "TRANSACTION_CONFLICT" => 4,
                "NO_QUORUM"
                | "NO_LEADER"
                | "COORDINATION_UNAVAILABLE"
                | "SHARD_NOT_HOSTED"
                | "OVERLOADED" => 5,
                "OUTCOME_UNKNOWN" => 6,
                _ => 1,
            };
            let error = client::Error::from(api::Error::new(reason, "x"));
            assert_eq!(Failure::from(error).exit, expected, "{reason}");
        }
    }

    #[test]
    fn a_message_stays_on_one_line_and_controls_nothing() {
        assert_eq!(one_line("a\n  b\u{1b}[31m\tc"), "a b\\u{1b}[31m c");
    }
}
