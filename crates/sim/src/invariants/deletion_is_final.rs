//! A table whose deletion was decided never comes back: its states only go forward. One that was undone as a table that was
//! being created, although it was seen to be available, was not deleted by anybody who knew it: an operator may keep it.

use std::collections::{BTreeMap, BTreeSet};

use coordination::Znode;
use model::{TableId, TableState};

use super::Invariant;
use crate::cluster::tables_of;

/// See the [module](self).
#[derive(Default)]
pub(super) struct DeletionIsFinal {
    /// The tables that were seen to be available.
    available: BTreeSet<TableId>,
    /// The tables that were seen to be deleted.
    condemned: BTreeSet<TableId>,
}

impl Invariant for DeletionIsFinal {
    fn name(&self) -> &'static str {
        "deletion-is-final"
    }

    fn tables(&mut self, tree: &BTreeMap<String, Znode>) -> Result<(), String> {
        for table in tables_of(tree)? {
            if table.state == TableState::Available {
                self.available.insert(table.id);
            }
            if table.state == TableState::Deleting {
                if !(table.never_available && self.available.contains(&table.id)) {
                    self.condemned.insert(table.id);
                }
            } else if self.condemned.contains(&table.id) {
                return Err(format!(
                    "table {} was being deleted and is {} again",
                    table.name, table.state
                ));
            }
        }
        Ok(())
    }
}
