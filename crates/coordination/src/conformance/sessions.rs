//! Sessions and what ends with them.

use bytes::Bytes;
use tokio::time::timeout;

use super::{DEADLINE, Store, await_change, list};
use crate::{Coordination, CreateMode, Error, Operation, SessionState};

list! {
    a_session_is_connected_and_expired_once_it_is_closed,
    calls_after_the_end_are_refused_and_change_nothing,
    ephemeral_znodes_show_their_session_and_have_no_children,
    ephemeral_znodes_go_when_their_session_is_closed,
    ephemeral_znodes_go_when_their_session_is_dropped,
    an_ephemeral_znode_may_be_deleted_by_anybody_and_made_by_another_session,
    a_znode_made_and_taken_away_in_a_multi_shows_that_there_was_none,
    an_ephemeral_znode_of_a_multi_that_fails_is_not_there,
}

async fn a_session_is_connected_and_expired_once_it_is_closed(store: Store) {
    let session = store.session().await;
    let mut state = session.session();
    let first = *state.borrow();
    assert!(first.connected().is_some_and(|session| session != 0));
    let other = store.session().await;
    assert_ne!(*other.session().borrow(), first, "ids differ");
    session.close().await;
    let expired = state.wait_for(|state| *state == SessionState::Expired);
    assert!(timeout(DEADLINE, expired).await.unwrap().is_ok());
    // Twice is fine.
    session.close().await;
}

async fn calls_after_the_end_are_refused_and_change_nothing(store: Store) {
    let session = store.session().await;
    let persistent = CreateMode::Persistent;
    session.create("/a", "1".into(), persistent).await.unwrap();
    session.close().await;
    let expired = Err(Error::SessionExpired);
    assert_eq!(session.get("/a").await.map(drop), expired);
    assert_eq!(session.children("/").await.map(drop), expired);
    assert_eq!(session.sync("/").await, expired);
    assert_eq!(session.watch("/").await.map(drop), expired);
    assert_eq!(session.set("/a", "2".into(), 0).await.map(drop), expired);
    let other = store.session().await;
    other.sync("/").await.unwrap();
    assert_eq!(other.get("/a").await.unwrap().unwrap().data, "1");
}

async fn ephemeral_znodes_show_their_session_and_have_no_children(store: Store) {
    let session = store.session().await;
    let path = session
        .create("/e", "1".into(), CreateMode::Ephemeral)
        .await;
    assert_eq!(path.as_deref(), Ok("/e"));
    let owner = session
        .get("/e")
        .await
        .unwrap()
        .unwrap()
        .stat
        .ephemeral_owner;
    assert_eq!(Some(owner), session.session().borrow().connected());
    let child = session
        .create("/e/x", Bytes::new(), CreateMode::Persistent)
        .await;
    assert!(matches!(child, Err(Error::NoChildrenForEphemerals { .. })));
    assert_eq!(session.set("/e", "2".into(), 0).await, Ok(1));
    let owner_after = session
        .get("/e")
        .await
        .unwrap()
        .unwrap()
        .stat
        .ephemeral_owner;
    assert_eq!(owner_after, owner);
}

/// Makes a persistent and two ephemeral znodes.
async fn make_three(session: &dyn Coordination) {
    let operations = vec![
        Operation::create("/p", "", CreateMode::Persistent),
        Operation::create("/p/e", "", CreateMode::Ephemeral),
        Operation::create("/p/s-", "", CreateMode::EphemeralSequential),
    ];
    session.multi(operations).await.unwrap();
}

async fn ephemeral_znodes_go_when_their_session_is_closed(store: Store) {
    let (session, other) = (store.session().await, store.session().await);
    make_three(&*session).await;
    other.sync("/").await.unwrap();
    assert_eq!(other.children("/p").await.unwrap().unwrap().len(), 2);
    session.close().await;
    other.sync("/").await.unwrap();
    assert_eq!(other.children("/p").await, Ok(Some(vec![])));
}

async fn ephemeral_znodes_go_when_their_session_is_dropped(store: Store) {
    let (session, other) = (store.session().await, store.session().await);
    make_three(&*session).await;
    other.sync("/").await.unwrap();
    let mut watch = other.watch("/p").await.unwrap();
    assert!(other.get("/p/e").await.unwrap().is_some());
    drop(session);
    await_change(&mut watch, "/p/e").await;
    let gone = async {
        while other.children("/p").await != Ok(Some(vec![])) {
            watch.changed().await.unwrap();
        }
    };
    assert!(timeout(DEADLINE, gone).await.is_ok());
}

async fn an_ephemeral_znode_may_be_deleted_by_anybody_and_made_by_another_session(store: Store) {
    let (old, new) = (store.session().await, store.session().await);
    old.create("/e", "old".into(), CreateMode::Ephemeral)
        .await
        .unwrap();
    let replace = vec![
        Operation::delete("/e", 0),
        Operation::create("/e", "new", CreateMode::Ephemeral),
    ];
    new.multi(replace).await.unwrap();
    // The old session's end does not touch what is another's now.
    old.close().await;
    new.sync("/").await.unwrap();
    let znode = new.get("/e").await.unwrap().unwrap();
    assert_eq!(znode.data, "new");
    let owner = Some(znode.stat.ephemeral_owner);
    assert_eq!(owner, new.session().borrow().connected());
}

/// There is no check that a znode is absent; this is how it is done.
async fn a_znode_made_and_taken_away_in_a_multi_shows_that_there_was_none(store: Store) {
    let (old, new) = (store.session().await, store.session().await);
    old.create("/e", "".into(), CreateMode::Ephemeral)
        .await
        .unwrap();
    let guarded = || {
        vec![
            Operation::create("/e", "", CreateMode::Persistent),
            Operation::delete("/e", 0),
            Operation::create("/a", "", CreateMode::Persistent),
        ]
    };
    let refused = new.multi(guarded()).await;
    assert!(matches!(
        refused,
        Err(Error::NodeExists {
            operation: Some(0),
            ..
        })
    ));
    assert_eq!(new.get("/a").await, Ok(None));
    old.close().await;
    new.sync("/").await.unwrap();
    new.multi(guarded()).await.unwrap();
    assert_eq!(new.get("/e").await, Ok(None));
    assert!(new.get("/a").await.unwrap().is_some());
}

async fn an_ephemeral_znode_of_a_multi_that_fails_is_not_there(store: Store) {
    let session = store.session().await;
    let operations = vec![
        Operation::create("/e", "", CreateMode::Ephemeral),
        Operation::check("/absent", 0),
    ];
    assert!(session.multi(operations).await.is_err());
    assert_eq!(session.get("/e").await, Ok(None));
    session.close().await;
}
