//! A read is served at an index that is not below anything that was committed when it was asked (thesis, 6.4).

use std::collections::BTreeMap;

use raft::{Index, ReadToken};

use super::{Invariant, Step};

#[derive(Default)]
pub struct LinearizableReads {
    asked: BTreeMap<ReadToken, Index>,
    pub served: usize,
}

impl LinearizableReads {
    /// A read is asked while everything up to this index is committed.
    pub fn asked(&mut self, read: ReadToken, committed: Index) {
        self.asked.insert(read, committed);
    }
}

impl Invariant for LinearizableReads {
    fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        for read in &step.effects.reads_failed {
            if self.asked.remove(read).is_none() {
                return Err(format!(
                    "Linearizable reads: {read} has failed twice or was never asked"
                ));
            }
        }
        for (read, index) in &step.effects.reads {
            let Some(floor) = self.asked.remove(read) else {
                return Err(format!(
                    "Linearizable reads: {read} is answered twice or was never asked"
                ));
            };
            if *index < floor {
                return Err(format!(
                    "Linearizable reads: {read} is served by {} at {index}, but {floor} was committed",
                    step.id
                ));
            }
            self.served += 1;
        }
        Ok(())
    }
}
