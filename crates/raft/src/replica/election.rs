//! Elections (§5.2, §5.4.1), with PreVote, and a leader's own check that it still has a majority.
//!
//! ```text
//!              timeout                quorum would vote            quorum has voted
//!  Follower ──────────▶ PreCandidate ───────────────────▶ Candidate ───────────────▶ Leader
//!      ▲                     │  (term unchanged)              │ (term + 1)             │
//!      └─────────────────────┴──────── a leader, or a higher term ────────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Leader, Lease, Reads, Replica, State};
use crate::log::Point;
use crate::progress::Progress;
use crate::{Body, Broken, Entry, EntryKind, HardState, Message, ReplicaId, Term};

impl Replica {
    /// Stands for election at once, without asking first whether it could win. For groups of one replica, and tests: peers that
    /// know a live leader won't vote.
    pub fn campaign(&mut self) {
        if self.stopped.is_none() && !matches!(self.state, State::Leader(_)) {
            self.stand(false);
        }
    }

    pub(super) fn election_timed_out(&mut self) {
        self.leader = None;
        if self.is_bound() {
            return; // The next tick comes back to it.
        }
        self.restart_election_timer();
        if !self.is_voter() {
            return;
        }
        let granted = BTreeSet::from([self.id]);
        if self.membership.is_quorum(|id| granted.contains(&id)) {
            return self.stand(false);
        }
        self.state = State::PreCandidate { granted };
        let Point {
            index: last_index,
            term: last_term,
        } = self.log.last();
        let term = self.hard.term.next();
        let body = Body::RequestPreVote {
            last_index,
            last_term,
        };
        for &to in self.time.heard.keys() {
            self.outbox.free.push(Message {
                from: self.id,
                to,
                term,
                body: body.clone(),
            });
        }
    }

    /// Becomes a candidate of the next term. The requests go out, and the own vote counts, once term and vote are durable: else
    /// it could forget them in a crash and vote for another in the same term.
    pub(super) fn stand(&mut self, transfer: bool) {
        if !self.is_voter() {
            return;
        }
        self.enter_term(self.hard.term.next());
        self.hard.vote = Some(self.id);
        self.restart_election_timer();
        self.state = State::Candidate {
            granted: BTreeSet::new(),
        };
        let Point {
            index: last_index,
            term: last_term,
        } = self.log.last();
        for to in self.time.heard.keys().copied().collect::<Vec<_>>() {
            self.send_when_durable(
                to,
                Body::RequestVote {
                    last_index,
                    last_term,
                    transfer,
                },
            );
        }
    }

    pub(super) fn count_own_vote(&mut self) {
        if self.persistence.durable_hard == self.hard && self.hard.vote == Some(self.id) {
            self.on_vote(self.id, true);
        }
    }

    pub(super) fn on_vote(&mut self, from: ReplicaId, given: bool) {
        let State::Candidate { granted } = &mut self.state else {
            return;
        };
        if given {
            granted.insert(from);
            if self.membership.is_quorum(|id| granted.contains(&id)) {
                self.become_leader();
            }
        }
    }

    pub(super) fn on_pre_vote(&mut self, from: ReplicaId, term: Term) {
        let State::PreCandidate { granted } = &mut self.state else {
            return;
        };
        if term == self.hard.term.next() {
            granted.insert(from);
            if self.membership.is_quorum(|id| granted.contains(&id)) {
                self.stand(false);
            }
        }
    }

    /// A refusal bears the own term, so that a candidate that is behind catches up with it.
    pub(super) fn on_request_pre_vote(&mut self, from: ReplicaId, term: Term, last: Point) {
        let is_free = !self.leader_is_alive() && !self.is_bound();
        let granted = term > self.hard.term && is_free && self.is_up_to_date(last);
        let term = if granted { term } else { self.hard.term };
        let body = Body::PreVote { granted };
        self.outbox.free.push(Message {
            from: self.id,
            to: from,
            term,
            body,
        });
    }

    pub(super) fn on_request_vote(&mut self, from: ReplicaId, last: Point, transfer: bool) {
        let free = self.hard.vote.is_none() && self.leader.is_none();
        let free = free || mutant!(VoteTwice);
        // The term may have been entered without this candidate's asking, and that absolves from no promise.
        let allowed = transfer || !self.is_bound();
        let granted = allowed && (free || self.hard.vote == Some(from)) && self.is_up_to_date(last);
        if granted {
            if self.hard.vote.is_none() {
                self.hard.vote = Some(from);
                self.persistence.hard_state_changed();
            }
            self.time.election_elapsed = 0;
        }
        if mutant!(VoteBeforeSync) {
            return self.send(from, Body::Vote { granted });
        }
        self.send_when_durable(from, Body::Vote { granted });
    }

    /// §5.4.1: the later term of the last entry decides, then the greater length.
    fn is_up_to_date(&self, theirs: Point) -> bool {
        let own = self.log.last();
        (theirs.term, theirs.index) >= (own.term, own.index) || mutant!(VoteForOlderLog)
    }

    /// Whether a leader has been heard so recently that nobody has a reason to look for another.
    pub(super) fn leader_is_alive(&self) -> bool {
        match self.state {
            State::Leader(_) => true, // it would have stepped down
            _ => self.leader.is_some() && self.time.election_elapsed < self.limits.election_ticks,
        }
    }

    /// Answers a message of an earlier term, so that its sender learns the present one.
    pub(super) fn answer_past(&mut self, from: ReplicaId, body: &Body) {
        match body {
            Body::Append { .. } | Body::Heartbeat { .. } => {
                let body = Body::HeartbeatAck {
                    read_sequence: 0,
                    promise_millis: 0,
                };
                self.send(from, body);
            }
            Body::RequestVote { .. } => self.send(from, Body::Vote { granted: false }),
            _ => {}
        }
    }

    /// Enters a later term, as a follower of nobody yet.
    pub(super) fn enter_term(&mut self, term: Term) {
        self.resting = false;
        self.hard = HardState { term, vote: None };
        self.persistence.hard_state_changed();
        self.read_echoed = 0;
        self.leader = None;
        self.step_down();
    }

    /// Becomes a follower in the present term. What waits for this leader to confirm it will not be.
    pub(super) fn step_down(&mut self) {
        if matches!(self.state, State::Follower) {
            return;
        }
        if let State::Leader(leader) = std::mem::replace(&mut self.state, State::Follower) {
            self.outbox.reads_failed.extend(leader.reads.into_waiting());
            self.leader = None;
        }
        self.restart_election_timer();
    }

    /// `from` is the leader of this term: it has just said so.
    pub(super) fn follow(&mut self, from: ReplicaId) -> Result<(), Broken> {
        match self.leader {
            Some(first) if first != from => {
                return Err(Broken::TwoLeaders {
                    term: self.hard.term,
                    first,
                    second: from,
                });
            }
            Some(_) => {}
            None => {
                self.step_down();
                self.leader = Some(from);
            }
        }
        self.time.election_elapsed = 0;
        self.time.leader_heard = self.time.now;
        Ok(())
    }

    fn become_leader(&mut self) {
        let last = self.log.last().index;
        let progress = Progress::new(last, self.time.now);
        let followers: BTreeMap<_, _> = self
            .time
            .heard
            .keys()
            .map(|&id| (id, progress.clone()))
            .collect();
        self.state = State::Leader(Leader {
            followers,
            first: last.next(),
            uncommitted_bytes: self.log.size_of(self.log.committed(), last),
            heartbeat_elapsed: 0,
            added_at: None,
            is_busy: false,
            asked_at: self.time.now,
            reads: Reads::default(),
            lease: Lease::default(),
            transfer: None,
        });
        self.leader = Some(self.id);
        if mutant!(CommitOfEarlierTerm) {
            self.unsent = true;
            return;
        }
        self.add_entry(EntryKind::Noop, Bytes::new());
    }

    /// Adds an entry of the own term at the end of the log; it goes out with the next drain.
    pub(super) fn add_entry(&mut self, kind: EntryKind, payload: Bytes) -> Point {
        let entry = Entry {
            term: self.hard.term,
            index: self.log.last().index.next(),
            kind,
            payload,
        };
        let point = Point::from(&entry);
        if let State::Leader(leader) = &mut self.state {
            leader.uncommitted_bytes += entry.size();
            if kind == EntryKind::Commands {
                let before = leader.added_at.replace(self.time.now);
                leader.is_busy = before.is_some_and(|before| self.time.now - before <= 1);
            }
        }
        self.log.push(entry);
        self.unsent = true;
        point
    }

    pub(super) fn leader_tick(&mut self) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let now = self.time.now;
        let answered = |id| {
            leader
                .followers
                .get(&id)
                .map_or(now, |follower| follower.answered_at)
        };
        if now - self.membership.reached(answered) >= u64::from(self.limits.election_ticks) {
            return self.step_down();
        }
        if let Some(transfer) = &mut leader.transfer {
            transfer.ticks_left -= 1;
            if transfer.ticks_left == 0 {
                leader.transfer = None;
            }
        }
        // News that waited for another entry wait no longer.
        if std::mem::take(&mut leader.is_busy) {
            self.unsent = true;
        }
        leader.heartbeat_elapsed += 1;
        if leader.heartbeat_elapsed >= self.limits.heartbeat_ticks {
            leader.heartbeat_elapsed = 0;
            self.send_heartbeats();
        }
    }

    pub(super) fn restart_election_timer(&mut self) {
        let ticks = self.limits.election_ticks;
        self.time.election_elapsed = 0;
        self.time.election_timeout = ticks + self.random.below(u64::from(ticks)) as u32;
    }

    fn is_voter(&self) -> bool {
        self.membership.contains(self.id)
    }
}
