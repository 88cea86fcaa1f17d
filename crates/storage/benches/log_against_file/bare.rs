//! A file that the log is held against.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use storage::disk::{Disk as _, DiskFile, RealDisk};
use tempfile::TempDir;

/// As large as a segment of the log.
const FILE: u64 = 64 << 20;

/// A file that has all its blocks, written from its beginning to its end and then again.
pub(crate) struct BareFile {
    file: Arc<dyn DiskFile>,
    bytes: Vec<u8>,
    end: u64,
}

impl BareFile {
    /// For writes of so many bytes.
    pub(crate) fn new(directory: &TempDir, bytes: usize) -> Self {
        let path = directory.path().join("bare");
        let file = RealDisk.create(&path).unwrap();
        let zeros = vec![0; 1 << 20];
        for offset in (0..FILE).step_by(zeros.len()) {
            file.write_all_at(&zeros, offset).unwrap();
        }
        file.sync_data().unwrap();
        let mut bytes = vec![0; bytes];
        SmallRng::seed_from_u64(1).fill_bytes(&mut bytes);
        let end = 0;
        Self { file, bytes, end }
    }

    pub(crate) fn write_and_sync(&mut self) {
        if self.end + self.bytes.len() as u64 > FILE {
            self.end = 0;
        }
        self.file.write_all_at(&self.bytes, self.end).unwrap();
        self.file.sync_data().unwrap();
        self.end += self.bytes.len() as u64;
    }
}
