//! The follower's side of replication: appends and heartbeats (§5.3, Figure 2 "AppendEntries").

use super::Replica;
use crate::log::Point;
use crate::{AppendResult, Body, Broken, Entry, Index, ReplicaId, Term};

impl Replica {
    pub(super) fn on_append(
        &mut self,
        from: ReplicaId,
        previous: Point,
        entries: Vec<Entry>,
        committed: Index,
        read_sequence: u64,
    ) -> Result<(), Broken> {
        // The echo must not wait for the disk, as the match will.
        if read_sequence > self.read_echoed {
            self.read_echoed = read_sequence;
            self.echo(from, read_sequence);
        }
        if !is_well_formed(previous, &entries, self.hard.term) {
            return Ok(());
        }
        let result = match self.find_disagreement(previous)? {
            Some(reject) => reject,
            None => AppendResult::Match(self.accept(previous, entries, committed)?),
        };
        let body = Body::Appended {
            result,
            read_sequence,
        };
        if matches!(result, AppendResult::Match(_)) && !mutant!(AppendAckBeforeSync) {
            self.send_when_durable(from, body);
        } else {
            self.send(from, body);
        }
        Ok(())
    }

    /// Figure 2 "AppendEntries" 2: the log must have the entry just before the new ones. Up to the commit index it has.
    fn find_disagreement(&self, previous: Point) -> Result<Option<AppendResult>, Broken> {
        let committed = self.log.committed();
        let last = self.log.last().index;
        if previous.index < committed {
            return Ok(None);
        }
        match self.log.term_at(previous.index) {
            Some(term) if term == previous.term || mutant!(PreviousTermUnchecked) => Ok(None),
            Some(_) if previous.index == committed => {
                let Point { index, term } = previous;
                Err(Broken::ConflictsWithCommitted {
                    index,
                    term,
                    committed,
                })
            }
            _ => {
                let before = previous.index.previous().min(last);
                let hint = self.log.last_of_term(before, previous.term);
                let (rejected, hint_index, hint_term) = (previous.index, hint.index, hint.term);
                Ok(Some(AppendResult::Reject {
                    rejected,
                    hint_index,
                    hint_term,
                }))
            }
        }
    }

    /// Takes the entries in; returns up to where the log now equals the leader's.
    fn accept(
        &mut self,
        previous: Point,
        entries: Vec<Entry>,
        committed: Index,
    ) -> Result<Index, Broken> {
        let end = Index(previous.index.0 + entries.len() as u64);
        if let Some(cut) = self.log.merge(entries)? {
            self.persistence.log_was_cut(cut);
        }
        self.log.commit(committed.min(end));
        Ok(end.max(self.log.committed()))
    }

    pub(super) fn on_heartbeat(
        &mut self,
        from: ReplicaId,
        committed: Index,
        read_sequence: u64,
    ) -> Result<(), Broken> {
        let last = self.log.last().index;
        let committed = if mutant!(CommitBeyondMatch) {
            committed.min(last)
        } else {
            committed
        };
        if committed > last {
            return Err(Broken::CommittedBeyondLast { committed, last });
        }
        self.log.commit(committed);
        self.read_echoed = self.read_echoed.max(read_sequence);
        self.echo(from, read_sequence);
        Ok(())
    }

    /// Tells the leader that it was heard, and what it may count on from there.
    fn echo(&mut self, from: ReplicaId, read_sequence: u64) {
        let promise_millis = self.promise();
        let body = Body::HeartbeatAck {
            read_sequence,
            promise_millis,
        };
        self.send(from, body);
    }
}

/// Contiguous, with terms that don't fall or exceed the sender's. What is not comes from no replica, and is ignored.
pub(super) fn is_well_formed(previous: Point, entries: &[Entry], term: Term) -> bool {
    let mut before = previous;
    let in_order = entries.iter().all(|entry| {
        let follows =
            entry.index.0.checked_sub(1) == Some(before.index.0) && entry.term >= before.term;
        before = Point::from(entry);
        follows
    });
    in_order && before.term <= term
}
