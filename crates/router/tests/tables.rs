//! Tables through their life, whatever happens to the processes around them.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::Reason;
use api::v1::{ReplicaState, TableState};
use coordination::registry;
use environment::{Clock, Now};
use links::testing::Fault;
use support::cluster::{Client, Cluster, timing};
use support::flaky::Flaky;
use support::{error, eventually, reason};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_table_is_created_shown_listed_and_deleted() {
    let cluster = Cluster::start(4).await;
    let client = cluster.router().await;
    let created = client.create("people", 6).await.unwrap();
    let summary = created.summary.clone().unwrap();
    assert_eq!(summary.name, "people");
    assert_eq!(summary.state(), TableState::Available);
    assert_eq!((summary.shards, summary.replicas), (6, 3));
    assert_eq!(created.shards.len(), 6);
    assert_eq!(created.shards[0].first_hash, 0);
    assert_eq!(created.shards[5].last_hash, u64::MAX);
    for shard in &created.shards {
        assert_eq!(shard.replicas.len(), 3);
        assert!(!shard.leader.is_empty());
        assert_eq!(shard.term, 2);
        assert!(shard.replicas.iter().all(|r| !r.address.is_empty()));
    }
    assert_eq!(client.describe("people", false).await.unwrap(), created);
    assert_eq!(client.list("", 0).await.unwrap().tables, [summary]);

    client.put("people", "k", "v").await.unwrap();
    client.drop_table("people").await.unwrap();
    assert_eq!(
        reason(client.describe("people", false).await),
        Reason::TableNotFound
    );
    assert_eq!(
        reason(client.get("people", "k").await),
        Reason::TableNotFound
    );
    assert!(client.list("", 0).await.unwrap().tables.is_empty());
    let id = u64::from_str_radix(&created.summary.unwrap().id, 16).unwrap();
    assert!((0..6).all(|shard| cluster.world.is_sealed(id, shard)));
    let store = cluster.store.session();
    assert!(registry::read_tombstones(&*store).await.unwrap().is_empty());
    assert!(
        registry::read_tables(&*store)
            .await
            .unwrap()
            .entries
            .is_empty()
    );
}

/// A clock that stands still.
#[derive(Debug)]
struct Stopped(Now);

impl Clock for Stopped {
    fn now(&self) -> Now {
        self.0
    }
}

#[tokio::test]
async fn a_table_is_as_old_as_the_clock_of_the_environment_says() {
    let cluster = Cluster::start(3).await;
    let mut options = cluster.options();
    options.environment.clock = Arc::new(Stopped(Now {
        monotonic_millis: 1,
        wall_millis: 2,
    }));
    let client = Client::start(options).await;
    let created = client.create("people", 1).await.unwrap().summary.unwrap();
    assert_eq!(created.created_at_millis, 2);
}

#[tokio::test]
async fn a_table_made_again_under_the_name_is_another_one() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    let first = client.create("people", 1).await.unwrap().summary.unwrap();
    client.put("people", "k", "old").await.unwrap();
    client.drop_table("people").await.unwrap();
    let second = client.create("people", 1).await.unwrap().summary.unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(client.get("people", "k").await.unwrap(), None);
}

#[tokio::test]
async fn what_one_router_does_holds_for_the_others_at_once() {
    let cluster = Cluster::start(3).await;
    let (one, two) = tokio::join!(cluster.router(), cluster.router());
    for i in 0..5 {
        let name = format!("table-{i}");
        one.create(&name, 2).await.unwrap();
        two.put(&name, "k", "v").await.unwrap();
        assert_eq!(one.get(&name, "k").await.unwrap(), Some("v".to_owned()));
        two.drop_table(&name).await.unwrap();
        assert_eq!(reason(one.get(&name, "k").await), Reason::TableNotFound);
        assert_eq!(
            reason(one.put(&name, "k", "v").await),
            Reason::TableNotFound
        );
    }
}

#[tokio::test]
async fn of_two_creations_of_one_name_at_once_one_succeeds() {
    let cluster = Cluster::start(3).await;
    let (one, two) = tokio::join!(cluster.router(), cluster.router());
    for i in 0..5 {
        let name = format!("table-{i}");
        let (a, b) = tokio::join!(one.create(&name, 1), two.create(&name, 1));
        let failed = match (a, b) {
            (Ok(_), Err(status)) | (Err(status), Ok(_)) => status,
            both => panic!("{both:?}"),
        };
        assert_eq!(error(&failed).reason, Reason::TableAlreadyExists);
    }
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_and_nothing_created() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    let create = async |name: &str, shards, replicas| {
        reason(client.create_with(name, shards, replicas, SECOND).await)
    };
    assert_eq!(create("x", 1, 3).await, Reason::InvalidRequest);
    assert_eq!(create("people", 0, 3).await, Reason::InvalidRequest);
    assert_eq!(create("people", 4097, 3).await, Reason::InvalidRequest);
    for replicas in [0, 1, 2, 4, 7] {
        assert_eq!(create("people", 1, replicas).await, Reason::InvalidRequest);
    }
    assert_eq!(create("people", 1, 5).await, Reason::TooFewNodes);
    assert!(client.list("", 0).await.unwrap().tables.is_empty());
    assert_eq!(
        reason(client.drop_table("people").await),
        Reason::TableNotFound
    );
}

#[tokio::test]
async fn one_replica_is_for_a_cluster_of_one_node() {
    let cluster = Cluster::start(1).await;
    let mut options = cluster.options();
    options.allow_single_replica = true;
    let client = Client::start(options).await;
    client
        .create_with("people", 3, 1, 5 * SECOND)
        .await
        .unwrap();
    client.put("people", "k", "v").await.unwrap();
}

#[tokio::test]
async fn lists_come_in_pages_by_name() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    for name in ["ddd", "bbb", "aaa", "ccc", "eee"] {
        client.create(name, 1).await.unwrap();
    }
    let mut pages = Vec::new();
    let mut after = String::new();
    loop {
        let page = client.list(&after, 2).await.unwrap();
        pages.push(page.tables.into_iter().map(|t| t.name).collect::<Vec<_>>());
        if page.next.is_empty() {
            break;
        }
        after = page.next;
    }
    assert_eq!(pages, [vec!["aaa", "bbb"], vec!["ccc", "ddd"], vec!["eee"]]);
}

#[tokio::test]
async fn a_table_without_leaders_is_given_up_and_leaves_nothing() {
    let cluster = Cluster::start(3).await;
    cluster.world.set_leaderless(true);
    let mut options = cluster.options();
    options.timing.creating_timeout = SECOND / 2;
    let client = Client::start(options).await;
    let status = client.create("people", 2).await.unwrap_err();
    let error = error(&status);
    assert_eq!(error.reason, Reason::TooFewNodes);
    assert!(error.message.contains("given up"), "{error}");
    eventually("the table is gone", async || {
        client.list("", 0).await.unwrap().tables.is_empty()
    })
    .await;
    cluster.world.set_leaderless(false);
    client.create("people", 2).await.unwrap();
}

#[tokio::test]
async fn a_table_on_its_way_is_not_ready_for_data_and_its_creation_survives_the_deadline() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    cluster.world.set_leaderless(true);
    let late = client.create_with("people", 1, 3, SECOND / 2).await;
    assert_eq!(reason(late), Reason::TableNotReady);
    assert_eq!(
        reason(client.put("people", "k", "v").await),
        Reason::TableNotReady
    );
    assert_eq!(
        reason(client.create("people", 1).await),
        Reason::TableAlreadyExists
    );
    cluster.world.set_leaderless(false);
    eventually("the table is available", async || {
        client.put("people", "k", "v").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_deletion_goes_on_under_another_controller() {
    let cluster = Cluster::start(3).await;
    let one = cluster.router().await;
    let two = cluster.router().await;
    one.create("people", 1).await.unwrap();
    // Neither can the shard be sealed nor do nodes destroy, so that the deletion takes long.
    for node in &cluster.nodes {
        node.set_fault(Fault::Silent);
    }
    let late = two.drop_table_within("people", SECOND / 2).await;
    assert_eq!(reason(late), Reason::TableNotReady);
    assert_eq!(reason(two.get("people", "k").await), Reason::TableNotFound);
    assert_eq!(reason(two.create("people", 1).await), Reason::TableNotReady);
    one.router.shutdown().await;
    for node in &cluster.nodes {
        node.set_fault(Fault::None);
    }
    // Asking again waits for the deletion that is on its way.
    match two.drop_table("people").await {
        Ok(()) => {}
        Err(status) => assert_eq!(error(&status).reason, Reason::TableNotFound),
    }
    assert!(two.list("", 0).await.unwrap().tables.is_empty());
}

#[tokio::test]
async fn a_creation_goes_on_under_another_controller() {
    let cluster = Cluster::start(3).await;
    let one = cluster.router().await;
    let two = cluster.router().await;
    cluster.world.set_leaderless(true);
    let late = one.create_with("people", 2, 3, SECOND / 2).await;
    assert_eq!(reason(late), Reason::TableNotReady);
    one.router.shutdown().await;
    cluster.world.set_leaderless(false);
    eventually("the table is available", async || {
        two.put("people", "k", "v").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn nodes_that_are_down_get_tombstones() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 2).await.unwrap();
    cluster.kill_node(2).await;
    let begin = Instant::now();
    client.drop_table("people").await.unwrap();
    assert!(begin.elapsed() < 3 * SECOND, "{:?}", begin.elapsed());
    let store = cluster.store.session();
    let tombstones = registry::read_tombstones(&*store).await.unwrap();
    let nodes: Vec<_> = tombstones.into_values().flatten().collect();
    assert_eq!(nodes, [cluster.nodes[2].id]);
}

#[tokio::test]
async fn a_router_with_an_old_cache_never_reaches_the_new_table_by_the_old_id() {
    let cluster = Cluster::start(3).await;
    let one = cluster.router().await;
    let way = Flaky::new(&cluster.store);
    let stale = Client::start(Cluster::options_through(&way)).await;
    one.create("people", 1).await.unwrap();
    stale.put("people", "k", "old").await.unwrap();
    way.cut();
    one.drop_table("people").await.unwrap();
    one.create("people", 1).await.unwrap();
    let refused = stale.put_within("people", "k", "late", SECOND).await;
    assert!(reason(refused).certainly_not_applied());
    assert_eq!(one.get("people", "k").await.unwrap(), None);
    way.mend();
    stale.put("people", "k", "new").await.unwrap();
    assert_eq!(
        one.get("people", "k").await.unwrap(),
        Some("new".to_owned())
    );
}

#[tokio::test]
async fn verify_compares_the_hashes_of_all_replicas() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 3).await.unwrap();
    let described = client.describe("people", true).await.unwrap();
    for shard in &described.shards {
        assert!(shard.verification.unwrap().equal);
        let hashes = shard.replicas.iter().map(|r| r.content_hash.as_str());
        assert!(hashes.eq(["01010101010101010101010101010101"; 3]));
    }
    cluster.nodes[1].set_fault(Fault::Refuse(Reason::Corruption));
    let described = client.describe("people", true).await.unwrap();
    for shard in &described.shards {
        assert!(!shard.verification.unwrap().equal);
    }
}

#[tokio::test]
async fn a_node_that_does_not_answer_shows_as_unreachable() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    cluster.kill_node(1).await;
    let described = client.describe("people", true).await.unwrap();
    let dead = cluster.nodes[1].id.to_string();
    let replica = described.shards[0].replicas.iter();
    let replica = replica.clone().find(|r| r.node == dead).unwrap();
    assert_eq!(replica.state(), ReplicaState::Unreachable);
    assert!(!replica.detail.is_empty());
    assert!(!described.shards[0].verification.unwrap().equal);
}

#[tokio::test]
async fn many_tables_and_many_shards_at_once() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    let names: Vec<String> = (0..40).map(|i| format!("table-{i:02}")).collect();
    let creations = names.iter().map(|name| client.create(name, 4));
    for created in futures::future::join_all(creations).await {
        created.unwrap();
    }
    client.create("large", 4096).await.unwrap();
    assert_eq!(client.list("", 0).await.unwrap().tables.len(), 41);
    let deletions = names.iter().map(|name| client.drop_table(name));
    for deleted in futures::future::join_all(deletions).await {
        deleted.unwrap();
    }
    client.drop_table("large").await.unwrap();
    assert!(client.list("", 0).await.unwrap().tables.is_empty());
}

#[tokio::test]
async fn status_shows_processes_and_shards_that_cannot_serve() {
    let mut cluster = Cluster::start(3).await;
    let (one, two) = tokio::join!(cluster.router(), cluster.router());
    one.create("people", 2).await.unwrap();
    let status = two.status().await.unwrap();
    assert_eq!(status.routers.len(), 2);
    assert_eq!(status.routers.iter().filter(|r| r.controller).count(), 1);
    assert_eq!(status.nodes.len(), 3);
    assert!(
        status
            .nodes
            .iter()
            .all(|n| n.live && n.reachable && n.replicas == 2)
    );
    assert_eq!((status.tables, status.shards), (1, 2));
    assert!(status.problems.is_empty(), "{:?}", status.problems);

    cluster.kill_node(0).await;
    cluster.kill_node(1).await;
    let status = two.status().await.unwrap();
    assert_eq!(status.nodes.iter().filter(|n| n.live).count(), 1);
    assert_eq!(status.nodes.iter().filter(|n| n.reachable).count(), 1);
    let problems = status.problems.iter();
    let problems: Vec<_> = problems.map(|p| (p.shard, p.reason.as_str())).collect();
    assert_eq!(problems, [(0, "NO_QUORUM"), (1, "NO_QUORUM")]);
}

#[tokio::test]
async fn a_deletion_waits_for_slow_nodes_only_so_long() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    // Dead for everybody but the coordination store.
    cluster.nodes[0].kill();
    let begin = Instant::now();
    client.drop_table("people").await.unwrap();
    let timing = timing();
    assert!(begin.elapsed() < timing.seal_timeout + timing.destroy_timeout + 2 * SECOND);
    let store = cluster.store.session();
    let tombstones = registry::read_tombstones(&*store).await.unwrap();
    let nodes: Vec<_> = tombstones.into_values().flatten().collect();
    assert_eq!(nodes, [cluster.nodes[0].id]);
}

/// The nodes with tombstones.
async fn tombstones(cluster: &Cluster) -> Vec<model::NodeId> {
    let store = cluster.store.session();
    let tombstones = registry::read_tombstones(&*store).await.unwrap();
    tombstones.into_values().flatten().collect()
}

/// A table is deleted while two of three nodes are down: nobody can know that they serve nobody.
async fn deletion_that_waits(cluster: &mut Cluster, client: &Client) {
    client.create("people", 2).await.unwrap();
    client.put("people", "k", "v").await.unwrap();
    for node in [0, 1] {
        cluster.kill_node(node).await;
    }
    cluster.nodes[2].set_fault(Fault::Refuse(Reason::NoQuorum));
    let late = client.drop_table_within("people", 3 * SECOND).await;
    let late = error(&late.unwrap_err());
    assert_eq!(late.reason, Reason::TableNotReady);
    let down = [0, 1].map(|node| cluster.nodes[node].id.to_string());
    for what in [&down[0], &down[1], "2 of its 2 shards", "forget-node"] {
        assert!(late.message.contains(what), "{late}");
    }
    let described = client.describe("people", false).await.unwrap();
    assert_eq!(described.summary.unwrap().state(), TableState::Deleting);
    let progress = described.progress.unwrap();
    assert_eq!(
        (progress.sealed_shards, progress.waits_for),
        (0, down.into())
    );
    assert_eq!(
        reason(client.get("people", "k").await),
        Reason::TableNotFound
    );
    assert_eq!(
        reason(client.create("people", 1).await),
        Reason::TableNotReady
    );
}

#[tokio::test]
async fn a_deletion_that_no_majority_has_heard_of_waits_until_a_node_returns() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    deletion_that_waits(&mut cluster, &client).await;
    cluster.restart_node(1).await;
    eventually("the table is gone", async || {
        client.list("", 0).await.unwrap().tables.is_empty()
    })
    .await;
    assert_eq!(tombstones(&cluster).await, [cluster.nodes[0].id]);
}

#[tokio::test]
async fn a_deletion_that_no_majority_has_heard_of_ends_when_the_others_are_forgotten() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    deletion_that_waits(&mut cluster, &client).await;
    let store = cluster.store.session();
    registry::forget_node(&*store, cluster.nodes[0].id)
        .await
        .unwrap();
    eventually("the table is gone", async || {
        client.list("", 0).await.unwrap().tables.is_empty()
    })
    .await;
    assert_eq!(tombstones(&cluster).await, [cluster.nodes[1].id]);
}

/// Nobody was served, so nobody has to clean up.
#[tokio::test]
async fn a_creation_whose_nodes_died_is_undone_without_them() {
    let mut cluster = Cluster::start(3).await;
    cluster.world.set_leaderless(true);
    let mut options = cluster.options();
    options.timing.creating_timeout = SECOND / 2;
    let client = Client::start(options).await;
    for node in [0, 1] {
        cluster.nodes[node].kill();
    }
    let creation = client.create("people", 2);
    let killed = async {
        for node in [0, 1] {
            tokio::time::sleep(SECOND / 8).await;
            cluster.kill_node(node).await;
        }
    };
    let (created, ()) = tokio::join!(creation, killed);
    assert_eq!(reason(created), Reason::TooFewNodes);
    eventually("the table is gone", async || {
        client.list("", 0).await.unwrap().tables.is_empty()
    })
    .await;
    let store = cluster.store.session();
    for (table, nodes) in registry::read_tombstones(&*store).await.unwrap() {
        assert_eq!(nodes.len(), 2);
        for node in nodes {
            let undone = registry::is_undone(&*store, table, node).await;
            assert!(undone.unwrap(), "what was written to it would be kept");
        }
    }
}
