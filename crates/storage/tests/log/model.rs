//! What a log should hold, as plain maps.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{ShardId, TableId};
use storage::log::{Log, LogEntry, Read, Record, RecoveredGroup};

pub(crate) fn group(index: u32) -> ShardId {
    ShardId {
        table: TableId(0xabc),
        index,
    }
}

pub(crate) fn entry(index: u64, term: u64, payload: impl Into<Bytes>) -> LogEntry {
    LogEntry {
        index,
        term,
        kind: (index % 3) as u8,
        payload: payload.into(),
    }
}

/// One append of entries that all say the same.
pub(crate) fn append(group: ShardId, first: u64, count: u64, term: u64, payload: &[u8]) -> Record {
    let payload = Bytes::copy_from_slice(payload);
    Record::Append {
        group,
        entries: (first..first + count)
            .map(|index| entry(index, term, payload.clone()))
            .collect(),
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GroupModel {
    pub(crate) term: u64,
    pub(crate) vote: Option<u64>,
    pub(crate) point: (u64, u64),
    pub(crate) entries: BTreeMap<u64, LogEntry>,
}

impl GroupModel {
    pub(crate) fn last(&self) -> u64 {
        self.entries.keys().last().copied().unwrap_or(self.point.0)
    }

    pub(crate) fn term_of(&self, index: u64) -> u64 {
        self.entries
            .get(&index)
            .map_or(self.point.1, |entry| entry.term)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) groups: BTreeMap<ShardId, GroupModel>,
}

impl Model {
    pub(crate) fn apply_all(&mut self, records: &[Record]) {
        for record in records {
            self.apply(record);
        }
    }

    pub(crate) fn apply(&mut self, record: &Record) {
        if let Record::Forget { group } = record {
            self.groups.remove(group);
            return;
        }
        if matches!(record, Record::Append { entries, .. } if entries.is_empty()) {
            return;
        }
        let group = self.groups.entry(record.group()).or_default();
        match record {
            Record::Append { entries, .. } => {
                group.entries.split_off(&entries[0].index);
                for entry in entries {
                    group.entries.insert(entry.index, entry.clone());
                }
            }
            Record::HardState { term, vote, .. } => (group.term, group.vote) = (*term, *vote),
            Record::Purge { index, term, .. } => {
                if *index >= group.point.0 {
                    group.point = (*index, *term);
                    group.entries = group.entries.split_off(&(index + 1));
                }
            }
            Record::Reset { index, term, .. } => {
                group.point = (*index, *term);
                group.entries.clear();
            }
            Record::Forget { .. } => unreachable!(),
        }
    }

    /// What the log holds, by what `open` gave and by what its reader reads back. Fails where the two
    /// contradict one another.
    pub(crate) fn read_back(log: &Log, recovered: &BTreeMap<ShardId, RecoveredGroup>) -> Self {
        let mut model = Self::default();
        for (id, found) in recovered {
            let group = GroupModel {
                term: found.term,
                vote: found.vote,
                point: found.point,
                entries: read_all(log, *id, found.point),
            };
            assert_eq!(group.last(), found.last_index, "{id}");
            let tail: Vec<_> = match found.entries.first() {
                Some(first) => group.entries.range(first.index..).collect(),
                None => Vec::new(),
            };
            assert!(
                tail.iter().map(|(_, entry)| *entry).eq(&found.entries),
                "{id}: the tail differs from what is read back"
            );
            assert_eq!(found.entries.is_empty(), group.entries.is_empty(), "{id}");
            let preceding = match found.entries.first() {
                Some(first) => group.term_of(first.index - 1),
                None => group.point.1,
            };
            assert_eq!(found.preceding_term, preceding, "{id}");
            model.groups.insert(*id, group);
        }
        model
    }
}

/// Reads all entries of a group in small steps, checking the terms in front of each step.
pub(crate) fn read_all(log: &Log, id: ShardId, point: (u64, u64)) -> BTreeMap<u64, LogEntry> {
    let reader = log.reader();
    assert_eq!(
        reader.read(id, point.0, usize::MAX).unwrap(),
        Read::Compacted,
        "{id}: nothing is read at the point"
    );
    let mut all: BTreeMap<u64, LogEntry> = BTreeMap::new();
    let mut from = point.0 + 1;
    let mut term = point.1;
    loop {
        let Read::Entries {
            previous_term,
            entries,
        } = reader.read(id, from, 700).unwrap()
        else {
            panic!("{id}: entry {from} behind point {point:?} is compacted");
        };
        assert_eq!(previous_term, term, "{id}: term before {from}");
        if entries.is_empty() {
            return all;
        }
        let bytes: usize = entries.iter().map(|entry| entry.payload.len()).sum();
        assert!(bytes <= 700 || entries.len() == 1);
        for entry in entries {
            assert_eq!(entry.index, from);
            term = entry.term;
            from += 1;
            all.insert(entry.index, entry);
        }
    }
}
