//! Short and long forms of the same test.

use std::time::Duration;

/// How much of everything: little for every change, much for `scripts/soak`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    long: bool,
}

impl Scale {
    /// The long form where `MINIDYNAMO_SOAK` is set to something else than 0.
    pub(crate) fn from_environment() -> Self {
        let long = std::env::var("MINIDYNAMO_SOAK").is_ok_and(|value| !matches!(&*value, "" | "0"));
        Self { long }
    }

    /// A number of something.
    pub(crate) fn count(self, short: usize, long: usize) -> usize {
        if self.long { long } else { short }
    }

    /// A length of time, in seconds.
    pub(crate) fn seconds(self, short: u64, long: u64) -> Duration {
        Duration::from_secs(if self.long { long } else { short })
    }
}
