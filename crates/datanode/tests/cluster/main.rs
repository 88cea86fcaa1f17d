//! Three data nodes in one process, on real disks and real gRPC, without a router.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod failures;
mod store;
mod support;
mod transactions;

use std::time::Duration;

use api::internal::operation_result::Kind;
use coordination::records::LiveNodeRecord;
use support::{Cluster, get, put};

#[tokio::test(flavor = "multi_thread")]
async fn a_put_handed_to_each_replica_is_read_back_from_each() {
    let cluster = Cluster::start(3).await;
    let table = cluster.create_table("people", 2, 3).await;
    for (i, node) in cluster.nodes().into_iter().enumerate() {
        let key = format!("key-{i}");
        let written = cluster
            .operate(node, table.shard_of(&key), put(&key, "value"))
            .await;
        assert!(matches!(written, Kind::Applied(_)), "{written:?}");
        for reader in cluster.nodes() {
            let read = cluster
                .operate(reader, table.shard_of(&key), get(&key, true))
                .await;
            assert!(
                matches!(&read, Kind::Found(found) if found.value == "value"),
                "{read:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_put_gets_the_version_of_the_first_time() {
    let cluster = Cluster::start(3).await;
    let table = cluster.create_table("people", 1, 3).await;
    let node = cluster.nodes()[0];
    let operation = put("a", "first");
    let first = cluster
        .operate(node, table.shard_of("a"), operation.clone())
        .await;
    cluster
        .operate(node, table.shard_of("a"), put("a", "second"))
        .await;
    let again = cluster.operate(node, table.shard_of("a"), operation).await;
    assert_eq!(first, again);
    let read = cluster
        .operate(node, table.shard_of("a"), get("a", true))
        .await;
    assert!(
        matches!(&read, Kind::Found(found) if found.value == "second"),
        "{read:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_a_node_does_not_hold_is_refused() {
    let cluster = Cluster::start(3).await;
    let table = cluster.create_table("people", 1, 3).await;
    let mut shard = table.shard_of("a");
    shard.index += 1;
    for consistent in [false, true] {
        let refused = cluster
            .operate(cluster.nodes()[0], shard, get("a", consistent))
            .await;
        let reason = match refused {
            Kind::Failure(failure) => failure.reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason, "SHARD_NOT_HOSTED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_all_nodes_were_restarted() {
    let mut cluster = Cluster::start(3).await;
    let table = cluster.create_table("people", 4, 3).await;
    for i in 0..200 {
        let key = format!("key-{i}");
        let written = cluster
            .operate(cluster.nodes()[0], table.shard_of(&key), put(&key, &key))
            .await;
        assert!(matches!(written, Kind::Applied(_)), "{written:?}");
    }
    cluster.restart().await;
    cluster.wait_for_leaders(&table).await;
    for i in 0..200 {
        let key = format!("key-{i}");
        let read = cluster
            .operate(cluster.nodes()[1], table.shard_of(&key), get(&key, true))
            .await;
        assert!(
            matches!(&read, Kind::Found(found) if found.value == key),
            "{read:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_running_node_s_directory_is_refused_and_takes_nothing_from_the_original() {
    let cluster = Cluster::start(1).await;
    let copy = cluster.start_copy_of(0).await;
    assert_eq!(copy.node_id(), cluster.nodes()[0]);
    let reason = within(copy.failed()).await;
    assert!(
        reason.contains("is this a copy of its directory?"),
        "{reason}"
    );
    let (told, is) = cluster.addresses_of(0).await;
    assert_eq!(told, is, "the others still find the original");
    copy.shutdown().await;
    let (told, is) = cluster.addresses_of(0).await;
    assert_eq!(told, is);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_refused_although_the_original_has_no_session() {
    let cluster = Cluster::start_behind_switches(1).await;
    cluster.cut_off().await;
    cluster.wait_until_gone(&cluster.registration(0)).await;
    let copy = cluster.start_copy_of(0).await;
    let reason = within(copy.failed()).await;
    assert!(
        reason.contains("is this a copy of its directory?"),
        "{reason}"
    );
    copy.shutdown().await;
    cluster.let_in();
    cluster.wait_until_registered(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_could_not_see_the_original_ends_when_that_is_back() {
    let cluster = Cluster::start_behind_switches(1).await;
    cluster.cut_off().await;
    cluster.wait_until_gone(&cluster.registration(0)).await;
    // The original serves on, but nobody can learn from the store where.
    cluster.hide_address(0).await;
    let copy = cluster.start_copy_of(0).await;
    within(copy.ready()).await.unwrap();
    let (told, original) = cluster.addresses_of(0).await;
    assert_eq!(told, copy.address().to_string());
    assert_ne!(told, original);
    cluster.let_in();
    let reason = within(copy.failed()).await;
    assert!(reason.contains("the original goes on"), "{reason}");
    copy.shutdown().await;
    cluster.wait_until_registered(0).await;
    let (told, is) = cluster.addresses_of(0).await;
    assert_eq!(told, is);
    // It is void for good.
    let again = cluster.start_again_on_the_copy(0).await;
    assert!(within(again.ready()).await.is_err());
    again.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_of_one_node_the_one_whose_stream_is_open_is_heard() {
    let cluster = Cluster::start(1).await;
    let original = cluster.raft_stream(0, 10).await;
    let copy = cluster.raft_stream(0, 11).await;
    let refused = within(copy.ended).await.unwrap();
    assert!(refused.unwrap_err().message().contains("another process"));
    drop(original.frames);
    within(original.ended).await.unwrap().unwrap();
    // Nobody else is heard any more.
    let copy = cluster.raft_stream(0, 11).await;
    drop(copy.frames);
    within(copy.ended).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_moved_is_the_node_and_what_it_was_copied_from_is_not() {
    let mut cluster = Cluster::start(1).await;
    let node = cluster.nodes()[0];
    cluster.end(0).await;
    let moved = cluster.start_copy_of(0).await;
    within(moved.ready()).await.unwrap();
    assert_eq!(moved.node_id(), node);
    moved.shutdown().await;
    let old = datanode::start(cluster.options(0)).await.unwrap();
    let reason = within(old.ready()).await.unwrap_err();
    assert!(reason.contains("old copy"), "{reason}");
    old.shutdown().await;
    // The one that was last may go on, again and again.
    for _ in 0..2 {
        let moved = cluster.start_again_on_the_copy(0).await;
        within(moved.ready()).await.unwrap();
        moved.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_joined_a_cluster_makes_no_empty_store_another_one() {
    let mut cluster = Cluster::start(1).await;
    cluster.end(0).await;
    let empty = cluster.empty_store();
    let mut options = cluster.options(0);
    options.coordination = empty.clone();
    let node = datanode::start(options).await.unwrap();
    let mut health = node.health();
    let waits = health.wait_for(|health| health.reason.contains("restore it from a backup"));
    within(waits).await.unwrap();
    assert!(!node.health().borrow().ready);
    let left = empty.session().children("/").await.unwrap().unwrap();
    assert!(left.is_empty(), "{left:?}");
    node.shutdown().await;
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    let patience = std::time::Duration::from_secs(30);
    tokio::time::timeout(patience, work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_that_died_while_it_confirmed_has_left_is_cleared_away() {
    let cluster = Cluster::start(2).await;
    let (gone, other) = (cluster.nodes()[0], model::NodeId(1));
    // The first of the two steps of the confirmation was made.
    let swept = cluster.leave_tombstones(model::TableId(1), &[]).await;
    let owed = cluster.leave_tombstones(model::TableId(2), &[other]).await;
    let confirmed = cluster.leave_tombstones(model::TableId(3), &[gone]).await;
    cluster.wait_until_gone(&swept).await;
    cluster.wait_until_gone(&confirmed).await;
    assert!(
        cluster.is_there(&owed).await,
        "a node that is away will find its tombstone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_registration_was_taken_away_registers_again() {
    let cluster = Cluster::start(1).await;
    let owner = cluster.registrar_of(0).await.unwrap();
    cluster.take_registration(0, None).await;
    cluster.wait_until_registered_by(0, owner).await;
    // What an earlier session of this process has sent lands late, and would go with that session.
    let earlier = cluster.session().await;
    cluster.take_registration(0, Some(&*earlier)).await;
    cluster.wait_until_registered_by(0, owner).await;
    earlier.close().await;
    assert_eq!(cluster.registrar_of(0).await, Some(owner));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_for_its_registration_goes_on_with_everything_else() {
    let cluster = Cluster::start(1).await;
    let owner = cluster.registrar_of(0).await.unwrap();
    let intruder = cluster.session().await;
    let elsewhere = |live: &mut LiveNodeRecord| live.host = "elsewhere".to_owned();
    cluster
        .change_registration(0, Some(&*intruder), elsewhere)
        .await;
    // Tombstones are looked at; less time passes than another process of the same id is waited for.
    for table in 1..=3 {
        let swept = cluster.leave_tombstones(model::TableId(table), &[]).await;
        let gone = cluster.wait_until_gone(&swept);
        tokio::time::timeout(Duration::from_secs(5), gone)
            .await
            .unwrap();
    }
    assert_ne!(cluster.registrar_of(0).await, Some(owner));
    intruder.close().await;
    cluster.wait_until_registered_by(0, owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_killed_and_started_again_replaces_its_registration_at_once() {
    let mut cluster = Cluster::start(1).await;
    let killed = cluster.end_and_leave_registered(0).await;
    let starting = cluster.start_again(0);
    tokio::time::timeout(Duration::from_secs(5), starting)
        .await
        .unwrap();
    let owner = cluster.registrar_of(0).await;
    killed.close().await;
    assert!(owner.is_some());
    assert_eq!(cluster.registrar_of(0).await, owner, "it was its own");
}
