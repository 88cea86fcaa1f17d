//! What a node keeps its data on, through an interface that a simulation replaces.

use std::any::Any;
use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use storage::disk::{Disk, RealDisk};
use storage::state::{FjallOptions, FjallStore, StateStore, StoreError};

use crate::node::DataDirError;

/// A directory is locked as long as one of these is there: whoever writes to it holds one.
pub type Lock = Arc<dyn Any + Send + Sync>;

/// What a node keeps its data on.
///
/// All calls block.
pub trait Storage: Send + Sync + 'static {
    /// Where the log and the node's identity are.
    fn disk(&self) -> Arc<dyn Disk>;

    /// Opens the state store in a directory, an empty one if there is none yet.
    fn open_store(&self, dir: &Path) -> Result<Arc<dyn StateStore>, StoreError>;

    /// Locks an existing directory against others, [`DataDirError::InUse`] if one of them has it. A process that
    /// ends, however that comes about, unlocks it.
    fn lock(&self, dir: &Path) -> Result<Lock, DataDirError>;

    /// Where in the world a directory is: no two have the same place.
    fn place(&self, dir: &Path) -> Place;
}

/// A directory's place, for people, and to tell a node that was started again from one on a copy of its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The machine.
    pub host: String,
    /// The directory there, by its one true name.
    pub dir: String,
}

/// The machine's file system, with a [`FjallStore`] on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealStorage;

impl Storage for RealStorage {
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(RealDisk)
    }

    fn open_store(&self, dir: &Path) -> Result<Arc<dyn StateStore>, StoreError> {
        let store = FjallStore::open(dir, &FjallOptions::default())?;
        Ok(Arc::new(store))
    }

    fn lock(&self, dir: &Path) -> Result<Lock, DataDirError> {
        let io = |context| {
            move |source| DataDirError::Io {
                path: dir.to_owned(),
                context,
                source,
            }
        };
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("lock"))
            .map_err(io("its lock can't be opened"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Arc::new(lock)),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(io("it can't be locked")(source)),
        }
    }

    /// Names alone don't tell a copy: cloned machines and containers share them. What the machine and the directory were
    /// given when they came into being does.
    fn place(&self, dir: &Path) -> Place {
        let uname = rustix::system::uname();
        let mut host = uname.nodename().to_string_lossy().into_owned();
        if let Ok(boot) = std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
            host = format!("{host}, booted as {}", boot.trim());
        }
        let path = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let mut dir = path.display().to_string();
        if let Ok(found) = std::fs::metadata(&path) {
            dir = format!("{dir}, device {} inode {}", found.dev(), found.ino());
        }
        Place { host, dir }
    }
}
