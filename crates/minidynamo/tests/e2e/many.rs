//! Many shards, many tables: what they cost a router and the coordination store stays small.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};

use crate::support::{Cluster, ClusterOptions, Scale};

/// What a router may take, in KiB, with a table of 1,024 shards and 1,000 others.
const ROUTER_KIB: u64 = 50 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_1024_shards_is_available_within_a_minute() {
    let cluster = ClusterOptions::new(3, 1).start().await;
    let begin = Instant::now();
    let tables = cluster.tables(0).within(Duration::from_secs(60));
    tables.create("wide", 1024, 3).await.unwrap();
    println!("1,024 shards were available after {:?}", begin.elapsed());
    let kv = cluster.kv(0);
    for n in 0..20 {
        kv.put("wide", format!("key{n}"), "value").await.unwrap();
    }
    assert!(
        router_kib(&cluster) < ROUTER_KIB,
        "{}",
        router_kib(&cluster)
    );
    tables.delete("wide").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tables_cost_a_router_and_zookeeper_little() {
    let count = Scale::from_environment().count(40, 1000);
    let cluster = ClusterOptions::new(3, 1).start().await;
    let before = cluster.zookeeper.counters().await;
    let tables = cluster.tables(0).within(Duration::from_secs(60));
    let creations = (0..count).map(|n| {
        let tables = tables.clone();
        async move { tables.create(&format!("table{n:04}"), 1, 3).await.map(drop) }
    });
    let mut creations = stream::iter(creations).buffer_unordered(8);
    while let Some(created) = creations.next().await {
        created.unwrap();
    }
    let after = cluster.zookeeper.counters().await;
    let packets = (after.packets_received - before.packets_received) / count as u64;
    println!("{packets} requests to ZooKeeper for each table");
    // A creation, its way to `available`, and four processes that read both: 30 when this was written.
    assert!(packets < 60, "{packets}");

    let begin = Instant::now();
    let listed = tables.list().await.unwrap();
    println!("{count} tables were listed in {:?}", begin.elapsed());
    let expected: Vec<_> = (0..count).map(|n| format!("table{n:04}")).collect();
    assert_eq!(listed, expected);
    let kib = router_kib(&cluster);
    println!("the router takes {kib} KiB");
    assert!(kib < ROUTER_KIB, "{kib}");
}

/// What the router has in memory.
fn router_kib(cluster: &Cluster) -> u64 {
    let path = format!("/proc/{}/status", cluster.routers[0].id());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse().unwrap()
}
