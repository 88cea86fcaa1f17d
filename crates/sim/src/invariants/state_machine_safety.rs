//! State machine safety (Raft §5.4.3): if a server has applied an entry at a given index, no other server
//! will ever apply a different entry for the same index.

use std::collections::BTreeMap;

use datanode::worker::ApplyJob;
use model::ShardId;

use super::{Invariant, Turn, digest};

/// What was applied, by shard and index.
#[derive(Default)]
pub(super) struct StateMachineSafety {
    applied: BTreeMap<(ShardId, u64), u64>,
}

impl Invariant for StateMachineSafety {
    fn name(&self) -> &'static str {
        "state-machine-safety"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        for job in &turn.outputs.apply {
            let ApplyJob::Entries { shard, entries, .. } = job else {
                continue;
            };
            for entry in entries {
                let (term, kind) = (entry.term.0.to_le_bytes(), [u8::from(entry.kind)]);
                let says = digest([&term[..], &kind, &entry.payload]);
                let first = *self.applied.entry((*shard, entry.index.0)).or_insert(says);
                if first != says {
                    return Err(format!(
                        "{} applies another entry {} of shard {shard} (term {}) than was applied elsewhere",
                        turn.node, entry.index, entry.term
                    ));
                }
            }
        }
        Ok(())
    }
}
