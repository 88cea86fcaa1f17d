//! Which operations of a stream nobody waits for any more.
//!
//! An operation's reply asks its sink, and mostly nothing is cancelled: then that costs a look at a counter, and so does
//! the answer. Nobody keeps a list of what is in flight. A cancellation and an answer may so pass each other on the way,
//! and what was answered already is noted as cancelled for a while. To have an end to that, the operations of a stream
//! are divided into [`Stretches`], each with a sink of its own. A new one begins some time after something was cancelled,
//! and what the old one has noted goes with the last of its replies.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use model::limits::MAX_NODE_OPERATIONS;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::operate::Sink;

/// A stretch in which something was cancelled ends after so many operations.
const STRETCH: usize = 1024;

/// What was cancelled of one stretch.
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

    /// For an operation that was answered or is just coming in.
    pub(super) fn remove(&self, correlation: u64) {
        if !self.is_empty() {
            self.change(|ids| ids.remove(&correlation));
        }
    }

    fn insert(&self, correlation: u64) {
        self.change(|ids| ids.len() < MAX_NODE_OPERATIONS && ids.insert(correlation));
        self.grown.notify_waiters();
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let mut ids = self.ids.lock();
        change(&mut ids);
        self.count.store(ids.len(), Ordering::Relaxed);
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }
}

/// The operations of one stream, by where their answers go.
pub(super) struct Stretches {
    sink: Arc<Sink>,
    span: Span,
    /// Of the current one.
    taken: usize,
    /// Those before, as far as they have operations in flight.
    earlier: Vec<(Span, Weak<Sink>)>,
}

/// From the lowest correlation of a stretch to the highest. Senders count up, so one id is mostly in one span.
#[derive(Clone, Copy)]
struct Span(u64, u64);

impl Span {
    const NONE: Self = Self(u64::MAX, 0);

    fn add(&mut self, correlation: u64) {
        *self = Self(self.0.min(correlation), self.1.max(correlation));
    }

    fn has(self, correlation: u64) -> bool {
        (self.0..=self.1).contains(&correlation)
    }
}

impl Stretches {
    pub(super) fn new(sink: Sink) -> Self {
        Self {
            sink: Arc::new(sink),
            span: Span::NONE,
            taken: 0,
            earlier: Vec::new(),
        }
    }

    /// The sink for an answer that is given at once.
    pub(super) fn sink(&self) -> &Sink {
        &self.sink
    }

    /// The sink for an operation that is taken on.
    pub(super) fn take(&mut self, correlation: u64) -> Arc<Sink> {
        if self.taken >= STRETCH && !self.sink.cancelled.is_empty() {
            self.begin_another();
        }
        self.taken += 1;
        self.span.add(correlation);
        // A cancellation that came before the operation is none of it.
        self.sink.cancelled.remove(correlation);
        self.sink.clone()
    }

    /// Nobody waits for this operation any more, if it is in flight.
    pub(super) fn cancel(&self, correlation: u64) {
        // One is held here: without others there is no reply.
        if self.span.has(correlation) && Arc::strong_count(&self.sink) > 1 {
            self.sink.cancelled.insert(correlation);
        }
        for (span, sink) in &self.earlier {
            if span.has(correlation)
                && let Some(sink) = sink.upgrade()
            {
                sink.cancelled.insert(correlation);
            }
        }
    }

    fn begin_another(&mut self) {
        let another = Arc::new(self.sink.another());
        let ended = std::mem::replace(&mut self.sink, another);
        let span = std::mem::replace(&mut self.span, Span::NONE);
        self.taken = 0;
        self.earlier.push((span, Arc::downgrade(&ended)));
        drop(ended);
        self.earlier.retain(|(_, sink)| sink.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::operation::{Answer, Reply};

    fn stretches() -> Stretches {
        // Nobody fetches the answers.
        let (sender, _) = mpsc::unbounded_channel();
        Stretches::new(Sink::new(sender, Arc::default()))
    }

    fn take(stretches: &mut Stretches, correlation: u64) -> Reply {
        Reply::new(stretches.take(correlation), correlation, true, None)
    }

    fn noted(stretches: &Stretches) -> usize {
        stretches.sink.cancelled.ids.lock().len()
    }

    #[test]
    fn a_cancellation_is_of_the_operation_that_it_names_until_that_is_answered() {
        let mut stretches = stretches();
        let replies: Vec<_> = (1..=3).map(|id| take(&mut stretches, id)).collect();
        stretches.cancel(2);
        let cancelled: Vec<_> = replies.iter().map(Reply::is_cancelled).collect();
        assert_eq!(cancelled, [false, true, false]);
        assert_eq!(noted(&stretches), 1);
        for reply in replies {
            reply.answer(None, Answer::Absent);
        }
        assert_eq!(noted(&stretches), 0);
    }

    #[test]
    fn what_is_not_in_flight_can_be_cancelled_without_harm() {
        let mut stretches = stretches();
        stretches.cancel(1);
        assert!(!take(&mut stretches, 1).is_cancelled(), "it came before");
        stretches.cancel(1);
        assert_eq!(noted(&stretches), 0, "it came after, and nothing waits");
        let other = take(&mut stretches, 3);
        stretches.cancel(1);
        stretches.cancel(3);
        stretches.cancel(4);
        assert!(other.is_cancelled());
        assert!(!take(&mut stretches, 4).is_cancelled(), "it is unknown");
        let again = take(&mut stretches, 1);
        assert!(!again.is_cancelled(), "another one by the same id");
    }

    #[test]
    fn what_was_noted_in_vain_goes_with_its_stretch() {
        let mut stretches = stretches();
        let slow = take(&mut stretches, 1);
        for id in 2..=STRETCH as u64 {
            drop(take(&mut stretches, id));
            stretches.cancel(id);
        }
        assert_eq!(noted(&stretches), STRETCH - 1);
        let next = take(&mut stretches, STRETCH as u64 + 1);
        assert_eq!(noted(&stretches), 0);
        stretches.cancel(1);
        assert!(slow.is_cancelled(), "it is in the one before");
        assert!(!next.is_cancelled());
        drop(slow);
        assert_eq!(stretches.earlier.len(), 1);
        stretches.cancel(STRETCH as u64 + 1);
        (0..STRETCH).for_each(|more| drop(take(&mut stretches, 2 * STRETCH as u64 + more as u64)));
        assert_eq!(stretches.earlier.len(), 1, "only what has replies is kept");
        assert!(next.is_cancelled());
    }

    #[test]
    fn what_is_noted_has_a_bound_and_without_cancellations_there_is_one_stretch() {
        let mut stretches = stretches();
        let most = MAX_NODE_OPERATIONS as u64;
        let first = take(&mut stretches, 1);
        (2..=2 * most).for_each(|id| drop(take(&mut stretches, id)));
        assert_eq!(stretches.earlier.len(), 0);
        (2..=2 * most).for_each(|id| stretches.cancel(id));
        assert_eq!(noted(&stretches), MAX_NODE_OPERATIONS);
        assert!(!first.is_cancelled());
    }
}
