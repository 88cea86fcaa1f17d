//! What operators see and decide: nodes that are gone for good, tables that the coordination store has lost.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use api::Reason;
use api::v1::{
    DropQuarantinedRequest, DropQuarantinedResponse, ForgetNodeRequest, ForgetNodeResponse,
    KeepQuarantinedRequest, ListNodesRequest, ListQuarantinedRequest, ListQuarantinedResponse,
    NodeDescription, ReplicaState, TableDescription, TableState,
};
use coordination::registry::{self, confirm_destroyed};
use coordination::tree::Node;
use coordination::{ANY_VERSION, Operation};
use links::testing::Fault;
use model::{NodeId, Table, TableId};
use support::cluster::{Client, Cluster};
use support::{error, eventually, reason, within};
use tonic::{Response, Status};

const SECOND: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(20);

async fn nodes(client: &Client) -> Vec<NodeDescription> {
    let request = within(DEADLINE, ListNodesRequest {});
    let answer = client.operator().list_nodes(request).await;
    answer.unwrap().into_inner().nodes
}

async fn forget(client: &Client, node: &str) -> Result<ForgetNodeResponse, Status> {
    let node = node.to_owned();
    let request = within(DEADLINE, ForgetNodeRequest { node });
    let answer = client.operator().forget_node(request).await;
    answer.map(Response::into_inner)
}

async fn quarantined(client: &Client) -> ListQuarantinedResponse {
    let request = within(DEADLINE, ListQuarantinedRequest {});
    let answer = client.operator().list_quarantined(request).await;
    answer.unwrap().into_inner()
}

async fn keep(client: &Client, id: TableId, name: &str) -> Result<TableDescription, Status> {
    let request = KeepQuarantinedRequest {
        table_id: id.to_string(),
        name: name.to_owned(),
    };
    let request = within(DEADLINE, request);
    let answer = client.operator().keep_quarantined(request).await;
    answer.map(Response::into_inner)
}

async fn drop_within(
    client: &Client,
    id: TableId,
    node: &str,
    deadline: Duration,
) -> Result<DropQuarantinedResponse, Status> {
    let request = DropQuarantinedRequest {
        table_id: id.to_string(),
        node: node.to_owned(),
    };
    let request = within(deadline, request);
    let answer = client.operator().drop_quarantined(request).await;
    answer.map(Response::into_inner)
}

/// A router that waits so long for a shard that does not take its seal.
async fn slow_to_seal(cluster: &Cluster, patience: Duration) -> Client {
    let mut options = cluster.options();
    options.timing.seal_timeout = patience;
    Client::start(options).await
}

/// A table that the store has lost: its nodes keep their replicas out.
async fn lost(cluster: &Cluster, client: &Client, name: &str, shards: u32) -> Table {
    client.create(name, shards).await.unwrap();
    let store = cluster.store.session();
    let table = registry::find_table(&*store, &name.parse().unwrap()).await;
    let table = table.unwrap().unwrap().value;
    let gone = [Node::Name(table.name.clone()), Node::Table(table.id)];
    let gone = gone.map(|node| Operation::delete(node.path(), ANY_VERSION));
    store.multi(gone.into()).await.unwrap();
    let ids: Vec<NodeId> = cluster.nodes.iter().map(|node| node.id).collect();
    // The pretended nodes look at the tables in their own time, but in order: once they have a later table they have
    // seen that this one is gone.
    client.create("later", 1).await.unwrap();
    client.drop_table("later").await.unwrap();
    cluster.world.quarantine(&table, &ids);
    table
}

#[tokio::test]
async fn a_node_that_will_not_return_is_forgotten_and_its_replicas_are_lost() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 2).await.unwrap();
    client.create("old", 1).await.unwrap();
    let dead = cluster.nodes[2].id.to_string();
    let alive = error(&forget(&client, &dead).await.unwrap_err());
    assert_eq!(alive.reason, Reason::ConditionFailed);
    assert!(alive.message.contains("alive, on here with /"), "{alive}");
    let described = client.describe("people", false).await.unwrap();
    assert_eq!(described.under_replicated_shards, 0);

    cluster.kill_node(2).await;
    client.drop_table("old").await.unwrap();
    let listed = nodes(&client).await;
    let node = &listed[2];
    let status = node.status.clone().unwrap();
    assert_eq!(status.id, dead);
    assert!(node.member && !status.live && !status.reachable && node.live_since_millis == 0);
    assert_eq!((node.placed, node.tombstones), (2, 1));
    assert!(
        listed[..2]
            .iter()
            .all(|node| node.status.as_ref().unwrap().live)
    );
    let status = client.status().await.unwrap();
    assert_eq!((status.under_replicated_shards, status.down_nodes), (2, 1));
    assert_eq!((status.available_tables, status.problems.len()), (1, 0));

    let forgotten = forget(&client, &dead).await.unwrap();
    assert_eq!((forgotten.lost_replicas, forgotten.tombstones), (2, 1));
    assert!(!forgotten.already);
    assert!(forget(&client, &dead).await.unwrap().already);
    let store = cluster.store.session();
    let none_waits = async || {
        let noted = registry::read_tombstones(&*store).await.unwrap();
        assert!(noted.values().all(BTreeSet::is_empty), "{noted:?}");
        noted.len()
    };
    assert_eq!(none_waits().await, 1);
    let described = client.describe("people", false).await.unwrap();
    assert_eq!(described.under_replicated_shards, 2);
    for shard in &described.shards {
        let replicas = shard.replicas.iter().map(|r| (&r.node, r.state()));
        let lost = replicas.filter(|(_, state)| *state == ReplicaState::Lost);
        assert_eq!(lost.map(|(node, _)| node).collect::<Vec<_>>(), [&dead]);
    }
    let node = nodes(&client).await.remove(2);
    assert!(!node.member);
    assert_eq!((node.placed, node.tombstones), (2, 0));
    client.put("people", "k", "v").await.unwrap();

    // Nobody waits for it. That it may have replicas of both tables is noted, for the case that it returns.
    client.drop_table("people").await.unwrap();
    assert_eq!(none_waits().await, 2);
    assert_eq!(nodes(&client).await.len(), 2);
    let unknown = error(&forget(&client, &dead).await.unwrap_err());
    assert_eq!(unknown.reason, Reason::InvalidRequest, "{unknown}");
}

#[tokio::test]
async fn a_forgotten_node_that_returns_is_a_member_again() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    cluster.kill_node(2).await;
    let id = cluster.nodes[2].id.to_string();
    forget(&client, &id).await.unwrap();
    cluster.restart_node(2).await;
    let alive = forget(&client, &id).await;
    assert_eq!(reason(alive), Reason::ConditionFailed);
    eventually("its replica is whole", async || {
        let described = client.describe("people", false).await.unwrap();
        described.under_replicated_shards == 0
    })
    .await;
    assert!(nodes(&client).await.iter().all(|node| node.member));
}

#[tokio::test]
async fn ids_that_are_none_are_refused_by_the_name_of_their_field() {
    let cluster = Cluster::start(1).await;
    let client = cluster.router().await;
    for id in ["", "x", "123", "000000000000000G", "00000000000000001"] {
        let refused = error(&forget(&client, id).await.unwrap_err());
        assert_eq!(refused.reason, Reason::InvalidRequest);
        assert!(refused.message.starts_with("node: "), "{refused}");
    }
    let request = KeepQuarantinedRequest {
        table_id: "people".to_owned(),
        name: String::new(),
    };
    let refused = client.operator().keep_quarantined(request).await;
    assert_eq!(reason(refused), Reason::InvalidRequest);
    let refused = keep(&client, TableId(1), "a/b").await;
    assert_eq!(reason(refused), Reason::InvalidRequest);
    for missing in [
        reason(keep(&client, TableId(1), "").await),
        reason(drop_within(&client, TableId(1), "", DEADLINE).await),
    ] {
        assert_eq!(missing, Reason::TableNotFound);
    }
}

#[tokio::test]
async fn a_table_that_the_store_has_lost_is_kept_with_its_data() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("others", 1).await.unwrap();
    let table = lost(&cluster, &client, "people", 2).await;
    let listed = quarantined(&client).await;
    assert_eq!((listed.tables.len(), listed.silent.len()), (1, 0));
    let shown = &listed.tables[0];
    assert_eq!(
        (shown.name.as_str(), shown.obstacle.as_str()),
        ("people", "")
    );
    assert_eq!((shown.shards, shown.found_shards, shown.items), (2, 2, 4));
    assert!(
        shown
            .nodes
            .iter()
            .all(|node| node.replicas == 2 && !node.address.is_empty())
    );
    assert_eq!(client.status().await.unwrap().quarantined_replicas, 6);

    let taken = error(&keep(&client, table.id, "others").await.unwrap_err());
    assert_eq!(taken.reason, Reason::TableAlreadyExists);
    assert!(taken.message.contains("--name"), "{taken}");
    let kept = keep(&client, table.id, "").await.unwrap();
    let summary = kept.summary.clone().unwrap();
    assert_eq!(summary.id, table.id.to_string());
    assert_eq!(summary.state(), TableState::Available);
    client.put("people", "k", "v").await.unwrap();
    let store = cluster.store.session();
    let restored = registry::read_table(&*store, table.id).await.unwrap();
    let restored = restored.unwrap().value;
    assert_eq!(restored.shards, table.shards);

    assert_eq!(keep(&client, table.id, "people").await.unwrap(), kept);
    let renamed = keep(&client, table.id, "people2").await;
    assert_eq!(reason(renamed), Reason::TableAlreadyExists);
    let in_use = drop_within(&client, table.id, "", DEADLINE).await;
    assert_eq!(reason(in_use), Reason::ConditionFailed);
    assert!(quarantined(&client).await.tables.is_empty());
}

#[tokio::test]
async fn a_table_is_kept_only_with_a_majority_of_each_shard() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    let table = lost(&cluster, &client, "people", 2).await;
    cluster.kill_node(1).await;
    cluster.kill_node(2).await;
    let refused = error(&keep(&client, table.id, "").await.unwrap_err());
    assert_eq!(refused.reason, Reason::TooFewNodes);
    assert!(
        refused.message.contains("0 (1 of 3), 1 (1 of 3)"),
        "{refused}"
    );
    let listed = quarantined(&client).await;
    assert_eq!(listed.silent.len(), 2);
    assert!(!listed.tables[0].obstacle.is_empty());
    cluster.restart_node(1).await;
    keep(&client, table.id, "again").await.unwrap();
    let described = client.describe("again", false).await.unwrap();
    assert_eq!(described.under_replicated_shards, 2);
}

#[tokio::test]
async fn who_was_forgotten_while_a_drop_waited_for_it_is_not_said_to_have_destroyed_anything() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    let table = lost(&cluster, &client, "people", 1).await;
    let store = cluster.store.session();
    let (confirms, goes) = (cluster.nodes[0].id, cluster.nodes[2].id);
    let dropping = drop_within(&client, table.id, "", DEADLINE);
    let meanwhile = async {
        eventually("all have tombstones", async || {
            let tombstones = registry::read_tombstones(&*store).await.unwrap();
            tombstones.values().any(|nodes| nodes.len() == 3)
        })
        .await;
        for node in &cluster.nodes[..2] {
            cluster.world.destroy_quarantined(node.id, table.id);
        }
        // What it confirmed last before it went.
        confirm_destroyed(&*store, table.id, confirms)
            .await
            .unwrap();
        cluster.kill_node(2).await;
        registry::forget_node(&*store, goes).await.unwrap();
        let last = cluster.nodes[1].id;
        confirm_destroyed(&*store, table.id, last).await.unwrap();
    };
    let (dropped, ()) = tokio::join!(dropping, meanwhile);
    let dropped = dropped.unwrap();
    assert_eq!(dropped.destroyed.len(), 2);
    assert_eq!(dropped.forgotten, [goes.to_string()]);
    assert!(dropped.waiting.is_empty());
    // It returns with what it had, and nobody takes that for a table.
    cluster.restart_node(2).await;
    let found = quarantined(&client).await.tables;
    assert_eq!(found.len(), 1);
    assert!(found[0].obstacle.contains("on purpose"), "{found:?}");
    let refused = error(&keep(&client, table.id, "").await.unwrap_err());
    assert!(refused.message.contains("drop it"), "{refused}");
}

#[tokio::test]
async fn a_node_whose_record_is_damaged_is_not_lost_and_one_that_was_forgotten_is() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    let store = cluster.store.session();
    let (damaged, gone) = (cluster.nodes[0].id, cluster.nodes[2].id);
    cluster.kill_node(2).await;
    registry::forget_node(&*store, gone).await.unwrap();
    let path = Node::Member(damaged).path();
    store
        .set(&path, "garbage".into(), ANY_VERSION)
        .await
        .unwrap();
    eventually("one is lost", async || {
        let described = client.describe("people", false).await.unwrap();
        let replicas = &described.shards[0].replicas;
        let lost: Vec<_> = replicas
            .iter()
            .filter(|replica| replica.state() == ReplicaState::Lost)
            .collect();
        lost.len() == 1 && lost[0].node == gone.to_string()
    })
    .await;
}

#[tokio::test]
async fn of_two_that_keep_a_table_under_two_names_one_succeeds() {
    let cluster = Cluster::start(3).await;
    let (one, two) = tokio::join!(cluster.router(), cluster.router());
    for round in 0..5 {
        let table = lost(&cluster, &one, &format!("lost-{round}"), 1).await;
        let names = [format!("a-{round}"), format!("b-{round}")];
        let (a, b) = tokio::join!(
            keep(&one, table.id, &names[0]),
            keep(&two, table.id, &names[1])
        );
        let failed = match (a, b) {
            (Ok(_), Err(status)) | (Err(status), Ok(_)) => status,
            both => panic!("{both:?}"),
        };
        assert_eq!(error(&failed).reason, Reason::TableAlreadyExists);
        let there = one.list("", 0).await.unwrap().tables;
        assert_eq!(there.len(), round + 1, "{there:?}");
    }
}

#[tokio::test]
async fn what_is_dropped_is_destroyed_by_its_nodes_and_not_kept_any_more() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    let table = lost(&cluster, &client, "people", 2).await;
    let store = cluster.store.session();
    let stranger = drop_within(&client, table.id, &NodeId(99).to_string(), DEADLINE).await;
    assert_eq!(reason(stranger), Reason::InvalidRequest);
    cluster.kill_node(2).await;
    // A node that does not converge: the answer says for whom it waits, the decision stands.
    let first = cluster.nodes[0].id;
    let waits = drop_within(&client, table.id, &first.to_string(), SECOND).await;
    assert_eq!(waits.unwrap().waiting, [first.to_string()]);
    let refused = error(&keep(&client, table.id, "").await.unwrap_err());
    assert_eq!(refused.reason, Reason::ConditionFailed);
    assert!(refused.message.contains("on purpose"), "{refused}");

    let all = drop_within(&client, table.id, "", DEADLINE);
    let converge = async {
        eventually("both have tombstones", async || {
            let tombstones = registry::read_tombstones(&*store).await.unwrap();
            tombstones.values().any(|nodes| nodes.len() == 3)
        })
        .await;
        for node in &cluster.nodes[..2] {
            cluster.world.destroy_quarantined(node.id, table.id);
            let confirmed = confirm_destroyed(&*store, table.id, node.id).await;
            confirmed.unwrap();
        }
    };
    let (all, ()) = tokio::join!(all, converge);
    let all = all.unwrap();
    assert_eq!(all.destroyed.len(), 2);
    // It has a place in the table and may come back.
    let absent = cluster.nodes[2].id;
    assert_eq!(all.waiting, [absent.to_string()]);
    let again = drop_within(&client, table.id, "", DEADLINE).await.unwrap();
    assert_eq!((again.destroyed.len(), again.waiting), (0, all.waiting));
    cluster.world.destroy_quarantined(absent, table.id);
    confirm_destroyed(&*store, table.id, absent).await.unwrap();
    let gone = keep(&client, table.id, "").await;
    assert_eq!(reason(gone), Reason::TableNotFound);
    cluster.restart_node(2).await;
    client.create("people", 1).await.unwrap();
}

#[tokio::test]
async fn a_table_that_is_kept_and_dropped_at_once_is_one_of_the_two() {
    let cluster = Cluster::start(3).await;
    let (one, two) = tokio::join!(cluster.router(), cluster.router());
    let store = cluster.store.session();
    let mut ends = [0, 0];
    for round in 0..8 {
        let table = lost(&cluster, &one, &format!("lost-{round}"), 1).await;
        // Now the one is a little earlier, now the other.
        let late = Duration::from_millis(3);
        let early = async |is_early: bool| {
            if !is_early {
                tokio::time::sleep(late).await;
            }
        };
        let keep = async {
            early(round % 2 == 0).await;
            keep(&one, table.id, "").await
        };
        let drop = async {
            early(round % 2 == 1).await;
            drop_within(&two, table.id, "", SECOND).await
        };
        let (kept, dropped) = tokio::join!(keep, drop);
        store.sync("/").await.unwrap();
        let listed = registry::read_table(&*store, table.id).await.unwrap();
        let tombstones = registry::read_tombstones(&*store).await.unwrap();
        let condemned = tombstones.contains_key(&table.id);
        assert_ne!(listed.is_some(), condemned, "{kept:?} {dropped:?}");
        if condemned {
            assert_eq!(reason(kept), Reason::ConditionFailed);
        } else {
            assert_eq!(reason(dropped), Reason::ConditionFailed);
        }
        ends[usize::from(condemned)] += 1;
        for node in &cluster.nodes {
            cluster.world.destroy_quarantined(node.id, table.id);
        }
    }
    eprintln!("kept, dropped: {ends:?}");
}

#[tokio::test]
async fn every_router_tells_how_far_a_creation_and_a_deletion_are() {
    let cluster = Cluster::start(3).await;
    let (one, two) = tokio::join!(
        slow_to_seal(&cluster, DEADLINE),
        slow_to_seal(&cluster, DEADLINE)
    );
    cluster.world.set_leaderless(true);
    assert!(one.create_with("people", 3, 3, SECOND / 2).await.is_err());
    for client in [&one, &two] {
        let described = client.describe("people", false).await.unwrap();
        assert_eq!(described.progress.unwrap().led_shards, 0);
        assert_eq!(client.status().await.unwrap().creating_tables, 1);
    }
    cluster.world.set_leaderless(false);
    eventually("the table is available", async || {
        let described = one.describe("people", false).await.unwrap();
        described.progress.is_none()
    })
    .await;

    for node in &cluster.nodes {
        node.set_fault(Fault::Silent);
    }
    assert!(one.drop_table_within("people", SECOND / 2).await.is_err());
    for client in [&one, &two] {
        let described = client.describe("people", false).await.unwrap();
        assert_eq!(described.summary.unwrap().state(), TableState::Deleting);
        let progress = described.progress.unwrap();
        assert_eq!((progress.sealed_shards, progress.unconfirmed.len()), (0, 3));
        let listed = client.list("", 0).await.unwrap().tables;
        assert_eq!(listed[0].state(), TableState::Deleting);
        assert_eq!(client.status().await.unwrap().deleting_tables, 1);
    }
}

#[tokio::test]
async fn names_are_refused_beyond_their_limits_and_taken_up_to_them() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    let long = "n".repeat(256);
    for name in ["", "ab", "a b", "a/b", "a:b", "\u{e4}bc", "a\0b", &long] {
        for refused in [
            client.create(name, 1).await.map(drop),
            client.drop_table(name).await,
            client.describe(name, false).await.map(drop),
        ] {
            assert_eq!(reason(refused), Reason::InvalidRequest, "{name:?}");
        }
    }
    for name in ["abc", "...", "-_-", &long[..255]] {
        client.create(name, 1).await.unwrap();
        client.put(name, "k", "v").await.unwrap();
        client.drop_table(name).await.unwrap();
        assert_eq!(reason(client.drop_table(name).await), Reason::TableNotFound);
    }
    let store = cluster.store.session();
    let names = store.children(&Node::Names.path()).await.unwrap();
    assert_eq!(names, Some(vec![]));
}

#[tokio::test]
async fn a_table_that_is_half_made_can_be_deleted_and_its_creator_hears_of_it() {
    let cluster = Cluster::start(3).await;
    let (one, two) = tokio::join!(cluster.router(), cluster.router());
    cluster.world.set_leaderless(true);
    let create = one.create("people", 2);
    let delete = async {
        eventually("the table is listed", async || {
            !two.list("", 0).await.unwrap().tables.is_empty()
        })
        .await;
        two.drop_table("people").await
    };
    let (created, deleted) = tokio::join!(create, delete);
    deleted.unwrap();
    let error = error(&created.unwrap_err());
    assert_eq!(error.reason, Reason::TooFewNodes);
    assert!(error.message.contains("somebody deleted it"), "{error}");
    let store = cluster.store.session();
    assert!(registry::read_tombstones(&*store).await.unwrap().is_empty());
    cluster.world.set_leaderless(false);
    two.create("people", 2).await.unwrap();
}

#[tokio::test]
async fn a_name_is_free_again_once_its_deletion_is_done_and_not_before() {
    let cluster = Cluster::start(3).await;
    let client = slow_to_seal(&cluster, 4 * SECOND).await;
    client.create("people", 1).await.unwrap();
    client.put("people", "k", "old").await.unwrap();
    for node in &cluster.nodes {
        node.set_fault(Fault::Silent);
    }
    assert!(
        client
            .drop_table_within("people", SECOND / 2)
            .await
            .is_err()
    );
    let refused = error(&client.create("people", 1).await.unwrap_err());
    assert_eq!(refused.reason, Reason::TableNotReady);
    assert!(refused.message.contains("still being deleted"), "{refused}");
    for node in &cluster.nodes {
        node.set_fault(Fault::None);
    }
    eventually("the deletion is done", async || {
        client.create("people", 1).await.is_ok()
    })
    .await;
    assert_eq!(client.get("people", "k").await.unwrap(), None);
}
