//! What can be asked of a replica at any time.

use super::{Replica, State};
use crate::{
    Availability, Broken, Entry, FollowerProgress, HardState, Index, Membership, ReplicaId, Term,
};

impl Replica {
    /// Who this replica is.
    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// Its term.
    pub fn term(&self) -> Term {
        self.hard.term
    }

    /// Its term and vote, durable or not.
    pub fn hard_state(&self) -> HardState {
        self.hard
    }

    /// Who leads in its term, as far as it knows; possibly itself.
    pub fn leader(&self) -> Option<ReplicaId> {
        self.leader
    }

    /// Up to here the log is known to be committed.
    pub fn committed(&self) -> Index {
        self.log.committed()
    }

    /// Up to here the state machine has said to have applied.
    pub fn applied_index(&self) -> Index {
        self.log.applied
    }

    /// Up to here the log is durable on this replica.
    pub fn persisted_index(&self) -> Index {
        self.log.persisted
    }

    /// The end of the log.
    pub fn last_index(&self) -> Index {
        self.log.last().index
    }

    /// The first entry that is still in memory; one more than [`Replica::last_index`] if none is.
    pub fn first_in_memory(&self) -> Index {
        self.log.preceding().index.next()
    }

    /// The entries that are still in memory, in order.
    pub fn in_memory(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.log.in_memory()
    }

    /// The point after which the durable log begins, as far as the caller has said: see [`Replica::compacted`].
    pub fn snapshot_point(&self) -> (Index, Term) {
        (self.log.purged.index, self.log.purged.term)
    }

    /// The members of the group.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The term of the entry at `index`, if it is in memory or the point just before.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// What it knows of its followers; empty unless it is the leader.
    pub fn progress(&self) -> Vec<FollowerProgress> {
        let State::Leader(leader) = &self.state else {
            return Vec::new();
        };
        let active = |answered: &crate::progress::Progress| {
            answered.is_active(self.time.now, self.limits.election_ticks)
        };
        leader
            .followers
            .iter()
            .map(|(&id, follower)| follower.report(id, active(follower)))
            .collect()
    }

    /// Whom it is handing leadership over to.
    pub fn transferring(&self) -> Option<ReplicaId> {
        match &self.state {
            State::Leader(leader) => leader.transfer.as_ref().map(|transfer| transfer.to),
            _ => None,
        }
    }

    /// The invariant that was broken, if one was: the replica ignores everything since.
    pub fn stopped(&self) -> Option<&Broken> {
        self.stopped.as_ref()
    }

    /// Whether the group can serve, as far as this replica knows. A leader that is heard speaks for a majority, for it steps
    /// down without one; else every message from a member counts as a sign of that member.
    pub fn availability(&self) -> Availability {
        if let Some(leader) = self.leader {
            return Availability::Leader(leader);
        }
        let now = self.time.now;
        let heard = |id| {
            if id == self.id {
                now
            } else {
                self.time.heard.get(&id).copied().unwrap_or(0)
            }
        };
        let sign = self.membership.reached(heard).max(self.time.leader_heard);
        if now.saturating_sub(sign) > 2 * u64::from(self.limits.election_ticks) {
            Availability::NoQuorum
        } else {
            Availability::NoLeader
        }
    }
}
