//! Handing leadership over (thesis, 3.10).
//!
//! The leader takes no more proposals, waits until the target has its whole log, and tells it to
//! stand at once. If no election comes of it within an election timeout, the leader goes on as before.

use super::{Replica, State};
use crate::{Body, Refusal, ReplicaId, Role};

#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) to: ReplicaId,
    pub(super) ticks_left: u32,
    /// `TimeoutNow` is out; it is sent again with each heartbeat.
    pub(super) sent: bool,
}

impl Replica {
    /// Hands leadership over to another voter. The outcome shows in [`Effects::role`](crate::Effects::role), or doesn't: then
    /// proposals are taken again after an election timeout.
    ///
    /// # Errors
    /// [`Refusal::NotLeader`]; [`Refusal::Transferring`] to another one already; [`Refusal::Stale`] if `to` is no voter.
    pub fn transfer_leadership(&mut self, to: ReplicaId) -> Result<(), Refusal> {
        let ticks_left = self.limits.election_ticks;
        let is_voter = self.membership.voters.contains(&to);
        let own = self.id;
        let leader = self.leader_state()?;
        match &leader.transfer {
            Some(transfer) if transfer.to != to => return Err(Refusal::Transferring),
            Some(_) => return Ok(()),
            None if !is_voter => return Err(Refusal::Stale),
            None if to == own => return Ok(()),
            None => {
                leader.transfer = Some(Transfer {
                    to,
                    ticks_left,
                    sent: false,
                });
            }
        }
        self.unsent = true;
        self.rouse();
        Ok(())
    }

    /// Tells the target to stand, if it has everything.
    pub(super) fn hand_over(&mut self) {
        let last = self.log.last().index;
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let Some(transfer) = &mut leader.transfer else {
            return;
        };
        let ready = leader
            .followers
            .get(&transfer.to)
            .is_some_and(|follower| follower.matched == last);
        if ready && !transfer.sent {
            transfer.sent = true;
            leader.lease.given_up = !mutant!(LeaseAfterTransfer);
            let to = transfer.to;
            self.send(to, Body::TimeoutNow);
        }
    }

    pub(super) fn on_timeout_now(&mut self, from: ReplicaId) {
        if self.role() != Role::Leader && self.leader.is_none_or(|leader| leader == from) {
            self.stand(true);
        }
    }
}
