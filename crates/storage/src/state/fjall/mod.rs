//! The state store on disk: an LSM tree by `fjall`.

mod error;
mod journal;
mod keeper;
mod recent;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fjall::config::{BlockSizePolicy, CompressionPolicy};
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot,
};
use parking_lot::Mutex;

use self::keeper::Keeper;
use self::recent::Recent;
use super::{Batch, Scan, StateStore, StateView, StoreError, StoreStats};
use crate::keys::KeyRange;

const KEYSPACE: &str = "state";

/// The least that fjall takes.
const MIN_JOURNAL_BYTES: u64 = 64 << 20;
const MIN_OPEN_FILES: usize = 10;

/// Bounds of a [`FjallStore`]: all in all some 140 MiB of memory at a million items of 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FjallOptions {
    /// Memory for blocks that were read, bytes.
    pub cache_bytes: u64,
    /// Memory for the items that were written last, bytes.
    pub recent_bytes: u64,
    /// Keeps whatever was written last there, items or not: so that tests with keys of their own pass through it.
    pub recent_everything: bool,
    /// Writes that are gathered in memory before they go to a table, bytes: a random share from half of this to all of it. While a
    /// table is being written, and more come, the store holds up to five times as much, then it makes writers wait. Fixed when the
    /// store is made.
    pub memtable_bytes: u64,
    /// Journals on disk beyond which a table is written to make room, bytes. At least 64 MiB. Bounds the time that it
    /// takes to open the store.
    pub journal_bytes: u64,
    /// Table files that are kept open. At least 10.
    pub open_files: usize,
    /// Threads that write tables and compact. With three of them one is always free to write tables; with two it
    /// would spend its time handing back compactions that it may not do while the other is busy with one.
    pub workers: usize,
}

impl Default for FjallOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 8 << 20,
            recent_bytes: 32 << 20,
            recent_everything: false,
            memtable_bytes: 16 << 20,
            journal_bytes: 128 << 20,
            open_files: 256,
            workers: 3,
        }
    }
}

impl FjallOptions {
    /// Small bounds for tests: writes reach tables after a few hundred items.
    #[cfg(any(test, feature = "testing"))]
    pub fn small() -> Self {
        Self {
            cache_bytes: 1 << 20,
            recent_bytes: 32 << 10,
            recent_everything: true,
            memtable_bytes: 64 << 10,
            ..Self::default()
        }
    }

    fn keyspace(&self) -> KeyspaceCreateOptions {
        KeyspaceCreateOptions::default()
            .manual_journal_persist(true)
            .max_memtable_size(self.memtable_bytes)
            .data_block_size_policy(BlockSizePolicy::all(4 << 10))
            .data_block_compression_policy(CompressionPolicy::disabled())
    }
}

/// A [`StateStore`] in a directory.
///
/// One key space of fjall, with values beside their keys. Its journal is written with every batch and synced by `persist`.
///
/// Dropping it syncs the journal and waits for running compactions. A view that outlives it keeps the directory locked.
pub struct FjallStore {
    /// Dropped first, and with it ended: a memtable that it ended after the database's threads have stopped would keep the directory locked.
    keeper: Keeper,
    database: Database,
    keyspace: Keyspace,
    recent: Recent,
    /// Held while a batch goes into the tree and then into `recent`.
    writing: Mutex<()>,
    dir: PathBuf,
    failure: Arc<Failure>,
}

impl FjallStore {
    /// Opens the store in a directory, which is made if it is not there.
    ///
    /// After a crash it contains a prefix of what was written, at least what was persisted (see [`crate::state`]). If the newest
    /// journal is damaged in its middle, it may be less than what was persisted: whoever purges a log by this store
    /// compares its applied indexes with where the log starts.
    ///
    /// Fails with [`StoreError::Locked`] if the directory is open already. Takes time in proportion to the journals, which `options` bound.
    pub fn open(dir: &Path, options: &FjallOptions) -> Result<Self, StoreError> {
        journal::check(dir)?;
        let (database, keyspace) =
            Self::open_database(dir, options).map_err(|e| error::opening(dir, e))?;
        let failure = Arc::new(Failure::default());
        Ok(Self {
            keeper: Keeper::start(
                dir,
                keyspace.clone(),
                options.memtable_bytes,
                Arc::clone(&failure),
            )?,
            database,
            keyspace,
            recent: Recent::new(options.recent_bytes, options.recent_everything),
            writing: Mutex::new(()),
            dir: dir.to_owned(),
            failure,
        })
    }

    /// fjall asserts some of what it reads, so a panic in it means the same as an error.
    fn open_database(
        dir: &Path,
        options: &FjallOptions,
    ) -> Result<(Database, Keyspace), fjall::Error> {
        std::panic::catch_unwind(|| {
            let database = Database::builder(dir)
                .cache_size(options.cache_bytes)
                .max_journaling_size(options.journal_bytes.max(MIN_JOURNAL_BYTES))
                .max_cached_files(Some(options.open_files.max(MIN_OPEN_FILES)))
                .journal_compression(CompressionType::None)
                .manual_journal_persist(true)
                .worker_threads(options.workers.max(1))
                .open()?;
            let keyspace = database.keyspace(KEYSPACE, || options.keyspace())?;
            Ok((database, keyspace))
        })
        .unwrap_or(Err(fjall::Error::Unrecoverable))
    }
}

/// The first failure of a write or a persist. There is no way back from it.
#[derive(Default)]
struct Failure(OnceLock<String>);

impl Failure {
    fn check(&self) -> Result<(), StoreError> {
        match self.0.get() {
            Some(why) => Err(StoreError::Failed(why.clone())),
            None => Ok(()),
        }
    }

    fn note(&self, error: StoreError) -> StoreError {
        let _ = self.0.set(error.to_string());
        error
    }
}

impl StateStore for FjallStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if let Some(value) = self.recent.get(key) {
            return Ok(Some(value));
        }
        let value = self.keyspace.get(key).map_err(|e| error::map("get", e))?;
        Ok(value.map(Bytes::from))
    }

    fn write_all(&self, batches: Vec<Batch>) -> Result<(), StoreError> {
        self.failure.check()?;
        let bytes = batches.iter().map(Batch::bytes).sum();
        let count = batches.iter().map(Batch::len).sum();
        let mut operations = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), count);
        let mut recent = Vec::new();
        for (key, value) in batches.into_iter().flatten() {
            if self.recent.wants(&key) {
                recent.push((key.clone(), value.clone()));
            }
            match value {
                Some(value) => operations.insert(&self.keyspace, key, value),
                None => operations.remove(&self.keyspace, key),
            }
        }
        {
            let _one_by_one = self.writing.lock();
            operations
                .commit()
                .map_err(|e| self.failure.note(error::map("write", e)))?;
            for (key, value) in recent {
                self.recent.wrote(key, value);
            }
        }
        self.keeper.wrote(bytes);
        Ok(())
    }

    fn persist(&self) -> Result<(), StoreError> {
        self.failure.check()?;
        // The bulk of it without the lock, so that writes wait for the little rest only.
        self.keeper.sync_now()?;
        self.database
            .persist(PersistMode::SyncData)
            .map_err(|e| self.failure.note(error::map("persist", e)))
    }

    fn view(&self) -> Arc<dyn StateView> {
        Arc::new(FjallView {
            snapshot: self.database.snapshot(),
            keyspace: self.keyspace.clone(),
        })
    }

    fn stats(&self) -> StoreStats {
        let (disk_bytes, journal_bytes) = disk_use(&self.dir);
        StoreStats {
            disk_bytes,
            journal_bytes,
            write_buffer_bytes: self.database.write_buffer_size(),
        }
    }
}

/// fjall's journals in a directory, by number.
fn journals(dir: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if let Some(number) = stem.and_then(|stem| stem.parse().ok()) {
                found.push((number, path));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Bytes that the files below a directory take on disk, and those of journals among them.
fn disk_use(dir: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let mut total = (0, 0);
    // A file may vanish between being listed and being looked at.
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let path = entry.path();
        if metadata.is_dir() {
            let below = disk_use(&path);
            total = (total.0 + below.0, total.1 + below.1);
        } else {
            // Not the length: journals are made at full length and filled later.
            let bytes = metadata.blocks() * 512;
            total.0 += bytes;
            if path.extension().is_some_and(|e| e == "jnl") {
                total.1 += bytes;
            }
        }
    }
    total
}

struct FjallView {
    snapshot: Snapshot,
    keyspace: Keyspace,
}

impl StateView for FjallView {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self
            .snapshot
            .get(&self.keyspace, key)
            .map_err(|e| error::map("get", e))?;
        Ok(value.map(Bytes::from))
    }

    fn scan(&self, range: &KeyRange) -> Scan<'_> {
        if range.start >= range.end {
            return Box::new(std::iter::empty());
        }
        let entries = self
            .snapshot
            .range(&self.keyspace, range.start.as_slice()..range.end.as_slice());
        Box::new(entries.map(|entry| {
            let (key, value) = entry.into_inner().map_err(|e| error::map("scan", e))?;
            Ok((Bytes::from(key), Bytes::from(value)))
        }))
    }
}
