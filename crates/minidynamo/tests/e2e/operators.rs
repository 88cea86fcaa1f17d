//! What an operator sees and decides, by the command line: data nodes that are gone for good, tables that the
//! coordination store has lost.

use std::time::Duration;

use coordination::records::Record as _;
use coordination::tree::Node;
use coordination::{ANY_VERSION, Operation};
use model::{TableId, TableName, TableState};
use serde_json::Value;

use crate::support::{
    Cluster, ClusterOptions, Output, assert_nothing_left, assert_settled, eventually,
};

const WITHIN: Duration = Duration::from_secs(30);
const KEYS: usize = 20;

/// Runs a command that must succeed and returns its JSON.
async fn json(cluster: &Cluster, arguments: &[&str]) -> Value {
    let all = [&["--output", "json"], arguments].concat();
    serde_json::from_str(&cluster.cli().ok(&all).await).unwrap()
}

async fn run(cluster: &Cluster, arguments: &[&str]) -> Output {
    cluster.cli().run(arguments).await
}

async fn fill(cluster: &Cluster, table: &str) {
    for n in 0..KEYS {
        let key = format!("key{n}");
        cluster.kv(0).put(table, key, "value").await.unwrap();
    }
}

async fn is_whole(cluster: &Cluster, table: &str) {
    for n in 0..KEYS {
        let read = cluster.kv(0).get(table, format!("key{n}")).await;
        assert_eq!(read.unwrap().as_deref(), Some("value"), "key{n}");
    }
    cluster.assert_verified(table).await;
}

/// The coordination store loses a table, as one that was restored from an older backup has. Returns its id.
async fn lose(cluster: &Cluster, name: &str) -> String {
    let described = json(cluster, &["describe-table", name]).await;
    let id = described["id"].as_str().unwrap().to_owned();
    let session = cluster.zookeeper.session(&cluster.chroot).await;
    let table = Node::Table(id.parse::<TableId>().unwrap());
    let name = Node::Name(name.parse::<TableName>().unwrap());
    let gone = [table, name].map(|node| Operation::delete(node.path(), ANY_VERSION));
    session.multi(gone.into()).await.unwrap();
    session.close().await;
    id
}

/// Waits until so many replicas are kept out, and returns what is listed of them.
async fn quarantined(cluster: &Cluster, replicas: u64) -> Value {
    eventually("replicas are kept out", WITHIN, || async {
        let listed = json(cluster, &["list-quarantined"]).await;
        let nodes = listed["tables"].as_array().unwrap().iter();
        let nodes = nodes.flat_map(|table| table["nodes"].as_array().unwrap());
        let found: u64 = nodes.map(|node| node["replicas"].as_u64().unwrap()).sum();
        if found == replicas {
            Ok(listed)
        } else {
            Err(format!("{found} of {replicas}: {listed}"))
        }
    })
    .await
}

/// Waits until so many data nodes are registered.
async fn live(cluster: &Cluster, wanted: usize) {
    eventually("that many nodes are live", WITHIN, || async {
        let nodes = json(cluster, &["list-nodes"]).await;
        let nodes = nodes["nodes"].as_array().unwrap().clone();
        let live = nodes.iter().filter(|node| node["live"] == true).count();
        if live == wanted {
            Ok(())
        } else {
            Err(format!("{live} live"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_zookeeper_has_lost_is_kept_by_command_and_so_is_its_data() {
    let mut cluster = ClusterOptions::new(3, 1).start().await;
    cluster.tables(0).create("people", 4, 3).await.unwrap();
    cluster.tables(0).create("others", 1, 3).await.unwrap();
    fill(&cluster, "people").await;
    let id = lose(&cluster, "people").await;
    let listed = quarantined(&cluster, 12).await;
    let table = &listed["tables"][0];
    assert_eq!(table["id"], *id);
    assert_eq!(table["name"], "people");
    assert_eq!(
        (&table["shards"], &table["found_shards"]),
        (&4.into(), &4.into())
    );
    assert_eq!(table["items"], KEYS);
    assert_eq!(table.get("obstacle"), None, "{table}");
    let status = json(&cluster, &["status"]).await;
    assert_eq!(status["quarantined_replicas"], 12);
    let text = cluster.cli().ok(&["list-quarantined"]).await;
    assert!(text.contains("4 of 4") && text.contains("yes"), "{text}");
    run(&cluster, &["get", "people", "key0"])
        .await
        .assert_failed(7, "TABLE_NOT_FOUND");

    run(&cluster, &["keep-quarantined", "people"])
        .await
        .assert_failed(2, "table_id");
    run(&cluster, &["keep-quarantined", &id, "--name", "others"])
        .await
        .assert_failed(4, "--name");
    let kept = cluster.cli().ok(&["keep-quarantined", &id]).await;
    assert!(
        kept.starts_with("table people: available, 4 shards"),
        "{kept}"
    );
    is_whole(&cluster, "people").await;
    cluster.kv(0).put("people", "more", "value").await.unwrap();
    cluster.kv(0).delete("people", "more").await.unwrap();
    // Once more changes nothing.
    cluster.cli().ok(&["keep-quarantined", &id]).await;
    run(&cluster, &["drop-quarantined", &id])
        .await
        .assert_failed(4, "delete-table");

    // The nodes find out when they start; two of them suffice, and one does not.
    let id = lose(&cluster, "people").await;
    quarantined(&cluster, 12).await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    live(&cluster, 0).await;
    cluster.nodes[0].start().await;
    quarantined(&cluster, 4).await;
    run(&cluster, &["keep-quarantined", &id])
        .await
        .assert_failed(1, "shard 0 (1 of 3)");
    cluster.nodes[1].start().await;
    quarantined(&cluster, 8).await;
    cluster
        .cli()
        .ok(&["keep-quarantined", &id, "--name", "found"])
        .await;
    let described = json(&cluster, &["describe-table", "found"]).await;
    assert_eq!(described["under_replicated_shards"], 4);
    cluster.nodes[2].start().await;
    is_whole(&cluster, "found").await;
    assert_settled(&cluster, &["found", "others"]).await;
    assert_nothing_left(&mut cluster, &["found", "others"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_by_command_is_destroyed_and_never_rebuilt() {
    let mut cluster = ClusterOptions::new(3, 1).start().await;
    cluster.tables(0).create("people", 2, 3).await.unwrap();
    fill(&cluster, "people").await;
    let nodes = cluster.node_ids().await;
    let first = nodes.iter().find(|(_, index)| **index == 0);
    let first = first.unwrap().0.to_string();
    let id = lose(&cluster, "people").await;
    quarantined(&cluster, 6).await;

    let dropped = json(&cluster, &["drop-quarantined", &id, "--node", &first]).await;
    assert_eq!(dropped["destroyed"], serde_json::json!([first]));
    quarantined(&cluster, 4).await;
    run(&cluster, &["drop-quarantined", &id, "--node", &first])
        .await
        .assert_failed(2, "no quarantined replica");
    // The other two are a majority of each shard.
    cluster.cli().ok(&["keep-quarantined", &id]).await;
    for n in 0..KEYS {
        let read = cluster.kv(0).get("people", format!("key{n}")).await;
        assert_eq!(read.unwrap().as_deref(), Some("value"), "key{n}");
    }
    cluster.nodes[0].kill();
    cluster.nodes[0].start().await;
    let text = cluster.cli().ok(&["describe-table", "people"]).await;
    assert!(text.contains("2 of 2 shards UNDER-REPLICATED"), "{text}");
    assert!(text.contains("(ABSENT)"), "{text}");

    lose(&cluster, "people").await;
    quarantined(&cluster, 4).await;
    cluster.nodes[2].kill();
    let dropped = json(&cluster, &["drop-quarantined", &id]).await;
    assert_eq!(dropped["destroyed"].as_array().unwrap().len(), 1);
    assert_eq!(dropped["waiting"].as_array().unwrap().len(), 1);
    run(&cluster, &["keep-quarantined", &id])
        .await
        .assert_failed(7, "TABLE_NOT_FOUND");
    cluster.nodes[2].start().await;
    quarantined(&cluster, 0).await;
    let nothing = run(&cluster, &["list-quarantined"]).await;
    assert_eq!((nothing.code, nothing.stdout.as_str()), (0, ""));
    assert!(
        nothing.stderr.contains("nothing is quarantined"),
        "{nothing:?}"
    );
    cluster.tables(0).create("people", 2, 3).await.unwrap();
    assert_nothing_left(&mut cluster, &["people"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_forgotten_by_command_and_may_return_all_the_same() {
    let mut cluster = ClusterOptions::new(3, 1).start().await;
    cluster.tables(0).create("people", 4, 3).await.unwrap();
    cluster.tables(0).create("gone", 2, 3).await.unwrap();
    fill(&cluster, "people").await;
    let nodes = cluster.node_ids().await;
    let first = nodes.iter().find(|(_, index)| **index == 0);
    let first = first.unwrap().0.to_string();
    let text = cluster.cli().ok(&["list-nodes"]).await;
    assert_eq!(text.matches(" up ").count(), 3, "{text}");
    run(&cluster, &["forget-node", &first])
        .await
        .assert_failed(4, "is alive");
    run(&cluster, &["forget-node", "0123456789abcdef"])
        .await
        .assert_failed(2, "there is no data node 0123456789abcdef");
    run(&cluster, &["forget-node", "node0"])
        .await
        .assert_failed(2, "16 hexadecimal digits");

    cluster.nodes[0].kill();
    live(&cluster, 2).await;
    cluster.tables(0).delete("gone").await.unwrap();
    let row = async |cluster: &Cluster| {
        let nodes = json(cluster, &["list-nodes"]).await;
        let nodes = nodes["nodes"].as_array().unwrap().clone();
        nodes.into_iter().find(|node| node["id"] == *first).unwrap()
    };
    let down = row(&cluster).await;
    assert_eq!(
        (&down["member"], &down["live"]),
        (&true.into(), &false.into())
    );
    assert_eq!(
        (&down["placed"], &down["tombstones"]),
        (&4.into(), &1.into())
    );
    let text = cluster.cli().ok(&["forget-node", &first]).await;
    assert!(
        text.contains("4 replicas lost") && text.contains("1 deleted table"),
        "{text}"
    );
    let again = json(&cluster, &["forget-node", &first]).await;
    assert_eq!(again["already"], true);
    let lost = row(&cluster).await;
    assert_eq!((&lost["member"], &lost["lost"]), (&false.into(), &4.into()));
    let text = cluster.cli().ok(&["describe-table", "people"]).await;
    assert_eq!(text.matches("LOST").count(), 4, "{text}");
    let status = json(&cluster, &["status"]).await;
    assert_eq!(status["under_replicated_shards"], 4);
    assert_eq!(status["tables_by_state"]["available"], 1);
    fill(&cluster, "people").await;

    // It returns: a member again, and what nobody destroyed in its absence it keeps, and keeps out.
    cluster.nodes[0].start().await;
    is_whole(&cluster, "people").await;
    let listed = quarantined(&cluster, 2).await;
    assert_eq!(listed["tables"][0]["name"], "gone");
    let obstacle = listed["tables"][0]["obstacle"].as_str().unwrap();
    assert!(obstacle.contains("deleted on purpose"), "{obstacle}");
    let id = listed["tables"][0]["id"].as_str().unwrap();
    run(&cluster, &["keep-quarantined", id])
        .await
        .assert_failed(4, "on purpose");
    cluster.cli().ok(&["drop-quarantined", id]).await;
    quarantined(&cluster, 0).await;
    assert_settled(&cluster, &["people"]).await;
    assert_nothing_left(&mut cluster, &["people"]).await;
}

/// A table with data whose deletion two of three nodes have not heard of.
async fn deletion_that_waits(cluster: &mut Cluster) -> [String; 2] {
    cluster.tables(0).create("people", 2, 3).await.unwrap();
    fill(cluster, "people").await;
    let ids = cluster.node_ids().await;
    let id = |index| {
        let found = ids.iter().find(|(_, i)| **i == index);
        found.unwrap().0.to_string()
    };
    let down = [id(1), id(2)];
    for node in [1, 2] {
        cluster.nodes[node].kill();
    }
    live(cluster, 1).await;
    let late = run(cluster, &["delete-table", "people", "--timeout", "8s"]).await;
    late.assert_failed(1, "is being deleted");
    for what in [&down[0], &down[1], "2 of its 2 shards", "forget-node"] {
        assert!(late.stderr.contains(what), "{late:?}");
    }
    let text = cluster.cli().ok(&["describe-table", "people"]).await;
    assert!(text.contains("0 of 2 shards sealed; WAITS for"), "{text}");
    let described = json(cluster, &["describe-table", "people"]).await;
    let waits_for = described["progress"]["waits_for"].as_array().unwrap();
    let waits_for: std::collections::BTreeSet<_> = waits_for
        .iter()
        .map(|node| node.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(waits_for, down.clone().into());
    down
}

async fn no_table(cluster: &Cluster) {
    eventually("the deletion has ended", WITHIN, || async {
        match cluster.tables(0).list().await {
            Ok(names) if names.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_waits_for_nodes_that_could_still_serve_until_one_returns() {
    let mut cluster = ClusterOptions::new(3, 1).start().await;
    deletion_that_waits(&mut cluster).await;
    // Whoever asks without a limit waits with it.
    let cli = cluster.cli();
    let waiting = tokio::spawn(async move { cli.run(&["delete-table", "people"]).await });
    cluster.nodes[1].start().await;
    no_table(&cluster).await;
    let waited = waiting.await.unwrap();
    assert_eq!(waited.code, 0, "{waited:?}");
    cluster.tables(0).create("others", 1, 3).await.unwrap_err();
    cluster.nodes[2].start().await;
    live(&cluster, 3).await;
    cluster.tables(0).create("others", 1, 3).await.unwrap();
    assert_nothing_left(&mut cluster, &["others"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_waits_for_nodes_that_could_still_serve_until_they_are_forgotten() {
    let mut cluster = ClusterOptions::new(3, 1).start().await;
    let down = deletion_that_waits(&mut cluster).await;
    // The rest of a shard is no majority then.
    cluster.cli().ok(&["forget-node", &down[0]]).await;
    no_table(&cluster).await;
    let list = json(&cluster, &["list-nodes"]).await;
    let waits = list["nodes"].as_array().unwrap().iter();
    let waits: Vec<_> = waits.filter(|node| node["tombstones"] == 1).collect();
    assert_eq!(waits.len(), 1, "{list}");
    assert_eq!(waits[0]["id"], *down[1]);
    // The one that was forgotten returns all the same: nobody serves what it has.
    for node in [1, 2] {
        cluster.nodes[node].start().await;
    }
    let listed = quarantined(&cluster, 2).await;
    let id = listed["tables"][0]["id"].as_str().unwrap();
    cluster.cli().ok(&["drop-quarantined", id]).await;
    assert_nothing_left(&mut cluster, &[]).await;
}

/// A table's record is as it was in a backup from the moment when it was being created, or as it becomes when that creation
/// is undone.
async fn restored(cluster: &Cluster, name: &str, state: TableState) {
    let session = cluster.zookeeper.session(&cluster.chroot).await;
    let name: TableName = name.parse().unwrap();
    let listed = coordination::registry::find_table(&*session, &name).await;
    let mut table = listed.unwrap().unwrap();
    table.value.state = state;
    table.value.never_available = state == TableState::Deleting;
    let path = Node::Table(table.value.id).path();
    let set = session.set(&path, table.value.encode(), table.version);
    set.await.unwrap();
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_is_undone_by_an_old_backup_costs_no_data() {
    let mut cluster = ClusterOptions::new(3, 1).start().await;
    // Most of the shards have no item.
    cluster.tables(0).create("people", 30, 3).await.unwrap();
    fill(&cluster, "people").await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    live(&cluster, 0).await;
    restored(&cluster, "people", TableState::Creating).await;
    // Nobody is known to have been served, so nobody is waited for.
    cluster.cli().ok(&["delete-table", "people"]).await;
    for node in [0, 1] {
        cluster.nodes[node].start().await;
    }
    let listed = quarantined(&cluster, 60).await;
    let table = &listed["tables"][0];
    assert_eq!(table["name"], "people");
    assert_eq!(table["found_shards"], 30);
    let id = table["id"].as_str().unwrap();
    assert!(cluster.nodes[0].stderr().contains("list-quarantined"));
    let missing = run(&cluster, &["keep-quarantined", id]).await;
    missing.assert_failed(1, "has not told yet whether it has data of it: start it");
    cluster.nodes[2].start().await;
    quarantined(&cluster, 90).await;
    let kept = eventually("it is kept", WITHIN, || async {
        let kept = run(&cluster, &["keep-quarantined", id]).await;
        if kept.code == 0 {
            Ok(kept)
        } else {
            Err(kept.stderr)
        }
    })
    .await;
    assert!(kept.stdout.contains("table people: available"), "{kept:?}");
    is_whole(&cluster, "people").await;
    assert_settled(&cluster, &["people"]).await;

    // While everything runs, and then for good.
    restored(&cluster, "people", TableState::Deleting).await;
    no_table(&cluster).await;
    quarantined(&cluster, 90).await;
    eventually("it is dropped", WITHIN, || async {
        let dropped = run(&cluster, &["drop-quarantined", id]).await;
        if dropped.code == 0 {
            Ok(())
        } else {
            Err(dropped.stderr)
        }
    })
    .await;
    assert_nothing_left(&mut cluster, &[]).await;
}
