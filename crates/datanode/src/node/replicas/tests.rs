use std::path::Path;

use environment::Environment;
use model::{HashRange, Shard, TableState};
use storage::disk::SimDisk;
use storage::log::{Log, LogOptions};
use storage::state::MemoryStore;

use super::*;
use crate::hosted::Hosted;
use crate::node::plan::{Wanted, plan};
use crate::operation::Request;
use crate::shell::{Outside, Parts, Workers};
use crate::worker::SendSnapshot;

const OWN: NodeId = NodeId(1);
const TABLE: TableId = TableId(7);

struct Nowhere;

impl Outside for Nowhere {
    fn send(&self, _: NodeId, _: Vec<(ShardId, crate::wire::PeerMessage)>) {}
    fn forward(&self, _: NodeId, _: Request) {}
    fn send_snapshot(&self, _: SendSnapshot) {}
}

fn replicas(store: &MemoryStore) -> Replicas {
    let tuning = Tuning::default();
    let environment = Environment::default();
    let disk = Arc::new(SimDisk::new());
    let (log, _) = Log::open(disk, Path::new("/log"), LogOptions::default()).unwrap();
    let workers = Workers::new(&tuning);
    let (clock, offload) = (environment.clock.clone(), environment.offload);
    let store: Arc<dyn StateStore> = Arc::new(store.clone());
    let parts = Parts {
        node: OWN,
        tuning: tuning.clone(),
        environment,
        log,
        store: store.clone(),
        hosted: Hosted::default(),
        probe: None,
    };
    let outside: Arc<dyn Outside> = Arc::new(Nowhere);
    let shell = Shell::start(parts, workers.clone(), &outside).unwrap();
    let hands = Hands {
        node: OWN,
        tuning,
        store,
        shell: Arc::new(shell),
        workers,
        clock,
        offload,
        quarantined: Arc::default(),
    };
    Replicas::new(hands, BTreeMap::new())
}

fn listed() -> Wanted {
    let ranges = HashRange::divide(1).into_iter();
    let table = Table {
        id: TABLE,
        name: "people".parse().unwrap(),
        state: TableState::Creating,
        never_available: false,
        replicas: 3,
        created_millis: 0,
        shards: ranges
            .map(|range| Shard {
                range,
                nodes: vec![OWN, NodeId(2), NodeId(3)],
            })
            .collect(),
    };
    Wanted {
        tables: [(TABLE, table)].into(),
        ..Wanted::default()
    }
}

/// The store fails while the first record of a replica is made durable. The record may still be there after the next
/// start, when nobody would come for it any more: so its tombstone is not confirmed before.
#[tokio::test]
async fn what_could_not_be_made_durable_is_not_confirmed_as_destroyed() {
    let store = MemoryStore::new();
    let mut replicas = replicas(&store);
    let listed = listed();
    let wanted = plan(OWN, &listed, &replicas.standings());
    store.fail_next_persist("injected");
    let made = replicas.carry_out(&wanted, &listed.tables).await;
    assert!(made.is_err());
    let tombstoned = Wanted {
        tombstones: [TABLE].into(),
        ..Wanted::default()
    };
    let wanted = plan(OWN, &tombstoned, &replicas.standings());
    let destroyed = replicas.carry_out(&wanted, &BTreeMap::new()).await;
    assert!(destroyed.is_err(), "the store is out of service");
    assert_eq!(replicas.of_table(TABLE).len(), 1);
    replicas.hands.shell.stop();
}

/// Whether clients may have used the table, as far as the replicas of this node show.
async fn used(replicas: &Replicas) -> bool {
    let used = replicas.used([TABLE].into()).await.unwrap();
    used.contains(&TABLE)
}

async fn keep(replicas: &mut Replicas, wanted: &Wanted) {
    let plan = plan(OWN, wanted, &replicas.standings());
    replicas.carry_out(&plan, &wanted.tables).await.unwrap();
}

#[tokio::test]
async fn a_table_that_was_seen_available_was_used_also_after_a_restart() {
    let store = MemoryStore::new();
    let mut replicas = replicas(&store);
    let mut listed = listed();
    keep(&mut replicas, &listed).await;
    assert!(!used(&replicas).await);
    for table in listed.tables.values_mut() {
        table.state = TableState::Available;
    }
    keep(&mut replicas, &listed).await;
    assert!(used(&replicas).await);
    let key = Key::Replica(ShardId {
        table: TABLE,
        index: 0,
    });
    let record = store.get(&key.encode()).unwrap().unwrap();
    assert!(ReplicaRecord::decode(&record).unwrap().was_available);
    replicas.hands.shell.stop();
}

/// The node was cut off from the coordination store when the table became available, and served it all the same.
#[tokio::test]
async fn a_table_that_was_written_to_was_used() {
    let store = MemoryStore::new();
    let mut replicas = replicas(&store);
    keep(&mut replicas, &listed()).await;
    let shard = ShardId {
        table: TABLE,
        index: 0,
    };
    let (generation, mut meta) = load_meta(&*store.view(), shard).unwrap().unwrap();
    meta.max_delete_timestamp = model::Timestamp(1);
    let mut batch = Batch::new();
    batch.put(Key::Meta { shard, generation }.encode(), meta.encode());
    store.write(batch).unwrap();
    assert!(used(&replicas).await);
    replicas.hands.shell.stop();
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutants_are_noticed() {
    use mutants::{Mutant, is_noticed};
    assert!(is_noticed(
        Mutant::UndoDestroysData,
        a_table_that_was_written_to_was_used
    ));
}
