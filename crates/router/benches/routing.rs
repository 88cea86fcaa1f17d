//! From a table's name and a key to the node that is asked first. Nothing is sent.
//!
//! A table has three replicas of each shard, over six nodes, and there are a hundred tables. Items are keys of 16 B, a new one each time.
//!
//! ```text
//! cargo bench --package router --bench routing
//! ```

#![allow(clippy::unwrap_used)]

use divan::Bencher;
use divan::counter::ItemsCount;
use model::{HashRange, Key, NodeId, Shard, Table, TableId, TableState};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use router::measured::Routing;
use tokio::runtime::{Builder, Runtime};

const TABLES: u64 = 100;
const NODES: u64 = 6;
const NAME: &str = "table-50";

fn main() {
    divan::main();
}

/// The table's record, and in it the shard of the key.
#[divan::bench(args = [1, 12, 1024])]
fn shard_of_a_key(bencher: Bencher<'_, '_>, shards: u32) {
    measure(bencher, shards, |routing, key| {
        routing.shard(NAME, key).unwrap();
    });
}

/// And its leader, which a consistent get or a write is sent to.
#[divan::bench(args = [1, 12, 1024])]
fn leader_for_a_key(bencher: Bencher<'_, '_>, shards: u32) {
    measure(bencher, shards, |routing, key| {
        routing.first(NAME, key, true).unwrap();
    });
}

/// And any of its replicas, which an eventual get is sent to.
#[divan::bench(args = [1, 12, 1024])]
fn replica_for_a_key(bencher: Bencher<'_, '_>, shards: u32) {
    measure(bencher, shards, |routing, key| {
        routing.first(NAME, key, false).unwrap();
    });
}

fn measure(bencher: Bencher<'_, '_>, shards: u32, work: impl Fn(&Routing, &Key)) {
    let (runtime, routing) = routing(shards);
    let _entered = runtime.enter();
    let mut random = SmallRng::seed_from_u64(1);
    let key = || Key::new(format!("{:016x}", random.random::<u64>()).into()).unwrap();
    let counted = bencher.counter(ItemsCount::new(1usize));
    let keys = counted.with_inputs(key);
    keys.bench_local_refs(|key| work(&routing, key));
}

/// The runtime never runs: no link gets as far as failing to connect.
fn routing(shards: u32) -> (Runtime, Routing) {
    let runtime = Builder::new_current_thread().build().unwrap();
    let entered = runtime.enter();
    let routing = Routing::new((1..=TABLES).map(|id| table(id, shards)));
    drop(entered);
    (runtime, routing)
}

fn table(id: u64, shards: u32) -> Table {
    let replicas = 3;
    let shard = |(number, range)| Shard {
        range,
        nodes: (number..number + replicas)
            .map(|node| NodeId(node % NODES + 1))
            .collect(),
    };
    Table {
        id: TableId(id),
        name: format!("table-{id}").parse().unwrap(),
        state: TableState::Available,
        never_available: false,
        replicas: replicas as u32,
        created_millis: 0,
        shards: (0..).zip(HashRange::divide(shards)).map(shard).collect(),
    }
}
