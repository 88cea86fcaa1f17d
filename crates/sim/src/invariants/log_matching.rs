//! Log matching (Raft §5.3): if two logs contain an entry with the same index and term, then the logs are
//! identical in all entries up to that index.
//!
//! By induction that is so if an entry of an index and a term is always the same one and always stands
//! behind the same one. That is looked at with every entry that is written to a log.

use std::collections::BTreeMap;

use model::ShardId;
use storage::log::Record;

use super::{Invariant, Turn, digest};

/// Each entry that was ever written, by shard, index and term: what it says, and the term of the one before.
#[derive(Default)]
pub(super) struct LogMatching {
    entries: BTreeMap<(ShardId, u64, u64), (u64, Option<u64>)>,
}

impl Invariant for LogMatching {
    fn name(&self) -> &'static str {
        "log-matching"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        for record in turn.outputs.log.iter().flat_map(|write| &write.records) {
            let Record::Append { group, entries } = record else {
                continue;
            };
            let replica = turn.worker.replicas().find(|(shard, _)| shard == group);
            let mut previous = entries.first().and_then(|first| {
                let (_, replica) = replica.as_ref()?;
                let before = raft::Index(first.index.checked_sub(1)?);
                // The turn may have gone on to rewrite the end of the log: then memory has something newer.
                let unchanged = replica.term_at(raft::Index(first.index))?.0 == first.term;
                unchanged.then(|| replica.term_at(before)).flatten()
            });
            for entry in entries {
                let says = digest([&[entry.kind][..], &entry.payload]);
                let behind = previous.map(|term| term.0);
                let key = (*group, entry.index, entry.term);
                let known = self.entries.entry(key).or_insert((says, behind));
                known.1 = known.1.or(behind);
                if known.0 != says || behind.is_some_and(|behind| known.1 != Some(behind)) {
                    return Err(format!(
                        "{} writes entry {} of term {} of shard {group}, which elsewhere says something else or \
                         stands behind another one (term {behind:?}, elsewhere {:?})",
                        turn.node, entry.index, entry.term, known.1
                    ));
                }
                previous = Some(raft::Term(entry.term));
            }
        }
        Ok(())
    }
}
