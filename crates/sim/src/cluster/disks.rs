//! What a node keeps its data on: a simulated disk for its log and identity, a simulated state store.

use std::path::Path;
use std::sync::Arc;

use datanode::{Lock, Place, Storage};
use parking_lot::Mutex;
use storage::disk::{Disk, SimDisk};
use storage::state::{MemoryStore, StateStore, StoreError};

use super::Death;
use crate::dice::Dice;
use crate::fabric::HostId;

/// See the [module](self). Clones are the same disks.
#[derive(Clone)]
pub struct NodeDisks {
    host: HostId,
    disk: Arc<Mutex<SimDisk>>,
    store: MemoryStore,
    /// The power is to go when the disk says that it has.
    doomed: Arc<Mutex<bool>>,
}

impl NodeDisks {
    /// Empty disks.
    pub fn new(host: HostId) -> Self {
        Self {
            host,
            disk: Arc::default(),
            store: MemoryStore::new(),
            doomed: Arc::default(),
        }
    }

    /// The disk as it is now.
    pub fn disk(&self) -> SimDisk {
        self.disk.lock().clone()
    }

    /// The state store.
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// The disk refuses everything from its `changes`-th change on: the power goes in the middle of
    /// something.
    pub fn doom(&self, changes: u64) {
        let disk = self.disk();
        disk.cut_power_at(disk.changes() + changes);
        *self.doomed.lock() = true;
    }

    /// Removes the log, for good.
    pub(super) fn lose_log(&self) -> std::io::Result<()> {
        let (disk, dir) = (self.disk(), Path::new("/data/log"));
        for name in disk.list(dir)? {
            disk.remove(&dir.join(name))?;
        }
        disk.sync_dir(dir)
    }

    /// How a process ended that ended by itself.
    pub(super) fn death(&self) -> Death {
        if *self.doomed.lock() {
            Death::Power
        } else {
            Death::Process
        }
    }

    /// After a process was killed: what it wrote is there.
    pub(super) fn keep_all(&self) {
        self.store.killed();
        // Handles of the dead process must not reach the disk any more, and its faults end with it.
        let mut disk = self.disk.lock();
        let copy = disk.copy();
        *disk = copy;
        *self.doomed.lock() = false;
    }

    /// After the power went: what was not synced may be there, or not, or in part.
    pub(super) fn lose(&self, dice: &mut Dice) {
        let most = self.store.unpersisted_batches();
        let kept = if dice.chance(0.5) {
            0
        } else {
            dice.between(0, most)
        };
        self.store.crash_keeping(kept);
        let mut disk = self.disk.lock();
        let crashed = disk.crash(dice.number());
        *disk = crashed;
        *self.doomed.lock() = false;
    }
}

impl Storage for NodeDisks {
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(NodeDisks::disk(self))
    }

    fn open_store(&self, _: &Path) -> Result<Arc<dyn StateStore>, StoreError> {
        Ok(Arc::new(self.store.clone()))
    }

    fn lock(&self, _: &Path) -> Result<Lock, datanode::DataDirError> {
        // One host runs one process at a time.
        Ok(Arc::new(()))
    }

    fn place(&self, dir: &Path) -> Place {
        Place {
            host: format!("host-{}", self.host.0),
            dir: dir.display().to_string(),
        }
    }
}
