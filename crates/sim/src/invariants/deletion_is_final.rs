//! A table whose deletion was decided never comes back: its states only go forward.

use std::collections::{BTreeMap, BTreeSet};

use coordination::Znode;
use model::{TableId, TableState};

use super::Invariant;
use crate::cluster::tables_of;

/// The tables that were seen to be deleted.
#[derive(Default)]
pub(super) struct DeletionIsFinal {
    condemned: BTreeSet<TableId>,
}

impl Invariant for DeletionIsFinal {
    fn name(&self) -> &'static str {
        "deletion-is-final"
    }

    fn tables(&mut self, tree: &BTreeMap<String, Znode>) -> Result<(), String> {
        for table in tables_of(tree)? {
            if table.state == TableState::Deleting {
                self.condemned.insert(table.id);
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
