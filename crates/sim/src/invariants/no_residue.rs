//! No residue (T3): at rest the coordination store holds no table that is being created or deleted, no
//! tombstone, and each name there is the name of its table.

use std::collections::BTreeSet;

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
        match rest.tree.keys().find(|path| path.starts_with("/deleted/")) {
            Some(path) => Err(format!("at rest {path} is left in the coordination store")),
            None => Ok(()),
        }
    }
}
