//! Leaders at home: where the leadership of a group belongs, and when it goes there.
//!
//! Whoever wins an election leads, so after the creation of a table, or after a node was away, one node may lead most
//! shards. Each group has a *home*: the first of its voters as they were placed. Placement makes every node the home of as many
//! shards as any other. A leader that is not at home transfers its leadership there:
//!
//! | what the leader sees, tick by tick | so |
//! |---|---|
//! | home has answered lately and has what was committed a tick ago, for [`Tuning::home_ticks`](crate::Tuning) in a row | it is due: transferred by one of the next ticks, so many per tick as [`TRANSFERS_PER_TICK`] says |
//! | home lags, is silent, gets a snapshot; a transfer is under way; contents are distrusted | the count begins anew |
//! | it was transferred, and home did not lead for as long as was waited for it | the next time it waits twice as long, at most [`LONGEST_WAIT`] times |
//!
//! While a transfer is under way writes are refused, for a few round trips, or for an election timeout if home does not take over after
//! all. Routers send what was refused again. So transfers must not be many in vain: hence the back-off, and hence the patience with a home that
//! comes and goes.
//!
//! Nothing here reads a clock or draws a number. Where leadership is matters for load only, never for what is right: any
//! replica may lead at any time.

use model::NodeId;
use raft::{FollowerProgress, FollowerState, Index, ReplicaId};

use super::group::Running;
use crate::wire;

/// A worker begins so many transfers in one tick, so that of all the groups of a node that returns only a few pause at a time.
pub(super) const TRANSFERS_PER_TICK: u32 = 1;

/// The longest wait for a home that does not keep what it gets, in shortest waits: a minute, where these are five seconds.
const LONGEST_WAIT: u32 = 12;

/// Where a group's leadership belongs, and what this replica has seen of that place.
#[derive(Debug, Default)]
pub(super) struct Home {
    /// `None`: nowhere, it stays where it is.
    node: Option<NodeId>,
    /// For so many ticks this replica has led, and home was ready to take over.
    ready: u32,
    /// For so many ticks home has led.
    led: u32,
    /// Transfers to it that did not last.
    failed: u32,
    /// What was committed at the latest tick.
    committed: Index,
}

/// What one tick finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// Home leads.
    AtHome,
    /// This replica leads, and home could take over.
    Ready,
    /// Neither.
    Away,
}

impl Home {
    pub(super) fn new(node: Option<NodeId>) -> Self {
        Self {
            node,
            ..Self::default()
        }
    }

    /// Takes part no more for a time: what was counted is of no worth.
    pub(super) fn interrupt(&mut self) {
        (self.ready, self.led) = (0, 0);
    }

    /// Notes what a tick has found.
    fn note(&mut self, sight: Sight, shortest: u32) {
        match sight {
            Sight::AtHome => {
                self.ready = 0;
                self.led = self.led.saturating_add(1);
                if self.led >= wait(shortest, self.failed.saturating_sub(1)) {
                    self.failed = 0;
                }
            }
            Sight::Ready => {
                self.led = 0;
                self.ready = self.ready.saturating_add(1);
            }
            Sight::Away => self.interrupt(),
        }
    }

    fn is_due(&self, shortest: u32) -> bool {
        self.ready >= wait(shortest, self.failed)
    }

    /// It was transferred; whether for good is not known yet.
    fn transferred(&mut self) {
        self.ready = 0;
        self.failed = self.failed.saturating_add(1);
    }
}

/// For so many ticks home must be ready, after so many transfers that did not last; and then lead, to be trusted again.
fn wait(shortest: u32, failed: u32) -> u32 {
    let times = 2u32.saturating_pow(failed).min(LONGEST_WAIT);
    shortest.max(1).saturating_mul(times)
}

impl Running {
    /// Once in a tick: transfers leadership home if it is due and there are `transfers` left in this tick.
    pub(super) fn look_home(&mut self, shortest_wait: u32, transfers: &mut u32) {
        let Some(home) = self.home.node else { return };
        let sight = self.sight(home);
        self.home.committed = self.replica.committed();
        self.home.note(sight, shortest_wait);
        if *transfers == 0 || !self.home.is_due(shortest_wait) {
            return;
        }
        if self
            .replica
            .transfer_leadership(wire::replica_id(home))
            .is_ok()
        {
            *transfers -= 1;
        }
        // A refusal counts as well: it is not asked in each tick again.
        self.home.transferred();
    }

    /// Whether there is nowhere to go.
    pub(super) fn is_at_home(&self) -> bool {
        self.home
            .node
            .is_none_or(|home| self.leader() == Some(home))
    }

    fn sight(&self, home: NodeId) -> Sight {
        if self.leader() == Some(home) {
            return Sight::AtHome;
        }
        let could_leave = self.is_leader()
            && self.distrust.is_none()
            && self.replica.transferring().is_none()
            && !self.sending.contains_key(&home);
        if could_leave && self.is_level(wire::replica_id(home)) {
            Sight::Ready
        } else {
            Sight::Away
        }
    }

    /// Whether a follower answers and has what was committed a tick ago: it takes over at once, give or take what is on its way.
    fn is_level(&self, follower: ReplicaId) -> bool {
        let committed = self.home.committed;
        let level = |seen: &FollowerProgress| {
            seen.active && seen.state == FollowerState::Replicate && seen.matched >= committed
        };
        let followers = self.replica.progress();
        followers
            .iter()
            .any(|seen| seen.id == follower && level(seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORTEST: u32 = 10;

    /// How many ticks of readiness it takes until it is due.
    fn ticks_until_due(home: &mut Home) -> u32 {
        let due = (1..1000).find(|_| {
            home.note(Sight::Ready, SHORTEST);
            home.is_due(SHORTEST)
        });
        due.unwrap()
    }

    fn noted(home: &mut Home, sight: Sight, ticks: u32) {
        (0..ticks).for_each(|_| home.note(sight, SHORTEST));
    }

    #[test]
    fn it_is_due_after_the_wait_and_an_interruption_begins_it_anew() {
        let mut home = Home::new(Some(NodeId(1)));
        assert_eq!(ticks_until_due(&mut home), SHORTEST);
        noted(&mut home, Sight::Away, 1);
        assert!(!home.is_due(SHORTEST));
        noted(&mut home, Sight::Ready, SHORTEST - 1);
        noted(&mut home, Sight::Away, 1);
        assert_eq!(ticks_until_due(&mut home), SHORTEST);
    }

    #[test]
    fn what_does_not_last_is_waited_for_longer_up_to_a_bound() {
        let mut home = Home::new(Some(NodeId(1)));
        for times in [1, 2, 4, 8, 12, 12, 12] {
            assert_eq!(ticks_until_due(&mut home), times * SHORTEST);
            home.transferred();
            // It leads for a moment, and falls.
            noted(&mut home, Sight::AtHome, SHORTEST - 1);
            noted(&mut home, Sight::Away, 3);
        }
    }

    #[test]
    fn a_home_that_keeps_what_it_gets_is_trusted_again() {
        let mut home = Home::new(Some(NodeId(1)));
        for _ in 0..3 {
            home.transferred();
        }
        // The last time it was waited for four times as long.
        noted(&mut home, Sight::AtHome, 4 * SHORTEST - 1);
        noted(&mut home, Sight::Away, 1);
        noted(&mut home, Sight::AtHome, 4 * SHORTEST - 1);
        assert_eq!(home.failed, 3);
        noted(&mut home, Sight::AtHome, 1);
        assert_eq!(home.failed, 0);
        assert_eq!(ticks_until_due(&mut home), SHORTEST);
    }

    #[test]
    fn the_wait_does_not_overflow() {
        assert_eq!(wait(u32::MAX, u32::MAX), u32::MAX);
        assert_eq!(
            wait(0, 0),
            1,
            "nothing is due at once, whatever is configured"
        );
    }
}
