//! The three traps of the ZooKeeper client, each as a test that would fail if we had fallen into it.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coordination::testing::{Proxy, ZooKeeperServer, eventually};
use coordination::zookeeper::{ConnectOptions, ZooKeeper};
use coordination::{ANY_VERSION, Change, CreateMode, Error, SessionState, SharedCoordination};
use tokio::time::{Instant, timeout};

const DEADLINE: Duration = Duration::from_secs(20);
const PERSISTENT: CreateMode = CreateMode::Persistent;

/// A session with all the patience of the defaults.
async fn connect(hosts: String) -> SharedCoordination {
    let options = ConnectOptions::new(hosts);
    Arc::new(ZooKeeper::connect(options).await.unwrap())
}

/// A session whose requests are given up while the connection is still thought to be alive.
async fn connect_impatiently(hosts: String, session_timeout: Duration) -> SharedCoordination {
    let mut options = ConnectOptions::new(hosts);
    options.session_timeout = session_timeout;
    options.request_timeout = Duration::from_secs(1);
    Arc::new(ZooKeeper::connect(options).await.unwrap())
}

async fn until_state(session: &SharedCoordination, wanted: fn(SessionState) -> bool) {
    let mut state = session.session();
    let reached = state.wait_for(|state| wanted(*state));
    let reached = timeout(DEADLINE, reached).await;
    assert!(reached.is_ok_and(|state| state.is_ok()));
}

async fn until_data(session: &SharedCoordination, path: &str, data: &'static str) {
    eventually(path, DEADLINE, || async {
        let znode = session.get(path).await.unwrap();
        znode.is_some_and(|znode| znode.data == data)
    })
    .await;
}

/// Trap 1. The client restores all kinds of watches after a reconnect but the persistent ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordination_watch_is_not_lost_in_a_short_disconnect() {
    let server = ZooKeeperServer::start().await;
    let proxy = Proxy::to(server.port()).await;
    let reader = connect(proxy.hosts()).await;
    let writer = connect(server.hosts()).await;
    let session = *reader.session().borrow();
    let mut watch = reader.watch("/").await.unwrap();

    for round in 0..3 {
        let (during, after) = (format!("/during{round}"), format!("/after{round}"));
        proxy.cut_off();
        until_state(&reader, |state| state == SessionState::Disconnected).await;
        writer
            .create(&during, Bytes::new(), PERSISTENT)
            .await
            .unwrap();
        proxy.restore();
        until_state(&reader, |state| state.connected().is_some()).await;
        assert_eq!(*reader.session().borrow(), session, "the session survived");

        // What was missed is made up for ...
        let change = timeout(DEADLINE, watch.changed()).await;
        assert_eq!(change, Ok(Ok(Change::Everything)));
        assert!(reader.get(&during).await.unwrap().is_some());

        // ... and what comes is told again.
        writer
            .create(&after, Bytes::new(), PERSISTENT)
            .await
            .unwrap();
        let change = timeout(DEADLINE, watch.changed()).await;
        assert_eq!(change, Ok(Ok(Change::Paths([after].into()))));
    }
}

/// The same for a cut that is over before anybody notices a state in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_is_not_lost_when_the_connection_breaks_for_a_moment() {
    let server = ZooKeeperServer::start().await;
    let proxy = Proxy::to(server.port()).await;
    let reader = connect(proxy.hosts()).await;
    let writer = connect(server.hosts()).await;
    let mut watch = reader.watch("/a").await.unwrap();
    proxy.cut();
    writer.create("/a", Bytes::new(), PERSISTENT).await.unwrap();
    let told = timeout(DEADLINE, watch.changed()).await;
    assert!(matches!(told, Ok(Ok(_))), "{told:?}");
    // If that was the change itself, told before the cut took effect, the cut is told now.
    if told != Ok(Ok(Change::Everything)) {
        let everything = timeout(DEADLINE, watch.changed()).await;
        assert_eq!(everything, Ok(Ok(Change::Everything)));
    }
    writer.set("/a", "1".into(), 0).await.unwrap();
    let told = timeout(DEADLINE, watch.changed()).await;
    assert_eq!(told, Ok(Ok(Change::Paths(["/a".to_owned()].into()))));
}

/// Trap 2. Requests are delayed: the writes are given up, and land later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordination_write_that_timed_out_lands_later_and_its_version_makes_it_harmless() {
    let server = ZooKeeperServer::start().await;
    let proxy = Proxy::to(server.port()).await;
    let slow = connect_impatiently(proxy.hosts(), Duration::from_secs(20)).await;
    let quick = connect(server.hosts()).await;
    for path in ["/conditional", "/unconditional"] {
        quick.create(path, "old".into(), PERSISTENT).await.unwrap();
    }

    proxy.hold_requests();
    let lost = Err(Error::ConnectionLoss);
    let late = || Bytes::from("late");
    assert_eq!(
        slow.create("/new", late(), PERSISTENT).await.map(drop),
        lost
    );
    assert_eq!(slow.set("/conditional", late(), 0).await.map(drop), lost);
    let unconditional = slow.set("/unconditional", late(), ANY_VERSION).await;
    assert_eq!(unconditional.map(drop), lost);
    assert!(Error::ConnectionLoss.outcome_unknown());

    // They have not happened ...
    assert_eq!(quick.get("/new").await, Ok(None));
    for path in ["/conditional", "/unconditional"] {
        assert_eq!(quick.set(path, "newer".into(), 0).await, Ok(1));
    }
    // ... yet. The last of them shows that all have been carried out, for they are in order.
    proxy.restore();
    until_data(&quick, "/unconditional", "late").await;
    until_data(&quick, "/new", "late").await;
    let conditional = quick.get("/conditional").await.unwrap().unwrap();
    assert_eq!(
        (conditional.data, conditional.stat.version),
        ("newer".into(), 1)
    );
}

/// Trap 2. Answers are delayed: the write has happened, and the writer can't know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordination_write_whose_answer_is_lost_is_unknown_and_found_by_sync_and_read() {
    let server = ZooKeeperServer::start().await;
    let proxy = Proxy::to(server.port()).await;
    let session = connect_impatiently(proxy.hosts(), Duration::from_secs(20)).await;
    session.create("/a", "0".into(), PERSISTENT).await.unwrap();
    proxy.hold_answers();
    let set = session.set("/a", "1".into(), 0).await;
    assert_eq!(set, Err(Error::ConnectionLoss));
    // A read knows that it is not unknown.
    let read = session.get("/a").await;
    assert!(matches!(read, Err(Error::Unavailable { .. })), "{read:?}");
    let sync = session.sync("/").await;
    assert!(matches!(sync, Err(Error::Unavailable { .. })), "{sync:?}");
    // The lost answers are lost for good.
    proxy.restore();
    proxy.cut();
    eventually("the session is back", DEADLINE, || async {
        session.sync("/").await.is_ok()
    })
    .await;
    let znode = session.get("/a").await.unwrap().unwrap();
    assert_eq!((znode.data, znode.stat.version), ("1".into(), 1));
}

/// Trap 3. The client reports the end of a session late; that it is out of touch, it must report before
/// the server can end the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnected_is_reported_before_the_server_ends_the_session() {
    let server = ZooKeeperServer::start().await;
    let proxy = Proxy::to(server.port()).await;
    let session = connect_impatiently(proxy.hosts(), Duration::from_secs(4)).await;
    let observer = connect(server.hosts()).await;
    session
        .create("/a", "old".into(), PERSISTENT)
        .await
        .unwrap();
    session
        .create("/alive", Bytes::new(), CreateMode::Ephemeral)
        .await
        .unwrap();
    let mut ended = observer.watch("/alive").await.unwrap();

    // Silence: nothing is refused, nothing arrives.
    proxy.hold_answers();
    proxy.hold_requests();
    let late = session.set("/a", "late".into(), 0).await;
    assert_eq!(late, Err(Error::ConnectionLoss));

    let mut state = session.session();
    let disconnected = async {
        state
            .wait_for(|state| *state == SessionState::Disconnected)
            .await
            .unwrap();
        Instant::now()
    };
    let expired = async {
        while observer.get("/alive").await.unwrap().is_some() {
            ended.changed().await.unwrap();
        }
        Instant::now()
    };
    let both = async { tokio::join!(disconnected, expired) };
    let (disconnected, expired) = timeout(DEADLINE, both).await.unwrap();
    assert!(disconnected < expired, "out of touch before it is over");

    // Back in touch, the session learns of its end, which is final; its late write has failed.
    proxy.restore();
    until_state(&session, |state| state == SessionState::Expired).await;
    assert_eq!(session.get("/a").await, Err(Error::SessionExpired));
    let write = session.set("/a", "later".into(), 0).await;
    assert_eq!(write, Err(Error::SessionExpired));
    observer.sync("/").await.unwrap();
    let znode = observer.get("/a").await.unwrap().unwrap();
    assert_eq!((znode.data, znode.stat.version), ("old".into(), 0));
}
