//! State Machine Safety: "if a server has applied a log entry at a given index to its state machine, no other server will ever
//! apply a different log entry for the same index" (§5.4.3).
//!
//! Seen from its end: two states at the same index are equal, snapshots included.

use std::collections::HashMap;

use bytes::Bytes;
use raft::{Index, Term};

use super::{Invariant, Step};

#[derive(Default)]
pub struct StateMachineSafety {
    handed: HashMap<Index, (Term, Bytes)>,
    states: HashMap<Index, u64>,
}

impl Invariant for StateMachineSafety {
    fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        for entry in &step.effects.apply {
            let here = (entry.term, entry.payload.clone());
            let known = self
                .handed
                .entry(entry.index)
                .or_insert_with(|| here.clone());
            if *known != here {
                return Err(format!(
                    "State Machine Safety: {} is {known:?} and {here:?}",
                    entry.index
                ));
            }
        }
        let store = &step.node().store;
        let known = *self.states.entry(store.index).or_insert(store.hash);
        if known != store.hash {
            return Err(format!(
                "State Machine Safety: states differ at {} on {}",
                store.index, step.id
            ));
        }
        Ok(())
    }
}
