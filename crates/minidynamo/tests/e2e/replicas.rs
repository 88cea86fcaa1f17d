//! Which nodes may do what for a shard.

use std::time::Duration;

use api::Reason;

use crate::support::{Cluster, ClusterOptions, Failure, Shards, eventually};

/// Positions of a shard's nodes in the cluster.
async fn positions(
    cluster: &Cluster,
    description: &impl Shards,
    shard: model::ShardId,
) -> Vec<usize> {
    let ids = cluster.node_ids().await;
    let nodes = description.nodes_of(shard);
    nodes.into_iter().map(|node| ids[&node]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_of_five_works_with_two_nodes_dead_and_refuses_with_three() {
    let mut cluster = ClusterOptions::new(6, 1).start().await;
    let table = cluster.tables(0).create("five", 4, 5).await.unwrap();
    let shard = table.all()[2];
    let replicas = positions(&cluster, &table, shard).await;
    let kv = cluster.kv(0);
    let key = table.key_in(shard, 0);
    kv.put("five", key.as_str(), "all").await.unwrap();

    for &node in &replicas[..2] {
        cluster.nodes[node].kill();
    }
    eventually("a put with two dead", Duration::from_secs(5), || {
        kv.put("five", key.as_str(), "three of five")
    })
    .await;
    let read = kv.get("five", key.as_str()).await.unwrap();
    assert_eq!(read.as_deref(), Some("three of five"));

    cluster.nodes[replicas[2]].kill();
    eventually(
        "a refusal with three dead",
        Duration::from_secs(5),
        || async {
            let put = kv.put("five", key.as_str(), "two of five").await;
            let reason = put.as_ref().err().and_then(Failure::reason);
            (reason == Some(Reason::NoQuorum))
                .then_some(())
                .ok_or(format!("{put:?}"))
        },
    )
    .await;
    let read = kv.get("five", key.as_str()).await.unwrap_err();
    assert_eq!(read.reason(), Some(Reason::NoQuorum), "{read}");
    let read = kv.get_eventual("five", key.as_str()).await.unwrap();
    assert_eq!(read.as_deref(), Some("three of five"));

    cluster.start_all().await;
    eventually("a put with all back", Duration::from_secs(10), || {
        kv.put("five", key.as_str(), "all again")
    })
    .await;
    cluster.assert_verified("five").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_takes_a_put_and_no_other_node_does() {
    let cluster = ClusterOptions::new(6, 1).start().await;
    let tables = cluster.tables(0);
    let described = [
        tables.create("three", 4, 3).await.unwrap(),
        tables.create("five", 4, 5).await.unwrap(),
    ];
    for (table, name) in described.iter().zip(["three", "five"]) {
        for shard in table.all() {
            let replicas = positions(&cluster, table, shard).await;
            let key = table.key_in(shard, 0);
            for node in 0..cluster.nodes.len() {
                let direct = cluster.direct(node);
                let value = format!("from node {node}");
                let put = direct.put(shard, &key, &value).await;
                let read = direct.get(shard, &key, true).await;
                let eventual = direct.get(shard, &key, false).await;
                if replicas.contains(&node) {
                    put.unwrap();
                    assert_eq!(read.unwrap().as_deref(), Some(&*value));
                    eventual.unwrap();
                    let seen = cluster.kv(0).get(name, key.as_str()).await.unwrap();
                    assert_eq!(seen.as_deref(), Some(&*value));
                } else {
                    for refused in [put.map(|_| None), read, eventual] {
                        assert_eq!(refused.unwrap_err().reason, Reason::ShardNotHosted);
                    }
                }
            }
        }
    }
    // Replicas that don't lead took part in all of this: they must have handed on, not written by themselves.
    cluster.assert_verified("three").await;
    cluster.assert_verified("five").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eventual_reads_go_to_all_replicas_and_any_one_alone_still_answers() {
    let mut cluster = ClusterOptions::new(5, 1).start().await;
    let table = cluster.tables(0).create("three", 1, 3).await.unwrap();
    let shard = table.all()[0];
    let replicas = positions(&cluster, &table, shard).await;
    let kv = cluster.kv(0);
    kv.put("three", "key", "value").await.unwrap();
    for &node in &replicas {
        applied(&cluster, node, shard).await;
    }

    let before = eventual_reads(&cluster).await;
    let reads = 300;
    for _ in 0..reads {
        let read = kv.get_eventual("three", "key").await.unwrap();
        assert_eq!(read.as_deref(), Some("value"));
    }
    let after = eventual_reads(&cluster).await;
    for node in 0..cluster.nodes.len() {
        let answered = after[node] - before[node];
        if replicas.contains(&node) {
            // An even share is a third.
            assert!(answered >= reads / 6, "node {node}: {answered} of {reads}");
        } else {
            assert_eq!(answered, 0, "node {node} holds no replica");
        }
    }

    for &alone in &replicas {
        for &node in replicas.iter().filter(|&&node| node != alone) {
            cluster.nodes[node].kill();
        }
        for _ in 0..20 {
            let read = kv.get_eventual("three", "key").await.unwrap();
            assert_eq!(read.as_deref(), Some("value"), "only node {alone} runs");
        }
        cluster.start_all().await;
        // A node knows only from the others how much of its log is committed.
        for &node in &replicas {
            applied(&cluster, node, shard).await;
        }
    }
}

/// Waits until a node's own replica has the value.
async fn applied(cluster: &Cluster, node: usize, shard: model::ShardId) {
    let direct = cluster.direct(node);
    eventually(
        "the replica has applied it",
        Duration::from_secs(5),
        || async {
            match direct.get(shard, "key", false).await {
                Ok(Some(value)) if value == "value" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    )
    .await;
}

/// How many each data node has answered since its start.
async fn eventual_reads(cluster: &Cluster) -> Vec<u64> {
    let mut counts = Vec::new();
    for node in 0..cluster.nodes.len() {
        let description = cluster.direct(node).describe().await.unwrap();
        counts.push(description.eventual_reads);
    }
    counts
}
