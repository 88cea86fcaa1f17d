//! An applier and its queue.

use std::sync::mpsc::Receiver;

use environment::{Stage, Step, Wait};

use super::Workers;
use super::queue::{Gathered, Next, gather, next};
use crate::applier::Applier;
use crate::worker::ApplyJob;

/// The jobs of so many turns of the worker are done in one go, at the most.
const GATHERED_TURNS: usize = 256;

/// See the [module](self).
pub(super) struct Apply {
    pub(super) name: String,
    /// Whose applier it is.
    pub(super) number: usize,
    pub(super) applier: Applier,
    pub(super) queue: Receiver<Option<Vec<ApplyJob>>>,
    pub(super) workers: Workers,
}

impl Stage for Apply {
    fn name(&self) -> &str {
        &self.name
    }

    fn step(&mut self, wait: Wait) -> Step {
        let Gathered { work, ended } = match next(&self.queue, wait) {
            Next::One(first) => gather(&self.queue, first, GATHERED_TURNS),
            Next::Nothing => return Step::Idle,
            Next::Closed => return Step::Ended,
        };
        for input in self.applier.run(work.into_iter().flatten()) {
            self.workers.send_to(self.number, input);
        }
        if ended { Step::Ended } else { Step::Worked }
    }
}
