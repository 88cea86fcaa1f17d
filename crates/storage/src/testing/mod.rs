//! The conformance suite of the state store.
//!
//! One list of cases says what the [trait](crate::state::StateStore) promises, and every store runs all of them: the one on
//! disk and the model in memory here, and whatever another crate puts in their place. Behind the cargo feature `testing`.
//!
//! ```ignore
//! mod my_store {
//!     storage::state_store_suite!(MyHost::new);
//! }
//! ```
//!
//! A [`StoreHost`] is a disk: it opens a store on it, and can end that store as a crash would.
//!
//! # Caveats
//!
//! * A crash here is the death of the process and of what the store holds in its own memory. Lost and torn writes of the disk
//!   below are tested where the store's files are known.

// A failed case is a failed test: it panics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc
)]

mod cases;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::Mutex;

pub use cases::*;

use crate::state::{
    Batch, FjallOptions, FjallStore, MemoryStore, StateStore, StateView, StoreError, StoreStats,
};

/// A disk with at most one open store on it.
pub trait StoreHost {
    /// Opens the store, which is empty the first time.
    fn open(&mut self) -> Arc<dyn StateStore>;

    /// Ends the store without giving it a chance to save anything. The next [`StoreHost::open`] finds what was left. The
    /// caller has dropped its own handles.
    fn crash(&mut self);
}

/// Runs the suite: one `#[test]` per case. Takes a function that makes a new [`StoreHost`].
#[macro_export]
macro_rules! state_store_suite {
    ($host:expr) => {
        $crate::state_store_suite!(@each $host;
            what_is_written_is_there_at_once
            the_last_operation_on_a_key_counts
            an_empty_batch_does_nothing
            several_batches_are_written_as_one
            a_view_never_changes
            a_view_shows_every_batch_whole
            a_scan_gives_the_range_in_order_and_nothing_else
            what_was_persisted_survives_a_crash
            a_crash_leaves_a_prefix_of_the_batches
            values_of_every_size_come_back
            a_range_is_deleted_in_bounded_batches
            ten_thousand_deleted_keys_stay_deleted
            any_history_gives_what_a_map_gives
            reads_beside_writes_see_what_was_written
        );
    };
    (@each $host:expr; $($case:ident)*) => {
        $(#[test]
        fn $case() {
            $crate::testing::$case(&mut $host());
        })*
    };
}

/// A host of [`MemoryStore`].
#[derive(Default)]
pub struct MemoryHost {
    store: MemoryStore,
}

impl MemoryHost {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }
}

impl StoreHost for MemoryHost {
    fn open(&mut self) -> Arc<dyn StateStore> {
        Arc::new(self.store.clone())
    }

    fn crash(&mut self) {
        // Half of what it might keep.
        self.store
            .crash_keeping(self.store.unpersisted_batches() / 2);
    }
}

/// A host of [`FjallStore`] in a temporary directory, which goes when the host is dropped.
pub struct FjallHost {
    dir: tempfile::TempDir,
    store: Option<Arc<FjallStore>>,
}

impl FjallHost {
    /// An empty directory.
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            store: None,
        }
    }
}

impl Default for FjallHost {
    fn default() -> Self {
        Self::new()
    }
}

impl StoreHost for FjallHost {
    fn open(&mut self) -> Arc<dyn StateStore> {
        let options = FjallOptions::small();
        let store = Arc::new(FjallStore::open(self.dir.path(), &options).unwrap());
        self.store = Some(Arc::clone(&store));
        store
    }

    fn crash(&mut self) {
        // What the files contain now is what a killed process would leave. Closing the store writes more, but
        // to the files that are thrown away.
        let copy = copy_at_rest(self.dir.path());
        self.store = None;
        self.dir = copy;
    }
}

/// A copy of a directory as it was at one moment: the store's own threads may flush and compact while files are copied,
/// and a mixture of before and after is nothing that a crash could leave. So it is copied until nothing has changed meanwhile.
fn copy_at_rest(dir: &Path) -> tempfile::TempDir {
    for _ in 0..1000 {
        let copy = tempfile::tempdir().unwrap();
        let before = listing(dir);
        let whole = copy_files(dir, copy.path()).is_ok();
        if whole && listing(dir) == before {
            return copy;
        }
    }
    panic!("the files of {} don't come to rest", dir.display());
}

/// Every file below a directory, with what shows that it was changed. A file that vanishes while it is looked at is left out.
fn listing(dir: &Path) -> BTreeMap<PathBuf, (u64, Option<SystemTime>)> {
    let mut files = BTreeMap::new();
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => files.extend(listing(&path)),
            Ok(metadata) => {
                files.insert(path, (metadata.len(), metadata.modified().ok()));
            }
            Err(_) => {}
        }
    }
    files
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A store that fails for good after a number of writes and persists, as if the process had been killed there.
///
/// Of the operation at which it fails nothing is done. Reads go on.
pub struct DyingStore {
    inner: MemoryStore,
    left: Mutex<u64>,
}

impl DyingStore {
    /// Passes `operations` writes and persists on to `inner`.
    pub fn new(inner: MemoryStore, operations: u64) -> Self {
        Self {
            inner,
            left: Mutex::new(operations),
        }
    }

    fn live(&self) -> Result<(), StoreError> {
        let mut left = self.left.lock();
        *left = left
            .checked_sub(1)
            .ok_or_else(|| StoreError::Failed("killed by the test".into()))?;
        Ok(())
    }
}

impl StateStore for DyingStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(key)
    }

    fn write_all(&self, batches: Vec<Batch>) -> Result<(), StoreError> {
        self.live()?;
        self.inner.write_all(batches)
    }

    fn persist(&self) -> Result<(), StoreError> {
        self.live()?;
        self.inner.persist()
    }

    fn view(&self) -> Arc<dyn StateView> {
        self.inner.view()
    }

    fn stats(&self) -> StoreStats {
        self.inner.stats()
    }
}
