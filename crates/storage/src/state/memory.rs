//! The model of a state store: in memory, and forgetful on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::{Batch, Scan, StateStore, StateView, StoreError, StoreStats};
use crate::keys::KeyRange;

/// Entries that a scan takes under the lock at a time.
const SCAN_PAGE: usize = 64;

/// A [`StateStore`] in memory, with the same contract as the one on disk, for tests and the simulation.
///
/// Clones share their content, like handles to one disk. [`MemoryStore::crash`] takes back what was not persisted.
///
/// ```
/// use storage::state::{Batch, MemoryStore, StateStore};
///
/// let store = MemoryStore::new();
/// for (key, persist) in [("a", true), ("b", false)] {
///     let mut batch = Batch::new();
///     batch.put(key, "value");
///     store.write(batch).unwrap();
///     if persist {
///         store.persist().unwrap();
///     }
/// }
/// store.crash();
/// assert!(store.get(b"a").unwrap().is_some());
/// assert!(store.get(b"b").unwrap().is_none());
/// ```
#[derive(Clone, Default)]
pub struct MemoryStore {
    inner: Arc<RwLock<Inner>>,
}

/// Each batch has a number, and each key its values by the number of the batch that made them. A state is
/// a number: the newest value at or below it counts.
#[derive(Default)]
struct Inner {
    entries: BTreeMap<Bytes, Vec<Version>>,
    /// Of the last batch.
    written: u64,
    /// `persisted ≤ written`.
    persisted: u64,
    /// How many views there are of a state.
    views: BTreeMap<u64, usize>,
    /// Counts crashes, so that a view from before one does not count as a view.
    crashes: u64,
    /// Keys that may have more versions than anybody can see.
    unpruned: BTreeSet<Bytes>,
    failed: Option<String>,
    fail_persist: Option<String>,
    fail_write: Option<String>,
    full: bool,
}

struct Version {
    batch: u64,
    value: Option<Bytes>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets every batch that was not persisted, and an earlier failure: the store is as if it had been opened after
    /// a crash. Views that were taken before must not be used any more.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// Like [`MemoryStore::crash`], but the first `batches` of what was not persisted survive, as they may on a disk.
    pub fn crash_keeping(&self, batches: u64) {
        let mut inner = self.inner.write();
        let last = inner.written.min(inner.persisted.saturating_add(batches));
        inner.views.clear();
        inner.crashes += 1;
        inner.entries.retain(|_, versions| {
            versions.retain(|version| version.batch <= last);
            !versions.is_empty()
        });
        inner.written = last;
        inner.persisted = last;
        inner.be_repaired();
    }

    /// The process that has the store was killed, and the machine goes on: every batch is there, but what was not
    /// persisted may still be lost with the machine. Otherwise like [`MemoryStore::crash`].
    pub fn killed(&self) {
        let mut inner = self.inner.write();
        inner.views.clear();
        inner.crashes += 1;
        inner.be_repaired();
    }

    /// Whether a fault has made the store fail since it was opened.
    pub fn has_failed(&self) -> bool {
        self.inner.read().failed.is_some()
    }

    /// How many batches a crash could take back at this moment.
    pub fn unpersisted_batches(&self) -> u64 {
        let inner = self.inner.read();
        inner.written - inner.persisted
    }

    /// Makes the next [`StateStore::persist`] fail, and with it the store, as a failing disk would.
    pub fn fail_next_persist(&self, why: &str) {
        self.inner.write().fail_persist = Some(why.to_owned());
    }

    /// Makes the next [`StateStore::write`] of anything fail without effect, and with it the store.
    pub fn fail_next_write(&self, why: &str) {
        self.inner.write().fail_write = Some(why.to_owned());
    }

    /// There is no space left, or there is some again. While there is none, a write of anything fails without effect, and
    /// with it the store.
    pub fn set_full(&self, full: bool) {
        self.inner.write().full = full;
    }
}

impl Inner {
    /// Takes all faults away.
    fn be_repaired(&mut self) {
        self.failed = None;
        self.fail_persist = None;
        self.fail_write = None;
        self.full = false;
    }

    fn get(&self, key: &[u8], state: u64) -> Option<Bytes> {
        newest(self.entries.get(key)?, state)
    }

    /// Versions that no view, no crash and no new view can show any more go.
    fn oldest_wanted(&self) -> u64 {
        let view = self.views.keys().next().copied().unwrap_or(u64::MAX);
        self.persisted.min(view)
    }

    /// Does nothing while there are views: it is done when the store is persisted without any.
    fn prune_all(&mut self) {
        if !self.views.is_empty() {
            return;
        }
        for key in std::mem::take(&mut self.unpruned) {
            if let Some(versions) = self.entries.get_mut(&key) {
                prune(versions, self.persisted);
                if matches!(&versions[..], [only] if only.value.is_none()) {
                    self.entries.remove(&key);
                }
            }
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        match &self.failed {
            Some(why) => Err(StoreError::Failed(why.clone())),
            None => Ok(()),
        }
    }

    fn write_fault(&mut self) -> Option<io::Error> {
        if let Some(why) = self.fail_write.take() {
            return Some(io::Error::other(why));
        }
        self.full
            .then(|| io::Error::from(io::ErrorKind::StorageFull))
    }

    fn page(&self, start: Bound<&[u8]>, end: &[u8], state: u64) -> (Vec<(Bytes, Bytes)>, bool) {
        let mut page = Vec::new();
        let range = self.entries.range::<[u8], _>((start, Bound::Excluded(end)));
        for (key, versions) in range {
            if let Some(value) = newest(versions, state) {
                page.push((key.clone(), value));
                if page.len() == SCAN_PAGE {
                    return (page, false);
                }
            }
        }
        (page, true)
    }
}

fn newest(versions: &[Version], state: u64) -> Option<Bytes> {
    let version = versions.iter().rev().find(|v| v.batch <= state)?;
    version.value.clone()
}

/// Removes the versions that are hidden from every state from `wanted` on.
fn prune(versions: &mut Vec<Version>, wanted: u64) {
    let shown = versions.iter().rposition(|v| v.batch <= wanted);
    if let Some(shown) = shown {
        versions.drain(..shown);
    }
}

impl StateStore for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let inner = self.inner.read();
        Ok(inner.get(key, inner.written))
    }

    fn write_all(&self, batches: Vec<Batch>) -> Result<(), StoreError> {
        let mut inner = self.inner.write();
        inner.check()?;
        if batches.iter().all(Batch::is_empty) {
            return Ok(());
        }
        if let Some(error) = inner.write_fault() {
            inner.failed = Some(error.to_string());
            return Err(StoreError::io("write", error));
        }
        inner.written += 1;
        let (number, wanted) = (inner.written, inner.oldest_wanted());
        for (key, value) in batches.into_iter().flatten() {
            inner.unpruned.insert(key.clone());
            let versions = inner.entries.entry(key).or_default();
            versions.push(Version {
                batch: number,
                value,
            });
            prune(versions, wanted);
        }
        Ok(())
    }

    fn persist(&self) -> Result<(), StoreError> {
        let mut inner = self.inner.write();
        inner.check()?;
        if let Some(why) = inner.fail_persist.take() {
            inner.failed = Some(why.clone());
            return Err(StoreError::io("persist", io::Error::other(why)));
        }
        inner.persisted = inner.written;
        inner.prune_all();
        Ok(())
    }

    fn view(&self) -> Arc<dyn StateView> {
        let mut inner = self.inner.write();
        let state = inner.written;
        *inner.views.entry(state).or_default() += 1;
        Arc::new(MemoryView {
            inner: Arc::clone(&self.inner),
            state,
            crashes: inner.crashes,
        })
    }

    fn stats(&self) -> StoreStats {
        let inner = self.inner.read();
        let bytes = inner.entries.iter().map(|(key, versions)| {
            let values = versions.iter().filter_map(|v| v.value.as_ref());
            key.len() + values.map(Bytes::len).sum::<usize>()
        });
        StoreStats {
            disk_bytes: bytes.sum::<usize>() as u64,
            ..StoreStats::default()
        }
    }
}

struct MemoryView {
    inner: Arc<RwLock<Inner>>,
    state: u64,
    crashes: u64,
}

impl StateView for MemoryView {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.inner.read().get(key, self.state))
    }

    fn scan(&self, range: &KeyRange) -> Scan<'_> {
        if range.start >= range.end {
            return Box::new(std::iter::empty());
        }
        let end = range.end.clone();
        let mut next = Some(Bound::Included(Bytes::copy_from_slice(&range.start)));
        // A page at a time, so that the lock is never held while the caller does something.
        let pages = std::iter::from_fn(move || {
            let start = next.take()?;
            let (page, last) =
                self.inner
                    .read()
                    .page(start.as_ref().map(|key| &key[..]), &end, self.state);
            if !last {
                next = page.last().map(|(key, _)| Bound::Excluded(key.clone()));
            }
            Some(page)
        });
        Box::new(pages.flatten().map(Ok))
    }
}

impl Drop for MemoryView {
    fn drop(&mut self) {
        let mut inner = self.inner.write();
        if inner.crashes != self.crashes {
            return;
        }
        if let Some(count) = inner.views.get_mut(&self.state) {
            *count -= 1;
            if *count == 0 {
                inner.views.remove(&self.state);
            }
        }
    }
}
