//! A disk in memory that loses what a power cut loses.
//!
//! Content is kept twice: as a running process sees it (the page cache) and as far as a sync has made it
//! durable. [`SimDisk::crash`] builds the disk that the next start finds: each 512-byte sector that was
//! written since its file's last sync is, on its own, either as last synced or as any of the writes since
//! then left it; so writes are lost, torn and reordered. Of the changes to names since the last sync of
//! their directory a prefix remains, which is what a journalling file system gives.
//!
//! | fault | how |
//! |---|---|
//! | power cut at the n-th change | [`SimDisk::cut_power_at`], then [`SimDisk::crash`] |
//! | the n-th change fails, once | [`SimDisk::fail_at`] |
//! | a sync fails, the next one lies | `fail_at` a sync: what it should have written stays in the page cache, counts as clean, and later syncs skip it |
//! | no space left | [`SimDisk::set_capacity`] |
//! | a flipped bit | [`SimDisk::flip_bit`] |
//!
//! The same seed gives the same disk.

mod content;
mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::content::{Content, Dice};
use super::{Disk, DiskFile};

/// The disk in memory. Clones are handles to the same disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
struct State {
    files: BTreeMap<u64, Content>,
    /// How many handles there are of a file.
    open: BTreeMap<u64, usize>,
    next_file: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// What happened to names since the last sync of their directory, oldest first.
    pending_names: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    /// Changes (writes, syncs, name changes, lengths) so far.
    changes: u64,
    syncs: u64,
    /// Changes that a fault has met since the disk was taken into use.
    failures: u64,
    fail_at: Option<u64>,
    cut_power_at: Option<u64>,
    capacity: Option<u64>,
}

#[derive(Clone)]
enum NameChange {
    Set(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Set(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }

    /// Whether it happened directly in a directory.
    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Self::Set(path, _) | Self::Remove(path) => path.parent() == Some(dir),
            Self::Rename(from, to) => [from, to].iter().any(|path| path.parent() == Some(dir)),
        }
    }
}

/// What becomes of a change.
enum Fate {
    Done,
    /// It fails, having had its effect or a part of it, and may be lost.
    Fails,
}

impl State {
    fn change(&mut self) -> io::Result<Fate> {
        self.changes += 1;
        if self.cut_power_at.is_some_and(|n| self.changes > n) {
            self.failures += 1;
            return Err(io::Error::other("the power is off"));
        }
        // The change during which the power goes is under way: it may or may not survive.
        if self.cut_power_at == Some(self.changes) || self.fail_at == Some(self.changes) {
            self.failures += 1;
            return Ok(Fate::Fails);
        }
        Ok(Fate::Done)
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        let fate = self.change()?;
        change.apply(&mut self.names);
        self.pending_names.push(change);
        fate.into_result()
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, path.display().to_string()))
    }

    /// Frees what has lost its name for good and is not open.
    fn collect(&mut self) {
        if self.pending_names.is_empty() {
            let named: BTreeSet<u64> = self.names.values().copied().collect();
            let open = &self.open;
            self.files
                .retain(|id, _| named.contains(id) || open.contains_key(id));
        }
    }

    fn used(&self) -> u64 {
        self.files.values().map(|file| file.len() as u64).sum()
    }

    fn check_space(&mut self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => {
                self.failures += 1;
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            _ => Ok(()),
        }
    }

    fn file(&mut self, id: u64) -> io::Result<&mut Content> {
        self.files
            .get_mut(&id)
            .ok_or_else(|| io::Error::other("a handle of a disk that is gone"))
    }
}

impl Fate {
    fn into_result(self) -> io::Result<()> {
        match self {
            Self::Done => Ok(()),
            Self::Fails => Err(io::Error::other("injected input/output error")),
        }
    }
}

impl SimDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk that a start after a power cut at this moment would find. This disk is left as it is, so
    /// that many seeds can be tried on one state; the new one has no faults set.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut state = self.state().clone();
        let mut dice = Dice::new(seed);
        let survivors = dice.below(state.pending_names.len() as u64 + 1) as usize;
        for change in &state.pending_names[..survivors] {
            change.apply(&mut state.durable_names);
        }
        state.pending_names.clear();
        state.names = state.durable_names.clone();
        for file in state.files.values_mut() {
            file.crash(&mut dice);
        }
        Self::without_faults(state)
    }

    /// A copy of the disk as it is, page cache included: what the next start finds if only the process
    /// dies. The copy has no faults set.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self::without_faults(self.state().clone())
    }

    /// A disk of which nobody has anything open.
    fn without_faults(mut state: State) -> Self {
        state.fail_at = None;
        state.cut_power_at = None;
        state.capacity = None;
        state.failures = 0;
        state.open.clear();
        state.collect();
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// How many changes there have been: each write, sync, change of a length or of a name is one.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// How many syncs of files have succeeded.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// How many changes have failed, by whatever fault. [`SimDisk::crash`] and [`SimDisk::copy`] give a disk that has none.
    pub fn failures(&self) -> u64 {
        self.state().failures
    }

    /// The n-th change (counted as [`SimDisk::changes`]) fails with an error, once; those after it succeed.
    pub fn fail_at(&self, change: u64) {
        self.state().fail_at = Some(change);
    }

    /// The power goes while the n-th change is under way: it and all later ones fail.
    pub fn cut_power_at(&self, change: u64) {
        self.state().cut_power_at = Some(change);
    }

    /// Bytes that all files together may have; `None` for no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Bytes that all files with a name have now.
    pub fn named_bytes(&self) -> u64 {
        let state = self.state();
        let len = |id| state.files.get(id).map_or(0, |file| file.len() as u64);
        state.names.values().map(len).sum()
    }

    /// Flips one bit of a file, for good.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        let mut state = self.state();
        let id = state.find(path)?;
        state.file(id)?.flip(offset as usize, 1 << (bit % 8));
        Ok(())
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if path.ancestors().any(|dir| state.names.contains_key(dir)) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let fate = state.change()?;
        state.dirs.extend(path.ancestors().map(Path::to_path_buf));
        fate.into_result()
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let id = state.find(path)?;
        *state.open.entry(id).or_default() += 1;
        drop(state);
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            id,
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        if state.names.contains_key(path) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        if !path.parent().is_some_and(|dir| state.dirs.contains(dir)) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, Content::default());
        state.change_name(NameChange::Set(path.to_path_buf(), id))?;
        drop(state);
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.find(from)?;
        state.change_name(NameChange::Rename(from.to_path_buf(), to.to_path_buf()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.find(path)?;
        state.change_name(NameChange::Remove(path.to_path_buf()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        if !state.dirs.contains(dir) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        let in_dir = |path: &&PathBuf| path.parent() == Some(dir);
        let name = |path: &PathBuf| path.file_name().map(|n| n.to_string_lossy().into_owned());
        Ok(state.names.keys().filter(in_dir).filter_map(name).collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut guard = self.state();
        guard.change()?.into_result()?;
        let state = &mut *guard;
        // What happened in other directories since their last sync stays as doubtful as it was.
        for change in state
            .pending_names
            .extract_if(.., |change| change.is_in(dir))
        {
            change.apply(&mut state.durable_names);
        }
        state.collect();
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    id: u64,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if let Some(handles) = state.open.get_mut(&self.id) {
            *handles -= 1;
            if *handles == 0 {
                state.open.remove(&self.id);
            }
        }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.disk.state().file(self.id)?.read(buffer, offset))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let growth = state.file(self.id)?.growth(offset + bytes.len() as u64);
        state.check_space(growth)?;
        let fate = state.change()?;
        state.file(self.id)?.write(bytes, offset);
        fate.into_result()
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fate = state.change()?;
        match fate {
            Fate::Done => {
                state.syncs += 1;
                state.file(self.id)?.sync();
            }
            Fate::Fails => state.file(self.id)?.fail_sync(),
        }
        fate.into_result()
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let growth = state.file(self.id)?.growth(len);
        state.check_space(growth)?;
        let fate = state.change()?;
        if growth > 0 {
            state.file(self.id)?.set_len(len);
        }
        fate.into_result()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let fate = state.change()?;
        state.file(self.id)?.set_len(len);
        fate.into_result()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().file(self.id)?.len() as u64)
    }
}

#[cfg(test)]
mod tests;
