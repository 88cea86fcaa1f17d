//! One member of a group: dispatches what comes in and collects what goes out.
//!
//! | file | what |
//! |---|---|
//! | `election` | timeouts, PreVote, votes, becoming and ceasing to be leader |
//! | `replication` | the leader's side: proposals, appends, commit |
//! | `following` | the follower's side: appends and heartbeats that come in |
//! | `reads` | ReadIndex |
//! | `lease` | reads without a round, and the promises that allow them |
//! | `transfer` | handing leadership over |
//! | `rest` | groups with nothing to do |
//! | `snapshot` | followers that need a snapshot, installing one, purging the log |
//! | `persistence` | what is on its way to the disk, and what waits for it |
//! | `restore` | a replica from what was on disk |
//! | `status` | what can be asked of a replica |

mod election;
mod following;
mod lease;
mod persistence;
mod reads;
mod replication;
mod rest;
mod restore;
mod snapshot;
mod status;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};

use crate::effects::RoleChange;
use crate::log::Log;
use crate::progress::Progress;
use crate::random::Random;
use crate::{
    Body, Broken, Effects, Fetch, HardState, Index, Membership, Message, ReadToken, Refusal,
    ReplicaId, Role, Term,
};
use lease::{Lease, Vow};
use persistence::Persistence;
use reads::Reads;
use transfer::Transfer;

/// So many bytes of entries come out in one [`Effects::apply`].
const APPLY_BYTES: usize = 1 << 20;

/// So many bytes of entries that are applied and durable stay in memory for followers that lag.
const TAIL_BYTES: usize = 4 << 20;

/// One member of a Raft group. See the [crate's documentation](crate).
#[derive(Debug)]
pub struct Replica {
    id: ReplicaId,
    limits: Limits,
    membership: Membership,
    hard: HardState,
    state: State,
    /// The leader of this term, if known; this replica itself if it is the leader.
    leader: Option<ReplicaId>,
    log: Log,
    time: Time,
    random: Random,
    persistence: Persistence,
    /// The highest ReadIndex round of this term's leader that was echoed.
    read_echoed: u64,
    /// See `lease`.
    vow: Vow,
    lease_reads: u64,
    incoming: Option<Incoming>,
    /// See `rest`.
    resting: bool,
    outbox: Outbox,
    /// Something has changed that may call for messages of the leader.
    unsent: bool,
    /// What [`Effects::role`] said last.
    reported: RoleChange,
    stopped: Option<Broken>,
}

/// The parts of [`Config`](crate::Config) that are needed later.
#[derive(Debug)]
struct Limits {
    election_ticks: u32,
    heartbeat_ticks: u32,
    append_bytes: usize,
    inflight_appends: usize,
    uncommitted_bytes: usize,
}

/// What a replica is, with what it knows only as such.
#[derive(Debug)]
enum State {
    Follower,
    PreCandidate { granted: BTreeSet<ReplicaId> },
    Candidate { granted: BTreeSet<ReplicaId> },
    Leader(Leader),
}

/// What only a leader knows. Gone when it is leader no more.
#[derive(Debug)]
struct Leader {
    /// All members but the leader itself.
    followers: BTreeMap<ReplicaId, Progress>,
    /// The first entry of this term: the no-op. Nothing before it is committed by counting (§5.4.2).
    first: Index,
    /// The sizes of the entries that are not committed.
    uncommitted_bytes: usize,
    /// Ticks since the latest heartbeat.
    heartbeat_elapsed: u32,
    /// When the latest command was added.
    added_at: Option<u64>,
    /// It came soon after the one before it, and the next one will too: news of commits travel with that.
    is_busy: bool,
    /// When it was last asked for something, or began to lead.
    asked_at: u64,
    reads: Reads,
    lease: Lease,
    transfer: Option<Transfer>,
}

/// Time in ticks since the start.
#[derive(Debug)]
struct Time {
    now: u64,
    /// Since the leader was heard, a vote was given or an election was begun.
    election_elapsed: u32,
    /// When that leads to an election: in `election_ticks .. 2 * election_ticks`.
    election_timeout: u32,
    /// When a leader was heard, which speaks for a majority.
    leader_heard: u64,
    /// When each member was heard, whatever it said.
    heard: BTreeMap<ReplicaId, u64>,
}

/// A snapshot that is coming in. No entries are handed out meanwhile.
#[derive(Debug)]
struct Incoming {
    from: ReplicaId,
    term: Term,
    index: Index,
    /// The tick of its latest sign of life.
    at: u64,
}

/// What has gathered for the next [`Effects`].
#[derive(Debug, Default)]
struct Outbox {
    /// May go at once.
    free: Vec<Message>,
    /// Must wait until everything of this moment is durable.
    held: Vec<Message>,
    reads: Vec<(ReadToken, Index)>,
    reads_failed: Vec<ReadToken>,
    fetch: Vec<Fetch>,
    snapshots: Vec<ReplicaId>,
    broken: Option<Broken>,
}

impl Replica {
    /// Takes a message from a peer. One that is for another, from a stranger or from the past does no harm.
    pub fn step(&mut self, message: Message) {
        if self.stopped.is_some() || message.to != self.id {
            return;
        }
        let Some(heard) = self.time.heard.get_mut(&message.from) else {
            return;
        };
        *heard = self.time.now;
        if self.resting && Self::is_woken_by(&message.body) {
            self.wake();
        }
        let result = self.receive(message);
        self.check(result);
    }

    fn receive(&mut self, message: Message) -> Result<(), Broken> {
        let Message {
            from, term, body, ..
        } = message;
        // These two speak of a term that nobody has entered.
        match body {
            Body::RequestPreVote {
                last_index,
                last_term,
            } => {
                self.on_request_pre_vote(from, term, (last_index, last_term).into());
                return Ok(());
            }
            Body::PreVote { granted: true } => {
                self.on_pre_vote(from, term);
                return Ok(());
            }
            _ => {}
        }
        if term > self.hard.term {
            if matches!(
                body,
                Body::RequestVote {
                    transfer: false,
                    ..
                }
            ) && (self.leader_is_alive() || self.is_bound())
            {
                return Ok(());
            }
            self.enter_term(term);
        } else if term < self.hard.term {
            self.answer_past(from, &body);
            if !(mutant!(StaleTermAppend) && matches!(body, Body::Append { .. })) {
                return Ok(());
            }
        }
        match body {
            // The first two were answered above; the third has woken whoever got it.
            Body::RequestPreVote { .. } | Body::PreVote { .. } | Body::Wake => {}
            Body::RequestVote {
                last_index,
                last_term,
                transfer,
            } => {
                let last = (last_index, last_term).into();
                self.on_request_vote(from, last, transfer);
            }
            Body::Vote { granted } => self.on_vote(from, granted),
            Body::Append {
                previous_index,
                previous_term,
                entries,
                committed,
                read_sequence,
            } => {
                self.follow(from)?;
                let previous = (previous_index, previous_term).into();
                self.on_append(from, previous, entries, committed, read_sequence)?;
            }
            Body::Appended {
                result,
                read_sequence,
            } => self.on_appended(from, result, read_sequence)?,
            Body::Heartbeat {
                committed,
                read_sequence,
            } => {
                self.follow(from)?;
                self.on_heartbeat(from, committed, read_sequence)?;
            }
            Body::HeartbeatAck {
                read_sequence,
                promise_millis,
            } => {
                self.on_read_echo(from, read_sequence);
                self.on_promise(from, read_sequence, promise_millis);
            }
            Body::TimeoutNow => self.on_timeout_now(from),
            Body::Rest {
                last_index,
                last_term,
            } => {
                self.follow(from)?;
                self.on_rest(from, last_index, last_term);
            }
        }
        Ok(())
    }

    /// Time has passed: one tick. Nothing to a replica that rests.
    pub fn tick(&mut self) {
        if self.stopped.is_some() || self.resting {
            return;
        }
        self.time.now += 1;
        if matches!(self.state, State::Leader(_)) {
            self.leader_tick();
        } else {
            self.time.election_elapsed += 1;
            if self.time.election_elapsed >= self.time.election_timeout {
                self.election_timed_out();
            }
        }
    }

    /// Whether [`Replica::effects`] may bring anything.
    pub fn has_effects(&self) -> bool {
        let out = &self.outbox;
        let gathered = !(out.free.is_empty()
            && out.held.is_empty()
            && out.reads.is_empty()
            && out.reads_failed.is_empty()
            && out.fetch.is_empty()
            && out.snapshots.is_empty()
            && out.broken.is_none());
        gathered
            || self.stopped.is_none()
                && (self.unsent
                    || self.persistence.is_due()
                    || self.log.has_unemitted()
                    || self.may_hand_out() && self.log.has_unhanded()
                    || self.reported != self.role_change())
    }

    /// Everything that is to be done since the last call.
    pub fn effects(&mut self) -> Effects {
        if self.stopped.is_some() {
            return self.last_effects();
        }
        if std::mem::take(&mut self.unsent) {
            self.begin_read_round();
            self.replicate();
            self.hand_over();
        }
        let persist = self.persist();
        let apply = if self.may_hand_out() {
            self.log.hand_out(APPLY_BYTES)
        } else {
            Vec::new()
        };
        let role = self.role_change();
        let changed = std::mem::replace(&mut self.reported, role) != role;
        let out = std::mem::take(&mut self.outbox);
        Effects {
            persist,
            send: out.free,
            apply,
            reads: out.reads,
            reads_failed: out.reads_failed,
            fetch: out.fetch,
            snapshots: out.snapshots,
            role: changed.then_some(role),
            broken: None,
        }
    }

    fn last_effects(&mut self) -> Effects {
        let out = std::mem::take(&mut self.outbox);
        Effects {
            reads_failed: out.reads_failed,
            broken: out.broken,
            ..Effects::default()
        }
    }

    fn may_hand_out(&self) -> bool {
        let election_ticks = u64::from(self.limits.election_ticks);
        let incoming = self.incoming.as_ref();
        incoming.is_none_or(|incoming| self.time.now - incoming.at >= election_ticks)
    }

    fn role_change(&self) -> RoleChange {
        RoleChange {
            role: self.role(),
            term: self.hard.term,
            leader: self.leader,
        }
    }

    /// What this replica is.
    pub fn role(&self) -> Role {
        match self.state {
            State::Follower => Role::Follower,
            State::PreCandidate { .. } => Role::PreCandidate,
            State::Candidate { .. } => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    /// Stops for good if an invariant is broken: nothing of what has gathered since the last drain goes out.
    fn check(&mut self, result: Result<(), Broken>) {
        let Err(broken) = result else { return };
        self.step_down();
        self.leader = None;
        let reads_failed = std::mem::take(&mut self.outbox.reads_failed);
        self.outbox = Outbox {
            reads_failed,
            broken: Some(broken.clone()),
            ..Outbox::default()
        };
        self.stopped = Some(broken);
    }

    fn leader_state(&mut self) -> Result<&mut Leader, Refusal> {
        if self.stopped.is_some() {
            return Err(Refusal::Stopped);
        }
        match &mut self.state {
            State::Leader(leader) => Ok(leader),
            _ => Err(Refusal::NotLeader {
                leader: self.leader,
            }),
        }
    }

    fn message(&self, to: ReplicaId, body: Body) -> Message {
        Message {
            from: self.id,
            to,
            term: self.hard.term,
            body,
        }
    }

    /// Sends with the next drain.
    fn send(&mut self, to: ReplicaId, body: Body) {
        let message = self.message(to, body);
        self.outbox.free.push(message);
    }

    /// Sends when everything that is so at this moment is durable.
    fn send_when_durable(&mut self, to: ReplicaId, body: Body) {
        let message = self.message(to, body);
        self.outbox.held.push(message);
    }
}
