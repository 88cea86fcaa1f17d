//! Processes that start in any order, on a store that has nothing yet.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::{
    Cluster, ClusterOptions, Scale, assert_nothing_left, create_until_there, eventually,
};

/// Every router sees five data nodes and three routers of one cluster.
async fn one_cluster(cluster: &Cluster, round: usize) {
    let mut ids = BTreeSet::new();
    for router in 0..3 {
        let tables = cluster.tables(router);
        let what = format!("router {router} sees all processes in round {round}");
        let id = eventually(&what, Duration::from_secs(10), || async {
            let status = tables.status().await.map_err(|error| error.to_string())?;
            let live = status.nodes.iter().filter(|node| node.live).count();
            match (live, status.routers.len()) {
                (5, 3) => Ok(status.cluster_id),
                other => Err(format!("data nodes, routers: {other:?}")),
            }
        });
        ids.insert(id.await);
    }
    assert_eq!(ids.len(), 1, "round {round}: cluster ids {ids:?}");
}

/// Five data nodes and three routers of another cluster, which nobody has started yet.
fn new_processes(cluster: &mut Cluster, round: usize) {
    cluster.nodes.clear();
    cluster.routers.clear();
    cluster.chroot = format!("round{round}");
    for _ in 0..5 {
        cluster.add_node(&[]);
    }
    for _ in 0..3 {
        cluster.add_router(&[]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_may_start_at_once_on_an_empty_zookeeper() {
    let rounds = Scale::from_environment().count(20, 200);
    let mut cluster = ClusterOptions::new(0, 0).prepare().await;
    for round in 0..rounds {
        new_processes(&mut cluster, round);
        cluster.start_all().await;

        one_cluster(&cluster, round).await;
        for process in cluster.nodes.iter().chain(&cluster.routers) {
            let stderr = process.stderr();
            let error = stderr.lines().find(|line| line.contains("ERROR"));
            assert_eq!(error, None, "round {round}, {}", process.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_may_start_at_once_while_zookeepers_leader_dies() {
    let rounds = Scale::from_environment().count(2, 30);
    let mut cluster = ClusterOptions::new(0, 0).ensemble().prepare().await;
    for round in 0..rounds {
        new_processes(&mut cluster, round);
        let leader = cluster.zookeeper.ensemble().leader().await;
        for process in cluster.nodes.iter_mut().chain(&mut cluster.routers) {
            process.spawn();
        }
        let moment = Duration::from_millis(rand::random_range(50..600));
        eprintln!("round {round}: ZooKeeper's leader is killed after {moment:?}");
        tokio::time::sleep(moment).await;
        cluster.zookeeper.ensemble().kill(leader);
        for process in cluster.nodes.iter_mut().chain(&mut cluster.routers) {
            process.wait_ready().await;
        }
        cluster.zookeeper.start_again().await;
        one_cluster(&cluster, round).await;
        create_until_there(&[cluster.tables(0)], "people", 4, Duration::from_secs(40)).await;
        cluster.kv(1).put("people", "key", "value").await.unwrap();
        assert_nothing_left(&mut cluster, &["people"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_wait_for_a_zookeeper_that_is_not_there_yet() {
    let mut cluster = ClusterOptions::new(3, 1).prepare().await;
    cluster.zookeeper.kill();
    let [node, router] = [&mut cluster.nodes[0], &mut cluster.routers[0]];
    for process in [node, router] {
        process.spawn();
        let name = process.name().to_owned();
        let what = format!("{name} says that it waits for ZooKeeper");
        eventually(&what, Duration::from_secs(20), || async {
            let stderr = process.stderr();
            let said = stderr.to_lowercase().contains("zookeeper");
            said.then_some(()).ok_or(stderr)
        })
        .await;
    }
    cluster.zookeeper.start_again().await;
    cluster.nodes[0].wait_ready().await;
    cluster.routers[0].wait_ready().await;
    cluster.start_all().await;
    cluster.tables(0).create("people", 2, 3).await.unwrap();
    cluster.kv(0).put("people", "k", "v").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_every_process_cleanly_and_hands_leaderships_over() {
    let mut cluster = ClusterOptions::new(3, 1).start().await;
    cluster.tables(0).create("people", 6, 3).await.unwrap();
    let kv = cluster.kv(0);
    kv.put("people", "before", "1").await.unwrap();
    cluster.nodes[0].terminate().await;
    // The others lead by now, or at the latest after an election.
    for n in 0..24 {
        let key = format!("after{n}");
        kv.put("people", key.as_str(), "2").await.unwrap();
        assert_eq!(kv.get("people", key).await.unwrap().as_deref(), Some("2"));
    }
    cluster.nodes[0].start().await;
    cluster.assert_verified("people").await;
    for mut process in cluster.nodes.drain(..).chain(cluster.routers.drain(..)) {
        process.terminate().await;
    }
}
