//! The threads of a data node. Everything that decides is elsewhere; here it gets a thread and a queue.
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
//! A failed log, or a thread that panics, ends the node: [`Shell::failed`] says why.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::{NodeId, ShardId};
use parking_lot::Mutex;
use raft::{Entry, EntryKind, Fetch, Fetched, Index, Term};
use storage::log::{Log, LogEntry, LogReader, Read, Record};
use storage::state::StateStore;
use tokio::sync::watch;

use crate::applier::Applier;
use crate::clock::Clock;
use crate::hosted::Hosted;
use crate::log_writer::{LogJob, LogWriter};
use crate::operation::Request;
use crate::options::Tuning;
use crate::wire::PeerMessage;
use crate::worker::{ApplyJob, Input, LogWrite, Outputs, SendSnapshot, Worker};

/// A turn takes at most so many inputs, so that what it brings forth does not wait too long.
const TURN_INPUTS: usize = 4096;
/// One sync takes at most so many batches.
const SYNC_BATCHES: usize = 1024;

/// What a worker's outputs need from outside. None of it may block.
pub trait Outside: Send + Sync + 'static {
    /// Sends a frame; may drop it.
    fn send(&self, to: NodeId, messages: Vec<(ShardId, PeerMessage)>);
    /// Hands an operation on to another node.
    fn forward(&self, to: NodeId, request: Request);
    /// Sends a snapshot to a follower.
    fn send_snapshot(&self, snapshot: SendSnapshot);
}

/// The running threads.
pub struct Shell {
    workers: Workers,
    log: Sender<Option<LogWork>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    failed: watch::Receiver<Option<String>>,
}

/// The inboxes of the workers and the queues of their appliers.
#[derive(Clone)]
pub struct Workers {
    seats: Arc<[Seat]>,
}

struct Seat {
    inbox: Sender<Option<Input>>,
    applier: Sender<Option<ApplyJob>>,
}

struct LogWork {
    job: LogJob,
    /// Told when it is durable. Workers learn that from their inbox.
    done: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Workers {
    /// Gives an input to the worker of a shard. One that has ended ignores it.
    pub fn send(&self, shard: ShardId, input: Input) {
        let _ = self.seats[self.seat_of(shard)].inbox.send(Some(input));
    }

    /// Gives every worker an input of its own.
    pub fn send_all(&self, mut input: impl FnMut() -> Input) {
        for seat in self.seats.iter() {
            let _ = seat.inbox.send(Some(input()));
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
            let _ = seat.inbox.send(Some(input));
        }
    }

    /// Gives a job to a shard's applier, ahead of whatever its worker sends later.
    pub fn apply(&self, shard: ShardId, job: ApplyJob) {
        let _ = self.seats[self.seat_of(shard)].applier.send(Some(job));
    }
}

/// What the threads work with.
pub struct Parts {
    /// This node.
    pub node: NodeId,
    /// Times and sizes.
    pub tuning: Tuning,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The node's log.
    pub log: Log,
    /// The node's state store.
    pub store: Arc<dyn StateStore>,
    /// Replicas for readers.
    pub hosted: Hosted,
}

/// Queues that are made before the threads, because what is outside needs them.
pub struct Queues {
    inboxes: Vec<Receiver<Option<Input>>>,
    appliers: Vec<Receiver<Option<ApplyJob>>>,
}

/// Makes the workers' queues.
pub fn queues(tuning: &Tuning) -> (Workers, Queues) {
    let mut seats = Vec::new();
    let mut queues = Queues {
        inboxes: Vec::new(),
        appliers: Vec::new(),
    };
    for _ in 0..tuning.workers.max(1) {
        let (inbox, inbox_queue) = channel();
        let (applier, applier_queue) = channel();
        seats.push(Seat { inbox, applier });
        queues.inboxes.push(inbox_queue);
        queues.appliers.push(applier_queue);
    }
    (
        Workers {
            seats: seats.into(),
        },
        queues,
    )
}

impl Shell {
    /// Starts the threads.
    pub fn start(
        parts: Parts,
        workers: Workers,
        queues: Queues,
        outside: &Arc<dyn Outside>,
    ) -> std::io::Result<Self> {
        let (log, log_queue) = channel();
        let (fetches, fetch_queue) = channel();
        let (syncs, sync_queue) = channel();
        let (fail, failed) = watch::channel(None);
        let starter = Starter { fail: fail.clone() };
        let mut threads = Vec::new();
        let reader = parts.log.reader();
        let writer = LogWriter::new(parts.log);
        let to_workers = workers.clone();
        threads.push(starter.spawn("log", move || {
            write_log(writer, &log_queue, &to_workers, &fail);
        })?);
        let to_workers = workers.clone();
        threads.push(starter.spawn("log-reader", move || {
            read_log(&reader, &fetch_queue, &to_workers);
        })?);
        let (store, to_workers) = (parts.store.clone(), workers.clone());
        threads.push(starter.spawn("store-sync", move || {
            sync_store(&*store, &sync_queue, &to_workers);
        })?);
        let Queues { inboxes, appliers } = queues;
        for (number, (inbox, jobs)) in inboxes.into_iter().zip(appliers).enumerate() {
            let applier = Applier::new(parts.store.clone(), parts.hosted.clone());
            let to_workers = workers.clone();
            let name = format!("apply-{number}");
            threads.push(starter.spawn(&name, move || {
                apply(applier, number, &jobs, &to_workers);
            })?);
            let desk = Desk {
                number,
                worker: Worker::new(parts.node, parts.tuning.clone()),
                clock: parts.clock.clone(),
                tick: Duration::from_millis(parts.tuning.tick_millis),
                hosted: parts.hosted.clone(),
                workers: workers.clone(),
                log: log.clone(),
                fetches: fetches.clone(),
                syncs: syncs.clone(),
                outside: outside.clone(),
            };
            let name = format!("{WORKER}{number}");
            threads.push(starter.spawn(&name, move || desk.run(&inbox))?);
        }
        Ok(Self {
            workers,
            log,
            threads: Mutex::new(threads),
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

    /// Ends the threads and waits for them. What they were given before is done first.
    pub fn stop(&self) {
        let mut threads = std::mem::take(&mut *self.threads.lock());
        for seat in self.workers.seats.iter() {
            let _ = seat.inbox.send(None);
        }
        join(threads.extract_if(.., |thread| is_named(thread, WORKER)));
        for seat in self.workers.seats.iter() {
            let _ = seat.applier.send(None);
        }
        let _ = self.log.send(None);
        // With the workers, the queues of the reader and of the store's sync have ended.
        join(threads.drain(..));
    }
}

/// How the workers' threads are named; their number follows.
const WORKER: &str = "shards-";

fn is_named(thread: &JoinHandle<()>, prefix: &str) -> bool {
    thread
        .thread()
        .name()
        .is_some_and(|name| name.starts_with(prefix))
}

fn join(threads: impl Iterator<Item = JoinHandle<()>>) {
    for thread in threads {
        // A panic was reported by the thread itself.
        let _ = thread.join();
    }
}

/// Starts threads that don't end unnoticed.
struct Starter {
    fail: watch::Sender<Option<String>>,
}

impl Starter {
    fn spawn(
        &self,
        name: &str,
        run: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        let alarm = Alarm {
            name: name.to_owned(),
            fail: self.fail.clone(),
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _alarm = alarm;
                run();
            })
    }
}

/// Tells if its thread panics: a node without one of its threads would look alive and serve nothing.
struct Alarm {
    name: String,
    fail: watch::Sender<Option<String>>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self
                .fail
                .send(Some(format!("the thread `{}` has panicked", self.name)));
        }
    }
}

/// What had queued up.
struct Gathered<T> {
    work: Vec<T>,
    /// The end of the queue stood behind the work. It is told once, so nobody may wait for it again.
    ended: bool,
}

/// Takes what has queued up behind the first.
fn gather<T>(queue: &Receiver<Option<T>>, first: Option<T>, most: usize) -> Gathered<T> {
    let mut work = Vec::new();
    let mut next = Ok(first);
    loop {
        match next {
            Ok(Some(one)) => work.push(one),
            Ok(None) => return Gathered { work, ended: true },
            Err(_) => return Gathered { work, ended: false },
        }
        if work.len() >= most {
            return Gathered { work, ended: false };
        }
        next = queue.try_recv();
    }
}

fn write_log(
    mut writer: LogWriter,
    queue: &Receiver<Option<LogWork>>,
    workers: &Workers,
    fail: &watch::Sender<Option<String>>,
) {
    while let Ok(first) = queue.recv() {
        let Gathered { work, ended } = gather(queue, first, SYNC_BATCHES);
        let (jobs, done): (Vec<_>, Vec<_>) =
            work.into_iter().map(|work| (work.job, work.done)).unzip();
        if jobs.is_empty() {
            return;
        }
        match writer.run(jobs) {
            Ok(tickets) => {
                for (worker, ticket) in tickets {
                    workers.send_to(worker, Input::LogDurable { ticket });
                }
                for then in done.into_iter().flatten() {
                    let _ = then.send(());
                }
            }
            Err(error) => {
                tracing::error!(%error, "the log has failed: this node stops");
                let _ = fail.send(Some(format!("the log has failed: {error}")));
                return;
            }
        }
        if ended {
            return;
        }
    }
}

fn read_log(reader: &LogReader, queue: &Receiver<(ShardId, Fetch)>, workers: &Workers) {
    while let Ok((shard, fetch)) = queue.recv() {
        let result = match reader.read(shard, fetch.after.0 + 1, fetch.max_bytes) {
            Ok(Read::Entries {
                previous_term,
                entries,
            }) => fetched(&fetch, previous_term, entries),
            Ok(Read::Compacted) => Ok(Fetched::Compacted),
            Err(error) => Err(error.to_string()),
        };
        workers.send(
            shard,
            Input::Fetched {
                shard,
                fetch,
                result,
            },
        );
    }
}

fn fetched(fetch: &Fetch, previous_term: u64, entries: Vec<LogEntry>) -> Result<Fetched, String> {
    let wanted = entries
        .into_iter()
        .take_while(|entry| entry.index <= fetch.up_to.0);
    let entries = wanted.map(raft_entry).collect::<Result<_, _>>()?;
    Ok(Fetched::Entries {
        previous_term: Term(previous_term),
        entries,
    })
}

/// An entry as the core has it.
pub fn raft_entry(entry: LogEntry) -> Result<Entry, String> {
    let kind = EntryKind::try_from(entry.kind).map_err(|error| error.to_string())?;
    Ok(Entry {
        index: Index(entry.index),
        term: Term(entry.term),
        kind,
        payload: entry.payload,
    })
}

fn sync_store(store: &dyn StateStore, queue: &Receiver<Vec<(ShardId, Index)>>, workers: &Workers) {
    while let Ok(points) = queue.recv() {
        if let Err(error) = store.persist() {
            // Nothing is purged any more, and the next write of an applier stops its group.
            tracing::error!(%error, "the state store can't be made durable");
            continue;
        }
        let mut by_seat: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for point in points {
            by_seat
                .entry(workers.seat_of(point.0))
                .or_default()
                .push(point);
        }
        for (seat, points) in by_seat {
            workers.send_to(seat, Input::StoreDurable { points });
        }
    }
}

fn apply(
    mut applier: Applier,
    number: usize,
    queue: &Receiver<Option<ApplyJob>>,
    workers: &Workers,
) {
    while let Ok(Some(job)) = queue.recv() {
        if let Some(input) = applier.run(job) {
            workers.send_to(number, input);
        }
    }
}

/// A worker with its thread's surroundings.
struct Desk {
    number: usize,
    worker: Worker,
    clock: Arc<dyn Clock>,
    tick: Duration,
    hosted: Hosted,
    workers: Workers,
    log: Sender<Option<LogWork>>,
    fetches: Sender<(ShardId, Fetch)>,
    syncs: Sender<Vec<(ShardId, Index)>>,
    outside: Arc<dyn Outside>,
}

impl Desk {
    fn run(mut self, inbox: &Receiver<Option<Input>>) {
        let mut next_tick = Instant::now() + self.tick;
        loop {
            let wait = next_tick.saturating_duration_since(Instant::now());
            let (mut inputs, ended) = match inbox.recv_timeout(wait) {
                Ok(first) => {
                    let gathered = gather(inbox, first, TURN_INPUTS);
                    (gathered.work, gathered.ended)
                }
                Err(RecvTimeoutError::Timeout) => (Vec::new(), false),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let now = Instant::now();
            if now >= next_tick {
                inputs.push(Input::Tick);
                // Ticks that were missed, by a pause for one, are not made up for.
                next_tick = now + self.tick;
            }
            let outputs = self.worker.turn(inputs, self.clock.now());
            self.carry_out(outputs);
            if ended {
                return;
            }
        }
    }

    fn carry_out(&self, outputs: Outputs) {
        if let Some(write) = outputs.log {
            self.write(write);
        }
        for (to, messages) in outputs.send {
            self.outside.send(to, messages);
        }
        for job in outputs.apply {
            let _ = self.workers.seats[self.number].applier.send(Some(job));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_ends_the_node() {
        let (fail, failed) = watch::channel(None);
        let starter = Starter { fail };
        let thread = starter.spawn("unlucky", || panic!("for the test")).unwrap();
        assert!(thread.join().is_err());
        assert_eq!(
            failed.borrow().as_deref(),
            Some("the thread `unlucky` has panicked")
        );
    }

    #[test]
    fn the_end_of_a_queue_is_not_lost_behind_work() {
        let (sender, queue) = std::sync::mpsc::channel();
        for work in [Some(1), Some(2), None] {
            sender.send(work).unwrap();
        }
        let gathered = gather(&queue, queue.recv().unwrap(), 10);
        assert_eq!(gathered.work, [1, 2]);
        assert!(gathered.ended);
    }

    #[test]
    fn work_is_taken_up_to_the_bound_and_the_end_with_the_next_round() {
        let (sender, queue) = std::sync::mpsc::channel();
        for work in [Some(1), Some(2), None] {
            sender.send(work).unwrap();
        }
        let gathered = gather(&queue, queue.recv().unwrap(), 2);
        assert_eq!(gathered.work, [1, 2]);
        assert!(!gathered.ended);
        let gathered = gather(&queue, queue.recv().unwrap(), 2);
        assert!(gathered.work.is_empty() && gathered.ended);
    }
}
