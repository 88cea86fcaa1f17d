//! ZooKeeper's leader dies while a table is on its way: the answer to what was just asked is lost, and it may have
//! happened, or happen later.

use std::time::Duration;

use model::{TableName, TableState};
use tokio::time::Instant;

use crate::support::{
    Cluster, ClusterOptions, Scale, Tables, assert_nothing_left, assert_settled,
    create_until_there, delete_until_gone, eventually,
};

const WITHIN: Duration = Duration::from_secs(40);

/// When ZooKeeper's leader is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long after the request.
    Asked(Duration),
    /// So long after the table is in this state.
    Is(TableState, Duration),
}

impl Moment {
    async fn wait(self, cluster: &Cluster, name: &str) {
        let after = match self {
            Self::Asked(after) => after,
            Self::Is(state, after) => {
                table_is(cluster, name, state).await;
                after
            }
        };
        tokio::time::sleep(after).await;
    }
}

/// Watches as closely as it can. What was missed is not waited for.
async fn table_is(cluster: &Cluster, name: &str, state: TableState) {
    let session = cluster.session().await;
    let name: TableName = name.parse().unwrap();
    let missed = Instant::now() + Duration::from_secs(2);
    while Instant::now() < missed {
        let found = coordination::registry::find_table(&*session, &name).await;
        if found
            .unwrap()
            .is_some_and(|table| table.value.state == state)
        {
            break;
        }
    }
    session.close().await;
}

/// Up to this long.
fn some(millis: u64) -> Duration {
    Duration::from_millis(rand::random_range(0..=millis))
}

/// Does something about a table while ZooKeeper's leader dies.
async fn leader_dies(
    cluster: &mut Cluster,
    name: &str,
    moment: Moment,
    what: impl Future<Output = ()> + Send + 'static,
) {
    eprintln!("{name}: ZooKeeper's leader is killed at {moment:?}");
    let leader = cluster.zookeeper.ensemble().leader().await;
    let asked = tokio::spawn(what);
    moment.wait(cluster, name).await;
    cluster.zookeeper.ensemble().kill(leader);
    asked.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_come_and_go_whole_while_zookeepers_leader_dies() {
    let rounds = Scale::from_environment().count(1, 15);
    let mut cluster = ClusterOptions::new(3, 2).ensemble().start().await;
    let routers: [Tables; 2] = [cluster.tables(0), cluster.tables(1)];
    let none = Duration::ZERO;
    for round in 0..rounds {
        let creating = [
            Moment::Asked(some(20)),
            Moment::Is(TableState::Creating, none),
            // The set to `available` is on its way.
            Moment::Is(TableState::Creating, some(1000)),
        ];
        let deleting = [
            Moment::Asked(some(10)),
            Moment::Is(TableState::Deleting, none),
            Moment::Is(TableState::Deleting, some(40)),
        ];
        for (n, (created, deleted)) in creating.into_iter().zip(deleting).enumerate() {
            let name = format!("people{round}-{n}");
            let (routers_of, name_of) = (routers.clone(), name.clone());
            let create = async move { create_until_there(&routers_of, &name_of, 4, WITHIN).await };
            leader_dies(&mut cluster, &name, created, create).await;
            cluster.zookeeper.start_again().await;
            for router in 0..2 {
                let kv = cluster.kv(router);
                kv.put(&name, "key", "value").await.unwrap();
                let read = kv.get(&name, "key").await.unwrap();
                assert_eq!(read.as_deref(), Some("value"));
            }
            assert_settled(&cluster, &[&name]).await;

            let (routers_of, name_of) = (routers.clone(), name.clone());
            let delete = async move { delete_until_gone(&routers_of, &name_of, WITHIN).await };
            leader_dies(&mut cluster, &name, deleted, delete).await;
            for router in 0..2 {
                let read = cluster.kv(router).get(&name, "key").await;
                assert!(read.is_err(), "router {router}: {read:?}");
            }
            cluster.zookeeper.start_again().await;
            for router in 0..2 {
                // At once, unless both the router and a node are still cut off from ZooKeeper.
                let kv = cluster.kv(router);
                eventually("eventual reads are refused", WITHIN, || async {
                    match kv.get_eventual(&name, "key").await {
                        Ok(read) => Err(format!("router {router}: {read:?}")),
                        Err(_) => Ok(()),
                    }
                })
                .await;
            }
            assert_settled(&cluster, &[]).await;
        }
    }
    assert_nothing_left(&mut cluster, &[]).await;
}
