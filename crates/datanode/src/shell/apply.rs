//! An applier and its queue.

use std::sync::mpsc::Receiver;

use environment::{Stage, Step, Wait};

use super::Workers;
use super::queue::{Next, next};
use crate::applier::Applier;
use crate::worker::ApplyJob;

/// See the [module](self).
pub(super) struct Apply {
    pub(super) name: String,
    /// Whose applier it is.
    pub(super) number: usize,
    pub(super) applier: Applier,
    pub(super) queue: Receiver<Option<ApplyJob>>,
    pub(super) workers: Workers,
}

impl Stage for Apply {
    fn name(&self) -> &str {
        &self.name
    }

    fn step(&mut self, wait: Wait) -> Step {
        match next(&self.queue, wait) {
            Next::One(Some(job)) => {
                if let Some(input) = self.applier.run(job) {
                    self.workers.send_to(self.number, input);
                }
                Step::Worked
            }
            Next::Nothing => Step::Idle,
            Next::One(None) | Next::Closed => Step::Ended,
        }
    }
}
