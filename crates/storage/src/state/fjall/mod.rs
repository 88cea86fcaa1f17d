//! The state store on disk: an LSM tree by `fjall`.

mod error;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fjall::config::{BlockSizePolicy, CompressionPolicy};
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot,
};

use super::{Batch, Scan, StateStore, StateView, StoreError, StoreStats};
use crate::keys::KeyRange;

const KEYSPACE: &str = "state";

/// Bounds of a [`FjallStore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FjallOptions {
    /// Memory for blocks that were read, bytes.
    pub cache_bytes: u64,
    /// Writes that are gathered in memory before they go to a table, bytes.
    pub memtable_bytes: u64,
    /// Journals on disk beyond which tables are written to make room, bytes. At least 64 MiB.
    pub journal_bytes: u64,
    /// Threads.
    pub workers: usize,
}

impl Default for FjallOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 32 << 20,
            memtable_bytes: 16 << 20,
            journal_bytes: 128 << 20,
            workers: 3,
        }
    }
}

/// A [`StateStore`] in a directory.
pub struct FjallStore {
    database: Database,
    keyspace: Keyspace,
    dir: PathBuf,
    failed: OnceLock<String>,
}

impl FjallStore {
    /// Opens the store in a directory, which is made if it is not there.
    pub fn open(dir: &Path, options: &FjallOptions) -> Result<Self, StoreError> {
        let database = Database::builder(dir)
            .cache_size(options.cache_bytes)
            .max_journaling_size(options.journal_bytes)
            .journal_compression(CompressionType::None)
            .manual_journal_persist(true)
            .worker_threads(options.workers)
            .open()
            .map_err(|e| error::opening(dir, e))?;
        let keyspace = database
            .keyspace(KEYSPACE, || {
                KeyspaceCreateOptions::default()
                    .manual_journal_persist(true)
                    .max_memtable_size(options.memtable_bytes)
                    .data_block_size_policy(BlockSizePolicy::all(4 << 10))
                    .data_block_compression_policy(CompressionPolicy::disabled())
            })
            .map_err(|e| error::opening(dir, e))?;
        Ok(Self {
            database,
            keyspace,
            dir: dir.to_owned(),
            failed: OnceLock::new(),
        })
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.failed.get() {
            Some(why) => Err(StoreError::Failed(why.clone())),
            None => Ok(()),
        }
    }

    /// Notes the first failure of a write or a persist: there is no way back from it.
    fn fail(&self, error: StoreError) -> StoreError {
        let _ = self.failed.set(error.to_string());
        error
    }
}

impl StateStore for FjallStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.keyspace.get(key).map_err(|e| error::map("get", e))?;
        Ok(value.map(Bytes::from))
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.check()?;
        let mut operations =
            fjall::OwnedWriteBatch::with_capacity(self.database.clone(), batch.len());
        for (key, value) in batch {
            match value {
                Some(value) => operations.insert(&self.keyspace, key, value),
                None => operations.remove(&self.keyspace, key),
            }
        }
        operations
            .commit()
            .map_err(|e| self.fail(error::map("write", e)))
    }

    fn persist(&self) -> Result<(), StoreError> {
        self.check()?;
        self.database
            .persist(PersistMode::SyncData)
            .map_err(|e| self.fail(error::map("persist", e)))
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
