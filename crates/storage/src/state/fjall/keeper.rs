//! A thread that does in quiet what fjall would do while every write and read waits.
//!
//! A store that took 14 MB of writes a second stopped for 60 to 140 ms about once a second. There were three causes, all
//! of them work that fjall does under a lock that others need, and all can be made to find nothing left to do:
//!
//! | fjall, under a lock | which holds up | here instead |
//! |---|---|---|
//! | syncs the journal before it writes a memtable to a table: all of a memtable at once | writes | a sync of the same file through another descriptor, whenever another [`SYNC_EVERY`] bytes were written |
//! | frees a memtable after it was written to a table: a hundred thousand small pieces of memory, 50 ms or more | writes and reads | a second owner for each memtable, so that the last one to let go of it is this thread, without any lock |
//! | removes tables that compaction has replaced, and journals, of 64 MiB: the file system frees the blocks, and may tell the disk | writes and reads | a descriptor of ours on each file, so that its blocks are freed when this thread closes it |
//!
//! And it ends memtables, each at another size, from half of what fjall would wait for to all of it. The replicas of a shard
//! take the same writes; with memtables of one size all nodes would write their tables at the same moment, and no majority would be
//! left whose disks are quiet (decision 37).
//!
//! Measured on tmpfs, which leaves out what the disk adds: 20 s of overwrites at 40,000 items of 256 B a second, the writer at
//! real-time priority because both cores had other work as well, twice each and in turn. Longest write 45 and 82 ms with this
//! thread, 105 and 310 ms without; 99.9 % within 36 and 74 ms, against 87 and 290 ms. That is the tendency, not a figure to
//! rely on: the machine was busy. On its disk, with this thread, removing a table took 0.2 ms at the most.
//! `examples/store_speed.rs` measures it as it is now.
//!
//! # Caveats
//!
//! * What remains is what fjall still does under that lock, once per table that is written: it syncs a few small files, which
//!   takes as long as the disk takes, and that is long when others keep it busy.
//! * Work that nobody waits for still needs a core. On a machine without one to spare, writes are late for that reason.
//! * It reaches the memtables through parts of fjall that are public but not documented. A release that
//!   changes them does not compile.
//! * fjall keeps the bound that a store was made with. One that was made with a smaller bound ends memtables there, those for which
//!   a larger size was drawn.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fjall::{AbstractTree, Keyspace};
use parking_lot::{Condvar, Mutex};

use super::{Failure, StoreError, error};

/// Bytes of journal that are left to a sync inside of fjall, at most, give or take what is written during one sync. Also
/// how often the active memtable is looked at; it takes many times as much.
const SYNC_EVERY: u64 = 1 << 20;

/// How often it is looked whether fjall has let go of memtables and files.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Files that are held open at the most. Those beyond cost a pause when they are removed.
const MAX_HELD_FILES: usize = 256;

/// Looks after the last sync, before it waits for the next one. Compaction goes on for a while after the last write.
const QUIET_LOOKS: u32 = 200;

/// The thread. Stops when dropped.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    dir: PathBuf,
    /// When fjall itself ends a memtable, at the latest.
    memtable_bytes: u64,
    failure: Arc<Failure>,
    /// Written since the thread last began to sync.
    unsynced: AtomicU64,
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Default)]
struct Wanted {
    sync: bool,
    stop: bool,
}

impl Keeper {
    /// Starts the thread for a store in a directory.
    pub(super) fn start(
        dir: &Path,
        keyspace: Keyspace,
        memtable_bytes: u64,
        failure: Arc<Failure>,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            memtable_bytes,
            failure,
            unsynced: AtomicU64::new(0),
            wanted: Mutex::default(),
            changed: Condvar::new(),
        });
        let thread = std::thread::Builder::new()
            .name("state-keeper".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.run(&keyspace)
            })
            .map_err(|e| StoreError::io("starting a thread of the state store", e))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Notes that so many bytes were written.
    pub(super) fn wrote(&self, bytes: usize) {
        let bytes = bytes as u64;
        let before = self.shared.unsynced.fetch_add(bytes, Ordering::Relaxed);
        if before < SYNC_EVERY && before + bytes >= SYNC_EVERY {
            self.shared.wanted.lock().sync = true;
            self.shared.changed.notify_one();
        }
    }

    /// Syncs what was written so far, except what fjall still has in a buffer of a few KiB.
    pub(super) fn sync_now(&self) -> Result<(), StoreError> {
        self.shared.sync()
    }
}

impl Shared {
    fn run(&self, keyspace: &Keyspace) {
        let tables = keyspace.path().join("tables");
        let mut files = HeldFiles::default();
        // Owned together with fjall. The newest one is in use.
        let mut memtables = vec![keyspace.tree.active_memtable()];
        let mut enough = self.draw();
        let mut quiet = 0;
        while let Some(sync) = self.wait(quiet < QUIET_LOOKS) {
            quiet += 1;
            if sync {
                quiet = 0;
                // An error is noted; the thread goes on for the memtables' sake.
                let _ = self.sync();
                let mut active = keyspace.tree.active_memtable();
                if active.size() >= enough {
                    self.rotate(keyspace);
                    active = keyspace.tree.active_memtable();
                }
                if memtables
                    .last()
                    .is_none_or(|last| !Arc::ptr_eq(last, &active))
                {
                    memtables.push(active);
                    // Also where fjall has ended the one before.
                    enough = self.draw();
                }
            }
            // Those that only we own are freed here.
            memtables.retain(|memtable| Arc::strong_count(memtable) > 1);
            files.look(&[&self.dir, &tables]);
        }
    }

    /// How large the next memtable becomes, bytes, give or take [`SYNC_EVERY`].
    fn draw(&self) -> u64 {
        rand::random_range(self.memtable_bytes / 2..=self.memtable_bytes)
    }

    fn rotate(&self, keyspace: &Keyspace) {
        if let Err(error) = keyspace.rotate_memtable() {
            self.failure.note(error::map("end a memtable", error));
        }
    }

    /// Waits for something to do: `Some(true)` for a sync, `Some(false)` for a look at the memtables, `None` for the end.
    fn wait(&self, looking: bool) -> Option<bool> {
        let mut wanted = self.wanted.lock();
        while !wanted.sync && !wanted.stop {
            if !looking {
                self.changed.wait(&mut wanted);
            } else if self.changed.wait_for(&mut wanted, LOOK_EVERY).timed_out() {
                break;
            }
        }
        if wanted.stop {
            return None;
        }
        Some(std::mem::take(&mut wanted.sync))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.unsynced.store(0, Ordering::Relaxed);
        newest_journal(&self.dir)
            .and_then(|file| file.map_or(Ok(()), |file| file.sync_data()))
            .map_err(|e| {
                let doing = format!("syncing the journal in {}", self.dir.display());
                self.failure.note(StoreError::io(doing, e))
            })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.wanted.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Descriptors on the files of the store.
#[derive(Default)]
struct HeldFiles {
    held: BTreeMap<PathBuf, File>,
}

impl HeldFiles {
    /// Opens the files that are new in these directories and closes those that were removed.
    fn look(&mut self, dirs: &[&Path]) {
        // This is where the blocks of removed files are freed.
        self.held
            .retain(|_, file| file.metadata().is_ok_and(|metadata| metadata.nlink() > 0));
        for dir in dirs {
            // A file that can't be looked at or opened is only not held.
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if self.held.len() < MAX_HELD_FILES
                    && entry.file_type().is_ok_and(|kind| kind.is_file())
                    && !self.held.contains_key(&path)
                    && let Ok(file) = File::open(&path)
                {
                    self.held.insert(path, file);
                }
            }
        }
    }
}

/// The journal that is being written: the one with the highest number. Those before it were synced when they ended.
fn newest_journal(dir: &Path) -> std::io::Result<Option<File>> {
    let newest = super::journals(dir)?.pop();
    newest.map(|(_, path)| File::open(path)).transpose()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fjall::AbstractTree as _;

    use crate::state::{Batch, FjallOptions, FjallStore, StateStore};

    fn open(dir: &Path, memtable_bytes: u64) -> FjallStore {
        let options = FjallOptions {
            memtable_bytes,
            ..FjallOptions::default()
        };
        FjallStore::open(dir, &options).unwrap()
    }

    #[test]
    fn memtables_end_at_different_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 4 << 20);
        let active = || store.keyspace.tree.active_memtable();
        let mut current = active();
        let mut sizes = Vec::new();
        for number in 0u32..4_000 {
            let mut batch = Batch::new();
            batch.put(number.to_be_bytes().to_vec(), vec![7; 32 << 10]);
            store.write(batch).unwrap();
            if active().id() != current.id() {
                sizes.push(current.size() >> 20);
                current = active();
            }
        }
        let (smallest, largest) = (sizes.iter().min(), sizes.iter().max());
        // At four fjall would end each.
        assert!(smallest < Some(&4) && smallest < largest, "MiB: {sizes:?}");
    }

    /// Whatever the thread is about to do, nothing holds the directory once the store is dropped.
    #[test]
    fn a_store_that_is_dropped_while_a_memtable_ends_can_be_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0u32..40 {
            let store = open(dir.path(), 1 << 20);
            let mut batch = Batch::new();
            batch.put(round.to_be_bytes().to_vec(), vec![7; 1 << 20]);
            store.write(batch).unwrap();
        }
    }
}
