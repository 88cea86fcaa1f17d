//! What a process asks of ZooKeeper, counted.
//!
//! One [`Traffic`] belongs to one [`ConnectOptions`](super::ConnectOptions) and its clones, so it counts over
//! all sessions of a role. A session says what it has counted when it ends, in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what goes to ZooKeeper and what comes from it. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    reads: AtomicU64,
    barriers: AtomicU64,
    writes: AtomicU64,
    operations: AtomicU64,
    events: AtomicU64,
}

/// What was counted up to a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrafficCounts {
    /// Znodes and lists of children that were asked for, and watches that were set.
    pub reads: u64,
    /// Writes that change nothing and only wait for all before them.
    pub barriers: u64,
    /// Requests that change something; one `multi` counts once.
    pub writes: u64,
    /// Creates, sets, deletes and checks in those.
    pub operations: u64,
    /// Events that watches brought. A restored watch that says "everything" counts once.
    pub events: u64,
}

impl Traffic {
    /// What was counted so far.
    pub fn counts(&self) -> TrafficCounts {
        let Counters {
            reads,
            barriers,
            writes,
            operations,
            events,
        } = &*self.counters;
        let [reads, barriers, writes, operations, events] =
            [reads, barriers, writes, operations, events].map(|c| c.load(Ordering::Relaxed));
        TrafficCounts {
            reads,
            barriers,
            writes,
            operations,
            events,
        }
    }

    pub(super) fn read(&self) {
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn barrier(&self) {
        self.counters.barriers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn write(&self, operations: usize) {
        let counters = &*self.counters;
        counters.writes.fetch_add(1, Ordering::Relaxed);
        let operations = operations as u64;
        counters.operations.fetch_add(operations, Ordering::Relaxed);
    }

    pub(super) fn event(&self) {
        self.counters.events.fetch_add(1, Ordering::Relaxed);
    }
}
