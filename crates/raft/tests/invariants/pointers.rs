//! purged ≤ applied ≤ committed ≤ last, persisted ≤ last; and neither term nor commit index ever falls.

use super::{Invariant, Step};

pub struct Pointers;

impl Invariant for Pointers {
    fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        let replica = &step.node().replica;
        let (purged, last) = (replica.snapshot_point().0, replica.last_index());
        let (applied, committed) = (replica.applied_index(), replica.committed());
        let in_order = purged <= applied
            && applied <= committed
            && committed <= last
            && replica.persisted_index() <= last
            && replica.first_in_memory().previous() <= applied.min(replica.persisted_index());
        let forward = step.before.term <= replica.term() && step.before.committed <= committed;
        if in_order && forward {
            return Ok(());
        }
        Err(format!("Pointers: {replica:?}"))
    }
}
