//! ZooKeepers of several servers: a session is not tied to the one that it is connected to.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coordination::records::LiveNodeRecord;
use coordination::registry::{Election, initialise, register_live_node};
use coordination::testing::{Ensemble, ZooKeeperServer, eventually};
use coordination::tree::Node;
use coordination::zookeeper::{ConnectOptions, ZooKeeper};
use coordination::{Change, CreateMode, SessionState, SharedCoordination};
use model::{NodeId, RouterId};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

async fn connect(options: &ConnectOptions) -> SharedCoordination {
    Arc::new(ZooKeeper::connect(options.clone()).await.unwrap())
}

fn id(session: &SharedCoordination) -> i64 {
    session.session().borrow().connected().unwrap()
}

/// Where a session is connected, once it is.
async fn server_of(ensemble: &Ensemble, session: i64) -> usize {
    eventually("a server has the session", DEADLINE, || async {
        ensemble.server_of(session).await.is_some()
    })
    .await;
    ensemble.server_of(session).await.unwrap()
}

/// Waits until the watch has told of a path, or of everything.
async fn told(watch: &mut coordination::Watch, path: &str) {
    loop {
        let change = timeout(DEADLINE, watch.changed()).await;
        assert!(change.is_ok(), "not told of {path}");
        match change.unwrap().unwrap() {
            Change::Paths(paths) if !paths.contains(path) => {}
            _ => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_with_another_server_when_its_own_dies_or_falls_silent() {
    let mut ensemble = Ensemble::start(3).await;
    let mut options = ConnectOptions::new(ensemble.hosts());
    options.session_timeout = Duration::from_secs(10);
    let session = connect(&options).await;
    let (observer, before) = (connect(&options).await, id(&session));
    session
        .create("/mine", Bytes::new(), CreateMode::Ephemeral)
        .await
        .unwrap();
    session
        .create("/watched", Bytes::new(), CreateMode::Persistent)
        .await
        .unwrap();
    let mut watch = session.watch("/watched").await.unwrap();
    for round in 0..2 {
        let server = server_of(&ensemble, before).await;
        if round % 2 == 0 {
            ensemble.kill(server);
        } else {
            ensemble.stop(server);
        }
        // It is elsewhere, as the same session, with what belongs to it.
        eventually("the session goes on elsewhere", DEADLINE, || async {
            let elsewhere = ensemble.server_of(before).await;
            elsewhere.is_some_and(|now| now != server)
        })
        .await;
        eventually("writes go on", DEADLINE, || async {
            let text = format!("mine {round}");
            session.set("/mine", text.into(), round).await.is_ok()
                || session
                    .get("/mine")
                    .await
                    .is_ok_and(|znode| znode.is_some_and(|znode| znode.stat.version == round + 1))
        })
        .await;
        assert_eq!(id(&session), before);
        // What others do is told.
        eventually("the observer writes", DEADLINE, || async {
            observer.set("/watched", "x".into(), round).await.is_ok()
                || observer
                    .get("/watched")
                    .await
                    .is_ok_and(|znode| znode.is_some_and(|znode| znode.stat.version == round + 1))
        })
        .await;
        eventually("the watch tells of it", DEADLINE, || async {
            session.sync("/").await.is_ok()
        })
        .await;
        told(&mut watch, "/watched").await;
        let znode = session.get("/watched").await.unwrap().unwrap();
        assert_eq!(znode.stat.version, round + 1);
        if round % 2 == 0 {
            ensemble.start_again().await;
        } else {
            ensemble.resume(server);
        }
    }
    observer.sync("/").await.unwrap();
    let mine = observer.get("/mine").await.unwrap().unwrap();
    assert_eq!(mine.stat.ephemeral_owner, before);
}

/// A watch that was set before the server died tells of what happens after the session has moved: not only
/// "everything" once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_of_each_change_after_its_session_has_moved() {
    let mut ensemble = Ensemble::start(3).await;
    let options = ConnectOptions::new(ensemble.hosts());
    let session = connect(&options).await;
    let mut watch = session.watch("/").await.unwrap();
    let server = server_of(&ensemble, id(&session)).await;
    ensemble.kill(server);
    assert_eq!(
        timeout(DEADLINE, watch.changed()).await.unwrap(),
        Ok(Change::Everything)
    );
    let alive = (server + 1) % 3;
    let observer = connect(&ConnectOptions::new(ensemble.host(alive))).await;
    for name in ["/a", "/b", "/c"] {
        let created = observer.create(name, Bytes::new(), CreateMode::Persistent);
        created.await.unwrap();
        told(&mut watch, name).await;
    }
}

/// The controller and a data node fall silent until the ensemble has ended their sessions. Others take over,
/// and whoever comes back does so with a new session, in which it is somebody new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_ensemble_has_ended_is_followed_by_a_new_one_and_its_office_by_another()
{
    let server = ZooKeeperServer::start().await;
    let proxy = coordination::testing::Proxy::to(server.port()).await;
    let mut cut_off = ConnectOptions::new(proxy.hosts());
    cut_off.session_timeout = Duration::from_secs(1);
    let old = connect(&cut_off).await;
    let other = connect(&ConnectOptions::new(server.hosts())).await;
    initialise(&*old).await.unwrap();
    let record = LiveNodeRecord {
        id: NodeId(1),
        address: "h:1".into(),
        incarnation: 1,
        started_millis: 0,
        host: "h".into(),
        data_dir: "/d".into(),
    };
    let registered = register_live_node(&*old, &record, DEADLINE).await;
    registered.unwrap();
    let first = Election::join(Arc::clone(&old), RouterId(1)).await.unwrap();
    let mut leadership = first.leadership();
    let leads = leadership.wait_for(|leadership| leadership.is_leader());
    assert!(timeout(DEADLINE, leads).await.unwrap().is_ok());
    let fence = first.leadership().borrow().fence().unwrap();
    let second = Election::join(Arc::clone(&other), RouterId(2)).await;
    let second = second.unwrap();

    proxy.cut_off();
    let mut succeeds = second.leadership();
    let leads = succeeds.wait_for(|leadership| leadership.is_leader());
    assert!(timeout(DEADLINE, leads).await.unwrap().is_ok());
    assert!(!first.leadership().borrow().is_leader());
    assert_eq!(
        other.multi(vec![fence]).await.unwrap_err().operation(),
        Some(0)
    );
    let path = Node::Live(NodeId(1)).path();
    eventually("the registration is gone", DEADLINE, || async {
        other.get(&path).await.unwrap().is_none()
    })
    .await;
    let mut state = old.session();
    let expired = state.wait_for(|state| *state == SessionState::Expired);
    assert!(timeout(DEADLINE, expired).await.unwrap().is_ok());

    proxy.restore();
    let new = connect(&cut_off).await;
    assert_ne!(id(&new), id(&other));
    let registered = register_live_node(&*new, &record, DEADLINE).await;
    registered.unwrap();
    let znode = new.get(&path).await.unwrap().unwrap();
    assert_eq!(znode.stat.ephemeral_owner, id(&new));
    let again = Election::join(Arc::clone(&new), RouterId(3)).await.unwrap();
    assert!(!again.leadership().borrow().is_leader());
    second.resign().await;
    let mut succeeds = again.leadership();
    let leads = succeeds.wait_for(|leadership| leadership.is_leader());
    assert!(timeout(DEADLINE, leads).await.unwrap().is_ok());
}

/// What [`Traffic`](coordination::zookeeper::Traffic) says is what the server has seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_is_counted_as_the_server_counts_it() {
    let server = ZooKeeperServer::start().await;
    let options = ConnectOptions::new(format!("{}/ours", server.hosts()));
    let watcher_options = ConnectOptions::new(format!("{}/ours", server.hosts()));
    let session = connect(&options).await;
    let watcher = connect(&watcher_options).await;
    let mut watch = watcher.watch("/").await.unwrap();
    let zxid = session.get("/").await.unwrap().unwrap().stat.created_zxid;
    let before = options.traffic.counts();
    let so_far = server.served().await;
    let events = watcher_options.traffic.counts().events;
    for name in ["/a", "/b"] {
        let created = session.create(name, Bytes::new(), CreateMode::Persistent);
        created.await.unwrap();
    }
    session.sync("/").await.unwrap();
    session.get("/a").await.unwrap();
    session.set("/a", "x".into(), 0).await.unwrap();
    let after = options.traffic.counts();
    assert_eq!(after.writes - before.writes, 3);
    assert_eq!(after.operations - before.operations, 3);
    assert_eq!(after.barriers - before.barriers, 1);
    assert_eq!(after.reads - before.reads, 1);
    // The store numbers all writes, those that change nothing and the begin of a session among them.
    let set = session.get("/a").await.unwrap().unwrap().stat.modified_zxid;
    assert_eq!(set, zxid + 1 + 3 + 1);
    let now = server.served().await;
    assert_eq!(now.writes - so_far.writes, 3 + 1);
    assert!(now.events - so_far.events >= 3, "{so_far:?} {now:?}");
    told(&mut watch, "/b").await;
    // Each create changes the znode and its parent's list.
    eventually("events are counted", DEADLINE, || async {
        watcher_options.traffic.counts().events - events >= 3
    })
    .await;
}
