//! One state of the copy. Never changes: the keeper makes a new one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use coordination::records::MemberRecord;
use coordination::registry::Versioned;
use model::{NodeId, Table, TableId};

/// A table and the version of its znode, for version-checked writes.
pub(crate) type TableEntry = Versioned<Table>;

/// The nodes that hold replicas of a table.
pub(crate) fn nodes_of(table: &Table) -> BTreeSet<NodeId> {
    let shards = table.shards.iter();
    shards
        .flat_map(|shard| shard.nodes.iter().copied())
        .collect()
}

/// Tables, members and live nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    tables: BTreeMap<TableId, Arc<TableEntry>>,
    names: HashMap<String, TableId>,
    pub(crate) members: BTreeMap<NodeId, MemberRecord>,
    pub(crate) live: BTreeSet<NodeId>,
    /// Everything was read at least once.
    pub(crate) complete: bool,
}

impl Snapshot {
    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<TableEntry>> {
        self.tables.get(self.names.get(name)?)
    }

    pub(crate) fn by_id(&self, id: TableId) -> Option<&Arc<TableEntry>> {
        self.tables.get(&id)
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<TableEntry>> {
        self.tables.values()
    }

    /// Takes in what was read of a table: its record, or that there is none.
    pub(crate) fn set_table(&mut self, id: TableId, entry: Option<Arc<TableEntry>>) {
        let Some(entry) = entry else {
            self.remove_table(id);
            return;
        };
        let name = entry.value.name.as_str().to_owned();
        // Read later, the other table of that name is the one that has gone.
        if let Some(other) = self.names.insert(name, id)
            && other != id
        {
            self.tables.remove(&other);
        }
        self.tables.insert(id, entry);
    }

    /// Replaces all tables.
    pub(crate) fn set_tables(&mut self, entries: impl IntoIterator<Item = Arc<TableEntry>>) {
        self.tables.clear();
        self.names.clear();
        for entry in entries {
            self.set_table(entry.value.id, Some(entry));
        }
    }

    fn remove_table(&mut self, id: TableId) {
        if let Some(entry) = self.tables.remove(&id) {
            let name = entry.value.name.as_str();
            // A table made again under the name keeps it.
            if self.names.get(name) == Some(&id) {
                self.names.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{HashRange, Shard, TableState};

    fn entry(id: u64, name: &str, state: TableState) -> Arc<TableEntry> {
        Arc::new(TableEntry {
            value: Table {
                id: TableId(id),
                name: name.parse().unwrap(),
                state,
                never_available: false,
                replicas: 1,
                created_millis: 0,
                shards: vec![Shard {
                    range: HashRange::ALL,
                    nodes: vec![NodeId(1)],
                }],
            },
            version: 0,
        })
    }

    #[test]
    fn the_end_of_an_old_table_does_not_take_the_name_of_the_new_one() {
        let mut snapshot = Snapshot::default();
        snapshot.set_table(TableId(1), Some(entry(1, "people", TableState::Deleting)));
        snapshot.set_table(TableId(2), Some(entry(2, "people", TableState::Creating)));
        snapshot.set_table(TableId(1), None);
        assert_eq!(
            snapshot.by_name("people").map(|entry| entry.value.id),
            Some(TableId(2))
        );
        assert!(snapshot.by_id(TableId(1)).is_none());
    }

    #[test]
    fn a_full_read_replaces_everything() {
        let mut snapshot = Snapshot::default();
        snapshot.set_table(TableId(1), Some(entry(1, "one", TableState::Available)));
        snapshot.set_tables([entry(2, "two", TableState::Available)]);
        assert!(snapshot.by_name("one").is_none());
        assert!(snapshot.by_name("two").is_some());
    }
}
