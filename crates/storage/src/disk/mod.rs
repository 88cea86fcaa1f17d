//! The file system, as narrow as the log needs it.
//!
//! Whoever keeps bytes for good talks to a [`Disk`], never to `std::fs`. So the same code runs on the real
//! one ([`RealDisk`]) and, in tests and in the simulation, on one that lives in memory and loses what a
//! power cut would lose (`SimDisk`, behind the feature `testing`).
//!
//! What survives is the whole point of the interface:
//!
//! | call | survives a killed process | survives a power cut |
//! |---|---|---|
//! | [`DiskFile::write_all_at`] | yes | any part of it, in any order, until the file's next [`sync_data`](DiskFile::sync_data) |
//! | [`Disk::create`], [`Disk::rename`], [`Disk::remove`] | yes | an older state of the directory until its next [`sync_dir`](Disk::sync_dir) |
//! | [`Disk::create_dir_all`] | yes | yes |
//!
//! # Caveats
//!
//! After a sync that failed nothing is certain: the pages may count as clean although they never reached
//! the disk, and the next sync then succeeds without writing them. A caller treats the first failed sync
//! as the last one, and reads nothing as durable that was written before it.

mod real;
#[cfg(any(test, feature = "testing"))]
mod sim;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use real::RealDisk;
#[cfg(any(test, feature = "testing"))]
pub use sim::SimDisk;

/// A file system. All calls block; all are safe to make from several threads.
pub trait Disk: Send + Sync {
    /// Makes a directory and those above it, durably; none of it is an error if it exists, except as a file.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes a new, empty file; an error if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, taking that name from the file that had it, if any.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Its open handles stay usable.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names of the files in a directory, sorted. An error if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in a directory durable as they are now.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Reads up to `buffer.len()` bytes from `offset`; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. After an error, any part of them may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the content durable, and the length, as far as reading the content needs it.
    fn sync_data(&self) -> io::Result<()>;

    /// Grows the file to at least `len` bytes, the new ones zero, with room for all of them reserved on
    /// the disk: writes below `len` then don't fail for lack of space (where the file system can
    /// promise that).
    fn preallocate(&self, len: u64) -> io::Result<()>;

    /// Cuts or grows the file to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Length of the file.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

#[cfg(test)]
mod tests;
