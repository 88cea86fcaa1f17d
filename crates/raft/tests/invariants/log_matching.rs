//! Log Matching: "if two logs contain an entry with the same index and term, then the logs are identical in all
//! entries up through the given index" (§5.3).
//!
//! Checked where entries come into being: of each index and term there is one payload and one term before it. All else follows by
//! induction.

use std::collections::HashMap;

use bytes::Bytes;
use raft::{Index, Term};

use super::{Invariant, Step};

#[derive(Default)]
pub struct LogMatching {
    /// Of each index and term: the payload and the term of the entry before.
    entries: HashMap<(Index, Term), (Bytes, Term)>,
}

impl Invariant for LogMatching {
    fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        let Some(persist) = &step.effects.persist else {
            return Ok(());
        };
        let Some(first) = persist.append.first() else {
            return Ok(());
        };
        let node = step.node();
        let before = first.index.0 - 1;
        let mut previous = if before == node.start.0.0 {
            node.start.1
        } else {
            node.log[&before].term
        };
        for entry in &persist.append {
            let here = (entry.payload.clone(), previous);
            let known = self
                .entries
                .entry((entry.index, entry.term))
                .or_insert_with(|| here.clone());
            if *known != here {
                let (index, term) = (entry.index, entry.term);
                return Err(format!(
                    "Log Matching: {index} of term {term} is {known:?} and {here:?}"
                ));
            }
            previous = entry.term;
        }
        Ok(())
    }
}
