//! Linearizable reads without a log entry: ReadIndex (thesis, 6.4).
//!
//! A read may be served at the commit index of the moment it is asked, once it is certain that this leader was
//! not yet replaced at that moment. The reads that wait are confirmed together in numbered rounds:
//!
//! 1. The next drain makes a round of them: number *n*, at the commit index.
//! 2. Every append and heartbeat carries the latest number; a lost one is made good by the next heartbeat.
//! 3. A quorum has echoed *n* or more, in this term: round *n* and all before it are confirmed.
//!
//! With a [lease](super::lease) there is no round: the reads come out of the next drain.
//!
//! A new leader may not know yet that its log is committed up to where its predecessor confirmed it, so
//! there is no round before it has committed an entry of its own term (§8); reads wait until then.

use std::collections::VecDeque;

use super::{Replica, State};
use crate::{Index, ReadToken, Refusal, ReplicaId};

/// So many reads may wait for a leader's first commit.
const MAX_EARLY: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Reads {
    /// The number of the latest round; 0 before the first of this term.
    pub(super) sequence: u64,
    /// Wait for the next round.
    gathering: Vec<ReadToken>,
    /// Not yet confirmed; sequences rise.
    rounds: VecDeque<Round>,
}

#[derive(Debug)]
struct Round {
    sequence: u64,
    index: Index,
    reads: Vec<ReadToken>,
}

impl Reads {
    /// Whether there are any that are not confirmed.
    pub(super) fn are_waiting(&self) -> bool {
        !(self.rounds.is_empty() && self.gathering.is_empty())
    }

    /// All reads that are not confirmed.
    pub(super) fn into_waiting(self) -> impl Iterator<Item = ReadToken> {
        self.rounds
            .into_iter()
            .flat_map(|round| round.reads)
            .chain(self.gathering)
    }
}

impl Replica {
    /// Asks for a linearizable read. It comes out in [`Effects::reads`](crate::Effects::reads), or in
    /// [`Effects::reads_failed`](crate::Effects::reads_failed) if leadership is lost first.
    ///
    /// # Errors
    /// [`Refusal::NotLeader`]; [`Refusal::NotReady`] if 10,000 reads wait for this leader's first commit.
    pub fn read_index(&mut self, read: ReadToken) -> Result<(), Refusal> {
        let committed = self.log.committed();
        let leader = self.leader_state()?;
        if committed < leader.first && leader.reads.gathering.len() >= MAX_EARLY {
            return Err(Refusal::NotReady);
        }
        leader.reads.gathering.push(read);
        self.unsent = true;
        self.rouse();
        Ok(())
    }

    pub(super) fn begin_read_round(&mut self) {
        let has_lease = self.has_lease();
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let index = self.log.committed();
        let too_early = index < leader.first && !mutant!(ReadBeforeOwnTerm);
        if too_early || leader.reads.gathering.is_empty() {
            return;
        }
        let reads = std::mem::take(&mut leader.reads.gathering);
        if has_lease {
            self.lease_reads += 1;
            let served = reads.into_iter().map(|read| (read, index));
            return self.outbox.reads.extend(served);
        }
        leader.reads.sequence += 1;
        leader.reads.rounds.push_back(Round {
            sequence: leader.reads.sequence,
            index,
            reads,
        });
        self.confirm_reads(); // of itself alone, in a group of one
    }

    pub(super) fn on_read_echo(&mut self, from: ReplicaId, sequence: u64) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let Some(follower) = leader.followers.get_mut(&from) else {
            return;
        };
        follower.answered_at = self.time.now;
        let sequence = if mutant!(ReadEchoOfAnyRound) {
            u64::MAX
        } else {
            sequence
        };
        if sequence > follower.read_echoed {
            follower.read_echoed = sequence;
            self.confirm_reads();
        }
    }

    fn confirm_reads(&mut self) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        if leader.reads.rounds.is_empty() {
            return;
        }
        let echoed = |id| {
            leader
                .followers
                .get(&id)
                .map_or(u64::MAX, |follower| follower.read_echoed)
        };
        let mut confirmed = self.membership.reached(echoed);
        if mutant!(ReadWithoutRound) {
            confirmed = u64::MAX;
        }
        while let Some(round) = leader
            .reads
            .rounds
            .pop_front_if(|round| round.sequence <= confirmed)
        {
            self.outbox
                .reads
                .extend(round.reads.into_iter().map(|read| (read, round.index)));
        }
    }
}
