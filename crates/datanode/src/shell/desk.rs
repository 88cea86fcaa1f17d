//! A worker with its inbox, its ticks, and the ways out of it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use environment::{Clock, Stage, Step, Wait};
use model::ShardId;
use raft::{Fetch, Index};

use super::log_write::LogWork;
use super::queue::{Gathered, gather};
use super::{Outside, Workers};
use crate::hosted::Hosted;
use crate::log_writer::LogJob;
use crate::options::Probe;
use crate::worker::{Input, LogWrite, Outputs, Worker};

/// A turn takes at most so many inputs, so that what it brings forth does not wait too long.
const TURN_INPUTS: usize = 4096;

/// See the [module](self).
pub(super) struct Desk {
    pub(super) name: String,
    pub(super) number: usize,
    pub(super) worker: Worker,
    pub(super) inbox: Receiver<Option<Input>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tick_millis: u64,
    pub(super) next_tick_millis: u64,
    pub(super) probe: Option<Arc<dyn Probe>>,
    pub(super) hosted: Hosted,
    pub(super) workers: Workers,
    pub(super) log: Sender<Option<LogWork>>,
    pub(super) fetches: Sender<(ShardId, Fetch)>,
    pub(super) syncs: Sender<Vec<(ShardId, Index)>>,
    pub(super) outside: Arc<dyn Outside>,
}

impl Stage for Desk {
    fn name(&self) -> &str {
        &self.name
    }

    fn step(&mut self, wait: Wait) -> Step {
        let Some(Gathered {
            work: mut inputs,
            ended,
        }) = self.gather(wait)
        else {
            return Step::Ended;
        };
        let now = self.clock.now();
        if now.monotonic_millis >= self.next_tick_millis {
            inputs.push(Input::Tick);
            // Ticks that were missed, by a pause for one, are not made up for.
            self.next_tick_millis = now.monotonic_millis + self.tick_millis;
        }
        if inputs.is_empty() {
            return if ended { Step::Ended } else { Step::Idle };
        }
        let mut outputs = self.worker.turn(inputs, now);
        if let Some(probe) = &self.probe {
            probe.turned(&self.worker, &mut outputs);
        }
        self.carry_out(outputs);
        if ended { Step::Ended } else { Step::Worked }
    }
}

impl Desk {
    /// What has queued up; waits for it until the next tick at most. `None` if nobody can send any more.
    fn gather(&self, wait: Wait) -> Option<Gathered<Input>> {
        // The clock is read only where there is nothing to do at once.
        let first = match self.inbox.try_recv() {
            Err(TryRecvError::Empty) if wait == Wait::ForWork => {
                let now = self.clock.now().monotonic_millis;
                let left = Duration::from_millis(self.next_tick_millis.saturating_sub(now));
                let first = self.inbox.recv_timeout(left);
                // Whoever has woken this thread is often about to send more, and loses its core to it. On a free core this returns
                // at once; on a busy one a turn gets more to do, and there are fewer of them.
                std::thread::yield_now();
                first.map_err(|error| match error {
                    RecvTimeoutError::Timeout => TryRecvError::Empty,
                    RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
                })
            }
            first => first,
        };
        match first {
            Ok(first) => Some(gather(&self.inbox, first, TURN_INPUTS)),
            Err(TryRecvError::Empty) => Some(Gathered {
                work: Vec::new(),
                ended: false,
            }),
            Err(TryRecvError::Disconnected) => None,
        }
    }

    fn carry_out(&self, outputs: Outputs) {
        if let Some(write) = outputs.log {
            self.write(write);
        }
        for (to, messages) in outputs.send {
            self.outside.send(to, messages);
        }
        for to in outputs.signs {
            self.outside.send(to, Vec::new());
        }
        if !outputs.apply.is_empty() {
            let jobs = Some(outputs.apply);
            let _ = self.workers.seats[self.number].applier.send(jobs);
        }
        for fetch in outputs.fetch {
            let _ = self.fetches.send(fetch);
        }
        for (to, request) in outputs.forward {
            self.outside.forward(to, request);
        }
        for snapshot in outputs.snapshots {
            self.outside.send_snapshot(snapshot);
        }
        if let Some(points) = outputs.persist_store {
            let _ = self.syncs.send(points);
        }
        for (shard, detail) in outputs.stopped {
            crate::applier::show_stopped(&self.hosted, shard, &detail);
        }
    }

    fn write(&self, write: LogWrite) {
        let job = LogJob::Worker {
            worker: self.number,
            write,
        };
        let _ = self.log.send(Some(LogWork { job, done: None }));
    }
}
