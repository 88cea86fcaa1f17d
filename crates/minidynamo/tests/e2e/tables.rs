//! Tables come and go as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::Reason;

use crate::support::{ClusterOptions, Scale, Shards, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_spread_evenly_over_different_nodes() {
    let cluster = ClusterOptions::new(5, 1).start().await;
    let table = cluster.tables(0).create("people", 12, 3).await.unwrap();
    let mut held: BTreeMap<_, usize> = BTreeMap::new();
    for shard in table.all() {
        let nodes = table.nodes_of(shard);
        let different: BTreeSet<_> = nodes.iter().collect();
        assert_eq!((nodes.len(), different.len()), (3, 3), "{nodes:?}");
        for node in nodes {
            *held.entry(node).or_default() += 1;
        }
    }
    // 36 replicas on 5 nodes: a share is 7 or 8.
    assert_eq!(held.len(), 5);
    assert!(held.values().all(|&count| count <= 8), "{held:?}");
    let kv = cluster.kv(0);
    for n in 0..60 {
        kv.put("people", format!("key{n}"), "value").await.unwrap();
    }
    cluster.assert_verified("people").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_of_one_name_at_once_make_one_table() {
    let cluster = ClusterOptions::new(3, 3).start().await;
    for round in 0..Scale::from_environment().count(5, 100) {
        let name = format!("people{round}");
        let create = |router: usize| {
            let tables = cluster.tables(router);
            let name = name.clone();
            async move { tables.create(&name, 2, 3).await }
        };
        let (a, b, c) = tokio::join!(create(0), create(1), create(2));
        let mut made = 0;
        for answer in [a, b, c] {
            match answer {
                Ok(_) => made += 1,
                Err(failure) => {
                    assert_eq!(
                        failure.reason(),
                        Some(Reason::TableAlreadyExists),
                        "{failure}"
                    );
                }
            }
        }
        assert_eq!(made, 1, "round {round}");
        for router in 0..3 {
            cluster.kv(router).put(&name, "key", "value").await.unwrap();
        }
        cluster.tables(round % 3).delete(&name).await.unwrap();
        for router in 0..3 {
            let read = cluster.kv(router).get_eventual(&name, "key").await;
            let reason = read
                .as_ref()
                .err()
                .and_then(crate::support::Failure::reason);
            assert_eq!(
                reason,
                Some(Reason::TableNotFound),
                "router {router}: {read:?}"
            );
        }
    }
    assert_eq!(cluster.tables(0).list().await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_down_destroys_its_replicas_when_it_returns() {
    let mut cluster = ClusterOptions::new(3, 2).start().await;
    cluster.tables(0).create("people", 4, 3).await.unwrap();
    for n in 0..40 {
        let key = format!("key{n}");
        cluster.kv(0).put("people", key, "old").await.unwrap();
    }
    cluster.nodes[0].kill();
    let kv = cluster.kv(0);
    eventually("the others lead", Duration::from_secs(10), || {
        kv.put("people", "key0", "old")
    })
    .await;
    cluster.tables(0).delete("people").await.unwrap();
    // Made again while the node that still has the old replicas is away.
    eventually(
        "the node counts as away",
        Duration::from_secs(20),
        || async {
            let status = cluster.tables(1).status().await;
            let status = status.map_err(|failure| failure.to_string())?;
            let live = status.nodes.iter().filter(|node| node.live).count();
            if live == 2 {
                Ok(())
            } else {
                Err(format!("{live} live nodes"))
            }
        },
    )
    .await;
    cluster.nodes[0].start().await;
    cluster.tables(1).create("people", 4, 3).await.unwrap();
    for n in 0..40 {
        for router in 0..2 {
            let kv = cluster.kv(router);
            let key = format!("key{n}");
            assert_eq!(kv.get("people", key.as_str()).await.unwrap(), None);
            assert_eq!(kv.get_eventual("people", key).await.unwrap(), None);
        }
    }
    cluster.tables(1).delete("people").await.unwrap();
    for node in 0..3 {
        let held = cluster.direct(node).describe().await.unwrap();
        assert_eq!(
            (held.replica_count, held.quarantined),
            (0, 0),
            "node {node}"
        );
    }
}
