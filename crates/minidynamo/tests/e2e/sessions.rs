//! Sessions that expire in their owner's sleep, and changes that were missed in an outage too short for that.

use std::time::Duration;

use api::Reason;
use coordination::testing::Proxy;

use crate::support::{
    Cluster, ClusterOptions, Kv, Scale, assert_nothing_left, assert_settled, controller,
    create_until_there, delete_until_gone, eventually,
};

const WITHIN: Duration = Duration::from_secs(40);
const KEYS: usize = 20;

async fn cluster(nodes: usize, routers: usize) -> Cluster {
    let options = ClusterOptions::new(nodes, routers).ensemble();
    options.session_timeout("2s").start().await
}

async fn fill(kv: &Kv, table: &str, value: &str) {
    for n in 0..KEYS {
        let put = eventually("a put", Duration::from_secs(10), || {
            kv.put(table, format!("key{n}"), value)
        });
        put.await;
    }
}

/// What the first of the keys hold by consistent reads; refusals are no values. An eventual read may show what is old, but
/// not for long: that takes a router and a data node that are both cut off from ZooKeeper.
async fn values(kv: &Kv, table: &str, keys: usize) -> Vec<String> {
    let mut values = Vec::new();
    for n in 0..keys {
        let key = format!("key{n}");
        values.extend(kv.get(table, key.as_str()).await.ok().flatten());
        eventually("an eventual read shows nothing old", WITHIN, || async {
            match kv.get_eventual(table, key.as_str()).await {
                Ok(Some(value)) if value == "old" => Err(value),
                _ => Ok(()),
            }
        })
        .await;
    }
    values
}

/// Every key holds this by a consistent read, and nothing else by an eventual one.
async fn holds(kv: &Kv, table: &str, value: &str) {
    for n in 0..KEYS {
        let key = format!("key{n}");
        let read = kv.get(table, key.as_str()).await.unwrap();
        assert_eq!(read.as_deref(), Some(value), "{table}/{key}");
        let read = kv.get_eventual(table, key.as_str()).await.unwrap();
        assert!(read.is_none_or(|read| read == value), "{table}/{key}");
    }
}

/// Waits until so many data nodes and routers are registered, as a router sees it.
async fn registered(cluster: &Cluster, router: usize, nodes: usize, routers: usize) {
    let what = format!("{nodes} data nodes and {routers} routers are registered");
    let tables = cluster.tables(router);
    eventually(&what, Duration::from_secs(30), || async {
        let status = tables.status().await.map_err(|error| error.to_string())?;
        let live = status.nodes.iter().filter(|node| node.live).count();
        let found = (live, status.routers.len());
        (found == (nodes, routers))
            .then_some(())
            .ok_or(format!("{found:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_node_whose_session_expired_in_its_sleep_converges_when_it_wakes() {
    let mut cluster = cluster(4, 2).await;
    let routers = [cluster.tables(0), cluster.tables(1)];
    for table in ["people", "places"] {
        cluster.tables(0).create(table, 4, 3).await.unwrap();
        fill(&cluster.kv(0), table, "old").await;
    }
    cluster.nodes[0].pause();
    cluster.zookeeper.kill_leader().await;
    registered(&cluster, 1, 3, 2).await;
    delete_until_gone(&routers, "people", WITHIN).await;
    create_until_there(&routers, "people", 4, WITHIN).await;
    fill(&cluster.kv(1), "places", "new").await;
    cluster.nodes[0].resume();
    for router in 0..2 {
        let read = values(&cluster.kv(router), "people", KEYS).await;
        assert_eq!(read, [""; 0], "router {router}");
    }
    cluster.zookeeper.start_again().await;
    registered(&cluster, 0, 4, 2).await;
    cluster.assert_verified("places").await;
    assert_nothing_left(&mut cluster, &["people", "places"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_whose_session_expired_in_its_sleep_shows_nothing_old_when_it_wakes() {
    let mut cluster = cluster(3, 2).await;
    let other = [cluster.tables(1)];
    for table in ["people", "places"] {
        cluster.tables(0).create(table, 4, 3).await.unwrap();
        fill(&cluster.kv(0), table, "old").await;
    }
    cluster.routers[0].pause();
    cluster.zookeeper.kill_leader().await;
    registered(&cluster, 1, 3, 1).await;
    for table in ["people", "places"] {
        delete_until_gone(&other, table, WITHIN).await;
    }
    create_until_there(&other, "people", 4, WITHIN).await;
    fill(&cluster.kv(1), "people", "new").await;
    // What it finds first when it wakes was asked while it slept.
    let kv = cluster.kv(0);
    let asked = tokio::spawn(async move {
        let people = values(&kv, "people", KEYS).await;
        (people, values(&kv, "places", 1).await)
    });
    cluster.routers[0].resume();
    let (people, places) = asked.await.unwrap();
    assert!(people.iter().all(|value| value == "new"), "{people:?}");
    assert_eq!(places, [""; 0]);
    cluster.zookeeper.start_again().await;
    registered(&cluster, 0, 3, 2).await;
    holds(&cluster.kv(0), "people", "new").await;
    let places = cluster.kv(0).get("places", "key0").await.unwrap_err();
    assert_eq!(places.reason(), Some(Reason::TableNotFound));
    assert_nothing_left(&mut cluster, &["people"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_wakes_after_its_session_does_no_harm() {
    let mut cluster = cluster(3, 2).await;
    for round in 0..Scale::from_environment().count(2, 20) {
        // What it was about to write when it fell asleep: a creation, or a deletion, that is on its way.
        let sleeper = controller(&cluster).await;
        let other = 1 - sleeper;
        let tables = [cluster.tables(other)];
        let routers = tables.clone();
        let asked = if round % 2 == 0 {
            tokio::spawn(async move { create_until_there(&routers, "people", 4, WITHIN).await })
        } else {
            create_until_there(&tables, "people", 4, WITHIN).await;
            tokio::spawn(async move { delete_until_gone(&routers, "people", WITHIN).await })
        };
        let moment =
            Duration::from_millis(rand::random_range(0..500) / (1 + 9 * (round as u64 % 2)));
        eprintln!("round {round}: the controller falls asleep after {moment:?}");
        tokio::time::sleep(moment).await;
        cluster.routers[sleeper].pause();
        cluster.zookeeper.kill_leader().await;
        asked.await.unwrap();
        if round % 2 == 0 {
            delete_until_gone(&tables, "people", WITHIN).await;
        }
        create_until_there(&tables, "people", 4, WITHIN).await;
        fill(&cluster.kv(other), "people", "new").await;
        cluster.routers[sleeper].resume();
        cluster.zookeeper.start_again().await;
        registered(&cluster, sleeper, 3, 2).await;
        for router in [sleeper, other] {
            holds(&cluster.kv(router), "people", "new").await;
        }
        assert_settled(&cluster, &["people"]).await;
        delete_until_gone(&tables, "people", WITHIN).await;
    }
    assert_nothing_left(&mut cluster, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_in_an_outage_shorter_than_a_session_is_caught_up_with() {
    let options = ClusterOptions::new(3, 1).ensemble();
    let mut cluster = options.session_timeout("15s").prepare().await;
    let leader = cluster.zookeeper.ensemble().leader().await;
    // A data node and a router with a way of their own to a server that lives on.
    let server = cluster.zookeeper.ensemble().host((leader + 1) % 3);
    let port = server.rsplit(':').next().unwrap().parse().unwrap();
    let proxy = Proxy::to(port).await;
    let behind = format!("{}/{}", proxy.hosts(), cluster.chroot);
    cluster.add_node_at(&behind, &[]);
    let router = cluster.add_router_at(&behind, &[]);
    cluster.start_all().await;
    let tables = [cluster.tables(0)];
    for table in ["people", "places"] {
        create_until_there(&tables, table, 8, WITHIN).await;
        fill(&cluster.kv(router), table, "old").await;
    }

    proxy.cut_off();
    cluster.zookeeper.ensemble().kill(leader);
    tokio::join!(
        delete_until_gone(&tables, "people", WITHIN),
        delete_until_gone(&tables, "places", WITHIN),
    );
    tokio::join!(
        create_until_there(&tables, "people", 8, WITHIN),
        create_until_there(&tables, "pets", 8, WITHIN),
    );
    for table in ["people", "pets"] {
        fill(&cluster.kv(0), table, "new").await;
    }
    // Nobody answers for the old table any more but the node that is cut off as well, and that only to eventual reads.
    // A refusal takes its time, because the router would like to ask ZooKeeper.
    let hasty = cluster.kv(router).within(Duration::from_millis(500));
    for n in 0..4 {
        let read = hasty.get("people", format!("key{n}")).await;
        assert!(read.is_err(), "{read:?}");
    }
    proxy.restore();
    // The longer they could not connect, the less often they try.
    eventually("the router has caught up", WITHIN, || {
        hasty.get("pets", "key0")
    })
    .await;
    assert_settled(&cluster, &["people", "pets"]).await;
    for table in ["people", "pets"] {
        holds(&cluster.kv(router), table, "new").await;
    }
    let places = cluster.kv(router).get_eventual("places", "key0").await;
    let reason = places.unwrap_err().reason();
    assert_eq!(reason, Some(Reason::TableNotFound));
    cluster.zookeeper.start_again().await;
    assert_nothing_left(&mut cluster, &["people", "pets"]).await;
}
