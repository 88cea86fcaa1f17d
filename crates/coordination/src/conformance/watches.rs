//! Watches: whatever changes after `watch()` has returned is told.

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::timeout;

use super::{DEADLINE, Store, await_change, list};
use crate::{Change, CreateMode, Error, Operation};

list! {
    a_watch_tells_of_creates_sets_and_deletes_at_and_below_its_root,
    a_watch_does_not_tell_of_what_lies_elsewhere,
    a_watch_of_the_root_tells_of_everything,
    a_watch_tells_of_the_changes_of_a_multi,
    a_watch_tells_of_own_changes_too,
    two_watches_of_one_root_don_t_disturb_each_other,
    a_watch_ends_with_its_session,
    a_reader_that_follows_a_watch_ends_with_the_last_state,
}

const PERSISTENT: CreateMode = CreateMode::Persistent;

async fn a_watch_tells_of_creates_sets_and_deletes_at_and_below_its_root(store: Store) {
    let (writer, reader) = (store.session().await, store.session().await);
    // It does not exist yet.
    let mut watch = reader.watch("/a").await.unwrap();
    for path in ["/a", "/a/b", "/a/b/c"] {
        writer.create(path, Bytes::new(), PERSISTENT).await.unwrap();
        await_change(&mut watch, path).await;
        assert!(reader.get(path).await.unwrap().is_some(), "{path}");
    }
    for path in ["/a", "/a/b/c"] {
        writer.set(path, "1".into(), 0).await.unwrap();
        await_change(&mut watch, path).await;
        assert_eq!(reader.get(path).await.unwrap().unwrap().data, "1");
    }
    for path in ["/a/b/c", "/a/b", "/a"] {
        writer.delete(path, crate::ANY_VERSION).await.unwrap();
        await_change(&mut watch, path).await;
        assert_eq!(reader.get(path).await, Ok(None));
    }
}

async fn a_watch_does_not_tell_of_what_lies_elsewhere(store: Store) {
    let session = store.session().await;
    for path in ["/a", "/ab", "/c"] {
        session
            .create(path, Bytes::new(), PERSISTENT)
            .await
            .unwrap();
    }
    let mut watch = session.watch("/a").await.unwrap();
    session.set("/ab", "1".into(), 0).await.unwrap();
    session
        .create("/c/a", Bytes::new(), PERSISTENT)
        .await
        .unwrap();
    session.set("/a", "1".into(), 0).await.unwrap();
    let change = timeout(DEADLINE, watch.changed()).await.unwrap().unwrap();
    assert_eq!(change, Change::Paths(["/a".to_owned()].into()));
}

async fn a_watch_of_the_root_tells_of_everything(store: Store) {
    let (writer, reader) = (store.session().await, store.session().await);
    let mut watch = reader.watch("/").await.unwrap();
    for path in ["/a", "/a/b"] {
        writer.create(path, Bytes::new(), PERSISTENT).await.unwrap();
        await_change(&mut watch, path).await;
    }
}

async fn a_watch_tells_of_the_changes_of_a_multi(store: Store) {
    let (writer, reader) = (store.session().await, store.session().await);
    let mut watch = reader.watch("/a").await.unwrap();
    let operations = vec![
        Operation::create("/a", "", PERSISTENT),
        Operation::create("/a/b", "", PERSISTENT),
        Operation::create("/a/c", "", CreateMode::Ephemeral),
        Operation::set("/a", "1", 0),
    ];
    writer.multi(operations).await.unwrap();
    await_change(&mut watch, "/a/c").await;
    assert_eq!(
        reader.children("/a").await,
        Ok(Some(vec!["b".into(), "c".into()])),
        "a multi appears in one step"
    );
    writer.close().await;
    await_change(&mut watch, "/a/c").await;
}

async fn a_watch_tells_of_own_changes_too(store: Store) {
    let session = store.session().await;
    let mut watch = session.watch("/a").await.unwrap();
    session
        .create("/a", Bytes::new(), PERSISTENT)
        .await
        .unwrap();
    await_change(&mut watch, "/a").await;
}

async fn two_watches_of_one_root_don_t_disturb_each_other(store: Store) {
    let (writer, reader) = (store.session().await, store.session().await);
    writer.create("/a", Bytes::new(), PERSISTENT).await.unwrap();
    let mut kept = reader.watch("/a").await.unwrap();
    for version in 0..10 {
        let mut dropped = reader.watch("/a").await.unwrap();
        let mut below = reader.watch("/a/b").await.unwrap();
        writer
            .set("/a", version.to_string().into(), version)
            .await
            .unwrap();
        await_change(&mut kept, "/a").await;
        await_change(&mut dropped, "/a").await;
        drop(dropped);
        writer
            .create("/a/b", Bytes::new(), PERSISTENT)
            .await
            .unwrap();
        await_change(&mut kept, "/a/b").await;
        await_change(&mut below, "/a/b").await;
        drop(below);
        writer.delete("/a/b", 0).await.unwrap();
        await_change(&mut kept, "/a/b").await;
    }
}

async fn a_watch_ends_with_its_session(store: Store) {
    let session = store.session().await;
    let mut watch = session.watch("/a").await.unwrap();
    session.close().await;
    let end = async {
        loop {
            if let Err(error) = watch.changed().await {
                return error;
            }
        }
    };
    assert_eq!(timeout(DEADLINE, end).await, Ok(Error::SessionExpired));
}

/// The way in which all roles use watches: read after `watch()`, then after every change.
async fn a_reader_that_follows_a_watch_ends_with_the_last_state(store: Store) {
    const WRITERS: usize = 3;
    const WRITES: usize = 30;
    let first = store.session().await;
    first.create("/a", Bytes::new(), PERSISTENT).await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        async move {
            let session = store.session().await;
            for i in 0..WRITES {
                let path = format!("/a/{writer}-{i}");
                session
                    .create(&path, Bytes::new(), PERSISTENT)
                    .await
                    .unwrap();
                if i % 3 == 0 {
                    session.delete(&path, 0).await.unwrap();
                }
            }
        }
    });
    let reader = store.session().await;
    let following = async {
        let mut watch = reader.watch("/a").await.unwrap();
        loop {
            let children = reader.children("/a").await.unwrap().unwrap_or_default();
            let deleted = WRITES.div_ceil(3);
            let last = |name: &String| {
                let (_, number) = name.split_once('-').unwrap();
                number.parse::<usize>().unwrap() == WRITES - 1
            };
            if children.len() == WRITERS * (WRITES - deleted)
                && children.iter().filter(|name| last(name)).count() == WRITERS
            {
                return;
            }
            watch.changed().await.unwrap();
        }
    };
    let (_, followed) = tokio::join!(join_all(writers), timeout(DEADLINE, following));
    assert!(followed.is_ok(), "the reader does not see the last state");
}
