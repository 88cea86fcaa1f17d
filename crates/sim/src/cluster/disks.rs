//! What a node keeps its data on: a simulated disk for its log and identity, a simulated state store.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use datanode::{Lock, Place, Storage};
use model::ShardId;
use parking_lot::Mutex;
use storage::disk::{Disk, SimDisk};
use storage::meta::ReplicaState;
use storage::state::{MemoryStore, StateStore, StoreError};

use super::Death;
use crate::dice::Dice;
use crate::fabric::HostId;
use crate::invariants::records;

/// See the module. Clones are the same disks.
#[derive(Clone)]
pub struct NodeDisks {
    host: HostId,
    disk: Arc<Mutex<SimDisk>>,
    store: MemoryStore,
    faults: Arc<Mutex<Faults>>,
}

/// What is wrong with the disks beyond what they know themselves.
#[derive(Default)]
struct Faults {
    /// The power is to go when the disk says that it has.
    doomed: bool,
    /// There is so much room on the disk, whoever runs.
    capacity: Option<u64>,
    /// There is no room for the state store, whoever runs.
    store_full: bool,
}

impl NodeDisks {
    /// Empty disks.
    pub fn new(host: HostId) -> Self {
        Self {
            host,
            disk: Arc::default(),
            store: MemoryStore::new(),
            faults: Arc::default(),
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
        self.faults.lock().doomed = true;
    }

    /// The disk has room for so many bytes more, until [`NodeDisks::make_room`], whoever runs until then.
    pub fn fill(&self, room: u64) {
        let disk = self.disk();
        self.faults.lock().capacity = Some(disk.named_bytes() + room);
        self.still_full();
    }

    /// The state store has no room, until [`NodeDisks::make_room`], whoever runs until then.
    pub fn fill_store(&self) {
        self.faults.lock().store_full = true;
        self.still_full();
    }

    /// There is room on the disk and for the state store.
    pub fn make_room(&self) {
        let mut faults = self.faults.lock();
        faults.capacity = None;
        faults.store_full = false;
        drop(faults);
        self.still_full();
    }

    /// A process that ends makes no room.
    fn still_full(&self) {
        let faults = self.faults.lock();
        self.disk().set_capacity(faults.capacity);
        self.store.set_full(faults.store_full);
    }

    /// Whether a fault of the disks has hit the process that has them.
    pub fn have_failed(&self) -> bool {
        self.disk.lock().failures() > 0 || self.store.has_failed()
    }

    /// The replicas that the node takes part with.
    pub(super) fn hosted(&self) -> Result<BTreeSet<ShardId>, String> {
        let records = records(&*self.store.view())?.into_iter();
        let hosted = records.filter(|(_, state)| *state == ReplicaState::Hosted);
        Ok(hosted.map(|(shard, _)| shard).collect())
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
        if self.faults.lock().doomed {
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
        drop(disk);
        self.faults.lock().doomed = false;
        self.still_full();
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
        drop(disk);
        self.faults.lock().doomed = false;
        self.still_full();
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
