//! Snapshots (§7): followers that need one, installing one, and purging the log.
//!
//! The core never sees a snapshot's bytes. On the leader it says who needs one and is told how it ended. On the follower:
//!
//! 1. [`accept_snapshot`](Replica::accept_snapshot) with the header, and again now and then until it is installed: holds back
//!    what would be applied meanwhile.
//! 2. Once more just before the state is switched over, for it may have become useless.
//! 3. [`snapshot_installed`](Replica::snapshot_installed) when the new state is durable. What was handed out to be applied
//!    before, up to the snapshot's index, is to be forgotten.

use super::{Incoming, Replica, State};
use crate::log::Point;
use crate::{Broken, Index, Membership, Refusal, ReplicaId, Term};

impl Replica {
    /// On the leader: the transfer to this follower has ended; `Ok` if it has durably installed a state at that index.
    pub fn snapshot_sent(&mut self, to: ReplicaId, result: Result<Index, ()>) {
        let committed = self.log.committed();
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let Some(follower) = leader.followers.get_mut(&to) else {
            return;
        };
        if !follower.is_in_snapshot() {
            return;
        }
        match result {
            Ok(index) if index <= committed => {
                follower.matched = follower.matched.max(index);
                follower.probe_after(index);
            }
            _ => follower.probe_later(),
        }
        self.unsent = true;
    }

    /// On a follower: a snapshot at `index` is offered, or another part of it has come, from the leader of `term`. While
    /// it is coming in (until [`Replica::snapshot_installed`], or until an election timeout has passed without another
    /// call) nothing is handed out to be applied.
    ///
    /// The offer is a sign of the leader like any message. Further calls for the same snapshot are not, for they may come from
    /// this node's own clock: that the leader lives on is said by its heartbeats, which go on meanwhile.
    ///
    /// # Errors
    /// [`Refusal::Stale`] if the leader is one of the past or the snapshot has nothing that isn't committed here already: drop it.
    pub fn accept_snapshot(
        &mut self,
        from: ReplicaId,
        term: Term,
        index: Index,
    ) -> Result<(), Refusal> {
        if self.stopped.is_some() {
            return Err(Refusal::Stopped);
        }
        if !self.time.heard.contains_key(&from) || term < self.hard.term {
            return Err(Refusal::Stale);
        }
        let known = self.incoming.as_ref();
        if known.is_none_or(|known| (known.from, known.term, known.index) != (from, term, index)) {
            self.time.heard.insert(from, self.time.now);
            if term > self.hard.term {
                self.enter_term(term);
            }
            if let Err(broken) = self.follow(from) {
                self.check(Err(broken));
                return Err(Refusal::Stopped);
            }
        }
        if index <= self.log.committed() {
            self.incoming = None;
            return Err(Refusal::Stale);
        }
        let at = self.time.now;
        self.incoming = Some(Incoming {
            from,
            term,
            index,
            at,
        });
        Ok(())
    }

    /// On a follower: the state store is now, durably, at this index. Following entries stay only if the log has this very
    /// entry; else the whole log is dropped, which [`Persist::reset`](crate::Persist::reset) says. The snapshot brings its own membership.
    pub fn snapshot_installed(&mut self, index: Index, term: Term, membership: Membership) {
        if self.stopped.is_some() {
            return;
        }
        self.incoming = None;
        let handed = self.log.handed();
        if index < handed {
            return self.check(Err(Broken::StateWentBack { index, handed }));
        }
        match self.log.term_at(index) {
            Some(known) if known == term || mutant!(SnapshotKeepsLog) => {
                self.log.state_is_at(index);
            }
            Some(known) if index <= self.log.committed() => {
                return self.check(Err(Broken::TermDiffers {
                    index,
                    known,
                    given: term,
                }));
            }
            _ => {
                let point = Point { index, term };
                self.log.discard(point);
                self.persistence.log_was_reset(point);
            }
        }
        self.set_membership(membership);
        self.trim();
    }

    /// The durable log now begins after `index`. The state store has durably applied at least that, and can make a snapshot of it.
    /// `index` should not be above [`Replica::persisted_index`], and the purge must not overtake the writes that are under way.
    pub fn compacted(&mut self, index: Index, term: Term) {
        if self.stopped.is_some() || index <= self.log.purged.index {
            return;
        }
        let applied = self.log.applied;
        if index > applied {
            return self.check(Err(Broken::PurgedBeyondApplied {
                purged: index,
                applied,
            }));
        }
        if let Some(known) = self.log.term_at(index).filter(|&known| known != term) {
            return self.check(Err(Broken::TermDiffers {
                index,
                known,
                given: term,
            }));
        }
        self.log.purged = Point { index, term };
    }
}
