//! Reads, conditional writes, `multi`.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::future::join_all;
use model::limits::MAX_ZNODE_BYTES;

use super::{Store, list};
use crate::{ANY_VERSION, CreateMode, Error, Operation, Outcome};

list! {
    an_absent_znode_reads_as_none,
    many_znodes_are_read_in_the_order_that_was_asked_for,
    a_znode_is_created_set_and_deleted_by_version,
    a_write_that_expects_another_version_is_refused_and_changes_nothing,
    any_version_matches_whatever_is_there,
    a_znode_made_again_starts_at_version_0_with_later_zxids,
    a_create_needs_a_parent_and_a_free_place,
    a_znode_with_children_is_not_deleted,
    children_are_direct_and_sorted,
    a_multi_happens_wholly_or_not_at_all_and_names_the_operation_that_failed,
    operations_of_a_multi_see_those_before_them,
    an_empty_multi_does_nothing,
    a_check_guards_a_multi,
    sequential_znodes_get_growing_numbers_for_all_sessions,
    invalid_paths_and_versions_are_refused,
    a_znode_may_be_as_large_as_the_limit_and_no_larger,
    the_root_can_be_read_and_set_but_not_created_or_deleted,
    of_two_creates_of_one_path_exactly_one_succeeds,
    concurrent_increments_by_version_lose_none,
    after_a_sync_everything_confirmed_to_others_is_seen,
}

const PERSISTENT: CreateMode = CreateMode::Persistent;

async fn an_absent_znode_reads_as_none(store: Store) {
    let session = store.session().await;
    assert_eq!(session.get("/a").await, Ok(None));
    assert_eq!(session.children("/a").await, Ok(None));
    assert_eq!(session.children("/").await, Ok(Some(vec![])));
}

async fn many_znodes_are_read_in_the_order_that_was_asked_for(store: Store) {
    let session = store.session().await;
    assert_eq!(session.get_all(&[]).await.unwrap(), vec![]);
    // More than one request's worth, every third of them missing.
    let there = |number: usize| !number.is_multiple_of(3);
    let paths: Vec<String> = (0..300).map(|number| format!("/a{number}")).collect();
    for (number, path) in paths.iter().enumerate() {
        if there(number) {
            let data = number.to_string().into();
            session.create(path, data, PERSISTENT).await.unwrap();
        }
    }
    session.set("/a1", "new".into(), 0).await.unwrap();
    let read = session.get_all(&paths).await.unwrap();
    assert_eq!(read.len(), paths.len());
    for (number, (path, znode)) in paths.iter().zip(read).enumerate() {
        assert_eq!(znode, session.get(path).await.unwrap(), "{path}");
        assert_eq!(znode.is_some(), there(number), "{path}");
    }
    let invalid = ["/a1".to_owned(), "a".to_owned()];
    assert!(session.get_all(&invalid).await.is_err());
}

async fn a_znode_is_created_set_and_deleted_by_version(store: Store) {
    let session = store.session().await;
    let path = session.create("/a", "1".into(), PERSISTENT).await;
    assert_eq!(path.as_deref(), Ok("/a"));
    let created = session.get("/a").await.unwrap().unwrap();
    assert_eq!(
        (created.data.as_ref(), created.stat.version),
        (&b"1"[..], 0)
    );
    assert_eq!(created.stat.ephemeral_owner, 0);
    assert_eq!(created.stat.created_zxid, created.stat.modified_zxid);

    assert_eq!(session.set("/a", "2".into(), 0).await, Ok(1));
    assert_eq!(session.set("/a", Bytes::new(), 1).await, Ok(2));
    let set = session.get("/a").await.unwrap().unwrap();
    assert_eq!((set.data.as_ref(), set.stat.version), (&b""[..], 2));
    assert_eq!(set.stat.created_zxid, created.stat.created_zxid);
    assert!(set.stat.modified_zxid > set.stat.created_zxid);

    assert_eq!(session.delete("/a", 2).await, Ok(()));
    assert_eq!(session.get("/a").await, Ok(None));
}

async fn a_write_that_expects_another_version_is_refused_and_changes_nothing(store: Store) {
    let session = store.session().await;
    session.create("/a", "1".into(), PERSISTENT).await.unwrap();
    session.set("/a", "2".into(), 0).await.unwrap();
    let before = session.get("/a").await;
    let bad_version = Error::BadVersion {
        path: "/a".into(),
        operation: None,
    };
    for version in [0, 2] {
        let set = session.set("/a", "3".into(), version).await;
        assert_eq!(set, Err(bad_version.clone()));
        assert_eq!(
            session.delete("/a", version).await,
            Err(bad_version.clone())
        );
    }
    assert_eq!(session.get("/a").await, before);
    let none = Error::NoNode {
        path: "/b".into(),
        operation: None,
    };
    assert_eq!(session.set("/b", "1".into(), 0).await, Err(none.clone()));
    assert_eq!(session.delete("/b", 0).await, Err(none));
}

async fn any_version_matches_whatever_is_there(store: Store) {
    let session = store.session().await;
    session.create("/a", "1".into(), PERSISTENT).await.unwrap();
    assert_eq!(session.set("/a", "2".into(), ANY_VERSION).await, Ok(1));
    assert_eq!(session.delete("/a", ANY_VERSION).await, Ok(()));
}

async fn a_znode_made_again_starts_at_version_0_with_later_zxids(store: Store) {
    let session = store.session().await;
    session.create("/a", "1".into(), PERSISTENT).await.unwrap();
    session.set("/a", "2".into(), 0).await.unwrap();
    let first = session.get("/a").await.unwrap().unwrap().stat;
    session.delete("/a", 1).await.unwrap();
    session.create("/a", "3".into(), PERSISTENT).await.unwrap();
    let second = session.get("/a").await.unwrap().unwrap().stat;
    assert_eq!(second.version, 0);
    assert!(second.created_zxid > first.modified_zxid);
}

async fn a_create_needs_a_parent_and_a_free_place(store: Store) {
    let session = store.session().await;
    let no_parent = session.create("/a/b", Bytes::new(), PERSISTENT).await;
    assert!(matches!(no_parent, Err(Error::NoNode { path, .. }) if path == "/a/b"));
    session
        .create("/a", Bytes::new(), PERSISTENT)
        .await
        .unwrap();
    session
        .create("/a/b", "1".into(), PERSISTENT)
        .await
        .unwrap();
    let taken = session.create("/a/b", "2".into(), PERSISTENT).await;
    assert!(matches!(taken, Err(Error::NodeExists { path, .. }) if path == "/a/b"));
    let kept = session.get("/a/b").await.unwrap().unwrap();
    assert_eq!(kept.data, "1");
}

async fn a_znode_with_children_is_not_deleted(store: Store) {
    let session = store.session().await;
    session
        .create("/a", Bytes::new(), PERSISTENT)
        .await
        .unwrap();
    session
        .create("/a/b", Bytes::new(), PERSISTENT)
        .await
        .unwrap();
    let refused = session.delete("/a", 0).await;
    assert!(matches!(refused, Err(Error::NotEmpty { path, .. }) if path == "/a"));
    session.delete("/a/b", 0).await.unwrap();
    session.delete("/a", 0).await.unwrap();
}

async fn children_are_direct_and_sorted(store: Store) {
    let session = store.session().await;
    for path in ["/a", "/a/c", "/a/b", "/a/b/x", "/ab", "/a/a0"] {
        session
            .create(path, Bytes::new(), PERSISTENT)
            .await
            .unwrap();
    }
    let children = session.children("/a").await.unwrap().unwrap();
    assert_eq!(children, ["a0", "b", "c"]);
    let children = session.children("/").await.unwrap().unwrap();
    assert_eq!(children, ["a", "ab"]);
    assert_eq!(session.children("/ab").await, Ok(Some(vec![])));
}

async fn a_multi_happens_wholly_or_not_at_all_and_names_the_operation_that_failed(store: Store) {
    let session = store.session().await;
    session.create("/a", "1".into(), PERSISTENT).await.unwrap();
    session
        .create("/gone", "1".into(), PERSISTENT)
        .await
        .unwrap();
    let harmless = vec![
        Operation::set("/a", "2", 0),
        Operation::create("/b", "", PERSISTENT),
        Operation::create("/b/c-", "", CreateMode::PersistentSequential),
        Operation::delete("/gone", 0),
    ];
    let failing = [
        (Operation::create("/b", "", PERSISTENT), "exists"),
        (Operation::set("/a", "3", 7), "another version"),
        (Operation::delete("/x", 0), "no znode"),
        (Operation::delete("/b", 0), "has children"),
        (Operation::check("/gone", ANY_VERSION), "no znode"),
    ];
    for (operation, expected) in failing {
        let path = operation.path().to_owned();
        let mut operations = harmless.clone();
        operations.push(operation);
        // Not reached.
        operations.push(Operation::set("/also/absent", "", 0));
        let error = session.multi(operations).await.unwrap_err();
        assert_eq!(error.operation(), Some(harmless.len()), "{error}");
        let message = error.to_string();
        assert!(
            message.contains(expected) && message.contains(&path),
            "{error}"
        );
        let a = session.get("/a").await.unwrap().unwrap();
        assert_eq!((a.data, a.stat.version), ("1".into(), 0));
        assert_eq!(session.children("/").await.unwrap().unwrap(), ["a", "gone"]);
    }
    let outcomes = session.multi(harmless).await.unwrap();
    assert!(matches!(
        &outcomes[..],
        [Outcome::Set(stat), Outcome::Created { path: b }, Outcome::Created { path: c }, Outcome::Deleted]
            if stat.version == 1 && b == "/b" && c.starts_with("/b/c-")
    ));
}

async fn operations_of_a_multi_see_those_before_them(store: Store) {
    let session = store.session().await;
    let operations = vec![
        Operation::create("/a", "1", PERSISTENT),
        Operation::create("/a/b", "", PERSISTENT),
        Operation::set("/a", "2", 0),
        Operation::check("/a", 1),
        Operation::set("/a", "3", 1),
        Operation::delete("/a/b", 0),
        Operation::create("/a/b", "again", PERSISTENT),
    ];
    session.multi(operations).await.unwrap();
    let a = session.get("/a").await.unwrap().unwrap();
    assert_eq!((a.data, a.stat.version), ("3".into(), 2));
    assert_eq!(a.stat.created_zxid, a.stat.modified_zxid, "one write");
    let b = session.get("/a/b").await.unwrap().unwrap();
    assert_eq!((b.data, b.stat.version), ("again".into(), 0));
}

async fn an_empty_multi_does_nothing(store: Store) {
    let session = store.session().await;
    assert_eq!(session.multi(vec![]).await, Ok(vec![]));
}

async fn a_check_guards_a_multi(store: Store) {
    let session = store.session().await;
    session
        .create("/guard", "".into(), PERSISTENT)
        .await
        .unwrap();
    let create = |version| {
        vec![
            Operation::check("/guard", version),
            Operation::create("/a", "", PERSISTENT),
        ]
    };
    let refused = session.multi(create(1)).await;
    assert!(matches!(
        refused,
        Err(Error::BadVersion {
            operation: Some(0),
            ..
        })
    ));
    assert_eq!(session.get("/a").await, Ok(None));
    assert!(session.multi(create(0)).await.is_ok());
    let exists = vec![Operation::check("/guard", ANY_VERSION)];
    assert_eq!(session.multi(exists).await, Ok(vec![Outcome::Checked]));
}

async fn sequential_znodes_get_growing_numbers_for_all_sessions(store: Store) {
    let sessions = [store.session().await, store.session().await];
    sessions[0]
        .create("/s", Bytes::new(), PERSISTENT)
        .await
        .unwrap();
    sessions[1].sync("/").await.unwrap();
    let mut numbers = Vec::new();
    for i in 0..6 {
        let mode = [
            CreateMode::PersistentSequential,
            CreateMode::EphemeralSequential,
        ][i % 2];
        let prefix = ["/s/x-", "/s/y"][i % 2];
        let path = sessions[i % 2]
            .create(prefix, Bytes::new(), mode)
            .await
            .unwrap();
        let digits = path.strip_prefix(prefix).expect("the name is completed");
        assert_eq!(digits.len(), 10, "{path}");
        numbers.push(digits.parse::<u32>().unwrap());
        let znode = sessions[i % 2].get(&path).await.unwrap().unwrap();
        assert_eq!(znode.stat.ephemeral_owner != 0, mode.is_ephemeral());
        // Numbers are not used again.
        if i == 3 {
            sessions[i % 2].delete(&path, 0).await.unwrap();
        }
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

async fn invalid_paths_and_versions_are_refused(store: Store) {
    let session = store.session().await;
    for path in ["", "a", "/a/", "//", "/a//b", "/..", "/a/./b", "/\u{1}"] {
        let invalid = |error: &Error| matches!(error, Error::InvalidPath { .. });
        assert!(
            session.get(path).await.is_err_and(|e| invalid(&e)),
            "{path}"
        );
        assert!(session.children(path).await.is_err_and(|e| invalid(&e)));
        assert!(session.watch(path).await.is_err_and(|e| invalid(&e)));
        assert!(session.sync(path).await.is_err_and(|e| invalid(&e)));
        let create = session.create(path, Bytes::new(), PERSISTENT).await;
        assert!(create.is_err_and(|e| invalid(&e)));
    }
    session
        .create("/a", Bytes::new(), PERSISTENT)
        .await
        .unwrap();
    let set = session.set("/a", Bytes::new(), -2).await;
    assert!(matches!(
        set,
        Err(Error::InvalidVersion { version: -2, .. })
    ));
    // It goes on working.
    assert_eq!(session.set("/a", Bytes::new(), 0).await, Ok(1));
}

async fn a_znode_may_be_as_large_as_the_limit_and_no_larger(store: Store) {
    let session = store.session().await;
    let large = Bytes::from(vec![b'x'; MAX_ZNODE_BYTES - 200]);
    session
        .create("/a", large.clone(), PERSISTENT)
        .await
        .unwrap();
    let read = session.get("/a").await.unwrap().unwrap();
    assert_eq!(read.data, large);
    let larger = Bytes::from(vec![b'x'; MAX_ZNODE_BYTES + 1]);
    let refused = session.set("/a", larger, 0).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    let both = vec![
        Operation::set("/a", large.clone(), 0),
        Operation::create("/b", large.clone(), PERSISTENT),
    ];
    let refused = session.multi(both).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    assert_eq!(session.set("/a", large, 0).await, Ok(1));
}

async fn the_root_can_be_read_and_set_but_not_created_or_deleted(store: Store) {
    let session = store.session().await;
    let root = session.get("/").await.unwrap().unwrap();
    let version = session.set("/", "1".into(), root.stat.version).await;
    assert_eq!(version, Ok(root.stat.version + 1));
    let created = session.create("/", Bytes::new(), PERSISTENT).await;
    assert!(matches!(created, Err(Error::InvalidPath { .. })));
    let deleted = session.delete("/", ANY_VERSION).await;
    assert!(matches!(deleted, Err(Error::InvalidPath { .. })));
}

async fn of_two_creates_of_one_path_exactly_one_succeeds(store: Store) {
    let sessions = [store.session().await, store.session().await];
    for round in 0..20 {
        let path = format!("/{round}");
        let creates = sessions
            .iter()
            .zip(["0", "1"])
            .map(|(session, data)| session.create(&path, data.into(), PERSISTENT));
        let results = join_all(creates).await;
        let winners: Vec<_> = (0..2).filter(|i| results[*i].is_ok()).collect();
        let [winner] = winners[..] else {
            panic!("{results:?}");
        };
        let loser = results[1 - winner].as_ref().unwrap_err();
        assert!(matches!(loser, Error::NodeExists { .. }), "{loser}");
        sessions[1].sync("/").await.unwrap();
        let znode = sessions[1].get(&path).await.unwrap().unwrap();
        assert_eq!(znode.data, winner.to_string());
    }
}

async fn concurrent_increments_by_version_lose_none(store: Store) {
    const SESSIONS: i32 = 4;
    const EACH: i32 = 10;
    let first = store.session().await;
    first
        .create("/counter", "0".into(), PERSISTENT)
        .await
        .unwrap();
    let increments = (0..SESSIONS).map(|_| async {
        let session = store.session().await;
        session.sync("/").await.unwrap();
        let mut done = 0;
        while done < EACH {
            let znode = session.get("/counter").await.unwrap().unwrap();
            let value: u32 = std::str::from_utf8(&znode.data).unwrap().parse().unwrap();
            let next = (value + 1).to_string();
            match session
                .set("/counter", next.into(), znode.stat.version)
                .await
            {
                Ok(version) => {
                    assert_eq!(version, znode.stat.version + 1);
                    done += 1;
                }
                Err(Error::BadVersion { .. }) => session.sync("/").await.unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
    });
    join_all(increments).await;
    first.sync("/").await.unwrap();
    let counter = first.get("/counter").await.unwrap().unwrap();
    let total = SESSIONS * EACH;
    assert_eq!(counter.data, total.to_string());
    assert_eq!(counter.stat.version, total);
}

async fn after_a_sync_everything_confirmed_to_others_is_seen(store: Store) {
    let (writer, reader) = (store.session().await, store.session().await);
    writer.create("/a", "0".into(), PERSISTENT).await.unwrap();
    let mut seen = BTreeSet::new();
    for version in 0..20 {
        let written = (version + 1).to_string();
        writer
            .set("/a", written.clone().into(), version)
            .await
            .unwrap();
        reader.sync("/a").await.unwrap();
        let znode = reader.get("/a").await.unwrap().unwrap();
        assert_eq!(znode.data, written);
        assert!(seen.insert(znode.stat.modified_zxid));
    }
}
