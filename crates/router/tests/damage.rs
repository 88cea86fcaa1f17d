//! Records in the coordination store that can't be read: named to whoever needs them, left as they are, and no
//! reason for anything else to stop.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use api::Reason;
use coordination::tree::Node;
use coordination::{ANY_VERSION, Coordination};
use links::testing::Fault;
use model::{NodeId, TableId};
use support::cluster::{Client, Cluster};
use support::{error, eventually, reason};
use tonic::Status;

/// The error names the path, in its text or its details.
#[track_caller]
fn names<T: std::fmt::Debug>(result: Result<T, Status>, path: &str) {
    let status = result.unwrap_err();
    let error = error(&status);
    assert!(format!("{error:?}").contains(path), "{error:?}");
    assert_ne!(error.reason, Reason::OutcomeUnknown);
}

async fn works(client: &Client, table: &str) {
    client.put(table, "k", "v").await.unwrap();
    let read = client.get(table, "k").await.unwrap();
    assert_eq!(read.as_deref(), Some("v"));
}

async fn overwrite(store: &dyn Coordination, path: &str, content: &str) -> bytes::Bytes {
    let before = store.get(path).await.unwrap().unwrap().data;
    let content = bytes::Bytes::copy_from_slice(content.as_bytes());
    store.set(path, content, ANY_VERSION).await.unwrap();
    before
}

#[tokio::test]
async fn a_damaged_table_is_named_and_the_others_and_administration_go_on() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    let created = client.create("people", 2).await.unwrap();
    client.create("places", 2).await.unwrap();
    works(&client, "people").await;
    let id = u64::from_str_radix(&created.summary.unwrap().id, 16).unwrap();
    let path = Node::Table(TableId(id)).path();
    let store = cluster.store.session();
    let good = overwrite(&*store, &path, "garbage").await;
    // A router that has known the table, and one that starts now.
    let late = cluster.router().await;
    for client in [&client, &late] {
        eventually("the damage is noticed", async || {
            client.get("people", "k").await.is_err()
        })
        .await;
        for refused in [
            client.get("people", "k").await.map(drop),
            client.get_eventual("people", "k").await.map(drop),
            client.put("people", "k", "lost").await.map(drop),
        ] {
            assert_eq!(reason(refused.clone()), Reason::Corruption);
            names(refused, &path);
        }
        names(client.describe("people", false).await, &path);
        names(client.drop_table("people").await, &path);
        names(client.create("people", 1).await, &path);
        works(client, "places").await;
        let listed = client.list("", 0).await.unwrap().tables;
        let listed: Vec<_> = listed.iter().map(|table| table.name.as_str()).collect();
        assert_eq!(listed, ["places"]);
        client.create("pets", 1).await.unwrap();
        works(client, "pets").await;
        client.drop_table("pets").await.unwrap();
        assert_eq!(client.status().await.unwrap().tables, 1);
    }
    let now = store.get(&path).await.unwrap().unwrap().data;
    assert_eq!(now, "garbage");
    store.set(&path, good, ANY_VERSION).await.unwrap();
    for client in [&client, &late] {
        eventually("the table is there again", async || {
            client.get("people", "k").await.is_ok()
        })
        .await;
        let read = client.get("people", "k").await.unwrap();
        assert_eq!(read.as_deref(), Some("v"));
    }
}

#[tokio::test]
async fn a_table_that_is_damaged_while_it_is_deleted_does_not_count_as_deleted() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    let created = client.create("people", 1).await.unwrap();
    let id = u64::from_str_radix(&created.summary.unwrap().id, 16).unwrap();
    let path = Node::Table(TableId(id)).path();
    let store = cluster.store.session();
    // No node takes the seal, so the deletion takes its time.
    for node in &cluster.nodes {
        node.set_fault(Fault::Silent);
    }
    let dropping = client.drop_table("people");
    let damage = async {
        eventually("the deletion is decided", async || {
            let table = store.get(&path).await.unwrap().unwrap().data;
            String::from_utf8_lossy(&table).contains("deleting")
        })
        .await;
        overwrite(&*store, &path, "garbage").await;
    };
    let (dropped, ()) = tokio::join!(dropping, damage);
    assert_eq!(reason(dropped.clone()), Reason::Corruption);
    names(dropped, &path);
}

#[tokio::test]
async fn a_damaged_name_is_named_and_whoever_knows_the_table_goes_on() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 2).await.unwrap();
    let path = Node::Name("people".parse().unwrap()).path();
    let store = cluster.store.session();
    let good = overwrite(&*store, &path, "garbage").await;
    works(&client, "people").await;
    names(client.drop_table("people").await, &path);
    names(client.create("people", 1).await, &path);
    client.create("places", 1).await.unwrap();
    works(&client, "places").await;
    store.set(&path, good, ANY_VERSION).await.unwrap();
    client.drop_table("people").await.unwrap();
    assert_eq!(
        reason(client.get("people", "k").await),
        Reason::TableNotFound
    );
}

#[tokio::test]
async fn a_damaged_member_is_left_out_and_foreign_znodes_are_no_members() {
    let cluster = Cluster::start(4).await;
    let client = cluster.router().await;
    client.create("people", 4).await.unwrap();
    let store = cluster.store.session();
    let path = Node::Member(NodeId(4)).path();
    overwrite(&*store, &path, "garbage").await;
    for parent in [Node::Members, Node::Nodes, Node::Tables, Node::Names] {
        let path = format!("{parent}/not ours");
        let mode = coordination::CreateMode::Persistent;
        store.create(&path, "?".into(), mode).await.unwrap();
    }
    let late = cluster.router().await;
    for client in [&client, &late] {
        works(client, "people").await;
        client.create("places", 2).await.unwrap();
        works(client, "places").await;
        client.drop_table("places").await.unwrap();
        eventually("three members are left", async || {
            client.status().await.unwrap().nodes.len() == 3
        })
        .await;
    }
    let now = store.get(&path).await.unwrap().unwrap().data;
    assert_eq!(now, "garbage");
}
