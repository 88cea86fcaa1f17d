//! Clients whose operations share streams, while routers go and come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use client::{Client, Consistency, Options};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{ClusterOptions, Scale};

/// On one connection.
const WORKERS: usize = 32;

/// Writes a key of its own, reads it, and writes two others in one transaction without a token, again and again. No error is taken:
/// everything has to be answered by some router, and as what it is.
async fn work(client: Client, number: usize, rounds: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let [key, one, other] = ["", "-one", "-other"].map(|part| format!("key-{number}{part}"));
    let mut round = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let value = round.to_string();
        client
            .put("people", key.clone(), value.clone())
            .await
            .unwrap();
        let read = client.get("people", key.clone(), Consistency::Strong).await;
        assert_eq!(read.unwrap().unwrap().value, value, "{key}");
        let items = [
            ("people", one.clone(), value.clone()),
            ("people", other.clone(), value),
        ];
        client.transact_put(items, None).await.unwrap();
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    let pair = client
        .transact_get([("people", one), ("people", other)])
        .await;
    let last = round.to_string();
    for item in pair.unwrap() {
        assert_eq!(item.unwrap().value, last, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routers_that_are_stopped_leave_no_operation_of_a_stream_open() {
    let restarts = Scale::from_environment().count(4, 40);
    let mut cluster = ClusterOptions::new(3, 2).start().await;
    cluster.tables(0).create("people", 4, 3).await.unwrap();
    let options = Options {
        data_timeout: Duration::from_secs(20),
        ..Options::default()
    };
    let client = Client::with_options(cluster.router_addresses(), &options).unwrap();
    let (rounds, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let mut workers = JoinSet::new();
    for number in 0..WORKERS {
        workers.spawn(work(client.clone(), number, rounds.clone(), stop.clone()));
    }
    let goes_on = async || {
        let (before, begin) = (rounds.load(Ordering::Relaxed), Instant::now());
        while rounds.load(Ordering::Relaxed) < before + 4 * WORKERS as u64 {
            assert!(begin.elapsed() < Duration::from_secs(30), "nobody gets on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    for restart in 0..restarts {
        goes_on().await;
        // The one that the client uses, and then the other.
        let router = &mut cluster.routers[restart % 2];
        let begin = Instant::now();
        router.terminate().await;
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{:?}",
            begin.elapsed()
        );
        goes_on().await;
        router.start().await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    cluster.assert_verified("people").await;
}
