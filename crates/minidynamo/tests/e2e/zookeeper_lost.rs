//! ZooKeeper that comes back: as it was, empty, or as it was some time ago.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use api::v1::ReplicaState as Shown;
use model::{NodeId, ShardId, Table, TableId};
use storage::meta::ReplicaState;

use crate::support::{
    Cluster, ClusterOptions, OnDisk, Process, Scale, assert_nothing_left, assert_settled,
    create_until_there, delete_until_gone, eventually, node_id_in, shards_on,
};

const WITHIN: Duration = Duration::from_secs(60);
const KEYS: usize = 20;

async fn cluster(nodes: usize, routers: usize) -> Cluster {
    let options = ClusterOptions::new(nodes, routers).ensemble();
    options.session_timeout("2s").start().await
}

async fn fill(cluster: &Cluster, table: &str, value: &str) {
    create_until_there(&[cluster.tables(0)], table, 4, WITHIN).await;
    let kv = cluster.kv(0);
    for n in 0..KEYS {
        kv.put(table, format!("key{n}"), value).await.unwrap();
    }
}

async fn holds(cluster: &Cluster, table: &str, value: &str) {
    let kv = cluster.kv(0);
    for n in 0..KEYS {
        let key = format!("key{n}");
        let read = eventually("a consistent read", Duration::from_secs(30), || {
            kv.get(table, key.as_str())
        });
        assert_eq!(read.await.as_deref(), Some(value), "{table}/{key}");
    }
}

fn backup(cluster: &Cluster, name: &str) -> PathBuf {
    cluster.directory.path().join("backups").join(name)
}

fn kill_all(cluster: &mut Cluster) {
    let processes = cluster.nodes.iter_mut().chain(&mut cluster.routers);
    processes.for_each(Process::kill);
}

/// What each node must hold of these tables.
fn wanted(cluster: &Cluster, tables: &[Table]) -> Vec<(PathBuf, BTreeSet<ShardId>)> {
    let nodes = (0..cluster.nodes.len()).map(|node| cluster.data_dir(node));
    nodes
        .map(|dir| (dir.clone(), shards_on(node_id_in(&dir), tables)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_zookeeper_servers_restarted_cost_no_table_and_no_deletion() {
    let mut cluster = cluster(3, 2).await;
    fill(&cluster, "people", "value").await;
    fill(&cluster, "places", "value").await;
    for round in 0..Scale::from_environment().count(2, 30) {
        let routers = [cluster.tables(0), cluster.tables(1)];
        let asked = tokio::spawn(async move {
            delete_until_gone(&routers, "places", WITHIN).await;
            create_until_there(&routers, "pets", 4, WITHIN).await;
        });
        let moment = Duration::from_millis(rand::random_range(0..600));
        eprintln!("round {round}: all of ZooKeeper is killed after {moment:?}");
        tokio::time::sleep(moment).await;
        cluster.zookeeper.kill();
        cluster.kv(1).put("people", "key0", "value").await.unwrap();
        cluster.zookeeper.start_again().await;
        asked.await.unwrap();
        holds(&cluster, "people", "value").await;
        assert_settled(&cluster, &["people", "pets"]).await;
        delete_until_gone(&[cluster.tables(0)], "pets", WITHIN).await;
        fill(&cluster, "places", "value").await;
    }
    assert_nothing_left(&mut cluster, &["people", "places"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_zookeeper_in_place_of_ours_destroys_nothing_and_is_waited_out() {
    let mut cluster = cluster(3, 1).await;
    fill(&cluster, "people", "value").await;
    let tables = assert_settled(&cluster, &["people"]).await;
    let ours = backup(&cluster, "ours");
    cluster.zookeeper.back_up(&ours).await;
    cluster.zookeeper.kill();
    cluster.zookeeper.ensemble().start_empty().await;
    // Those who run find out when their sessions have ended, those who start at once. Nobody makes it another cluster.
    for start in [false, true] {
        for node in &mut cluster.nodes {
            let said = |node: &Process| node.stderr().matches("restore it from a backup").count();
            let mut before = 0;
            if start {
                node.kill();
                before = said(node);
                node.spawn();
            }
            let node = &*node;
            eventually("it says so", Duration::from_secs(60), || async {
                (said(node) > before).then_some(()).ok_or(node.stderr())
            })
            .await;
        }
    }
    kill_all(&mut cluster);
    for (data_dir, wanted) in wanted(&cluster, &tables) {
        let disk = OnDisk::read(&data_dir);
        disk.assert_exactly(&data_dir.display().to_string(), &wanted);
    }
    cluster.zookeeper.kill();
    cluster.zookeeper.ensemble().start_from(&ours).await;
    cluster.zookeeper.kill_leader().await;
    cluster.start_all().await;
    holds(&cluster, "people", "value").await;
    cluster.zookeeper.start_again().await;
    assert_nothing_left(&mut cluster, &["people"]).await;
}

/// Waits until the nodes keep out all that they hold of a table, and nothing else.
async fn quarantined(cluster: &Cluster, table: &Table) {
    let what = format!("table {} is kept out", table.name);
    eventually(&what, WITHIN, || async {
        for node in 0..cluster.nodes.len() {
            let answer = cluster.direct(node).describe().await;
            let answer = answer.map_err(|status| status.to_string())?;
            let wanted = shards_on(NodeId(answer.node), std::slice::from_ref(table)).len();
            if answer.quarantined as usize != wanted {
                return Err(format!("{} of {wanted} on node{node}", answer.quarantined));
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zookeeper_restored_from_an_older_backup_destroys_nothing_and_rebuilds_nothing() {
    let mut cluster = cluster(3, 2).await;
    fill(&cluster, "people", "value").await;
    fill(&cluster, "before", "value").await;
    let older = assert_settled(&cluster, &["people", "before"]).await;
    let backups = [backup(&cluster, "older"), backup(&cluster, "newer")];
    cluster.zookeeper.back_up(&backups[0]).await;
    delete_until_gone(&[cluster.tables(0)], "before", WITHIN).await;
    fill(&cluster, "after", "value").await;
    let newer = assert_settled(&cluster, &["people", "after"]).await;
    cluster.zookeeper.back_up(&backups[1]).await;
    let by_name = |tables: &[Table], name: &str| {
        let found = tables.iter().find(|table| table.name.to_string() == name);
        found.unwrap().clone()
    };
    let [before, after] = [by_name(&older, "before"), by_name(&newer, "after")];

    // While everything runs: sessions end, because no server has seen what they have seen.
    cluster.zookeeper.kill();
    cluster.zookeeper.ensemble().start_from(&backups[0]).await;
    quarantined(&cluster, &after).await;
    cluster.zookeeper.kill_leader().await;
    holds(&cluster, "people", "value").await;
    // And while everything starts.
    kill_all(&mut cluster);
    cluster.start_all().await;
    quarantined(&cluster, &after).await;
    holds(&cluster, "people", "value").await;
    cluster.zookeeper.start_again().await;

    let described = cluster.tables(1).describe("before", false).await.unwrap();
    for replica in described.shards.iter().flat_map(|shard| &shard.replicas) {
        assert_eq!(replica.state(), Shown::Absent, "{replica:?}");
    }
    let read = cluster.kv(0).get("before", "key0").await;
    assert!(read.is_err(), "{read:?}");
    let read = cluster.kv(0).get_eventual("after", "key0").await;
    assert!(read.is_err(), "{read:?}");

    for node in &mut cluster.nodes {
        node.terminate().await;
    }
    for (data_dir, wanted) in wanted(&cluster, &newer) {
        let disk = OnDisk::read(&data_dir);
        disk.assert_exactly(&data_dir.display().to_string(), &wanted);
        let destroyed = disk.in_state(ReplicaState::Destroyed);
        let of_before: BTreeSet<TableId> = destroyed.iter().map(|shard| shard.table).collect();
        assert_eq!(of_before, [before.id].into(), "{}", data_dir.display());
    }
    // A name that came back with its table is given up by deleting it.
    cluster.start_all().await;
    delete_until_gone(&[cluster.tables(0)], "before", WITHIN).await;

    kill_all(&mut cluster);
    cluster.zookeeper.kill();
    cluster.zookeeper.ensemble().start_from(&backups[1]).await;
    cluster.start_all().await;
    for table in ["people", "after"] {
        holds(&cluster, table, "value").await;
    }
    assert_nothing_left(&mut cluster, &["people", "after"]).await;
}
