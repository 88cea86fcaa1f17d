//! What a start would find on a node's disks, found without starting: the log is opened on a copy of the disk, the
//! replica records are read as recovery reads them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use model::ShardId;
use storage::disk::SimDisk;
use storage::keys::{self, Key};
use storage::log::{Log, LogOptions, LogReader, LogStats, Read, RecoveredGroup};
use storage::meta::{ReplicaRecord, ReplicaState};
use storage::state::StateView;

/// A node's log as the next start will find it.
pub struct FoundLog {
    /// What it holds of each group.
    pub groups: BTreeMap<ShardId, RecoveredGroup>,
    /// Its sizes.
    pub stats: LogStats,
    reader: LogReader,
}

impl FoundLog {
    /// Reads the log of a disk, which stays as it is.
    ///
    /// # Errors
    ///
    /// What a start would say of it.
    pub fn open(disk: &SimDisk, options: LogOptions) -> Result<Self, String> {
        let copy = Arc::new(disk.copy());
        let opened = Log::open(copy, Path::new("/data/log"), options);
        let (log, groups) = opened.map_err(|error| error.to_string())?;
        Ok(Self {
            groups,
            stats: log.stats(),
            reader: log.reader(),
        })
    }

    /// The term of an entry; `None` if it was purged, or is not there.
    pub(super) fn term_at(&self, shard: ShardId, index: u64) -> Result<Option<u64>, String> {
        let group = self.groups.get(&shard);
        if let Some(group) = group.filter(|group| group.point.0 == index) {
            return Ok(Some(group.point.1));
        }
        match self.reader.read(shard, index, 1) {
            Ok(Read::Entries { entries, .. }) => Ok(entries.first().map(|entry| entry.term)),
            Ok(Read::Compacted) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What a node remembers of its replicas.
pub(crate) fn records(view: &dyn StateView) -> Result<BTreeMap<ShardId, ReplicaState>, String> {
    let mut records = BTreeMap::new();
    for entry in view.scan(&keys::replicas()) {
        let (key, value) = entry.map_err(|error| error.to_string())?;
        let key = Key::decode(&key).map_err(|error| error.to_string())?;
        let record = ReplicaRecord::decode(&value).map_err(|error| error.to_string())?;
        if let Key::Replica(shard) = key {
            records.insert(shard, record.state);
        }
    }
    Ok(records)
}
