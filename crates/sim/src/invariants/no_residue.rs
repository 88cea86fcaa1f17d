//! No residue (T3): at rest the coordination store holds no table that is being created or deleted, no
//! tombstone (a note about nodes that were forgotten may stay), and each name there is the name of its table.

use std::collections::BTreeSet;

use coordination::records::{DeletedRecord, decode_at};
use coordination::tree::Node;
use model::TableState;

use super::{Invariant, Rest};
use crate::cluster::tables_of;

/// See the [module](self).
pub(super) struct NoResidue;

impl Invariant for NoResidue {
    fn name(&self) -> &'static str {
        "no-residue"
    }

    fn at_rest(&mut self, rest: &Rest<'_>) -> Result<(), String> {
        let mut expected = BTreeSet::new();
        for table in tables_of(rest.tree)? {
            if table.state != TableState::Available {
                return Err(format!("at rest table {} is {:?}", table.name, table.state));
            }
            expected.insert(Node::Name(table.name).path());
        }
        let names = rest.tree.keys().filter(|path| path.starts_with("/names/"));
        let names: BTreeSet<String> = names.cloned().collect();
        if names != expected {
            return Err(format!(
                "at rest there are {names:?}, and tables for {expected:?}"
            ));
        }
        let mut left = rest
            .tree
            .iter()
            .filter(|(path, _)| path.starts_with("/deleted/"));
        match left.find(|(path, znode)| !is_note(path, &znode.data)) {
            Some((path, _)) => Err(format!("at rest {path} is left in the coordination store")),
            None => Ok(()),
        }
    }
}

/// Whether it notes nodes that were forgotten before they confirmed: that stays.
fn is_note(path: &str, data: &[u8]) -> bool {
    let record = Node::parse(path).map(|node| decode_at::<DeletedRecord>(&node, data));
    record.is_ok_and(|record| record.is_ok_and(|record| !record.forgotten.is_empty()))
}
