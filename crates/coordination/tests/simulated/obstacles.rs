//! What is done to hosts, processes and servers from outside.

use std::time::Duration;

use bytes::Bytes;
use coordination::{Change, CreateMode, Error, SessionState};
use futures::FutureExt as _;
use tokio::time::{Instant, sleep, timeout};

use crate::driver::{Driven, id, until};

const PERSISTENT: CreateMode = CreateMode::Persistent;
const EPHEMERAL: CreateMode = CreateMode::Ephemeral;
const TIMEOUT: Duration = Duration::from_secs(6);

/// Waits until a znode has gone from the committed tree.
async fn gone(driven: &Driven, path: &str) -> Duration {
    let since = Instant::now();
    let gone = async {
        while driven.data(path).is_some() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(Duration::from_secs(60), gone).await.is_ok());
    since.elapsed()
}

fn about_one_timeout(elapsed: Duration) {
    assert!(
        elapsed + Duration::from_millis(10) > TIMEOUT * 2 / 3
            && elapsed < TIMEOUT + Duration::from_millis(10),
        "{elapsed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_short_cut_the_session_goes_on_and_watches_say_everything() {
    for seed in 0..20 {
        let driven = Driven::new(seed);
        let (cut, other) = (driven.session(1).await, driven.session(2).await);
        let before = id(&cut);
        cut.create("/e", Bytes::new(), EPHEMERAL).await.unwrap();
        let mut watch = cut.watch("/a").await.unwrap();
        driven.ensemble.cut(1, true);
        other.create("/a", "1".into(), PERSISTENT).await.unwrap();
        sleep(Duration::from_millis(300)).await;
        assert_eq!(watch.changed().now_or_never(), None);
        driven.ensemble.cut(1, false);
        until(&cut, |state| *state == SessionState::Disconnected).await;
        until(&cut, |state| state.connected() == Some(before)).await;
        let change = timeout(Duration::from_secs(5), watch.changed()).await;
        assert_eq!(change, Ok(Ok(Change::Everything)));
        assert_eq!(cut.get("/a").await.unwrap().unwrap().data, "1");
        sleep(2 * TIMEOUT).await;
        assert!(driven.data("/e").is_some());
        assert_eq!(driven.count("cut"), 1);
        assert_eq!(driven.count("session_timeout"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_cut_ends_the_session_for_the_servers_first_and_for_the_client_after_the_repair() {
    for seed in 0..5 {
        let driven = Driven::new(seed);
        let session = driven.session(1).await;
        session.create("/e", Bytes::new(), EPHEMERAL).await.unwrap();
        driven.ensemble.cut(1, true);
        let noticed = until(&session, |state| *state == SessionState::Disconnected).await;
        assert!(
            noticed >= TIMEOUT * 2 / 5 && noticed <= TIMEOUT * 2 / 3 + Duration::from_millis(5)
        );
        about_one_timeout(noticed + gone(&driven, "/e").await);
        assert_eq!(driven.count("session_timeout"), 1);
        sleep(10 * TIMEOUT).await;
        assert_eq!(*session.session().borrow(), SessionState::Disconnected);
        let not_sent = session.create("/a", Bytes::new(), PERSISTENT).await;
        assert!(matches!(not_sent, Err(Error::Unavailable { .. })));
        let unreachable = driven.ensemble.client(1, 1).connect().await.err();
        assert!(matches!(unreachable, Some(Error::Unavailable { .. })));
        driven.ensemble.cut(1, false);
        until(&session, |state| *state == SessionState::Expired).await;
        let again = driven.session(1).await;
        assert_eq!(again.get("/e").await, Ok(None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_a_cut_has_caught_may_land_after_it() {
    let mut landed = 0;
    for seed in 0..40 {
        let driven = Driven::new(seed);
        let session = driven.session(1).await;
        driven.ensemble.cut(1, true);
        let write = session.create("/a", Bytes::new(), PERSISTENT).await;
        assert_eq!(write, Err(Error::ConnectionLoss));
        driven.ensemble.cut(1, false);
        sleep(TIMEOUT).await;
        assert_eq!(driven.count("lost_in_cut"), 1);
        let now = u64::from(driven.data("/a").is_some());
        assert_eq!(now, driven.count("late_write_landed"));
        landed += now;
    }
    assert!((1..40).contains(&landed), "{landed}");
}

#[tokio::test(start_paused = true)]
async fn a_killed_process_closes_nothing_and_its_sessions_time_out() {
    let driven = Driven::new(1);
    let session = driven.session(1).await;
    session.create("/e", Bytes::new(), EPHEMERAL).await.unwrap();
    let mut on_the_wire = Box::pin(session.create("/a", Bytes::new(), PERSISTENT));
    assert!(futures::poll!(&mut on_the_wire).is_pending());
    driven.ensemble.kill(1);
    drop(on_the_wire);
    drop(session);
    about_one_timeout(gone(&driven, "/e").await);
    assert!(driven.data("/a").is_some());
    assert!(driven.ensemble.sessions().is_empty());
    assert_eq!(
        (driven.count("kill"), driven.count("session_timeout")),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_short_pause_only_delays() {
    let driven = Driven::new(1);
    let session = driven.session(1).await;
    session.create("/e", Bytes::new(), EPHEMERAL).await.unwrap();
    let mut watch = session.watch("/").await.unwrap();
    let mut write = Box::pin(session.create("/a", Bytes::new(), PERSISTENT));
    assert!(futures::poll!(&mut write).is_pending());
    driven.ensemble.pause(1, true);
    sleep(Duration::from_secs(1)).await;
    assert!(driven.data("/a").is_some(), "what it sent before arrives");
    assert!(futures::poll!(&mut write).is_pending());
    assert_eq!(watch.changed().now_or_never(), None);
    driven.ensemble.pause(1, false);
    assert!(write.await.is_ok());
    let change = watch.changed().await;
    assert_eq!(change, Ok(Change::Paths(["/a".to_owned()].into())));
    sleep(2 * TIMEOUT).await;
    assert!(driven.data("/e").is_some());
    assert!(session.session().borrow().connected().is_some());
    assert_eq!(driven.count("pause"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_longer_pause_costs_the_connection_but_not_the_session() {
    let driven = Driven::new(1);
    let session = driven.session(1).await;
    let before = id(&session);
    let mut watch = session.watch("/").await.unwrap();
    driven.ensemble.pause(1, true);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(session.session().borrow().connected(), Some(before));
    driven.ensemble.pause(1, false);
    until(&session, |state| *state == SessionState::Disconnected).await;
    until(&session, |state| state.connected() == Some(before)).await;
    let change = timeout(Duration::from_secs(5), watch.changed()).await;
    assert_eq!(change, Ok(Ok(Change::Everything)));
}

#[tokio::test(start_paused = true)]
async fn a_process_paused_for_too_long_learns_of_its_session_s_end_when_it_goes_on() {
    let driven = Driven::new(1);
    let session = driven.session(1).await;
    session.create("/e", Bytes::new(), EPHEMERAL).await.unwrap();
    driven.ensemble.pause(1, true);
    about_one_timeout(gone(&driven, "/e").await);
    sleep(TIMEOUT).await;
    // It does not know anything.
    assert!(session.session().borrow().connected().is_some());
    driven.ensemble.pause(1, false);
    assert!(session.session().borrow().connected().is_some());
    let told = until(&session, |state| *state == SessionState::Expired).await;
    assert!(told < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_outage_stops_everything_and_ends_no_session() {
    let driven = Driven::new(1);
    let session = driven.session(1).await;
    let before = id(&session);
    session.create("/e", Bytes::new(), EPHEMERAL).await.unwrap();
    driven.ensemble.outage(true);
    let other = driven.ensemble.client(2, 2).connect().await.err();
    assert!(matches!(other, Some(Error::Unavailable { .. })));
    until(&session, |state| *state == SessionState::Disconnected).await;
    for result in [
        session.get("/e").await.map(drop),
        session.set("/e", Bytes::new(), 0).await.map(drop),
        session.sync("/").await,
    ] {
        assert!(matches!(result, Err(Error::Unavailable { .. })));
    }
    sleep(10 * TIMEOUT).await;
    driven.ensemble.outage(false);
    until(&session, |state| state.connected() == Some(before)).await;
    assert_eq!(session.set("/e", Bytes::new(), 0).await, Ok(1));
    assert_eq!(driven.count("outage"), 1);
    assert_eq!(driven.count("session_timeout"), 0);

    // A client that does not come back has a whole timeout for it.
    driven.ensemble.outage(true);
    driven.ensemble.cut(1, true);
    sleep(10 * TIMEOUT).await;
    driven.ensemble.outage(false);
    let elapsed = gone(&driven, "/e").await;
    assert!(elapsed >= TIMEOUT && elapsed < TIMEOUT + Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_to_connect_that_is_given_up_leaves_no_session() {
    for after in 0..10 {
        let driven = Driven::new(after);
        let connect = driven.ensemble.client(1, 1);
        let patience = Duration::from_millis(after);
        let _ = timeout(patience, connect.connect()).await;
        sleep(2 * TIMEOUT).await;
        assert!(driven.ensemble.sessions().is_empty(), "{after} ms");
    }
}
