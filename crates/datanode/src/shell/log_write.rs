//! The log's writer: all that has queued up, one sync.

use std::sync::mpsc::Receiver;

use environment::{Stage, Step, Wait};
use tokio::sync::{oneshot, watch};

use super::Workers;
use super::queue::{Gathered, Next, gather, next};
use crate::log_writer::{LogJob, LogWriter};
use crate::worker::Input;

/// One sync takes at most so many batches.
const SYNC_BATCHES: usize = 1024;

/// Records for the log.
pub(super) struct LogWork {
    pub(super) job: LogJob,
    /// Told when it is durable. Workers learn that from their inbox.
    pub(super) done: Option<oneshot::Sender<()>>,
}

/// See the [module](self).
pub(super) struct LogWrite {
    pub(super) writer: LogWriter,
    pub(super) queue: Receiver<Option<LogWork>>,
    pub(super) workers: Workers,
    /// Gets the reason if the log fails.
    pub(super) fail: watch::Sender<Option<String>>,
}

impl Stage for LogWrite {
    fn name(&self) -> &'static str {
        "log"
    }

    fn step(&mut self, wait: Wait) -> Step {
        let Gathered { work, ended } = match next(&self.queue, wait) {
            Next::One(first) => gather(&self.queue, first, SYNC_BATCHES),
            Next::Nothing => return Step::Idle,
            Next::Closed => return Step::Ended,
        };
        if !work.is_empty() && !self.write(work) || ended {
            return Step::Ended;
        }
        Step::Worked
    }
}

impl LogWrite {
    /// Writes and tells whoever waits. False if the log has failed.
    fn write(&mut self, work: Vec<LogWork>) -> bool {
        let (jobs, done): (Vec<_>, Vec<_>) =
            work.into_iter().map(|work| (work.job, work.done)).unzip();
        match self.writer.run(jobs) {
            Ok(tickets) => {
                for (worker, ticket) in tickets {
                    self.workers.send_to(worker, Input::LogDurable { ticket });
                }
                for then in done.into_iter().flatten() {
                    let _ = then.send(());
                }
                true
            }
            Err(error) => {
                tracing::error!(%error, "the log has failed: this node stops");
                let _ = self.fail.send(Some(format!("the log has failed: {error}")));
                false
            }
        }
    }
}
