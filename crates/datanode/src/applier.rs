//! The applier: committed entries into the state store, reads out of it, and the answers to both.
//!
//! It owns the [`Machine`]s of one worker's groups and takes its jobs in order, so a read that was confirmed after a
//! write comes up after it. Entries of one job become one batch of the store.

use std::collections::HashMap;
use std::sync::Arc;

use api::{Error, Reason};
use model::{Key, NodeId, ShardId};
use raft::{Entry, Index, Membership, Term};
use storage::state::StateStore;

use crate::hosted::{Checkpoint, Hosted, read_answer};
use crate::machine::{self, Machine, Outcome, Refusal};
use crate::operation::{Answer, Reply};
use crate::wire;
use crate::worker::{Answer as Then, Applied, ApplyJob, Input, not_hosted, stopped};

/// See the [module](self).
pub struct Applier {
    store: Arc<dyn StateStore>,
    hosted: Hosted,
    machines: HashMap<ShardId, Machine>,
}

/// Who waits for an entry's commands.
type Replies = Vec<(Index, Vec<Option<Reply>>)>;

impl Applier {
    /// An applier without groups.
    pub fn new(store: Arc<dyn StateStore>, hosted: Hosted) -> Self {
        Self {
            store,
            hosted,
            machines: HashMap::new(),
        }
    }

    /// Does a job; what the worker must know of it comes back.
    pub fn run(&mut self, job: ApplyJob) -> Option<Input> {
        match job {
            ApplyJob::Open { machine } => {
                self.hosted.serve(machine.reader());
                self.machines.insert(machine.shard(), *machine);
                None
            }
            ApplyJob::Entries {
                shard,
                entries,
                replies,
                leader,
            } => self.apply(shard, &entries, replies, leader),
            ApplyJob::Reads {
                shard,
                reads,
                leader,
            } => {
                self.read(shard, reads, leader);
                None
            }
            ApplyJob::Install {
                shard,
                generation,
                answer,
            } => self.install(shard, generation, answer),
            ApplyJob::Serve { shard, serving } => {
                match self.machines.get(&shard) {
                    Some(machine) if serving => self.hosted.serve(machine.reader()),
                    _ => self.hosted.remove(shard),
                }
                None
            }
            ApplyJob::Close { shard, answer } => {
                self.hosted.remove(shard);
                self.machines.remove(&shard);
                answer(());
                None
            }
        }
    }

    fn apply(
        &mut self,
        shard: ShardId,
        entries: &[Entry],
        replies: Replies,
        leader: Option<NodeId>,
    ) -> Option<Input> {
        let machine = self.machines.get_mut(&shard)?;
        let applied = match machine.apply(entries) {
            Ok(applied) => applied,
            Err(broken) => {
                let detail = broken.to_string();
                self.hosted.stop(shard, &detail);
                return Some(Input::ApplyFailed { shard, detail });
            }
        };
        let mut checkpoints = Vec::new();
        let mut changed = false;
        for outcome in applied.iter().flat_map(|entry| &entry.outcomes) {
            if let Outcome::Checkpoint {
                verify_id,
                index,
                content,
            } = *outcome
            {
                checkpoints.push((index.0, content.0));
                if verify_id != 0 {
                    let checkpoint = Checkpoint {
                        index: index.0,
                        hash: content.0,
                    };
                    self.hosted.passed_checkpoint(shard, verify_id, checkpoint);
                }
            } else {
                changed = true;
            }
        }
        answer(applied, replies, leader);
        Some(Input::Applied(report(machine, checkpoints, changed)))
    }

    fn read(&self, shard: ShardId, reads: Vec<(Key, Reply)>, leader: Option<NodeId>) {
        let reader = self.machines.get(&shard).map(Machine::reader);
        for (key, reply) in reads {
            let answer = match &reader {
                None => Answer::Failed(not_hosted()),
                Some(reader) if reader.sealed() => Answer::Failed(being_deleted()),
                Some(reader) => read_answer(reader, &key),
            };
            reply.answer(leader, answer);
        }
    }

    fn install(
        &mut self,
        shard: ShardId,
        generation: u32,
        answer: Then<Option<Index>>,
    ) -> Option<Input> {
        let Some(machine) = self.machines.get_mut(&shard) else {
            answer(None);
            return None;
        };
        let installed = storage::snapshot::switch_generation(&*self.store, shard, generation)
            .map_err(|error| error.to_string())
            .and_then(|_| machine.reload().map_err(|error| error.to_string()));
        if let Err(error) = installed {
            let detail = format!("a snapshot can't be installed: {error}");
            self.hosted.stop(shard, &detail);
            answer(None);
            return Some(Input::ApplyFailed { shard, detail });
        }
        let meta = machine.meta();
        Some(Input::SnapshotInstalled {
            shard,
            index: Index(meta.applied_index),
            term: Term(meta.applied_term),
            membership: Membership::new(meta.voters.iter().copied().map(wire::replica_id)),
            answer,
        })
    }
}

fn report(machine: &Machine, checkpoints: Vec<(u64, u128)>, changed: bool) -> Applied {
    let meta = machine.meta();
    Applied {
        shard: machine.shard(),
        index: Index(meta.applied_index),
        items: meta.items,
        bytes: meta.bytes,
        checkpoints,
        changed,
    }
}

/// Answers those who wait, by the outcomes of their commands.
fn answer(applied: Vec<machine::Applied>, replies: Replies, leader: Option<NodeId>) {
    let mut applied = applied.into_iter().peekable();
    for (index, waiters) in replies {
        while applied.peek().is_some_and(|entry| entry.index < index) {
            applied.next();
        }
        // Dropped where the entry is not among the applied ones: a snapshot has taken its place.
        let Some(entry) = applied.next_if(|entry| entry.index == index) else {
            continue;
        };
        for (outcome, reply) in entry.outcomes.into_iter().zip(waiters) {
            if let Some(reply) = reply {
                reply.answer(leader, outcome_answer(outcome));
            }
        }
    }
}

fn outcome_answer(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Written { version } => Answer::Applied { version },
        Outcome::Deleted | Outcome::Sealed => Answer::Applied { version: 0 },
        Outcome::Checkpoint { index, .. } => Answer::Applied { version: index.0 },
        Outcome::Refused(Refusal::Expired) => Answer::Failed(expired()),
        Outcome::Refused(Refusal::Sealed) => Answer::Failed(being_deleted()),
        Outcome::Refused(Refusal::TransactionConflict) => Answer::Failed(Error::new(
            Reason::TransactionConflict,
            "the item is part of a transaction that is not decided yet; retry",
        )),
    }
}

/// An earlier attempt may have been applied and forgotten since. No further attempt can be.
fn expired() -> Error {
    Error::outcome_unknown("the write's request_id is older than what the shard remembers")
        .with("expired", true)
}

fn being_deleted() -> Error {
    Error::new(Reason::TableNotFound, "the table is being deleted")
}

/// A group that can't run is shown to readers with its reason.
pub fn show_stopped(hosted: &Hosted, shard: ShardId, detail: &str) {
    hosted.stop(shard, detail);
    tracing::error!(%shard, reason = stopped(detail).message, "a replica has stopped");
}
