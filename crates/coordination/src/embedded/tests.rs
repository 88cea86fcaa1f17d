//! What only a look inside shows: a failing disk, compaction, crashes in the middle of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::journal::LogFile;
use super::*;
use crate::{CreateMode, Operation, SessionState};

/// A journal file whose first sync after the switch fails, and whose later ones succeed again, as Linux
/// does it.
struct FailingOnce {
    switch: Arc<AtomicBool>,
}

impl LogFile for FailingOnce {
    fn append(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.switch.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("injected"));
        }
        Ok(())
    }
}

fn store_on(file: impl LogFile + 'static, directory: &Path) -> Embedded {
    let files = Files {
        journal: directory.join("journal"),
        snapshot: directory.join("snapshot"),
        compact_after: u64::MAX,
        snapshot_bytes: 0,
    };
    let lock = lock(&directory.join("lock")).unwrap();
    Embedded::start(State::new(), Journal::on(Box::new(file)), files, lock).unwrap()
}

#[tokio::test]
async fn a_failed_sync_is_final() {
    let directory = tempfile::tempdir().unwrap();
    let switch = Arc::new(AtomicBool::new(false));
    let file = FailingOnce {
        switch: Arc::clone(&switch),
    };
    let store = store_on(file, directory.path());
    let session = store.session();
    let create = |path| session.create(path, Bytes::new(), CreateMode::Persistent);
    create("/before").await.unwrap();

    switch.store(true, Ordering::SeqCst);
    assert_eq!(create("/during").await, Err(Error::ConnectionLoss));
    assert_eq!(*session.session().borrow(), SessionState::Disconnected);

    // The disk works again, but nobody knows what it holds.
    for result in [
        create("/after").await.map(drop),
        session.get("/before").await.map(drop),
        session.sync("/").await,
        session.watch("/").await.map(drop),
    ] {
        assert!(
            matches!(result, Err(Error::Unavailable { .. })),
            "{result:?}"
        );
    }
    let later = store.session();
    assert_eq!(*later.session().borrow(), SessionState::Disconnected);
}

/// A write that was on its way when its session was closed must not leave an ephemeral znode for ever.
#[tokio::test]
async fn a_write_that_comes_after_the_end_of_its_session_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    store.core.send(Request::Open { session: 7 });
    let (done, closed) = oneshot::channel();
    store.core.send(Request::Close { session: 7, done });
    let (answer, answered) = oneshot::channel();
    store.core.send(Request::Multi {
        session: 7,
        operations: vec![Operation::create("/e", "", CreateMode::Ephemeral)],
        answer,
    });
    closed.await.unwrap();
    assert_eq!(answered.await.unwrap(), Err(Error::SessionExpired));
    assert_eq!(store.session().get("/e").await, Ok(None));
}

async fn fill(store: &Embedded, from: u32, to: u32) {
    let session = store.session();
    for i in from..to {
        let path = format!("/{i:05}");
        let create = Operation::create(&path, vec![b'x'; 100], CreateMode::Persistent);
        let operations = vec![create, Operation::set(&path, i.to_string(), 0)];
        session.multi(operations).await.unwrap();
    }
    let ephemeral = session.create("/ephemeral", Bytes::new(), CreateMode::Ephemeral);
    ephemeral.await.unwrap();
}

async fn check_filled(store: &Embedded, to: u32) {
    let session = store.session();
    let names = session.children("/").await.unwrap().unwrap();
    let expected: Vec<String> = (0..to).map(|i| format!("{i:05}")).collect();
    assert_eq!(names, expected);
    for i in 0..to {
        let znode = session.get(&format!("/{i:05}")).await.unwrap().unwrap();
        assert_eq!((znode.data, znode.stat.version), (i.to_string().into(), 1));
    }
}

#[tokio::test]
async fn a_long_journal_is_replaced_by_a_snapshot_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for round in 0..3 {
        let store = Embedded::open_compacting_after(directory, 2_000).unwrap();
        check_filled(&store, round * 50).await;
        fill(&store, round * 50, (round + 1) * 50).await;
    }
    assert!(directory.join("snapshot").exists());
    let journal = fs::metadata(directory.join("journal")).unwrap().len();
    let snapshot = fs::metadata(directory.join("snapshot")).unwrap().len();
    assert!(journal < 2_000 + 2 * snapshot, "{journal} {snapshot}");
    check_filled(&Embedded::open(directory).unwrap(), 150).await;
}

#[tokio::test]
async fn killed_between_snapshot_and_new_journal_the_old_journal_is_skipped_up_to_the_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fill(&Embedded::open(directory).unwrap(), 0, 20).await;
    let old_journal = fs::read(directory.join("journal")).unwrap();
    // Compacts at its first write.
    fill(
        &Embedded::open_compacting_after(directory, 1).unwrap(),
        20,
        20,
    )
    .await;
    assert!(directory.join("snapshot").exists());
    fs::write(directory.join("journal"), old_journal).unwrap();
    check_filled(&Embedded::open(directory).unwrap(), 20).await;
}

#[tokio::test]
async fn a_lost_journal_or_snapshot_is_noticed() {
    for lost in ["journal", "snapshot"] {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        fill(
            &Embedded::open_compacting_after(directory, 1).unwrap(),
            0,
            20,
        )
        .await;
        fs::remove_file(directory.join(lost)).unwrap();
        let error = Embedded::open(directory).err();
        assert!(
            matches!(&error, Some(Error::Damaged { file, .. }) if file.ends_with("journal")),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_second_opening_is_refused_until_the_first_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    let session = store.session();
    drop(store);
    let error = Embedded::open(directory.path()).err().unwrap();
    assert!(error.to_string().contains("lock"), "{error}");
    drop(session);
    assert!(Embedded::open(directory.path()).is_ok());
}
