//! Deletions end whoever dies on the way, ZooKeeper's leader at the same moment.

use std::time::Duration;

use model::{TableName, TableState};

use crate::support::{
    Cluster, ClusterOptions, Scale, assert_nothing_left, assert_settled, controller,
    create_until_there, delete_until_gone, eventually,
};

const WITHIN: Duration = Duration::from_secs(60);
const KEYS: usize = 20;

/// A table with data, made anew.
async fn fill(cluster: &Cluster, router: usize, value: &str) {
    create_until_there(&[cluster.tables(router)], "people", 6, WITHIN).await;
    let kv = cluster.kv(router);
    for n in 0..KEYS {
        let put = eventually("a put", Duration::from_secs(10), || {
            kv.put("people", format!("key{n}"), value)
        });
        put.await;
    }
}

/// Waits until a deletion has passed its point of no return, or is done already.
async fn no_return(cluster: &Cluster) {
    let session = cluster.session().await;
    let name: TableName = "people".parse().unwrap();
    eventually("the table is being deleted", WITHIN, || async {
        let table = coordination::registry::find_table(&*session, &name).await;
        match table.map_err(|error| error.to_string())? {
            Some(table) if table.value.state != TableState::Deleting => {
                Err(table.value.state.to_string())
            }
            _ => Ok(()),
        }
    })
    .await;
    session.close().await;
}

/// Who dies while a table is deleted.
#[derive(Debug, Clone, Copy)]
enum Victim {
    DataNode,
    Controller,
    RouterThatTookTheCall,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_ends_whoever_dies_on_the_way() {
    let mut cluster = ClusterOptions::new(4, 3).ensemble().start().await;
    let rounds = Scale::from_environment().count(1, 15);
    let victims = [
        Victim::DataNode,
        Victim::Controller,
        Victim::RouterThatTookTheCall,
    ];
    for victim in (0..rounds).flat_map(|_| victims) {
        eprintln!("{victim:?} dies");
        let controller = controller(&cluster).await;
        let [router, witness] = [(controller + 1) % 3, (controller + 2) % 3];
        fill(&cluster, router, "old").await;
        let tables = cluster.tables(router);
        if let Victim::DataNode = victim {
            cluster.nodes[0].kill();
        }
        let leader = cluster.zookeeper.ensemble().leader().await;
        let deletion = tokio::spawn(async move { tables.delete("people").await });
        no_return(&cluster).await;
        cluster.zookeeper.ensemble().kill(leader);
        match victim {
            Victim::DataNode => {}
            Victim::Controller => cluster.routers[controller].kill(),
            Victim::RouterThatTookTheCall => cluster.routers[router].kill(),
        }
        let answer = deletion.await.unwrap();
        eprintln!("the deletion was answered with {answer:?}");
        let listed = cluster.tables(witness);
        if answer.is_ok() {
            // The first one that is answered, while ZooKeeper elects its leader.
            let list = eventually("a list of tables", WITHIN, || listed.list());
            assert_eq!(list.await, [""; 0], "{victim:?}");
        }
        // Nobody asks again: what was begun is ended by those who live.
        cluster.zookeeper.start_again().await;
        eventually("the table is gone", WITHIN, || async {
            match listed.list().await {
                Ok(names) if names.is_empty() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        if let Victim::DataNode = victim {
            // Made again while the node that still has the old replicas is away.
            let session = cluster.session().await;
            eventually("the node counts as away", WITHIN, || async {
                let live = coordination::registry::read_live_nodes(&*session).await;
                let live = live.map_err(|error| error.to_string())?.entries.len();
                (live == 3).then_some(()).ok_or(format!("{live} nodes"))
            })
            .await;
            session.close().await;
        }
        fill(&cluster, witness, "new").await;
        cluster.start_all().await;
        for router in 0..3 {
            let kv = cluster.kv(router);
            for n in 0..KEYS {
                let key = format!("key{n}");
                let read = kv.get("people", key.as_str()).await.unwrap();
                assert_eq!(read.as_deref(), Some("new"), "router {router}");
                // At once, unless both the router and a node are still cut off from ZooKeeper.
                eventually("an eventual read shows nothing old", WITHIN, || async {
                    match kv.get_eventual("people", key.as_str()).await {
                        Ok(Some(value)) if value == "old" => Err(value),
                        _ => Ok(()),
                    }
                })
                .await;
            }
        }
        assert_settled(&cluster, &["people"]).await;
        delete_until_gone(&[cluster.tables(witness)], "people", WITHIN).await;
    }
    assert_nothing_left(&mut cluster, &[]).await;
}
