//! The shard worker: everything that decides on a data node, as one state machine without I/O.
//!
//! A worker owns the Raft groups whose id hashes to it, alone, so it needs no locks and no task per group. Its
//! one inbox takes batches from peers, operations, completions of log, store and applier, and ticks. A
//! [turn](Worker::turn) drains it, visits each touched group once and returns what is to be done:
//!
//! | in one turn | becomes |
//! |---|---|
//! | all writes to one group | one Raft entry (or few, by size) |
//! | all consistent reads of one group | one ReadIndex round |
//! | all log records of all groups | one batch of the node's log, one sync |
//! | all messages to one node | one frame |
//!
//! Nothing here blocks, reads a clock or draws a number; threads live in the [shell](crate::shell). A simulation
//! drives the same code from one thread.
//!
//! # Life of a put
//!
//! `requests` takes it if this replica leads, else hands it on or refuses it. `flush` joins it with others into
//! a proposal. `effects` sends the entry to the log and to the followers, and, once a majority has it
//! durably, to the applier together with the caller's [`Reply`](crate::operation::Reply), which the applier answers.

mod checkpoints;
mod compaction;
mod effects;
mod flush;
mod group;
mod home;
mod input;
mod log_size;
mod output;
mod requests;
mod rest;
mod snapshots;
mod status;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::{NodeId, ShardId};
use raft::{Index, PersistToken};
use storage::log::Record;

pub(crate) use self::group::no_leader;
use self::group::{Group, Running};
pub use self::input::{Answer, Applied, Held, Input};
pub use self::output::{ApplyJob, LogWrite, Outputs, SendSnapshot};
pub(crate) use self::requests::{cancelled, not_hosted, stopped};
use self::rest::Relied;
pub use self::status::ReplicaStatus;
pub(crate) use self::status::has_seal_to_apply;
use crate::options::Tuning;
use crate::wire::{self, PeerMessage};
use environment::Now;

/// See the [module](self).
pub struct Worker {
    node: NodeId,
    tuning: Tuning,
    groups: BTreeMap<ShardId, Group>,
    last_ticket: u64,
    unsynced: VecDeque<Unsynced>,
    last_read: u64,
    next_persist_millis: u64,
    relied: Relied,
    /// The node goes down: it keeps no leadership that it gets.
    leaving: bool,
}

/// What waits for a batch of the log.
#[derive(Default)]
struct Unsynced {
    ticket: u64,
    tokens: Vec<(ShardId, PersistToken)>,
    installed: Vec<(Index, Answer<Option<Index>>)>,
}

/// What a turn gathers.
#[derive(Default)]
struct Turn {
    now: Now,
    touched: BTreeSet<ShardId>,
    records: Vec<Record>,
    unsynced: Unsynced,
    outputs: Outputs,
}

impl Worker {
    /// A worker without groups.
    pub fn new(node: NodeId, tuning: Tuning) -> Self {
        Self {
            node,
            tuning,
            groups: BTreeMap::new(),
            last_ticket: 0,
            unsynced: VecDeque::new(),
            last_read: 0,
            next_persist_millis: 0,
            relied: Relied::default(),
            leaving: false,
        }
    }

    /// The node that it works for.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Whether something that it has given to the log is not known to be durable yet.
    pub fn waits_for_log(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Takes in what has happened and says what is to be done about it.
    pub fn turn(&mut self, inputs: impl IntoIterator<Item = Input>, now: Now) -> Outputs {
        let mut turn = Turn {
            now,
            ..Turn::default()
        };
        for input in inputs {
            self.take(input, &mut turn);
        }
        for shard in std::mem::take(&mut turn.touched) {
            self.visit(shard, &mut turn);
            self.note_rest(shard);
        }
        self.close_batch(&mut turn);
        turn.outputs
    }

    fn take(&mut self, input: Input, turn: &mut Turn) {
        match input {
            Input::Tick => self.tick(turn),
            Input::Requests(requests) => {
                for request in requests {
                    self.request(request, turn);
                }
            }
            Input::Frame { from, messages } => {
                for (shard, message) in messages {
                    self.peer_message(from, shard, message, turn);
                }
            }
            Input::Heard { from, incarnation } => self.heard(from, incarnation, turn),
            Input::LogDurable { ticket } => self.log_durable(ticket, turn),
            Input::Applied(applied) => {
                for applied in applied {
                    self.applied(&applied, turn);
                }
            }
            Input::ApplyFailed { shard, detail } => self.stop(shard, detail, turn),
            Input::Fetched {
                shard,
                fetch,
                result,
            } => match result {
                Ok(fetched) => {
                    self.with_running(shard, turn, |group| group.replica.fetched(&fetch, fetched));
                }
                Err(detail) => self.stop(shard, detail, turn),
            },
            Input::StoreDurable { points } => self.store_durable(points, turn),
            Input::SnapshotSent {
                shard,
                to,
                installed,
            } => {
                self.snapshot_sent(shard, to, installed, turn);
            }
            Input::SnapshotOffered {
                shard,
                from,
                term,
                index,
                answer,
            } => {
                self.snapshot_offered(shard, from, term, index, answer, turn);
            }
            Input::SnapshotAbandoned { shard } => {
                self.with_running(shard, turn, |group| group.installing = None);
            }
            Input::SnapshotReceived {
                shard,
                generation,
                answer,
            } => {
                self.snapshot_received(shard, generation, answer, turn);
            }
            Input::SnapshotInstalled {
                shard,
                index,
                term,
                membership,
                answer,
            } => {
                self.snapshot_installed(shard, index, term, membership, answer, turn);
            }
            Input::Add {
                shard,
                replica,
                home,
                held,
            } => {
                let group = Running::new(self.node, *replica, home, held);
                self.groups.insert(shard, Group::Running(Box::new(group)));
                turn.touched.insert(shard);
            }
            Input::AddStopped { shard, detail } => {
                self.groups.insert(shard, Group::Stopped(detail.clone()));
                turn.outputs.stopped.push((shard, detail));
            }
            Input::Quarantine { shard, quarantined } => {
                let set = |group: &mut Running| {
                    group.quarantined = quarantined;
                    group.replica.wake();
                };
                if self.with_running(shard, turn, set) {
                    let serving = !quarantined;
                    turn.outputs.apply.push(ApplyJob::Serve { shard, serving });
                }
            }
            Input::Remove { shard, answer } => {
                self.groups.remove(&shard);
                self.note_rest(shard);
                turn.outputs.apply.push(ApplyJob::Close { shard, answer });
            }
            Input::Describe { table, answer } => answer(self.describe(table)),
            Input::HandOver => self.hand_over(turn),
        }
    }

    /// Lets `act` at a group that runs, and remembers to visit it.
    fn with_running(
        &mut self,
        shard: ShardId,
        turn: &mut Turn,
        act: impl FnOnce(&mut Running),
    ) -> bool {
        let now = self.lease_clock(turn);
        let Some(Group::Running(group)) = self.groups.get_mut(&shard) else {
            return false;
        };
        turn.touched.insert(shard);
        group.replica.set_time(now);
        act(group);
        true
    }

    /// What leases go by: a reading of the clock that is later than all that this turn takes in. A pause between the reading and the reads makes no
    /// difference, for a read that had come in before counts as done at the moment of the reading.
    fn lease_clock(&self, turn: &Turn) -> u64 {
        if mutant!(LeaseCountedInTicks) {
            return self.relied.ticks() * self.tuning.tick_millis;
        }
        turn.now.monotonic_millis
    }

    fn tick(&mut self, turn: &mut Turn) {
        let awake = self.groups.iter().filter(|(_, group)| !group.rests());
        let shards: Vec<_> = awake.map(|(&shard, _)| shard).collect();
        let (home_ticks, leaving) = (self.tuning.home_ticks, self.leaving);
        let mut transfers = home::TRANSFERS_PER_TICK;
        for shard in shards {
            let now = turn.now;
            let interval = self.tuning.checkpoint_interval_millis;
            let rest_after = self.tuning.rest_ticks;
            self.with_running(shard, turn, |group| {
                // In quarantine, too: whoever was waiting when it began is told in time.
                group.expire(now.monotonic_millis);
                if group.quarantined {
                    return group.home.interrupt();
                }
                group.keep_installing();
                group.replica.tick();
                group.regular_checkpoint(now.monotonic_millis, interval);
                if leaving {
                    group.hand_over();
                } else {
                    group.look_home(home_ticks, &mut transfers);
                }
                group.rest_if_idle(rest_after);
            });
        }
        self.tick_for_the_resting(turn);
        self.maintain_store(turn);
    }

    fn peer_message(
        &mut self,
        from: NodeId,
        shard: ShardId,
        message: PeerMessage,
        turn: &mut Turn,
    ) {
        self.before_it_wakes(shard);
        // A message for a group that isn't here is dropped: it must never bring a replica to life.
        match message {
            PeerMessage::Raft(message) => {
                self.with_running(shard, turn, |group| {
                    if !group.quarantined {
                        group.replica.step(message);
                    }
                });
            }
            PeerMessage::Content { index, hash } => {
                self.content_report(shard, from, index, hash, turn);
            }
        }
    }

    fn log_durable(&mut self, ticket: u64, turn: &mut Turn) {
        while self
            .unsynced
            .front()
            .is_some_and(|batch| batch.ticket <= ticket)
        {
            let Some(batch) = self.unsynced.pop_front() else {
                return;
            };
            for (shard, token) in batch.tokens {
                self.with_running(shard, turn, |group| group.replica.persisted(token));
            }
            for (index, answer) in batch.installed {
                answer(Some(index));
            }
        }
    }

    fn applied(&mut self, applied: &Applied, turn: &mut Turn) {
        let shard = applied.shard;
        self.with_running(shard, turn, |group| group.applied(applied));
        if mutant!(CompactionBeyondDurable) {
            self.compact(shard, turn);
        }
        for &(index, hash) in &applied.checkpoints {
            self.own_checkpoint(shard, index, hash, turn);
        }
    }

    /// Flushes what a group has gathered and carries out what its core wants.
    fn visit(&mut self, shard: ShardId, turn: &mut Turn) {
        let now = self.lease_clock(turn);
        let Some(Group::Running(group)) = self.groups.get_mut(&shard) else {
            return;
        };
        group.replica.set_time(now);
        group.flush_cancelled();
        group.flush_proposals(turn.now);
        group.flush_reads(&mut self.last_read);
        while group.replica.has_effects() {
            let effects = group.replica.effects();
            if let Some(broken) = &effects.broken {
                let detail = broken.to_string();
                return self.stop(shard, detail, turn);
            }
            group.carry_out(shard, effects, turn);
        }
        group.count_in_flight();
    }

    /// Stops a group for good: something that must hold does not.
    fn stop(&mut self, shard: ShardId, detail: String, turn: &mut Turn) {
        if let Some(group @ Group::Running(_)) = self.groups.get_mut(&shard) {
            *group = Group::Stopped(detail.clone());
            self.note_rest(shard);
            turn.outputs.stopped.push((shard, detail));
        }
    }

    fn close_batch(&mut self, turn: &mut Turn) {
        let records = std::mem::take(&mut turn.records);
        if records.is_empty() && turn.unsynced.tokens.is_empty() {
            return;
        }
        self.last_ticket += 1;
        let mut unsynced = std::mem::take(&mut turn.unsynced);
        unsynced.ticket = self.last_ticket;
        self.unsynced.push_back(unsynced);
        turn.outputs.log = Some(LogWrite {
            ticket: self.last_ticket,
            records,
        });
    }

    fn hand_over(&mut self, turn: &mut Turn) {
        self.leaving = true;
        let led: Vec<_> = self.groups.keys().copied().collect();
        for shard in led {
            self.with_running(shard, turn, Running::hand_over);
        }
    }
}

/// The other members of a group.
fn peers(group: &Running, own: NodeId) -> Vec<NodeId> {
    let members = group.replica.membership().members().map(wire::node_id);
    members.filter(|&node| node != own).collect()
}
