//! What a leader knows of a follower, and how it feeds it.
//!
//! | flow | the leader | until |
//! |---|---|---|
//! | probe | doesn't know where the logs agree: one append at a time | an answer: a match, or a hint where to try next |
//! | replicate | knows: sends ahead, up to a window of unanswered appends | a rejection: something was lost |
//! | snapshot | can't help with entries | the transfer has ended |

use std::collections::VecDeque;

use crate::{Index, ReplicaId};

/// A leader's view of a follower, for status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerProgress {
    /// Who.
    pub id: ReplicaId,
    /// Up to here the follower's log is known to equal the leader's.
    pub matched: Index,
    /// The next entry to be sent.
    pub next: Index,
    /// How it is fed.
    pub state: FollowerState,
    /// Whether it has answered within the last election timeout.
    pub active: bool,
}

/// How a leader feeds a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowerState {
    /// Finding out where the logs agree.
    Probe,
    /// Sending entries as they come.
    Replicate,
    /// Waiting for a snapshot to arrive.
    Snapshot,
}

/// How the leader sends entries to one follower.
#[derive(Clone, Debug)]
pub(crate) enum Flow {
    Probe {
        /// An append is out: send no other until it is answered or a heartbeat has passed.
        waiting: bool,
    },
    Replicate {
        /// The last indexes of the appends that are not answered; they rise.
        inflight: VecDeque<Index>,
    },
    Snapshot,
}

#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// Durable on the follower and equal to the leader's log. Never falls. matched < next.
    pub(crate) matched: Index,
    /// The next entry to be sent. In `Replicate` it runs ahead of the answers.
    pub(crate) next: Index,
    pub(crate) flow: Flow,
    /// The tick of its latest answer in this term.
    pub(crate) answered_at: u64,
    /// The commit index that the follower will know if all that was sent arrives.
    pub(crate) commit_sent: Index,
    /// The latest ReadIndex round that was sent.
    pub(crate) read_sent: u64,
    /// The latest ReadIndex round that was echoed; ≤ read_sent.
    pub(crate) read_echoed: u64,
    /// Until then it votes for nobody else, by the leader's clock: see `lease`.
    pub(crate) promised_until: u64,
    /// The caller is reading entries after this index from the durable log for it: nothing is sent until they come.
    pub(crate) fetching: Option<Index>,
    /// `matched` at the latest heartbeat, and when that was: no progress since means that something may have been lost.
    matched_at_heartbeat: Index,
    heartbeat_at: u64,
}

impl Progress {
    /// A follower of whom nothing is known, by a leader whose log ends at `last`.
    pub(crate) fn new(last: Index, now: u64) -> Self {
        Self {
            matched: Index(0),
            next: last.next(),
            flow: Flow::Probe { waiting: false },
            answered_at: now,
            commit_sent: Index(0),
            read_sent: 0,
            read_echoed: 0,
            promised_until: 0,
            fetching: None,
            matched_at_heartbeat: Index(0),
            heartbeat_at: now,
        }
    }

    /// Whether an append may go, and is of use, to a leader's log that ends at `last`.
    pub(crate) fn wants_append(&self, last: Index, max_inflight: usize) -> bool {
        self.fetching.is_none()
            && match &self.flow {
                Flow::Probe { waiting } => !waiting,
                Flow::Replicate { inflight } => self.next <= last && inflight.len() < max_inflight,
                Flow::Snapshot => false,
            }
    }

    /// An append whose last entry is at `last` has been sent.
    pub(crate) fn sent(&mut self, last: Index) {
        match &mut self.flow {
            Flow::Probe { waiting } => *waiting = true,
            Flow::Replicate { inflight } => {
                inflight.push_back(last);
                self.next = last.next();
            }
            Flow::Snapshot => {}
        }
    }

    /// The follower has everything up to `index`, durably.
    pub(crate) fn has(&mut self, index: Index) {
        if index < self.matched {
            return; // a late answer
        }
        self.matched = index;
        match &mut self.flow {
            Flow::Probe { .. } => {
                self.flow = Flow::Replicate {
                    inflight: VecDeque::new(),
                };
                self.next = index.next();
            }
            Flow::Replicate { inflight } => {
                while inflight.front().is_some_and(|&sent| sent <= index) {
                    inflight.pop_front();
                }
                self.next = self.next.max(index.next());
            }
            Flow::Snapshot => self.next = index.next(),
        }
    }

    /// Whether a rejection of an append after `rejected` says something new.
    pub(crate) fn is_current(&self, rejected: Index) -> bool {
        match &self.flow {
            Flow::Probe { .. } => rejected == self.next.previous() && rejected > self.matched,
            Flow::Replicate { .. } => rejected > self.matched,
            Flow::Snapshot => false,
        }
    }

    /// Tries again after `index`, or after what is known to match.
    pub(crate) fn probe_after(&mut self, index: Index) {
        self.flow = Flow::Probe { waiting: false };
        self.next = index.max(self.matched).next();
        self.fetching = None;
    }

    /// Tries again with the next heartbeat, not at once: what stopped it may stop it again.
    pub(crate) fn probe_later(&mut self) {
        self.probe_after(self.matched);
        self.flow = Flow::Probe { waiting: true };
    }

    /// Called with each heartbeat. Whether the follower is there, has unanswered appends, and got no further since the heartbeat
    /// before: an append or its answer may have been lost. A probe may then be sent again.
    pub(crate) fn stalled_at_heartbeat(&mut self, now: u64) -> bool {
        let heard = self.answered_at >= self.heartbeat_at;
        let moved = self.matched > self.matched_at_heartbeat;
        (self.heartbeat_at, self.matched_at_heartbeat) = (now, self.matched);
        match &mut self.flow {
            Flow::Probe { waiting } => {
                *waiting &= !heard;
                false
            }
            Flow::Replicate { inflight } => {
                heard && !moved && !inflight.is_empty() && self.fetching.is_none()
            }
            Flow::Snapshot => false,
        }
    }

    pub(crate) fn is_active(&self, now: u64, election_ticks: u32) -> bool {
        now - self.answered_at < u64::from(election_ticks)
    }

    /// Whether the follower has the log up to `last`, nothing is on its way to it, and it was told that all of it is committed.
    pub(crate) fn is_level(&self, last: Index) -> bool {
        let idle = matches!(&self.flow, Flow::Replicate { inflight } if inflight.is_empty());
        idle && self.fetching.is_none() && self.matched == last && self.commit_sent == last
    }

    pub(crate) fn is_in_snapshot(&self) -> bool {
        matches!(self.flow, Flow::Snapshot)
    }

    pub(crate) fn report(&self, id: ReplicaId, active: bool) -> FollowerProgress {
        let state = match self.flow {
            Flow::Probe { .. } => FollowerState::Probe,
            Flow::Replicate { .. } => FollowerState::Replicate,
            Flow::Snapshot => FollowerState::Snapshot,
        };
        FollowerProgress {
            id,
            matched: self.matched,
            next: self.next,
            state,
            active,
        }
    }
}
