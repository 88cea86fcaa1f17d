//! What a node finds on its disk when it starts.
//!
//! Three witnesses must agree: the replica records, the state, and the log.
//!
//! | record | log | state | so |
//! |---|---|---|---|
//! | hosted | there | there | the replica goes on |
//! | hosted | missing | | stopped: it could vote for what it had refused |
//! | hosted | | missing | stopped |
//! | building | | | made again: it has never taken part |
//! | destroying | | | destroyed to the end |
//! | destroyed | | | remembered; of a state there is nothing but what a snapshot on its way in has left, which goes |
//! | none | there | | the store was lost or is older than the log: the node does not start |

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{NodeId, ShardId};
use raft::{Config, HardState, Index, Membership, Promises, Replica, ReplicaId, Restored, Term};
use storage::keys::{self, Key};
use storage::log::{LogEntry, LogReader, Read, RecoveredGroup};
use storage::meta::{ReplicaRecord, ReplicaState};
use storage::snapshot::{destroy_shard, stored_shards};
use storage::state::{StateStore, StoreError};

use crate::machine::Machine;
use crate::options::Tuning;
use crate::shell::raft_entry;
use crate::wire;

/// A replica as it was found.
pub(super) struct Found {
    /// What the node knows of it.
    pub(super) record: ReplicaRecord,
    /// If it is hosted: ready to take part, or why it can't.
    pub(super) replica: Option<Result<Ready, String>>,
}

/// A replica that can take part.
pub(super) struct Ready {
    /// Its consensus core.
    pub(super) replica: Box<Replica>,
    /// Its state.
    pub(super) machine: Box<Machine>,
    /// Bytes of its log, roughly.
    pub(super) log_bytes: u64,
}

/// Reads all that is known of replicas. An earlier process may have promised leaders to vote for nobody for `promised_millis`.
///
/// Fails if the witnesses contradict each other in a way that speaks against the whole directory.
pub(super) fn recover(
    node: NodeId,
    tuning: &Tuning,
    promised_millis: u64,
    store: &Arc<dyn StateStore>,
    mut groups: BTreeMap<ShardId, RecoveredGroup>,
    reader: &LogReader,
) -> Result<BTreeMap<ShardId, Found>, String> {
    let records = read_records(&**store)?;
    if let Some(unknown) = groups.keys().find(|shard| !records.contains_key(shard)) {
        return Err(format!(
            "the log has a replica of shard {unknown} that the state store knows nothing of: \
             the store was lost or is older than the log"
        ));
    }
    remove_leftovers(&**store, &records).map_err(|error| error.to_string())?;
    let mut found = BTreeMap::new();
    for (shard, record) in records {
        let group = groups.remove(&shard);
        let hosted = record.state == ReplicaState::Hosted;
        let replica =
            hosted.then(|| restore(node, tuning, promised_millis, store, shard, group, reader));
        found.insert(shard, Found { record, replica });
    }
    Ok(found)
}

fn read_records(store: &dyn StateStore) -> Result<BTreeMap<ShardId, ReplicaRecord>, String> {
    let mut records = BTreeMap::new();
    for entry in store.view().scan(&keys::replicas()) {
        let (key, value) = entry.map_err(|error| error.to_string())?;
        let key = Key::decode(&key).map_err(|error| error.to_string())?;
        let record = ReplicaRecord::decode(&value).map_err(|error| error.to_string())?;
        if let Key::Replica(shard) = key {
            records.insert(shard, record);
        }
    }
    Ok(records)
}

/// Removes what a snapshot wrote for a replica that was destroyed while it was coming in. Its receiver does so when the
/// transfer ends, unless the process ends first.
fn remove_leftovers(
    store: &dyn StateStore,
    records: &BTreeMap<ShardId, ReplicaRecord>,
) -> Result<(), StoreError> {
    for shard in stored_shards(&*store.view())? {
        let record = records.get(&shard);
        if record.is_some_and(|record| record.state == ReplicaState::Destroyed) {
            destroy_shard(store, shard)?;
        }
    }
    Ok(())
}

fn restore(
    node: NodeId,
    tuning: &Tuning,
    promised_millis: u64,
    store: &Arc<dyn StateStore>,
    shard: ShardId,
    group: Option<RecoveredGroup>,
    reader: &LogReader,
) -> Result<Ready, String> {
    let group = group.or_else(|| mutant!(RecoveryWithoutLog).then(RecoveredGroup::default));
    let group = group.ok_or("its part of the log is missing")?;
    let machine = Machine::open(store.clone(), shard).map_err(|error| error.to_string())?;
    let machine = machine.ok_or("its state is missing")?;
    storage::snapshot::clean_generations(&**store, shard).map_err(|error| error.to_string())?;
    let meta = machine.meta();
    let (applied, applied_term) = (meta.applied_index, meta.applied_term);
    let voters = meta.voters.clone();
    let (preceding_term, entries) =
        unapplied(shard, applied, group.preceding_term, group.entries, reader)?;
    let log_bytes = group.bytes;
    let restored = Restored {
        hard_state: HardState {
            term: Term(group.term),
            vote: group.vote.map(ReplicaId),
        },
        snapshot: (Index(group.point.0), Term(group.point.1)),
        entries: entries
            .into_iter()
            .map(raft_entry)
            .collect::<Result<_, _>>()?,
        preceding_term: Term(preceding_term),
        applied: Index(applied),
        applied_term: Term(applied_term),
    };
    let mut config = config(node, shard, &voters, tuning);
    config.promises.earlier_millis = promised_millis;
    let replica = Replica::new(config, restored);
    let replica = Box::new(replica.map_err(|broken| broken.to_string())?);
    Ok(Ready {
        replica,
        machine: Box::new(machine),
        log_bytes,
    })
}

/// The end of a group's log, back to at least the first entry that is not applied yet, and the term before it.
fn unapplied(
    shard: ShardId,
    applied: u64,
    preceding_term: u64,
    tail: Vec<LogEntry>,
    reader: &LogReader,
) -> Result<(u64, Vec<LogEntry>), String> {
    let Some(first) = tail
        .first()
        .map(|entry| entry.index)
        .filter(|first| *first > applied + 1)
    else {
        return Ok((preceding_term, tail));
    };
    let (mut preceding_term, mut entries) = (preceding_term, Vec::new());
    let mut next = applied + 1;
    while next < first {
        match reader
            .read(shard, next, READ_BYTES)
            .map_err(|error| error.to_string())?
        {
            // Purged beyond what is applied: the core will say that this can't be.
            Read::Compacted => return Ok((preceding_term, tail)),
            Read::Entries {
                previous_term,
                entries: read,
            } => {
                if next == applied + 1 {
                    preceding_term = previous_term;
                }
                let read = read.into_iter().filter(|entry| entry.index < first);
                let before = entries.len();
                entries.extend(read);
                if entries.len() == before {
                    return Err(format!(
                        "its log ends before entry {next} and goes on at {first}"
                    ));
                }
                next = entries.last().map_or(next, |entry| entry.index + 1);
            }
        }
    }
    entries.extend(tail);
    Ok((preceding_term, entries))
}

/// Bytes that are read back from the log at a time.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// How a replica of a shard behaves on this node, if it is new: one that was there before may have promised something.
pub(crate) fn config(node: NodeId, shard: ShardId, voters: &[NodeId], tuning: &Tuning) -> Config {
    Config {
        id: wire::replica_id(node),
        membership: Membership::new(voters.iter().copied().map(wire::replica_id)),
        election_ticks: tuning.election_ticks,
        heartbeat_ticks: tuning.heartbeat_ticks,
        max_append_bytes: model::limits::MAX_ENTRY_BYTES,
        max_inflight_appends: 64,
        max_uncommitted_bytes: model::limits::MAX_NODE_BYTES / 2,
        promises: Promises {
            promise_millis: tuning.promise_millis(),
            earlier_millis: 0,
        },
        // Different on each replica, so that they don't stand for election in step.
        seed: node.0 ^ shard.table.0.rotate_left(17) ^ u64::from(shard.index).rotate_left(43),
    }
}

#[cfg(test)]
mod tests {
    use model::TableId;
    use storage::state::MemoryStore;

    use super::*;

    fn shard(index: u32) -> ShardId {
        ShardId {
            table: TableId(1),
            index,
        }
    }

    #[test]
    fn what_a_snapshot_left_of_a_destroyed_replica_goes_and_nothing_else() {
        let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new());
        let record = |state| ReplicaRecord {
            state,
            voters: vec![NodeId(1)],
            table_name: "people".parse().unwrap(),
            table_shards: 1,
            hashes: (0, u64::MAX),
            created_millis: 0,
            was_available: false,
        };
        let records = [
            (shard(0), record(ReplicaState::Destroyed)),
            (shard(1), record(ReplicaState::Hosted)),
        ];
        // Shard 2 is one that nobody knows of.
        for index in 0..3 {
            Machine::create(store.clone(), shard(index), vec![NodeId(1)]).unwrap();
        }
        remove_leftovers(&*store, &records.into()).unwrap();
        let left = stored_shards(&*store.view()).unwrap();
        assert_eq!(left, [shard(1), shard(2)]);
    }
}
