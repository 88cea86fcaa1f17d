//! Makes the state store durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use environment::{Stage, Step, Wait};
use model::ShardId;
use raft::Index;
use storage::state::StateStore;

use super::Workers;
use super::queue::{Next, next};
use crate::worker::Input;

/// Indexes that are durable once the store is.
type Points = Vec<(ShardId, Index)>;

/// See the [module](self).
pub(super) struct StoreSync {
    pub(super) store: Arc<dyn StateStore>,
    pub(super) queue: Receiver<Points>,
    pub(super) workers: Workers,
}

impl Stage for StoreSync {
    fn name(&self) -> &'static str {
        "store-sync"
    }

    fn step(&mut self, wait: Wait) -> Step {
        match next(&self.queue, wait) {
            Next::One(points) => {
                self.sync(points);
                Step::Worked
            }
            Next::Nothing => Step::Idle,
            Next::Closed => Step::Ended,
        }
    }
}

impl StoreSync {
    fn sync(&self, points: Points) {
        if let Err(error) = self.store.persist() {
            // Nothing is purged any more, and the next write of an applier stops its group.
            tracing::error!(%error, "the state store can't be made durable");
            return;
        }
        let mut by_seat: BTreeMap<usize, Points> = BTreeMap::new();
        for point in points {
            let seat = self.workers.seat_of(point.0);
            by_seat.entry(seat).or_default().push(point);
        }
        for (seat, points) in by_seat {
            self.workers.send_to(seat, Input::StoreDurable { points });
        }
    }
}
