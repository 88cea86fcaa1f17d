//! What becomes of transactions, counted since this router's start.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use api::v1::TransactionCounters;
use parking_lot::Mutex;

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    started: AtomicU64,
    committed: AtomicU64,
    cancelled: Mutex<BTreeMap<&'static str, u64>>,
    recovered: AtomicU64,
}

impl Counters {
    /// A caller's transaction has passed the checks.
    pub(crate) fn started(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    /// A caller was told that it has happened.
    pub(crate) fn committed(&self) {
        self.committed.fetch_add(1, Ordering::Relaxed);
    }

    /// A caller was told that it has not, for this reason.
    pub(crate) fn cancelled(&self, reason: &'static str) {
        *self.cancelled.lock().entry(reason).or_default() += 1;
    }

    /// Another router's transaction was finished here.
    pub(crate) fn recovered(&self) {
        self.recovered.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts so far; what the ledger says is the caller's to add.
    pub(crate) fn show(&self) -> TransactionCounters {
        let cancelled = self.cancelled.lock().clone();
        let cancelled = cancelled.into_iter();
        TransactionCounters {
            started: self.started.load(Ordering::Relaxed),
            committed: self.committed.load(Ordering::Relaxed),
            cancelled: cancelled
                .map(|(reason, count)| (reason.to_owned(), count))
                .collect(),
            recovered: self.recovered.load(Ordering::Relaxed),
            ..TransactionCounters::default()
        }
    }
}
