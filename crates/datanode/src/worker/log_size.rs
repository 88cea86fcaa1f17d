//! How many bytes of a group's log could be purged up to where.

use std::collections::VecDeque;

use raft::{Index, Replica, Term};

/// Entries are counted in stretches of about this many bytes: fine enough to decide by.
const STRETCH_BYTES: u64 = 64 * 1024;

/// Bytes of a group's log by position, coarsely. Knows the term at the end of each stretch, which a purge must name.
#[derive(Debug, Default)]
pub(super) struct LogSize {
    stretches: VecDeque<Stretch>,
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Stretch {
    last: (Index, Term),
    bytes: u64,
}

impl LogSize {
    /// Counts what a replica brings along: what is applied as one piece, what is not as another.
    pub(super) fn of(replica: &Replica, bytes: u64) -> Self {
        let applied = replica.applied_index();
        let unapplied = replica.in_memory().filter(|entry| entry.index > applied);
        let unapplied: u64 = unapplied.map(|entry| entry.size() as u64).sum();
        let pieces = [
            (applied, bytes.saturating_sub(unapplied)),
            (replica.last_index(), unapplied),
        ];
        let mut size = Self::default();
        for (last, bytes) in pieces {
            if let Some(term) = replica
                .term_at(last)
                .filter(|_| bytes > 0 && last > Index(0))
            {
                size.append_stretch(last, term, bytes);
            }
        }
        size
    }

    fn append_stretch(&mut self, index: Index, term: Term, bytes: u64) {
        self.bytes += bytes;
        self.stretches.push_back(Stretch {
            last: (index, term),
            bytes,
        });
    }

    /// Counts an entry that was appended. One that replaces others replaces their count as well.
    pub(super) fn append(&mut self, index: Index, term: Term, bytes: u64) {
        while let Some(stretch) = self.stretches.back().filter(|s| s.last.0 >= index) {
            self.bytes -= stretch.bytes;
            self.stretches.pop_back();
        }
        match self.stretches.back_mut() {
            Some(stretch) if stretch.bytes < STRETCH_BYTES => {
                stretch.last = (index, term);
                stretch.bytes += bytes;
                self.bytes += bytes;
            }
            _ => self.append_stretch(index, term, bytes),
        }
    }

    /// All that is counted.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The last position at or before `limit` up to which a purge is worth while, and the bytes that it frees.
    pub(super) fn purgeable(&self, limit: Index) -> Option<((Index, Term), u64)> {
        let stretches = self
            .stretches
            .iter()
            .take_while(|stretch| stretch.last.0 <= limit);
        stretches.fold(None, |sum, stretch| {
            Some((
                stretch.last,
                sum.map_or(0, |(_, bytes)| bytes) + stretch.bytes,
            ))
        })
    }

    /// Forgets what was purged.
    pub(super) fn purged(&mut self, index: Index) {
        while let Some(stretch) = self.stretches.front().filter(|s| s.last.0 <= index) {
            self.bytes -= stretch.bytes;
            self.stretches.pop_front();
        }
    }

    /// Forgets everything: the log begins anew.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use model::{NodeId, ShardId, TableId};
    use raft::{Entry, EntryKind, HardState, Restored};

    use crate::node::raft_config;
    use crate::options::Tuning;

    #[test]
    fn whole_stretches_up_to_the_limit_are_purgeable() {
        let mut size = LogSize::default();
        for index in 1..=10 {
            size.append(Index(index), Term(1), 40 * 1024);
        }
        // Two entries make a stretch.
        assert_eq!(size.bytes(), 400 * 1024);
        assert_eq!(size.purgeable(Index(1)), None);
        assert_eq!(
            size.purgeable(Index(5)),
            Some(((Index(4), Term(1)), 160 * 1024))
        );
        size.purged(Index(4));
        assert_eq!(size.bytes(), 240 * 1024);
        assert_eq!(size.purgeable(Index(5)), None);
    }

    #[test]
    fn entries_that_replace_others_are_not_counted_twice() {
        let mut size = LogSize::default();
        for index in 1..=6 {
            size.append(Index(index), Term(1), 100 * 1024);
        }
        size.append(Index(3), Term(2), 1024);
        assert_eq!(size.bytes(), 201 * 1024);
        assert_eq!(
            size.purgeable(Index(9)).map(|(last, _)| last),
            Some((Index(3), Term(2)))
        );
    }

    #[test]
    fn what_a_restarted_replica_has_applied_counts_and_can_be_purged() {
        let entry = |index| Entry {
            term: Term(3),
            index: Index(index),
            kind: EntryKind::Commands,
            payload: Bytes::from_static(&[0; 1000]),
        };
        // The log reaches back to entry 1; entries 6 and 7 are not applied, and only they and the one before are at hand.
        let restored = Restored {
            hard_state: HardState {
                term: Term(3),
                vote: None,
            },
            entries: [5, 6, 7].map(entry).into(),
            preceding_term: Term(3),
            applied: Index(5),
            applied_term: Term(3),
            ..Restored::default()
        };
        let shard = ShardId {
            table: TableId(1),
            index: 0,
        };
        let config = raft_config(NodeId(1), shard, &[NodeId(1)], &Tuning::default());
        let replica = Replica::new(config, restored).unwrap();
        let size = LogSize::of(&replica, 100_000);
        assert_eq!(size.bytes(), 100_000);
        let unapplied = 2 * entry(6).size() as u64;
        assert_eq!(
            size.purgeable(Index(5)),
            Some(((Index(5), Term(3)), 100_000 - unapplied))
        );
    }
}
