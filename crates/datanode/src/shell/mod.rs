//! The stages of a data node. Everything that decides is elsewhere; here it gets a queue, and whoever the environment
//! has to step it: a thread each, or in a simulation the one thread that everything shares. Workers and appliers also run on the
//! threads that bring them something (`combining`).
//!
//! ```text
//!              ┌───────────────┐  log writes   ┌────────────┐
//!  inbox ─────▶│ shard worker  │──────────────▶│ log writer │──┐ durable
//!    ▲         │ (one or few)  │  apply jobs   ├────────────┤  │
//!    │         │               │──────────────▶│ applier    │──┤ applied
//!    │         └──────┬────────┘  reads, syncs ├────────────┤  │
//!    │                │ frames ──▶ peers       │ helpers    │──┤ fetched, store durable
//!    └────────────────┴────────────────────────┴────────────┴──┘
//! ```
//!
//! | file | stage |
//! |---|---|
//! | `desk` | a shard worker, with its ticks, and who carries out what it wants |
//! | `apply` | an applier |
//! | `log_write` | the log's writer, one for all workers |
//! | `log_read` | reads what has left memory back from the log |
//! | `store_sync` | makes the state store durable |
//! | `combining` | of workers and appliers: work is done by whoever brings it, or by a thread of its own |
//! | `pressure` | when it is better to let work gather |
//! | `alarm`, `queue` | what all of them need |
//!
//! A failed log, or a stage that panics, ends the node: [`Shell::failed`] says why.

mod alarm;
mod apply;
mod combining;
mod desk;
mod log_read;
mod log_write;
mod pressure;
mod queue;
mod store_sync;
#[cfg(test)]
mod tests;

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use environment::{Environment, Running, Stage};
use model::{NodeId, ShardId};
use parking_lot::Mutex;
use storage::log::{Log, Record};
use storage::state::StateStore;
use tokio::sync::watch;

use self::alarm::Guarded;
use self::apply::Apply;
use self::combining::Combining;
use self::desk::Desk;
use self::log_read::LogRead;
pub use self::log_read::raft_entry;
use self::log_write::{LogWork, LogWrite};
use self::pressure::Pressure;
use self::store_sync::StoreSync;
use crate::applier::Applier;
use crate::hosted::Hosted;
use crate::log_writer::{LogJob, LogWriter};
use crate::operation::Request;
use crate::options::{Probe, Tuning};
use crate::wire::PeerMessage;
use crate::worker::{ApplyJob, Input, SendSnapshot, Worker};

/// What a worker's outputs need from outside. None of it may block.
pub trait Outside: Send + Sync + 'static {
    /// Sends a frame, an empty one as well; may drop it.
    fn send(&self, to: NodeId, messages: Vec<(ShardId, PeerMessage)>);
    /// Hands an operation on to another node.
    fn forward(&self, to: NodeId, request: Request);
    /// Sends a snapshot to a follower.
    fn send_snapshot(&self, snapshot: SendSnapshot);
}

/// The running stages.
pub struct Shell {
    workers: Workers,
    log: Sender<Option<LogWork>>,
    running: Mutex<Stages>,
    failed: watch::Receiver<Option<String>>,
}

/// The inboxes of the workers and the queues of their appliers.
#[derive(Clone)]
pub struct Workers {
    seats: Arc<[Seat]>,
}

#[derive(Default)]
struct Seat {
    worker: Arc<Combining<Desk>>,
    applier: Arc<Combining<Apply>>,
}

/// In the order in which they end.
#[derive(Default)]
struct Stages {
    workers: Vec<Box<dyn Running>>,
    others: Vec<Box<dyn Running>>,
}

impl Workers {
    /// Places for so many. What is sent before the stages start waits for them.
    pub fn new(tuning: &Tuning) -> Self {
        let seats = (0..tuning.workers.max(1)).map(|_| Seat::default());
        Self {
            seats: seats.collect(),
        }
    }

    /// Gives an input to the worker of a shard. One that has ended ignores it.
    pub fn send(&self, shard: ShardId, input: Input) {
        self.seats[self.seat_of(shard)].worker.bring(input);
    }

    /// Gives every worker an input of its own.
    pub fn send_all(&self, mut input: impl FnMut() -> Input) {
        for seat in self.seats.iter() {
            seat.worker.bring(input());
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.seats.len()
    }

    /// Which worker has a shard.
    pub fn seat_of(&self, shard: ShardId) -> usize {
        let mut hasher = std::hash::DefaultHasher::new();
        shard.hash(&mut hasher);
        (hasher.finish() % self.seats.len() as u64) as usize
    }

    /// Gives an input to a worker by its number.
    pub fn send_to(&self, seat: usize, input: Input) {
        if let Some(seat) = self.seats.get(seat) {
            seat.worker.bring(input);
        }
    }

    /// Gives a job to a shard's applier, ahead of whatever its worker sends later.
    pub fn apply(&self, shard: ShardId, job: ApplyJob) {
        self.seats[self.seat_of(shard)].applier.bring(vec![job]);
    }
}

/// What the stages work with.
pub struct Parts {
    /// This node.
    pub node: NodeId,
    /// Times and sizes.
    pub tuning: Tuning,
    /// Time, and where the stages run.
    pub environment: Environment,
    /// The node's log.
    pub log: Log,
    /// The node's state store.
    pub store: Arc<dyn StateStore>,
    /// Replicas for readers.
    pub hosted: Hosted,
    /// Looks at every turn of the workers, if there is one.
    pub probe: Option<Arc<dyn Probe>>,
}

impl Shell {
    /// Starts the stages.
    pub fn start(
        parts: Parts,
        workers: Workers,
        outside: &Arc<dyn Outside>,
    ) -> std::io::Result<Self> {
        let (log, log_queue) = channel();
        let (fetches, fetch_queue) = channel();
        let (syncs, sync_queue) = channel();
        let (fail, failed) = watch::channel(None);
        let starter = Starter {
            environment: parts.environment.clone(),
            fail: fail.clone(),
        };
        let mut running = Stages::default();
        running.others.push(starter.start(LogRead {
            reader: parts.log.reader(),
            queue: fetch_queue,
            workers: workers.clone(),
        })?);
        running.others.push(starter.start(LogWrite {
            writer: LogWriter::new(parts.log),
            queue: log_queue,
            workers: workers.clone(),
            fail: fail.clone(),
        })?);
        running.others.push(starter.start(StoreSync {
            store: parts.store.clone(),
            queue: sync_queue,
            workers: workers.clone(),
        })?);
        let at_once = parts.environment.threads.are_real();
        for (number, seat) in workers.seats.iter().enumerate() {
            let apply = Apply {
                number,
                applier: Applier::new(
                    parts.store.clone(),
                    parts.hosted.clone(),
                    parts.environment.clock.clone(),
                ),
                workers: workers.clone(),
            };
            let name = format!("apply-{number}");
            let apply = seat.applier.start(name, apply, at_once, fail.clone());
            running.others.push(starter.start(apply)?);
            let desk = Desk {
                number,
                pressure: Pressure::default(),
                worker: Worker::new(parts.node, parts.tuning.clone()),
                clock: parts.environment.clock.clone(),
                tick_millis: parts.tuning.tick_millis,
                next_tick_millis: parts.environment.clock.now().monotonic_millis
                    + parts.tuning.tick_millis,
                probe: parts.probe.clone(),
                hosted: parts.hosted.clone(),
                workers: workers.clone(),
                log: log.clone(),
                fetches: fetches.clone(),
                syncs: syncs.clone(),
                outside: outside.clone(),
            };
            let name = format!("shards-{number}");
            let desk = seat.worker.start(name, desk, at_once, fail.clone());
            running.workers.push(starter.start(desk)?);
        }
        Ok(Self {
            workers,
            log,
            running: Mutex::new(running),
            failed,
        })
    }

    /// Makes records durable that no worker has to do with: replicas that come and go.
    pub async fn write_log(&self, records: Vec<Record>) -> Result<(), String> {
        let (done, wait) = tokio::sync::oneshot::channel();
        let _ = self.log.send(Some(LogWork {
            job: LogJob::Own(records),
            done: Some(done),
        }));
        wait.await.map_err(|_| "the log has failed".to_owned())
    }

    /// Why the node can't go on, once that is so.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.failed.clone()
    }

    /// Ends the stages and waits for them. What they were given before is done first.
    pub fn stop(&self) {
        let running = std::mem::take(&mut *self.running.lock());
        for seat in self.workers.seats.iter() {
            seat.worker.end();
        }
        join(running.workers);
        for seat in self.workers.seats.iter() {
            seat.applier.end();
        }
        let _ = self.log.send(None);
        // With the workers, the queues of the reader and of the store's sync have ended.
        join(running.others);
    }
}

fn join(stages: Vec<Box<dyn Running>>) {
    for stage in stages {
        stage.join();
    }
}

/// Starts stages that don't end unnoticed.
struct Starter {
    environment: Environment,
    fail: watch::Sender<Option<String>>,
}

impl Starter {
    fn start(&self, stage: impl Stage) -> std::io::Result<Box<dyn Running>> {
        let guarded = Guarded::new(stage, self.fail.clone());
        self.environment.threads.start(Box::new(guarded))
    }
}
