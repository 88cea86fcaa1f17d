//! The stages on one thread, as a simulation runs them.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use environment::{Clock, Now, Step, Threads, Wait};
use model::TableId;
use raft::{Replica, Restored, Role};
use storage::disk::SimDisk;
use storage::log::LogOptions;
use storage::state::MemoryStore;

use super::*;
use crate::machine::Machine;
use crate::node::raft_config;
use crate::worker::{Held, Outputs};

const SHARD: ShardId = ShardId {
    table: TableId(1),
    index: 0,
};
const OWN: NodeId = NodeId(1);

type Shared = Arc<Mutex<Option<Box<dyn Stage>>>>;

/// Stages that somebody steps. An ended one is dropped, and with it its ends of the queues.
#[derive(Clone, Default)]
struct Stepped(Arc<Mutex<VecDeque<Shared>>>);

impl std::fmt::Debug for Stepped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stepped")
    }
}

impl Threads for Stepped {
    fn start(&self, stage: Box<dyn Stage>) -> std::io::Result<Box<dyn Running>> {
        let stage = Arc::new(Mutex::new(Some(stage)));
        self.0.lock().push_back(stage.clone());
        Ok(Box::new(Joined(stage)))
    }
}

fn step(stage: &Shared) -> Step {
    let mut slot = stage.lock();
    let step = slot
        .as_mut()
        .map_or(Step::Ended, |stage| stage.step(Wait::Never));
    if step == Step::Ended {
        *slot = None;
    }
    step
}

struct Joined(Shared);

impl Running for Joined {
    fn join(self: Box<Self>) {
        while step(&self.0) != Step::Ended {}
    }
}

impl Stepped {
    /// Steps all until none has anything to do.
    fn settle(&self) {
        let stages = self.0.lock().clone();
        while stages.iter().any(|stage| step(stage) == Step::Worked) {}
    }
}

#[derive(Debug, Default)]
struct Hands(AtomicU64);

impl Clock for Hands {
    fn now(&self) -> Now {
        let millis = self.0.load(Ordering::Relaxed);
        Now {
            monotonic_millis: millis,
            wall_millis: 1_000_000 + millis,
        }
    }
}

#[derive(Default)]
struct Watcher {
    turns: AtomicU64,
    committed: AtomicU64,
}

impl Probe for Watcher {
    fn turned(&self, worker: &Worker, _: &mut Outputs) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        for (shard, replica) in worker.replicas() {
            assert_eq!(shard, SHARD);
            if replica.role() == Role::Leader {
                self.committed
                    .store(replica.committed().0, Ordering::Relaxed);
            }
        }
    }
}

struct Nowhere;

impl Outside for Nowhere {
    fn send(&self, _: NodeId, _: Vec<(ShardId, PeerMessage)>) {}
    fn forward(&self, _: NodeId, _: Request) {}
    fn send_snapshot(&self, _: SendSnapshot) {}
}

#[test]
fn one_thread_steps_a_replica_to_leadership_and_stops_it() {
    let (stages, hands, watcher) = (
        Stepped::default(),
        Arc::new(Hands::default()),
        Arc::new(Watcher::default()),
    );
    let (tuning, disk) = (Tuning::default(), SimDisk::new());
    let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new());
    let open = |disk: &SimDisk| {
        let options = LogOptions::default();
        Log::open(Arc::new(disk.clone()), Path::new("/log"), options).unwrap()
    };
    let workers = Workers::new(&tuning);
    let parts = Parts {
        node: OWN,
        tuning: tuning.clone(),
        environment: Environment {
            clock: hands.clone(),
            threads: Arc::new(stages.clone()),
            ..Environment::default()
        },
        log: open(&disk).0,
        store: store.clone(),
        hosted: Hosted::default(),
        probe: Some(watcher.clone()),
    };
    let outside: Arc<dyn Outside> = Arc::new(Nowhere);
    let shell = Shell::start(parts, workers.clone(), &outside).unwrap();
    let (shard, held, voters) = (SHARD, Held::default(), vec![OWN]);
    let config = raft_config(OWN, SHARD, &voters, &tuning);
    let replica = Box::new(Replica::new(config, Restored::default()).unwrap());
    let machine = Box::new(Machine::create(store, SHARD, voters).unwrap());
    workers.apply(SHARD, ApplyJob::Open { machine });
    workers.send(
        shard,
        Input::Add {
            shard,
            replica,
            home: None,
            held,
        },
    );
    stages.settle();
    let turns = watcher.turns.load(Ordering::Relaxed);
    stages.settle();
    assert_eq!(
        watcher.turns.load(Ordering::Relaxed),
        turns,
        "without time or work nothing happens"
    );
    // The first election comes after at most twice the timeout.
    for _ in 0..=2 * tuning.election_ticks {
        hands.0.fetch_add(tuning.tick_millis, Ordering::Relaxed);
        stages.settle();
    }
    assert!(watcher.committed.load(Ordering::Relaxed) > 0);
    shell.stop();
    assert!(stages.0.lock().iter().all(|stage| stage.lock().is_none()));
    assert_eq!(*shell.failed().borrow(), None);
    // The node loses its power, not what it has synced.
    assert!(open(&disk.crash(1)).1[&SHARD].last_index > 0);
}
