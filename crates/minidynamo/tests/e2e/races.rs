//! Many want the same name at once, while ZooKeeper's leader dies.

use std::time::Duration;

use api::Reason;
use tokio::task::JoinSet;

use crate::support::{
    Cluster, ClusterOptions, Failure, Scale, assert_nothing_left, assert_settled, eventually,
};

/// Everything that one of several creators or deleters of one name may be told when ZooKeeper's leader dies.
#[track_caller]
fn is_no_surprise(failure: &Failure) {
    let known = [
        Reason::TableAlreadyExists,
        Reason::TableNotFound,
        Reason::TableNotReady,
        Reason::CoordinationUnavailable,
        Reason::OutcomeUnknown,
        // Somebody deleted what was being created.
        Reason::TooFewNodes,
    ];
    let reason = failure.reason();
    assert!(
        reason.is_some_and(|reason| known.contains(&reason)),
        "{failure}"
    );
}

/// Up to this long.
fn some(millis: u64) -> Duration {
    Duration::from_millis(rand::random_range(0..=millis))
}

/// The tables that there are when all is said.
async fn names(cluster: &Cluster) -> Vec<String> {
    let tables = cluster.tables(0);
    eventually("a list of tables", Duration::from_secs(20), || {
        tables.list()
    })
    .await
}

async fn delete_if_there(cluster: &Cluster, name: &str) {
    let tables = cluster.tables(1);
    eventually("the table is gone", Duration::from_secs(40), || async {
        match tables.delete(name).await {
            Err(failure) if failure.reason() != Some(Reason::TableNotFound) => Err(failure),
            _ => Ok(()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_32_creates_of_one_name_at_once_exactly_one_wins() {
    let mut cluster = ClusterOptions::new(3, 3).ensemble().start().await;
    for round in 0..Scale::from_environment().count(4, 40) {
        let leader_dies = round % 2 == 1;
        let name = format!("people{round}");
        let leader = cluster.zookeeper.ensemble().leader().await;
        let mut creators = JoinSet::new();
        for creator in 0..32 {
            let (tables, name) = (cluster.tables(creator % 3), name.clone());
            creators.spawn(async move { tables.create(&name, 2, 3).await });
        }
        if leader_dies {
            tokio::time::sleep(some(60)).await;
            cluster.zookeeper.ensemble().kill(leader);
        }
        let (mut made, mut uncertain) = (0, 0);
        for answer in creators.join_all().await {
            let reason = match answer {
                Ok(_) => {
                    made += 1;
                    continue;
                }
                Err(failure) => {
                    is_no_surprise(&failure);
                    failure.reason().unwrap()
                }
            };
            if reason != Reason::TableAlreadyExists {
                assert!(leader_dies, "round {round}: {reason}");
                uncertain += usize::from(reason != Reason::CoordinationUnavailable);
            }
        }
        eprintln!("round {round}: {made} made it, {uncertain} don't know");
        cluster.zookeeper.start_again().await;
        assert!(made <= 1, "round {round}: {made} made it");
        let there = names(&cluster).await;
        if made == 1 || !there.is_empty() {
            assert!(made + uncertain > 0, "round {round}: nobody made {there:?}");
            assert_settled(&cluster, &[&name]).await;
            for router in 0..3 {
                cluster.kv(router).put(&name, "key", "value").await.unwrap();
            }
        }
        assert!(made == 1 || leader_dies, "round {round}: nobody made it");
        delete_if_there(&cluster, &name).await;
        assert_settled(&cluster, &[]).await;
    }
    assert_nothing_left(&mut cluster, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_and_deletes_of_one_name_race_and_leave_it_or_nothing() {
    let mut cluster = ClusterOptions::new(3, 3).ensemble().start().await;
    for round in 0..Scale::from_environment().count(4, 40) {
        let leader_dies = round % 2 == 1;
        let leader = cluster.zookeeper.ensemble().leader().await;
        let mut racers = JoinSet::new();
        for racer in 0..12 {
            let tables = cluster.tables(racer % 3);
            let after = some(1500);
            racers.spawn(async move {
                tokio::time::sleep(after).await;
                match racer % 2 {
                    0 => tables.create("people", 2, 3).await.map(drop),
                    _ => tables.delete("people").await,
                }
            });
        }
        if leader_dies {
            tokio::time::sleep(some(1500)).await;
            cluster.zookeeper.ensemble().kill(leader);
        }
        let mut done = 0;
        for answer in racers.join_all().await {
            match answer {
                Ok(()) => done += 1,
                Err(failure) => is_no_surprise(&failure),
            }
        }
        assert!(done > 0, "round {round}: nobody could do anything");
        cluster.zookeeper.start_again().await;
        // What nobody waits for any more is ended all the same.
        let left = eventually("the name rests", Duration::from_secs(70), || async {
            let before = names(&cluster).await;
            let described = match before.first() {
                Some(name) => cluster.tables(0).describe(name, false).await.map(Some),
                None => Ok(None),
            };
            let state = described
                .map_err(|failure| failure.to_string())?
                .map(|table| table.summary.unwrap_or_default().state());
            match state {
                None | Some(api::v1::TableState::Available) => Ok(before),
                Some(state) => Err(format!("{state:?}")),
            }
        })
        .await;
        let left: Vec<&str> = left.iter().map(String::as_str).collect();
        assert_settled(&cluster, &left).await;
        for name in left {
            cluster
                .kv(round % 3)
                .put(name, "key", "value")
                .await
                .unwrap();
        }
        delete_if_there(&cluster, "people").await;
        assert_settled(&cluster, &[]).await;
    }
    assert_nothing_left(&mut cluster, &[]).await;
}
