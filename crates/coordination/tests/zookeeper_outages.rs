//! ZooKeeper that is not there, goes, comes back, or comes back as another one.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coordination::testing::{Ensemble, ZooKeeperServer, eventually};
use coordination::zookeeper::{ConnectOptions, ZooKeeper};
use coordination::{Change, Coordination, CreateMode, Error, SessionState};
use futures::future::join_all;
use tokio::time::{Instant, timeout};

const DEADLINE: Duration = Duration::from_secs(20);
const PERSISTENT: CreateMode = CreateMode::Persistent;

fn options(hosts: impl Into<String>) -> ConnectOptions {
    let mut options = ConnectOptions::new(hosts);
    options.session_timeout = Duration::from_secs(10);
    options.request_timeout = Duration::from_secs(2);
    options
}

async fn connect(hosts: impl Into<String>) -> ZooKeeper {
    ZooKeeper::connect(options(hosts)).await.unwrap()
}

#[tokio::test]
async fn connecting_to_nobody_ends_in_time_and_names_the_hosts() {
    // One that refuses, and one that accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let hosts = format!("127.0.0.1:1,{}", silent.local_addr().unwrap());
    let mut options = options(format!("{hosts}/x"));
    options.connect_timeout = Duration::from_secs(1);
    let started = Instant::now();
    let error = ZooKeeper::connect(options).await.err().unwrap();
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains(&hosts), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chroot_is_made_by_any_number_of_sessions_at_once() {
    let server = ZooKeeperServer::start().await;
    let chroot = format!("{}/some/deep/root", server.hosts());
    let sessions = join_all((0..8).map(|_| connect(chroot.clone()))).await;
    sessions[0]
        .create("/a", Bytes::new(), PERSISTENT)
        .await
        .unwrap();
    for session in &sessions {
        session.sync("/").await.unwrap();
        assert!(session.get("/a").await.unwrap().is_some());
    }
    let above = connect(server.hosts()).await;
    assert!(above.get("/some/deep/root/a").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_end_in_time_while_zookeeper_is_down_and_the_session_goes_on_when_it_is_back() {
    let mut server = ZooKeeperServer::start().await;
    let session = connect(server.hosts()).await;
    session.create("/a", "1".into(), PERSISTENT).await.unwrap();
    session
        .create("/e", "1".into(), CreateMode::Ephemeral)
        .await
        .unwrap();
    let before = *session.session().borrow();
    let mut watch = session.watch("/").await.unwrap();

    server.kill();
    let mut state = session.session();
    let disconnected = state.wait_for(|state| *state == SessionState::Disconnected);
    assert!(timeout(DEADLINE, disconnected).await.unwrap().is_ok());
    let started = Instant::now();
    let (read, write, sync, watching) = tokio::join!(
        session.get("/a"),
        session.set("/a", "2".into(), 0),
        session.sync("/"),
        session.watch("/a"),
    );
    assert!(started.elapsed() < Duration::from_secs(4));
    for error in [
        read.unwrap_err(),
        write.unwrap_err(),
        sync.unwrap_err(),
        watching.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    }

    server.start_again().await;
    let connected = state.wait_for(|state| state.connected().is_some());
    assert_eq!(
        *timeout(DEADLINE, connected).await.unwrap().unwrap(),
        before
    );
    assert_eq!(
        timeout(DEADLINE, watch.changed()).await,
        Ok(Ok(Change::Everything))
    );
    // What was confirmed is there, and what was said not to be sent was not.
    assert_eq!(session.set("/a", "3".into(), 0).await, Ok(1));
    assert!(session.get("/e").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_zookeeper_makes_a_write_in_flight_unknown() {
    let mut server = ZooKeeperServer::start().await;
    let session = connect(server.hosts()).await;
    session.create("/a", "1".into(), PERSISTENT).await.unwrap();
    server.stop();
    let write = session.set("/a", "2".into(), 0).await;
    assert_eq!(write, Err(Error::ConnectionLoss));
    server.resume();
    eventually("the session is back", DEADLINE, || async {
        session.sync("/").await.is_ok()
    })
    .await;
    let znode = session.get("/a").await.unwrap().unwrap();
    assert!(znode.stat.version <= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zookeeper_that_comes_back_empty_ends_the_session() {
    let mut server = ZooKeeperServer::start().await;
    let mut options = options(server.hosts());
    // The empty server refuses to talk to a session that has seen more than it has, so it is the client
    // that gives up.
    options.session_timeout = Duration::from_secs(4);
    let session = ZooKeeper::connect(options).await.unwrap();
    session.create("/a", "1".into(), PERSISTENT).await.unwrap();
    let mut watch = session.watch("/a").await.unwrap();
    server.kill();
    server.start_empty().await;
    let mut state = session.session();
    let expired = state.wait_for(|state| *state == SessionState::Expired);
    assert!(timeout(DEADLINE, expired).await.unwrap().is_ok());
    let end = async { while watch.changed().await.is_ok() {} };
    assert!(timeout(DEADLINE, end).await.is_ok());
    let write = session.set("/a", "2".into(), 0).await;
    assert_eq!(write, Err(Error::SessionExpired));
}

/// The leader is killed under a stream of writes: the session lives on, and every confirmed write is there,
/// once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_costs_no_confirmed_write_and_no_session() {
    let mut ensemble = Ensemble::start(3).await;
    let session = Arc::new(connect(ensemble.hosts()).await);
    let before = *session.session().borrow();
    session.create("/a", "0".into(), PERSISTENT).await.unwrap();
    session
        .create("/e", "0".into(), CreateMode::Ephemeral)
        .await
        .unwrap();

    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let writer = tokio::spawn({
        let session = Arc::clone(&session);
        async move {
            let mut version = 0;
            while stopped.try_recv().is_err() {
                let next = (version + 1).to_string();
                match session.set("/a", next.into(), version).await {
                    Ok(new) => version = new,
                    Err(error) if error.is_transient() => {
                        version = settle(&session, version).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            version
        }
    });
    let leader = ensemble.kill_leader().await;
    assert_ne!(ensemble.leader().await, leader);
    // Writes go on under the new leader.
    let observer = connect(ensemble.hosts()).await;
    observer.sync("/").await.unwrap();
    let at = observer.get("/a").await.unwrap().unwrap().stat.version;
    eventually("writes go on", DEADLINE, || async {
        let znode = observer.get("/a").await.unwrap().unwrap();
        znode.stat.version > at + 10
    })
    .await;
    stop.send(()).unwrap();
    let version = writer.await.unwrap();
    observer.sync("/").await.unwrap();
    let znode = observer.get("/a").await.unwrap().unwrap();
    assert_eq!(
        (znode.data, znode.stat.version),
        (version.to_string().into(), version)
    );
    assert_eq!(*session.session().borrow(), before);
    assert!(observer.get("/e").await.unwrap().is_some());

    // Without a majority, calls end in time.
    ensemble.kill_leader().await;
    let started = Instant::now();
    assert!(session.set("/a", "x".into(), version).await.is_err());
    assert!(started.elapsed() < Duration::from_secs(4));
    ensemble.start_again().await;
}

/// Reader and writer are connected to different servers, of which the reader's is always a little behind.
/// Without the barrier this fails within a few rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_after_a_sync_is_not_behind_though_its_server_is() {
    let ensemble = Ensemble::start(3).await;
    let leader = ensemble.leader().await;
    let writer = connect(ensemble.host(leader)).await;
    let reader = connect(ensemble.host((leader + 1) % 3)).await;
    for round in 0..100 {
        let creates = (0..20).map(|i| {
            let path = format!("/{round}-{i}");
            let writer = &writer;
            async move { writer.create(&path, Bytes::new(), PERSISTENT).await }
        });
        for created in join_all(creates).await {
            created.unwrap();
        }
        reader.sync("/").await.unwrap();
        let last = format!("/{round}-19");
        assert!(reader.get(&last).await.unwrap().is_some(), "round {round}");
    }
}

/// What the writer concludes after a lost answer: a late write of its own may still land until the
/// version has moved, so it looks until then or writes again with the same version.
async fn settle(session: &ZooKeeper, version: i32) -> i32 {
    eventually("ZooKeeper is back", DEADLINE, || async {
        session.sync("/").await.is_ok()
    })
    .await;
    let znode = session.get("/a").await.unwrap().unwrap();
    assert!((version..=version + 1).contains(&znode.stat.version));
    znode.stat.version
}
