//! Receiving, with a real worker and applier behind it.

use std::sync::Arc;

use api::internal::{SnapshotFrame, SnapshotStart, snapshot_frame::Kind};
use bytes::Bytes;
use environment::{Environment, Offload};
use futures::stream;
use model::{Condition, Key, NodeId, RequestId, ShardId, TableId};
use raft::{Entry, EntryKind, Index, Replica, Restored, Term};
use storage::disk::RealDisk;
use storage::log::{Log, LogOptions};
use storage::snapshot::{SnapshotSource, clean_generations, load_meta};
use storage::state::{MemoryStore, StateStore};
use tonic::Status;

use super::Receiver;
use crate::hosted::Hosted;
use crate::machine::{Command, CommandBatch, Machine};
use crate::node::raft_config;
use crate::operation::Request;
use crate::options::Tuning;
use crate::shell::{Outside, Parts, Shell, Workers};
use crate::wire::PeerMessage;
use crate::worker::{ApplyJob, Held, Input, SendSnapshot};

const SHARD: ShardId = ShardId {
    table: TableId(1),
    index: 0,
};
const OWN: NodeId = NodeId(1);
const LEADER: NodeId = NodeId(2);
const ENTRIES: u64 = 20;

/// A network that nothing leaves.
struct Nowhere;

impl Outside for Nowhere {
    fn send(&self, _: NodeId, _: Vec<(ShardId, PeerMessage)>) {}
    fn forward(&self, _: NodeId, _: Request) {}
    fn send_snapshot(&self, _: SendSnapshot) {}
}

struct Lab {
    store: Arc<dyn StateStore>,
    receiver: Receiver,
    shell: Shell,
    _dir: tempfile::TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.shell.stop();
    }
}

impl Lab {
    /// A follower that has nothing yet.
    fn new() -> Self {
        let (dir, tuning) = (tempfile::tempdir().unwrap(), Tuning::default());
        let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new());
        let (log, _) = Log::open(Arc::new(RealDisk), dir.path(), LogOptions::default()).unwrap();
        let workers = Workers::new(&tuning);
        let parts = Parts {
            node: OWN,
            tuning: tuning.clone(),
            environment: Environment::default(),
            log,
            store: store.clone(),
            hosted: Hosted::default(),
            probe: None,
        };
        let outside: Arc<dyn Outside> = Arc::new(Nowhere);
        let shell = Shell::start(parts, workers.clone(), &outside).unwrap();
        add_replica(&workers, &store, &tuning);
        Self {
            receiver: Receiver::new(OWN, store.clone(), workers, Offload::Threads),
            store,
            shell,
            _dir: dir,
        }
    }

    /// What is left of generations that are not in use.
    fn leftovers(&self) -> u64 {
        clean_generations(&*self.store, SHARD).unwrap()
    }

    fn applied(&self) -> u64 {
        let (_, meta) = load_meta(&*self.store.view(), SHARD).unwrap().unwrap();
        meta.applied_index
    }
}

fn voters() -> Vec<NodeId> {
    vec![OWN, LEADER, NodeId(3)]
}

fn add_replica(workers: &Workers, store: &Arc<dyn StateStore>, tuning: &Tuning) {
    let machine = Box::new(Machine::create(store.clone(), SHARD, voters()).unwrap());
    let config = raft_config(OWN, SHARD, &voters(), tuning);
    let replica = Box::new(Replica::new(config, Restored::default()).unwrap());
    workers.apply(SHARD, ApplyJob::Open { machine });
    let (shard, held) = (SHARD, Held::default());
    workers.send(
        shard,
        Input::Add {
            shard,
            replica,
            home: None,
            held,
        },
    );
}

/// A snapshot of the leader's state, in several chunks.
fn frames() -> Vec<Result<SnapshotFrame, Status>> {
    let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new());
    let mut machine = Machine::create(store.clone(), SHARD, voters()).unwrap();
    for index in 1..=ENTRIES {
        machine.apply(&[entry(index)]).unwrap();
    }
    let mut source = SnapshotSource::new(store.view(), SHARD).unwrap();
    let header = source.header();
    let start = SnapshotStart {
        from: LEADER.0,
        to: OWN.0,
        table: SHARD.table.0,
        shard: SHARD.index,
        term: 1,
        index: header.index(),
        index_term: header.term(),
        header: header.encode(),
    };
    let mut kinds = vec![Kind::Start(start)];
    while let Some(chunk) = source.next_chunk(100).unwrap() {
        kinds.push(Kind::Chunk(chunk.encode()));
    }
    let frame = |kind| Ok(SnapshotFrame { kind: Some(kind) });
    kinds.into_iter().map(frame).collect()
}

fn entry(index: u64) -> Entry {
    let command = Command::Put {
        key: Key::new(Bytes::from(format!("key-{index}"))).unwrap(),
        value: Bytes::from_static(b"value"),
        request: RequestId {
            issued_millis: 1,
            client: 1,
            sequence: index,
        },
        condition: Condition::Always,
    };
    let batch = CommandBatch {
        now_millis: 1,
        commands: vec![command],
    };
    Entry {
        index: Index(index),
        term: Term(1),
        kind: EntryKind::Commands,
        payload: batch.encode(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_breaks_off_leaves_nothing_and_the_next_one_is_taken() {
    let lab = Lab::new();
    let whole = frames();
    assert!(whole.len() > 4, "{} frames", whole.len());
    let lost = || Err(Status::unavailable("the sender has gone"));
    let half = || frames().into_iter().take(3);
    for broken_off in [
        half().collect::<Vec<_>>(),
        half().chain([lost()]).collect(),
        half().chain([Ok(SnapshotFrame::default())]).collect(),
        half().chain(half().skip(1)).collect(),
    ] {
        let refused = lab.receiver.receive(stream::iter(broken_off)).await;
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!((lab.leftovers(), lab.applied()), (0, 0));
    }
    let answer = lab.receiver.receive(stream::iter(whole)).await.unwrap();
    assert_eq!(answer.index, ENTRIES);
    assert_eq!((lab.leftovers(), lab.applied()), (0, ENTRIES));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_not_the_one_that_was_offered_is_refused() {
    let lab = Lab::new();
    let mut other = frames();
    if let Some(Ok(SnapshotFrame {
        kind: Some(Kind::Start(start)),
    })) = other.first_mut()
    {
        start.index += 1;
    }
    let refused = lab.receiver.receive(stream::iter(other)).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!((lab.leftovers(), lab.applied()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_has_nothing_new_is_not_wanted() {
    let lab = Lab::new();
    lab.receiver.receive(stream::iter(frames())).await.unwrap();
    let answer = lab.receiver.receive(stream::iter(frames())).await.unwrap();
    assert_eq!(answer.index, 0);
}
