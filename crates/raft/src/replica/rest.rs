//! Rest: a group with nothing to do costs nothing (cf. "quiescence" in CockroachDB, "hibernation" in TiKV).
//!
//! A leader whose followers all have everything says so once and stops its heartbeats; a follower that is as far stops waiting for them. From then on the
//! caller vouches for the other side: it notices that a member's *process* is gone, for all groups together,
//! [says so](Replica::leader_unheard), and [wakes](Replica::wake) those that it concerns.
//!
//! ```text
//!            nothing to do, all level: Rest ─▶
//!   leader   ─────────────────────────────────▶ resting    a command, a read, a vote wanted, Wake, or wake():
//!                                                  │       heartbeats again
//!   follower ─────────────────────────────────▶ resting    anything but an answer, or wake():
//!            has all of it, committed and applied          the election timer runs again
//! ```
//!
//! Time stands still for a replica that rests. That is harmless for safety, which depends on no clock, and for liveness because of these rules:
//!
//! | what might be left behind | is woken because |
//! |---|---|
//! | a follower that did not get the message, or lacks something | it answers [`Body::Wake`]; if that is lost, its election timer runs out, and its question wakes the others |
//! | followers of a leader whose process is gone | the caller notices, and the leader no longer counts as alive |
//! | followers of a leader that has stopped, left, or stepped down while its process lives | whoever asks one of them for something wakes it |
//! | a leader that is cut off | it confirms no read and commits nothing without a majority, and to try wakes it |
//!
//! # Caveats
//!
//! * A follower must not rest while it lacks the news of the last commit: nobody would ever bring them.
//! * A group with a member that is away never rests: its leader goes on trying to reach it.

use super::{Replica, State};
use crate::log::Point;
use crate::{Body, Index, ReplicaId, Term};

impl Replica {
    /// Whether it rests. It wants no [ticks](Replica::tick) then.
    pub fn is_resting(&self) -> bool {
        self.resting
    }

    /// For so many ticks this leader has been asked for nothing; `None` if it does not lead, or is resting.
    pub fn idle_ticks(&self) -> Option<u64> {
        match &self.state {
            State::Leader(leader) if !self.resting => Some(self.time.now - leader.asked_at),
            _ => None,
        }
    }

    /// Lets the group rest, if nothing is under way in it and every follower has all there is.
    pub fn rest(&mut self) {
        let State::Leader(leader) = &self.state else {
            return;
        };
        let Point { index, term } = self.log.last();
        let (now, election_ticks) = (self.time.now, self.limits.election_ticks);
        let level = leader
            .followers
            .values()
            .all(|follower| follower.is_level(index) && follower.is_active(now, election_ticks));
        let busy = leader.transfer.is_some() || leader.reads.are_waiting() || self.unsent;
        if self.stopped.is_some() || busy || !level || !self.has_all_applied() {
            return;
        }
        for to in leader.followers.keys().copied().collect::<Vec<_>>() {
            self.send(
                to,
                Body::Rest {
                    last_index: index,
                    last_term: term,
                },
            );
        }
        self.resting = true;
    }

    /// Nothing has been heard of the leader's process for so many ticks, says the caller of a follower that rests. It counts as if
    /// heartbeats had failed to come, as soon as the follower wakes.
    pub fn leader_unheard(&mut self, ticks: u32) {
        if self.resting {
            self.time.election_elapsed = self.time.election_elapsed.max(ticks);
        }
    }

    /// Ends the rest: a leader sends heartbeats again, a follower waits for them.
    pub fn wake(&mut self) {
        if std::mem::take(&mut self.resting) {
            self.send_heartbeats();
        }
    }

    /// The leader has been asked for something.
    pub(super) fn rouse(&mut self) {
        if let State::Leader(leader) = &mut self.state {
            leader.asked_at = self.time.now;
        }
        self.wake();
    }

    /// The leader says that there is nothing more to come.
    pub(super) fn on_rest(&mut self, from: ReplicaId, last_index: Index, last_term: Term) {
        let same = self.log.last() == Point::from((last_index, last_term));
        if same && self.has_all_applied() || mutant!(RestWithoutLastCommit) {
            self.resting = true;
        } else {
            self.send(from, Body::Wake);
        }
    }

    /// Whether a message ends the rest of whoever gets it. An answer to what was said before does not.
    pub(super) fn is_woken_by(body: &Body) -> bool {
        match body {
            Body::Appended { .. }
            | Body::HeartbeatAck { .. }
            | Body::PreVote { .. }
            | Body::Vote { .. } => false,
            Body::Append { .. }
            | Body::Heartbeat { .. }
            | Body::RequestPreVote { .. }
            | Body::RequestVote { .. }
            | Body::TimeoutNow
            | Body::Rest { .. }
            | Body::Wake => true,
        }
    }

    /// Whether everything in the log is durable here, committed and applied.
    fn has_all_applied(&self) -> bool {
        let last = self.log.last().index;
        self.log.committed() == last && self.log.applied == last && self.log.persisted == last
    }
}
