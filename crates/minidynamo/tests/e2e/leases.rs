//! Consistent reads by leaders' leases.

use std::time::Duration;

use crate::support::{Cluster, ClusterOptions, Scale, Shards as _, eventually, now_and_then};

const LEASES: [&str; 2] = ["--read-mode", "lease"];

/// Three data nodes of these modes.
async fn started(modes: [&[&str]; 3]) -> Cluster {
    let mut cluster = ClusterOptions::new(0, 1).prepare().await;
    for arguments in modes {
        cluster.add_node(arguments);
    }
    cluster.start_all().await;
    cluster
}

/// How often nodes have read by a lease.
async fn lease_reads(cluster: &Cluster) -> u64 {
    let mut reads = 0;
    for node in 0..cluster.nodes.len() {
        reads += cluster.direct(node).describe().await.unwrap().lease_reads;
    }
    reads
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused_with_a_lease_serves_nothing_stale_when_it_wakes() {
    let cluster = started([&LEASES; 3]).await;
    let table = cluster.tables(0).create("first", 1, 3).await.unwrap();
    let shard = table.all()[0];
    let kv = cluster.kv(0);
    for round in 0..Scale::from_environment().count(3, 50) {
        let old = format!("old{round}");
        let new = format!("new{round}");
        kv.put("first", "key", old.as_str()).await.unwrap();
        let node = cluster.busiest_leader().await;
        // As soon as there are heartbeats again, it has a lease.
        eventually("a read by a lease", Duration::from_secs(5), || async {
            let before = lease_reads(&cluster).await;
            kv.get("first", "key").await.unwrap();
            let reads = lease_reads(&cluster).await;
            (reads > before).then_some(()).ok_or("none")
        })
        .await;
        cluster.nodes[node].pause();
        // The questions that it finds when it wakes were asked while it slept.
        let direct = cluster.direct(node);
        let asked: Vec<_> = (0..20).map(|_| direct.ask(shard, "key")).collect();
        let written = eventually("a new leader", Duration::from_secs(10), || {
            kv.put("first", "key", new.as_str())
        });
        written.await;
        cluster.nodes[node].resume();
        for asked in asked {
            asked.assert_not_stale(&new).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_both_modes_work_together_and_a_minority_with_leases_has_none() {
    let cluster = started([&LEASES, &[], &[]]).await;
    cluster.tables(0).create("first", 1, 3).await.unwrap();
    let kv = cluster.kv(0);
    // For as long as six heartbeats take: with their promises there would be a lease.
    let mut ticks = now_and_then();
    for round in 0..30 {
        ticks.tick().await;
        let value = format!("value{round}");
        kv.put("first", "key", value.as_str()).await.unwrap();
        let read = kv.get("first", "key").await.unwrap();
        assert_eq!(read, Some(value));
    }
    assert_eq!(lease_reads(&cluster).await, 0);
}

/// What a node promised before is kept although it promises nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_change_their_mode_one_after_the_other() {
    let mut cluster = started([&[], &[], &[]]).await;
    cluster.tables(0).create("first", 1, 3).await.unwrap();
    for modes in [&LEASES[..], &[]] {
        for node in 0..3 {
            cluster.nodes[node].kill();
            cluster.change_node(node, modes);
            cluster.nodes[node].start().await;
            let value = format!("{node} {modes:?}");
            let kv = cluster.kv(0);
            eventually("a write", Duration::from_secs(10), || {
                kv.put("first", "key", value.as_str())
            })
            .await;
            let read = kv.get("first", "key").await.unwrap();
            assert_eq!(read, Some(value));
        }
    }
}
