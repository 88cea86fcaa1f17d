//! Processes killed under load.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use api::v1::TableDescription;

use crate::support::{
    Cluster, ClusterOptions, Scale, Shards, Workload, WorkloadOptions, eventually,
};

const TABLES: [&str; 2] = ["first", "second"];

async fn create_tables(cluster: &Cluster) -> HashMap<String, TableDescription> {
    let mut described = HashMap::new();
    for name in TABLES {
        let table = cluster.tables(0).create(name, 4, 3).await.unwrap();
        described.insert(name.to_owned(), table);
    }
    described
}

fn options(confirmed: usize) -> WorkloadOptions {
    WorkloadOptions {
        tables: TABLES.map(str::to_owned).to_vec(),
        writers: 16,
        keys: 200,
        value_bytes: 128,
        confirmed,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_costs_no_confirmed_write_and_three_seconds_at_most() {
    let puts = Scale::from_environment().count(10_000, 1_000_000);
    let mut cluster = ClusterOptions::new(3, 2).alone().start().await;
    let tables = create_tables(&cluster).await;
    let minutes = Duration::from_secs(60 + puts as u64 / 200);
    let mut workload = Workload::start(
        WorkloadOptions {
            // Each put has a key of its own: all of them must be there afterwards.
            keys: puts,
            ..options(puts)
        },
        cluster.router_addresses(),
    );

    workload.reach(puts / 4, minutes).await;
    let node = cluster.busiest_leader().await;
    let killed = Instant::now();
    cluster.nodes[node].kill();
    let now = workload.confirmed();
    workload.reach(now + puts / 4, minutes).await;
    cluster.nodes[node].start().await;
    let history = workload.finish(minutes).await;

    eprintln!("not confirmed: {:?}", history.unconfirmed());
    let first = history.first_confirmed_after(killed, &tables);
    eprintln!("first confirmed write after the kill: {first:?}");
    assert_eq!(first.len(), 8);
    for (shard, took) in first {
        let in_time = took.is_some_and(|took| took < Duration::from_secs(3));
        assert!(in_time, "shard {shard}: {took:?}");
    }
    history.assert_kept(&cluster.kv(0)).await;
    for table in TABLES {
        cluster.assert_verified(table).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_processes_killed_under_load_lose_nothing_confirmed() {
    let rounds = Scale::from_environment().count(2, 50);
    let mut cluster = ClusterOptions::new(3, 2).start().await;
    create_tables(&cluster).await;
    for _ in 0..rounds {
        let mut workload = Workload::start(options(usize::MAX), cluster.router_addresses());
        workload.reach(1_500, Duration::from_secs(60)).await;
        for process in cluster.nodes.iter_mut().chain(&mut cluster.routers) {
            process.kill();
        }
        cluster.zookeeper.kill();
        let history = workload.stop().await;
        cluster.zookeeper.start_again().await;
        cluster.start_all().await;
        history.assert_kept(&cluster.kv(0)).await;
    }
    for table in TABLES {
        cluster.assert_verified(table).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_leader_serves_nothing_stale_when_it_wakes() {
    let cluster = ClusterOptions::new(3, 1).start().await;
    let table = cluster.tables(0).create("first", 1, 3).await.unwrap();
    let shard = table.all()[0];
    let kv = cluster.kv(0);
    for round in 0..Scale::from_environment().count(3, 50) {
        let old = format!("old{round}");
        let new = format!("new{round}");
        kv.put("first", "key", old.as_str()).await.unwrap();
        let node = cluster.busiest_leader().await;
        cluster.nodes[node].pause();
        let written = eventually("a new leader", Duration::from_secs(10), || {
            kv.put("first", "key", new.as_str())
        });
        written.await;
        // The first question that it finds when it wakes was asked while it slept.
        let asked = cluster.direct(node).ask(shard, "key");
        cluster.nodes[node].resume();
        asked.assert_not_stale(&new).await;
    }
}
