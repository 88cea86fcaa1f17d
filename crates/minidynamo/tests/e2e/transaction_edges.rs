//! Transactions that can't end well, on real processes: clocks that are wrong, tables that go, deadlines that are too short,
//! and whoever else but their coordinator dies. All of them end, clearly, and nothing stays locked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::{Error, Reason, v1};
use client::TransactItem;
use rand::RngExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Request;

use crate::support::{Cluster, ClusterOptions, Direct, Kv, Scale, eventually};
use crate::transactions::{IN_DOUBT, assert_all_finished, client_of, ledger};

/// Two keys of different shards, with this value.
fn items(table: &str, value: &str) -> Vec<v1::TransactPutItem> {
    let item = |key: &str| v1::TransactPutItem {
        table: table.to_owned(),
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        condition: None,
    };
    // `people` has so many shards that of eight keys not all are in one.
    (0..8).map(|key| item(&format!("key-{key}"))).collect()
}

async fn put(kv: &Kv, items: Vec<v1::TransactPutItem>, within: Duration) -> Result<(), Error> {
    let mut request = Request::new(v1::TransactPutRequest {
        items,
        client_request_token: String::new(),
    });
    request.set_timeout(within);
    let answer = kv.raw().transact_put(request).await;
    answer
        .map(drop)
        .map_err(|status| Error::try_from(&status).unwrap())
}

async fn cluster(routers: usize) -> Cluster {
    let options = ClusterOptions::new(3, routers).session_timeout("3s");
    let cluster = options.start().await;
    cluster.tables(0).create("people", 16, 3).await.unwrap();
    cluster
}

const PATIENT: Duration = Duration::from_secs(10);

/// Where Debian has the library that lies about the time.
fn liar() -> String {
    let libraries = std::fs::read_dir("/usr/lib").unwrap();
    let library = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path().join("faketime/libfaketimeMT.so.1");
        path.exists().then(|| path.to_str().unwrap().to_owned())
    };
    let mut found = libraries.filter_map(library);
    found.next().expect("libfaketime is installed")
}

/// Adds a router whose wall clock is off by so much, and starts it.
async fn router_off_by(cluster: &mut Cluster, offset: &str) -> Kv {
    let index = cluster.add_router(&[]);
    let router = cluster.routers.pop().unwrap();
    let router = router
        .with_variable("LD_PRELOAD", &liar())
        .with_variable("FAKETIME", offset)
        .with_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .with_variable("DONT_FAKE_MONOTONIC", "1");
    cluster.routers.push(router);
    cluster.routers[index].start().await;
    cluster.kv(index)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_whose_clock_is_an_hour_off_says_so_and_harms_nobody() {
    let mut cluster = cluster(1).await;
    let right = cluster.kv(0);
    put(&right, items("people", "old"), PATIENT).await.unwrap();
    for (offset, reason) in [
        ("+1h", Reason::InvalidRequest),
        ("-1h", Reason::TransactionCancelled),
    ] {
        let wrong = router_off_by(&mut cluster, offset).await;
        let error = put(&wrong, items("people", "new"), PATIENT).await;
        let error = error.unwrap_err();
        assert_eq!(error.reason, reason, "{offset}: {error}");
        assert!(
            error.message.contains("set the clocks"),
            "{offset}: {error}"
        );
        let in_one_shard = items("people", "new").split_off(7);
        let error = put(&wrong, in_one_shard, PATIENT).await.unwrap_err();
        assert_eq!(error.reason, Reason::InvalidRequest, "{offset}: {error}");
        assert!(
            error.message.contains("set the clocks"),
            "{offset}: {error}"
        );
        // What carries its caller's time goes on through it.
        let addresses = cluster.router_addresses();
        let client = client_of(&addresses[addresses.len() - 1..], 0);
        client.put("people", "plain", offset).await.unwrap();
        for key in 0..8 {
            let found = wrong.get("people", format!("key-{key}")).await.unwrap();
            assert_eq!(found.unwrap(), "old", "{offset}");
        }
        assert_all_finished(&cluster, IN_DOUBT).await;
        put(&right, items("people", "old"), PATIENT).await.unwrap();
    }
    cluster.assert_verified("people").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_is_too_short_is_refused_before_anything_is_begun() {
    let cluster = cluster(1).await;
    let kv = cluster.kv(0);
    let error = put(&kv, items("people", "x"), Duration::from_millis(60)).await;
    let error = error.unwrap_err();
    assert_eq!(error.reason, Reason::InvalidRequest, "{error}");
    assert_eq!(error.metadata["field"], "deadline");
    assert!(error.message.contains("100 ms"), "{error}");
    assert_eq!(kv.get("people", "key-0").await.unwrap(), None);
    assert!(ledger(&cluster.session().await).await.is_empty());
}

/// The table of some participants is deleted while the transaction is prepared and its coordinator stands still.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_deleted_between_prepare_and_decision_holds_nobody_up() {
    let cluster = cluster(2).await;
    let survivor = client_of(&cluster.router_addresses()[1..], 0);
    for round in 0..Scale::from_environment().count(2, 10) {
        cluster.tables(1).create("doomed", 4, 3).await.unwrap();
        let kv = cluster.kv(0);
        put(&kv, items("people", "old"), PATIENT).await.unwrap();
        let call = loop {
            let (kv, all) = (kv.clone(), [items("people", "new"), items("doomed", "new")]);
            let call = tokio::spawn(async move { put(&kv, all.concat(), PATIENT).await });
            let moment = rand::rng().random_range(0..20_000);
            sleep(Duration::from_micros(moment)).await;
            cluster.routers[0].pause();
            if prepared(&cluster).await > 0 {
                break call;
            }
            cluster.routers[0].resume();
            // It was too early or too late.
            call.await.unwrap().unwrap();
            put(&cluster.kv(1), items("people", "old"), PATIENT)
                .await
                .unwrap();
        };
        cluster.tables(1).delete("doomed").await.unwrap();
        assert_all_finished(&cluster, IN_DOUBT).await;
        // One way or the other, and the same way everywhere.
        let keys = (0..8).map(|key| ("people", format!("key-{key}")));
        let found = survivor
            .transact_get(keys.collect::<Vec<_>>())
            .await
            .unwrap();
        let values: Vec<_> = found.iter().map(|i| &i.as_ref().unwrap().value).collect();
        assert!(values.windows(2).all(|two| two[0] == two[1]), "{values:?}");
        cluster.routers[0].resume();
        let told = call.await.unwrap();
        println!("round {round}: {:?}, told {told:?}", values[0]);
        if let Err(error) = &told {
            let certain = error.reason.certainly_not_applied();
            assert!(!certain || &values[0][..] == b"old", "{error}");
        } else {
            assert_eq!(&values[0][..], b"new");
        }
        // What it had still in hand when it was stopped may have reached shards that had never heard of the transaction.
        eventually("its items are free", IN_DOUBT, || {
            let kv = cluster.kv(1);
            async move { put(&kv, items("people", "free"), PATIENT).await }
        })
        .await;
    }
    cluster.assert_verified("people").await;
}

/// Transactions that are prepared on some node.
async fn prepared(cluster: &Cluster) -> usize {
    let mut prepared = 0;
    for node in &cluster.nodes {
        prepared += Direct::new(node.address()).undecided().await;
    }
    prepared
}

/// Who dies in the middle of transactions, beside their coordinator.
#[derive(Debug, Clone, Copy)]
enum Victim {
    /// And does not come back until all is finished.
    DataNode,
    ZooKeepersLeader,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_in_doubt_whoever_dies() {
    let options = ClusterOptions::new(3, 2).ensemble();
    let mut cluster = options.session_timeout("3s").start().await;
    cluster.tables(0).create("people", 16, 3).await.unwrap();
    for victim in [Victim::DataNode, Victim::ZooKeepersLeader] {
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let client = client_of(&cluster.router_addresses(), writer);
            let stop = stop.clone();
            writers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let keys = (0..4).map(|key| format!("{writer}-{key}"));
                    let items = keys.map(|key| TransactItem::new("people", key, "value"));
                    let _ = client.transact_put(items.collect::<Vec<_>>(), None).await;
                }
            });
        }
        let store = cluster.session().await;
        eventually("transactions are under way", PATIENT, || async {
            let found = ledger(&store).await;
            (!found.is_empty()).then_some(()).ok_or("none")
        })
        .await;
        match victim {
            Victim::DataNode => cluster.nodes[0].kill(),
            Victim::ZooKeepersLeader => cluster.zookeeper.kill_leader().await,
        }
        let died = Instant::now();
        stop.store(true, Ordering::Relaxed);
        assert_all_finished(&cluster, IN_DOUBT).await;
        println!(
            "{victim:?}: all finished {:?} after the death",
            died.elapsed()
        );
        while let Some(ended) = writers.join_next().await {
            ended.unwrap();
        }
        match victim {
            Victim::DataNode => cluster.nodes[0].start().await,
            Victim::ZooKeepersLeader => cluster.zookeeper.start_again().await,
        }
    }
    cluster.assert_verified("people").await;
}
