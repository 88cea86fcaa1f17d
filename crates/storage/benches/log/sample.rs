//! A log with one group in a temporary directory.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use model::{ShardId, TableId};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use storage::disk::RealDisk;
use storage::log::{Log, LogEntry, LogOptions, Record};
use tempfile::TempDir;

/// Bytes of an entry's payload.
pub(crate) const PAYLOAD: usize = 256;
/// What the log writes beside the payloads: for a batch, for its one record, for each entry.
const BATCH_OVERHEAD: usize = 48;
const RECORD_OVERHEAD: usize = 28 + 12;
const ENTRY_OVERHEAD: usize = 13;
/// Batches begin at multiples of this.
const SECTOR: usize = 512;
/// The group's entries are purged so often, as a node does once its state store is durable.
const PURGE_EVERY: u64 = 16_384;

pub(crate) const GROUP: ShardId = ShardId {
    table: TableId(1),
    index: 0,
};

/// A directory that is a disk wherever the build is on one: a temporary directory may be memory.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A log in use.
pub(crate) struct Sample {
    pub(crate) log: Log,
    payload: Bytes,
    next: u64,
    purged: u64,
}

impl Sample {
    /// A log without entries.
    pub(crate) fn empty(directory: &TempDir) -> Self {
        let path = log_path(directory);
        let (log, _) = Log::open(Arc::new(RealDisk), &path, LogOptions::default()).unwrap();
        let mut payload = vec![0; PAYLOAD];
        SmallRng::seed_from_u64(1).fill_bytes(&mut payload);
        Self {
            log,
            payload: payload.into(),
            next: 1,
            purged: 0,
        }
    }

    /// A log that has been in use for so long that all its segments have their blocks.
    pub(crate) fn warm(directory: &TempDir) -> Self {
        let mut sample = Self::empty(directory);
        let options = LogOptions::default();
        let segments = 2 + options.spare_segments as u64;
        for _ in 0..segments * options.segment_bytes / bytes_of(64) as u64 {
            sample.write(64);
            sample.purge();
        }
        sample.log.sync().unwrap();
        sample
    }

    /// Writes a batch of so many entries.
    pub(crate) fn write(&mut self, entries: u64) {
        let entry = |index| LogEntry {
            index,
            term: 1,
            kind: 1,
            payload: self.payload.clone(),
        };
        let entries = (self.next..self.next + entries).map(entry);
        let entries: Vec<_> = entries.collect();
        self.next += entries.len() as u64;
        let group = GROUP;
        self.log
            .write(&[Record::Append { group, entries }])
            .unwrap();
    }

    /// Purges, if it is time.
    pub(crate) fn purge(&mut self) {
        let index = self.next - 1;
        if index - self.purged >= PURGE_EVERY {
            self.purged = index;
            let (group, term) = (GROUP, 1);
            let purge = Record::Purge { group, index, term };
            self.log.write(&[purge]).unwrap();
        }
    }
}

pub(crate) fn log_path(directory: &TempDir) -> PathBuf {
    directory.path().join("log")
}

/// What the log makes of a batch of so many entries.
pub(crate) fn bytes_of(entries: usize) -> usize {
    (BATCH_OVERHEAD + record_bytes(entries)).next_multiple_of(SECTOR)
}

/// What is read of it to read its entries back.
pub(crate) fn record_bytes(entries: usize) -> usize {
    RECORD_OVERHEAD + entries * (PAYLOAD + ENTRY_OVERHEAD)
}
