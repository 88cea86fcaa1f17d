//! From what a group's core wants to records, frames and jobs.

use model::{NodeId, ShardId};
use raft::{Effects, Entry, Index, Persist};
use storage::log::{LogEntry, Record};

use super::group::{Running, no_leader};
use super::{ApplyJob, SendSnapshot, Turn};
use crate::operation::Reply;
use crate::wire::{self, PeerMessage};

impl Running {
    pub(super) fn carry_out(&mut self, shard: ShardId, effects: Effects, turn: &mut Turn) {
        if mutant!(DeposedLeaderDenies) && !self.is_leader() {
            let waiting = std::mem::take(&mut self.waiting);
            for waiter in waiting.into_values().flatten().flatten() {
                waiter.reply.fail(None, no_leader());
            }
        }
        if let Some(persist) = effects.persist {
            self.write_log(shard, persist, turn);
        }
        let said = effects.send.into_iter().filter(|_| !self.quarantined);
        for message in said {
            let to = wire::node_id(message.to);
            let frame = turn.outputs.send.entry(to).or_default();
            frame.push((shard, PeerMessage::Raft(message)));
        }
        if !effects.apply.is_empty() {
            self.hand_out(shard, effects.apply, turn);
        }
        for (token, index) in effects.reads {
            if let Some(reads) = self.reading.remove(&token) {
                self.confirmed.push_back((index, reads));
            }
        }
        self.serve_confirmed(shard, turn);
        for token in effects.reads_failed {
            let leader = self.leader();
            for read in self.reading.remove(&token).into_iter().flatten() {
                read.waiter.reply.fail(leader, self.unavailable());
            }
        }
        turn.outputs
            .fetch
            .extend(effects.fetch.into_iter().map(|fetch| (shard, fetch)));
        for to in effects.snapshots {
            let (to, term) = (wire::node_id(to), self.replica.term());
            self.sending.insert(to, self.durable);
            turn.outputs
                .snapshots
                .push(SendSnapshot { shard, to, term });
        }
    }

    fn write_log(&mut self, group: ShardId, persist: Persist, turn: &mut Turn) {
        if let Some(state) = persist.hard_state {
            let vote = state.vote.map(|vote| vote.0);
            turn.records.push(Record::HardState {
                group,
                term: state.term.0,
                vote,
            });
        }
        if let Some((index, term)) = persist.reset {
            self.log_size.reset();
            turn.records.push(Record::Reset {
                group,
                index: index.0,
                term: term.0,
            });
        }
        if !persist.append.is_empty() {
            for entry in &persist.append {
                let bytes = entry.payload.len() as u64 + ENTRY_OVERHEAD;
                self.log_size.append(entry.index, entry.term, bytes);
            }
            let entries = persist.append.into_iter().map(log_entry).collect();
            turn.records.push(Record::Append { group, entries });
        }
        turn.unsynced.tokens.push((group, persist.token));
    }

    /// Sends committed entries to the applier, together with those who wait for them.
    fn hand_out(&mut self, shard: ShardId, entries: Vec<Entry>, turn: &mut Turn) {
        let mut replies = Vec::new();
        for entry in &entries {
            self.handed = self.handed.max(entry.index);
            if let Some(waiters) = self.waiters_of(entry) {
                replies.push((entry.index, waiters));
            }
        }
        let leader = self.leader();
        turn.outputs.apply.push(ApplyJob::Entries {
            shard,
            entries,
            replies,
            leader,
        });
    }

    /// Those who wait for an entry that is now committed. Whoever waits for another one in its place is told that his
    /// can't be committed any more.
    fn waiters_of(&mut self, entry: &Entry) -> Option<Vec<Option<Reply>>> {
        let leader = self.leader();
        let mut found = None;
        while self
            .waiting
            .first_key_value()
            .is_some_and(|(&(index, _), _)| index <= entry.index)
        {
            let Some((place, waiters)) = self.waiting.pop_first() else {
                break;
            };
            let by_index = mutant!(AnswersByIndex) && place.0 == entry.index;
            if place == (entry.index, entry.term) || by_index {
                let replies = waiters.into_iter().map(|waiter| waiter.map(|w| w.reply));
                found = Some(replies.collect());
                continue;
            }
            for waiter in waiters.into_iter().flatten() {
                waiter.reply.fail(leader, no_leader());
            }
        }
        found
    }

    /// Sends reads to the applier whose entries are ahead of them in its queue.
    pub(super) fn serve_confirmed(&mut self, shard: ShardId, turn: &mut Turn) {
        while self
            .confirmed
            .front()
            .is_some_and(|(index, _)| *index <= self.handed)
        {
            let Some((_, reads)) = self.confirmed.pop_front() else {
                return;
            };
            let reads = reads
                .into_iter()
                .map(|read| (read.question, read.waiter.reply))
                .collect();
            let leader = self.leader();
            turn.outputs.apply.push(ApplyJob::Reads {
                shard,
                reads,
                leader,
            });
        }
    }

    /// The lowest index that the log must keep entries after, for those that a snapshot is being sent to.
    pub(super) fn pinned(&self) -> Option<Index> {
        self.sending.values().min().copied()
    }

    /// A transfer has ended.
    pub(super) fn unpin(&mut self, to: NodeId) {
        self.sending.remove(&to);
    }
}

/// What an entry takes in the log beside its payload, roughly.
const ENTRY_OVERHEAD: u64 = 24;

fn log_entry(entry: Entry) -> LogEntry {
    LogEntry {
        index: entry.index.0,
        term: entry.term.0,
        kind: entry.kind.into(),
        payload: entry.payload,
    }
}
