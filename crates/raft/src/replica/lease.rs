//! Reads without a round: the leader's lease (thesis, 6.4.1), as promises of its followers.
//!
//! A follower that answers a heartbeat may promise to vote for nobody for so many milliseconds. While a majority is bound by such promises
//! nobody else can be elected, so this leader's commit index is the group's, and a read needs no round.
//!
//! ```text
//!  leader     sends n ────────────── lease ───────────────▶│        from the sending, shortened by the drift
//!                  ╲          ▲
//!  follower         ▼ hears n ╱ ───────── bound ──────────────────▶│   from the hearing, by its own clock
//! ```
//!
//! The core still has no clock: its caller [says](Replica::set_time) before each of its turns what its own clock reads. Nothing here is counted
//! in ticks, for those that a pause has swallowed are not made up for.
//!
//! | so that | holds |
//! |---|---|
//! | a late answer doesn't prolong a lease | it begins when the message that was answered was *sent*; every heartbeat has a number of its own for that |
//! | a faster clock of a follower breaks no promise | [`DRIFT_PERCENT`] and [`GRAIN_MILLIS`] are taken off |
//! | a follower is bound whatever it hears | it is so by time alone: not by its term, nor by whom it takes for the leader |
//! | it is bound across a restart | for as long as the process before may have promised, it gives no vote: [`Promises::earlier_millis`] |
//! | a transfer may go past all that | `TimeoutNow` ends the lease for the rest of the term, for it may arrive late and twice |
//! | nodes may differ in their timeouts, and in whether they have leases at all | who promises says for how long; nobody else counts |

use std::collections::VecDeque;

use super::{Replica, State};
use crate::{Promises, ReplicaId};

/// The clocks of two nodes differ in their rates by less than this, percent.
pub(super) const DRIFT_PERCENT: u64 = 10;

/// Both sides read whole milliseconds, rounded down.
const GRAIN_MILLIS: u64 = 2;

/// So many heartbeats are remembered with the time of their sending. An answer to an older one is of no use.
const REMEMBERED: usize = 32;

/// A replica's clock, and what it has promised.
#[derive(Debug)]
pub(super) struct Vow {
    /// It promises so much; 0: nothing, and it takes no promises either.
    promise_millis: u64,
    /// Not yet begun: how long it gives no vote from the first reading of the clock on.
    earlier_millis: Option<u64>,
    /// The latest reading.
    now: u64,
    /// Until then it votes for nobody.
    bound_until: u64,
}

impl Vow {
    pub(super) fn new(promises: Promises) -> Self {
        let earlier = promises.earlier_millis;
        Self {
            promise_millis: promises.promise_millis,
            earlier_millis: (earlier > 0).then_some(earlier),
            now: 0,
            bound_until: 0,
        }
    }

    fn is_on(&self) -> bool {
        self.promise_millis > 0
    }

    fn bind(&mut self, millis: u64) {
        self.bound_until = self.bound_until.max(self.now.saturating_add(millis));
    }
}

/// What a leader remembers for its lease. What each follower has promised is in its [`Progress`](crate::progress::Progress).
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// Heartbeats: number and time of sending. Both rise.
    sent: VecDeque<(u64, u64)>,
    /// `TimeoutNow` was sent in this term.
    pub(super) given_up: bool,
}

impl Lease {
    fn note(&mut self, sequence: u64, now: u64) {
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back((sequence, now));
    }

    /// When the message was sent at the earliest that bore this number: it may have been any after the last heartbeat up to it.
    fn sent_at(&self, sequence: u64) -> Option<u64> {
        let mut before = self.sent.iter().rev();
        before
            .find(|(number, _)| *number <= sequence)
            .map(|(_, at)| *at)
    }
}

impl Replica {
    /// What the caller's monotonic clock reads, milliseconds. To be said before what has come in is given to the replica, and read after it came in:
    /// a lease is worth nothing at a time that has passed. One that goes back is taken for the latest. Matters only with [`Promises`].
    pub fn set_time(&mut self, millis: u64) {
        self.vow.now = self.vow.now.max(millis);
        if let Some(earlier) = self.vow.earlier_millis.take() {
            self.vow.bind(earlier);
        }
    }

    /// Whether this replica leads and could answer a read now without asking anybody.
    pub fn has_lease(&self) -> bool {
        let State::Leader(leader) = &self.state else {
            return false;
        };
        if !self.vow.is_on() || leader.lease.given_up || self.log.committed() < leader.first {
            return false;
        }
        let promised = |id| {
            let follower = leader.followers.get(&id);
            // It votes for nobody else as long as it leads.
            follower.map_or(u64::MAX, |follower| follower.promised_until)
        };
        self.vow.now < self.membership.reached(promised)
    }

    /// How many times a drain has let reads go because of the lease.
    pub fn lease_reads(&self) -> u64 {
        self.lease_reads
    }

    /// Whether it must not vote now: it has promised so, or an earlier process may have.
    pub(super) fn is_bound(&self) -> bool {
        self.vow.now < self.vow.bound_until || self.vow.earlier_millis.is_some()
    }

    /// Promises the leader that is being answered what it may count on; 0: nothing.
    pub(super) fn promise(&mut self) -> u64 {
        self.vow.bind(self.vow.promise_millis);
        self.vow.promise_millis
    }

    /// The heartbeat that is about to go gets a number of its own.
    pub(super) fn number_heartbeat(&mut self) {
        if let State::Leader(leader) = &mut self.state
            && self.vow.is_on()
        {
            leader.reads.sequence += 1;
            leader.lease.note(leader.reads.sequence, self.vow.now);
        }
    }

    /// A follower has answered the message with this number and is bound from when it heard it.
    pub(super) fn on_promise(&mut self, from: ReplicaId, sequence: u64, millis: u64) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let mut sent = leader.lease.sent_at(sequence);
        if mutant!(LeaseFromReceipt) {
            sent = Some(self.vow.now);
        }
        if let Some(follower) = leader.followers.get_mut(&from)
            && let Some(sent) = sent.filter(|_| self.vow.is_on() && millis > 0)
        {
            let until = sent.saturating_add(worth(millis));
            follower.promised_until = follower.promised_until.max(until);
        }
    }
}

/// For how long a promise is worth something to somebody whose clock is slower.
fn worth(millis: u64) -> u64 {
    let drift = millis.saturating_mul(DRIFT_PERCENT).div_ceil(100);
    millis.saturating_sub(drift).saturating_sub(GRAIN_MILLIS)
}
