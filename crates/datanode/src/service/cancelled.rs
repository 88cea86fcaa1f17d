//! Which operations of a stream nobody waits for any more.
//!
//! An operation's reply asks its sink, and mostly nothing is cancelled: then that costs a look at a counter, and so does
//! the answer. Nobody keeps a list of what is in flight, so a cancellation that passes the answer on the way stays noted, until later ones push it
//! out. That does no harm: a stream does not use an id twice.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::limits::MAX_NODE_OPERATIONS;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// See the [module](self).
#[derive(Default)]
pub(super) struct Cancelled {
    /// Of `ids`, to be looked at without the lock. Who sees it late lets an operation go on that nobody waits for.
    count: AtomicUsize,
    ids: Mutex<BTreeSet<u64>>,
    grown: Notify,
}

impl Cancelled {
    pub(super) fn contains(&self, correlation: u64) -> bool {
        !self.is_empty() && self.ids.lock().contains(&correlation)
    }

    /// Waits until it contains this one.
    pub(super) async fn wait_for(&self, correlation: u64) {
        loop {
            let grown = self.grown.notified();
            if self.contains(correlation) {
                return;
            }
            grown.await;
        }
    }

    /// Nobody waits for these any more.
    pub(super) fn add(&self, correlations: Vec<u64>) {
        if correlations.is_empty() {
            return;
        }
        self.change(|ids| {
            ids.extend(correlations);
            // Ids count up: the lowest are those that were answered long ago.
            while ids.len() > MAX_NODE_OPERATIONS {
                ids.pop_first();
            }
        });
        self.grown.notify_waiters();
    }

    /// It was answered.
    pub(super) fn remove(&self, correlation: u64) {
        if !self.is_empty() {
            self.change(|ids| {
                ids.remove(&correlation);
            });
        }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<u64>)) {
        let mut ids = self.ids.lock();
        change(&mut ids);
        self.count.store(ids.len(), Ordering::Relaxed);
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn an_operation_is_cancelled_until_it_is_answered() {
        let cancelled = Cancelled::default();
        cancelled.add(vec![2, 3]);
        assert_eq!(
            [1, 2, 3].map(|id| cancelled.contains(id)),
            [false, true, true]
        );
        cancelled.remove(1);
        cancelled.remove(2);
        assert_eq!([2, 3].map(|id| cancelled.contains(id)), [false, true]);
        cancelled.remove(3);
        assert!(cancelled.is_empty());
    }

    #[test]
    fn the_oldest_are_forgotten_when_there_are_too_many() {
        let cancelled = Cancelled::default();
        cancelled.add((1..=10).collect());
        cancelled.add((11..=MAX_NODE_OPERATIONS as u64 + 5).collect());
        assert!(!cancelled.contains(5) && cancelled.contains(6));
    }

    #[tokio::test]
    async fn who_waits_for_a_cancellation_gets_his_own() {
        let cancelled = Cancelled::default();
        let mut waiting = Box::pin(cancelled.wait_for(1));
        cancelled.add(vec![2]);
        assert_eq!(waiting.as_mut().now_or_never(), None);
        assert_eq!(cancelled.wait_for(2).now_or_never(), Some(()));
        tokio::join!(waiting, async { cancelled.add(vec![1]) });
    }
}
