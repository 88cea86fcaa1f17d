//! The faults that happen by themselves: each one, always.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use coordination::simulated::{Ensemble, EnsembleOptions};
use coordination::{Change, CreateMode, Error, Operation, SessionState};
use tokio::time::{Instant, sleep, timeout};

use crate::driver::{Driven, id, until};

const PERSISTENT: CreateMode = CreateMode::Persistent;

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_has_happened() {
    let driven = Driven::new(1);
    let session = driven.session(1).await;
    driven.set_faults(|faults| faults.lose_answer = 1.0);
    let created = session.create("/a", "1".into(), PERSISTENT).await;
    assert_eq!(created, Err(Error::ConnectionLoss));
    assert_eq!(driven.data("/a").as_deref(), Some("1"));
    assert_eq!(driven.count("lose_answer"), 1);
    assert!(session.session().borrow().connected().is_some());

    // Reads try again, and give up in time.
    let since = Instant::now();
    for result in [
        session.get("/a").await.map(drop),
        session.sync("/").await,
        session.watch("/a").await.map(drop),
    ] {
        assert!(matches!(result, Err(Error::Unavailable { .. })));
    }
    assert!(since.elapsed() <= 3 * Duration::from_millis(4_060));
    assert!(driven.count("lose_answer") > 10);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_request_is_lost_never_happens() {
    let driven = Driven::new(1);
    let session = driven.session(1).await;
    driven.set_faults(|faults| faults.lose_request = 1.0);
    let created = session.create("/a", "1".into(), PERSISTENT).await;
    assert_eq!(created, Err(Error::ConnectionLoss));
    assert_eq!(driven.count("lose_request"), 1);
    driven.set_faults(|_| {});
    sleep(Duration::from_secs(20)).await;
    assert_eq!(session.get("/a").await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn what_the_servers_lose_was_never_there_for_those_who_look_and_write_later() {
    let driven = Driven::new(1);
    let session = driven.session(1).await;
    session.create("/a", "1".into(), PERSISTENT).await.unwrap();
    let mut watch = session.watch("/a").await.unwrap();
    assert!(driven.ensemble.lose("/a"));
    assert!(!driven.ensemble.lose("/a"));
    assert_eq!(driven.count("lose"), 1);
    watch.changed().await.unwrap();
    assert_eq!(session.get("/a").await, Ok(None));
    let set = session.set("/a", "2".into(), 0).await;
    assert!(matches!(set, Err(Error::NoNode { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_late_write_lands_after_its_caller_has_gone_on() {
    let mut landed_after_the_next = 0;
    for seed in 0..20 {
        let driven = Driven::new(seed);
        let session = driven.session(1).await;
        session.create("/a", "0".into(), PERSISTENT).await.unwrap();
        driven.set_faults(|faults| faults.late_write = 1.0);
        let late = session.create("/late", Bytes::new(), PERSISTENT).await;
        assert_eq!(late, Err(Error::ConnectionLoss));
        let guarded = session.set("/a", "late".into(), 0).await;
        assert_eq!(guarded, Err(Error::ConnectionLoss));
        driven.set_faults(|_| {});
        let next = session.set("/a", "next".into(), 0).await;
        landed_after_the_next += u32::from(driven.data("/late").is_none());
        sleep(Duration::from_secs(4)).await;

        assert!(driven.data("/late").is_some());
        // One of the two that expected version 0.
        let winner = if next.is_ok() { "next" } else { "late" };
        assert_eq!(driven.data("/a").as_deref(), Some(winner));
        assert_eq!(driven.count("late_write"), 2);
        let refused = u64::from(next.is_ok());
        assert_eq!(driven.count("late_write_landed"), 2 - refused);
    }
    assert!(landed_after_the_next > 10, "{landed_after_the_next}");
}

#[tokio::test(start_paused = true)]
async fn a_late_write_never_lands_after_its_session_has_ended() {
    for seed in 0..20 {
        let driven = Driven::new(seed);
        let session = driven.session(1).await;
        driven.set_faults(|faults| faults.late_write = 1.0);
        for path in ["/a", "/b", "/c"] {
            let create = session.create(path, Bytes::new(), CreateMode::Ephemeral);
            assert_eq!(create.await, Err(Error::ConnectionLoss));
        }
        session.close().await;
        sleep(Duration::from_secs(4)).await;
        assert_eq!(driven.ensemble.tree().len(), 1, "only the root");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_expires_takes_its_ephemeral_znodes_along_and_its_request_is_not_carried_out()
 {
    let driven = Driven::new(1);
    let session = driven.session(1).await;
    let ephemeral = CreateMode::Ephemeral;
    session.create("/e", Bytes::new(), ephemeral).await.unwrap();
    let mut watch = session.watch("/e").await.unwrap();
    driven.set_faults(|faults| faults.expire_session = 1.0);
    let refused = session.create("/a", Bytes::new(), PERSISTENT).await;
    assert_eq!(refused, Err(Error::SessionExpired));
    until(&session, |state| *state == SessionState::Expired).await;
    assert_eq!(driven.ensemble.tree().len(), 1, "only the root");
    assert!(driven.ensemble.sessions().is_empty());
    assert_eq!(watch.changed().await, Err(Error::SessionExpired));
    assert_eq!(session.get("/").await, Err(Error::SessionExpired));
    assert_eq!(driven.count("expire_session"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lags_shows_the_past_until_a_sync() {
    let mut behind = 0;
    for seed in 0..20 {
        let driven = Driven::new(seed);
        let (writer, reader) = (driven.session(1).await, driven.session(2).await);
        driven.set_faults(|faults| faults.server_lag = Duration::from_secs(1));
        writer.create("/a", "0".into(), PERSISTENT).await.unwrap();
        reader.sync("/").await.unwrap();
        let mut watch = reader.watch("/a").await.unwrap();
        writer.set("/a", "1".into(), 0).await.unwrap();
        let own = writer.get("/a").await.unwrap().unwrap();
        assert_eq!(own.data, "1", "a session sees its own writes");
        let seen = reader.get("/a").await.unwrap().unwrap();
        behind += u32::from(seen.data == "0");
        if seed % 2 == 0 {
            reader.sync("/").await.unwrap();
        } else {
            let change = watch.changed().await.unwrap();
            assert_eq!(change, Change::Paths(["/a".to_owned()].into()));
        }
        let seen = reader.get("/a").await.unwrap().unwrap();
        assert_eq!(seen.data, "1", "after a sync, and after a watch has told");
        // A new session may see less than others have, and never more than there is.
        let fresh = driven.session(3).await;
        let seen = fresh.get("/a").await.unwrap();
        behind += u32::from(seen.is_none_or(|znode| znode.data == "0"));
        fresh.sync("/").await.unwrap();
        assert_eq!(fresh.get("/a").await.unwrap().unwrap().data, "1");
        assert!(driven.count("server_lag") <= 3);
    }
    assert!(behind > 10, "{behind}");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_servers_keeps_the_session_and_its_watches_say_everything() {
    for seed in 0..20 {
        let driven = Driven::new(seed);
        let (writer, reader) = (driven.session(1).await, driven.session(2).await);
        let before = id(&reader);
        let ephemeral = CreateMode::Ephemeral;
        reader.create("/e", Bytes::new(), ephemeral).await.unwrap();
        let mut watch = reader.watch("/a").await.unwrap();
        driven.set_faults(|faults| faults.server_change = 1.0);
        let written = reader.create("/b", Bytes::new(), PERSISTENT).await;
        // It was on its way when the connection broke.
        assert_eq!(written, Err(Error::ConnectionLoss));
        until(&reader, |state| *state == SessionState::Disconnected).await;
        driven.set_faults(|_| {});
        writer.create("/a", Bytes::new(), PERSISTENT).await.unwrap();
        until(&reader, |state| state.connected() == Some(before)).await;
        // What happens just now may be told before.
        let everything = async { while watch.changed().await.unwrap() != Change::Everything {} };
        assert!(timeout(Duration::from_secs(5), everything).await.is_ok());
        assert!(reader.get("/a").await.unwrap().is_some());
        // Watched again.
        writer.set("/a", "1".into(), 0).await.unwrap();
        let change = watch.changed().await.unwrap();
        assert_eq!(change, Change::Paths(["/a".to_owned()].into()));
        sleep(Duration::from_secs(10)).await;
        assert!(driven.data("/b").is_some() && driven.data("/e").is_some());
        assert_eq!(driven.count("server_change"), 1);
    }
}

/// Else a session with several tasks would see the tree go back.
#[tokio::test(start_paused = true)]
async fn answers_of_one_session_don_t_overtake_each_other() {
    let driven = Driven::new(1);
    let (writer, reader) = (driven.session(1).await, driven.session(2).await);
    writer.create("/a", "".into(), PERSISTENT).await.unwrap();
    let writing = tokio::spawn(async move {
        for version in 0.. {
            writer.set("/a", "".into(), version).await.unwrap();
        }
    });
    let versions = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..500 {
        let (reader, versions) = (Arc::clone(&reader), Arc::clone(&versions));
        tokio::spawn(async move {
            let znode = reader.get("/a").await.unwrap().unwrap();
            versions.lock().unwrap().push(znode.stat.version);
        });
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_millis(10)).await;
    writing.abort();
    let versions = versions.lock().unwrap();
    assert_eq!(versions.len(), 500);
    assert!(versions.is_sorted() && versions.last() > versions.first());
}

#[tokio::test(start_paused = true)]
async fn without_faults_nothing_is_counted_and_nothing_is_lost() {
    let driven = Driven::new(1);
    let session = driven.session(1).await;
    session.create("/a", "0".into(), PERSISTENT).await.unwrap();
    for version in 0..500 {
        let check = Operation::check("/a", version);
        let set = Operation::set("/a", version.to_string(), version);
        session.multi(vec![check, set]).await.unwrap();
        let znode = session.get("/a").await.unwrap().unwrap();
        assert_eq!(znode.stat.version, version + 1);
    }
    sleep(Duration::from_secs(120)).await;
    assert_eq!(driven.ensemble.sessions(), [id(&session)]);
    assert!(driven.ensemble.counts().is_empty());
}

/// The driver of a simulation calls it hundreds of times per simulated second.
#[test]
fn advancing_is_cheap_while_nothing_is_due() {
    let ensemble = Ensemble::new(1, EnsembleOptions::default());
    let since = std::time::Instant::now();
    for now in 0..1_000_000 {
        ensemble.advance(now);
    }
    // A microsecond each, in an unoptimised build on a busy machine.
    let elapsed = since.elapsed();
    println!("a million in {elapsed:?}");
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
}
