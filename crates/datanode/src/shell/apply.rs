//! An applier and what it tells its worker.

use std::time::Duration;

use super::Workers;
use super::combining::{Turned, Work};
use crate::applier::Applier;
use crate::worker::ApplyJob;

/// Whoever brings more keys than these to be read leaves them to the thread: each may wait for the disk, and heartbeats travel by
/// the threads that bring them.
const READS_AT_ONCE: usize = 32;

/// See the [module](self).
pub(super) struct Apply {
    /// Whose applier it is.
    pub(super) number: usize,
    pub(super) applier: Applier,
    pub(super) workers: Workers,
}

impl Work for Apply {
    /// Of one turn of the worker.
    type Item = Vec<ApplyJob>;
    const TURN: usize = 256;

    fn turn(&mut self, jobs: Vec<Vec<ApplyJob>>) -> Turned {
        if jobs.is_empty() {
            return Turned::Idle;
        }
        for input in self.applier.run(jobs.into_iter().flatten()) {
            self.workers.send_to(self.number, input);
        }
        Turned::Worked
    }

    fn due_in(&self) -> Option<Duration> {
        None
    }

    /// A few reads are not: those that are eventual are done by whoever brings them, too. Writing may wait for long.
    fn is_for_thread(&mut self, jobs: &[Vec<ApplyJob>]) -> bool {
        let mut keys = 0;
        for job in jobs.iter().flatten() {
            let ApplyJob::Reads { reads, .. } = job else {
                return true;
            };
            keys += reads
                .iter()
                .map(|(question, _)| question.keys())
                .sum::<usize>();
        }
        keys > READS_AT_ONCE
    }
}
