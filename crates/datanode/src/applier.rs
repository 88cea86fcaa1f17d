//! The applier: committed entries into the state store, reads out of it, and the answers to both.
//!
//! It owns the [`Machine`]s of one worker's groups and takes its jobs in order, so a read that was confirmed after a
//! write comes up after it. What has queued up is applied by one write of the store, whichever groups it belongs to.

mod answers;
mod gathered;

use std::collections::HashMap;
use std::sync::Arc;

use environment::Clock;
use model::{NodeId, ShardId};
use raft::{Index, Membership, Term};
use storage::state::StateStore;

use self::answers::{answer, being_deleted};
use self::gathered::Gathered;
use crate::admission::overloaded;
use crate::hosted::{Checkpoint, Hosted, read_answer, transact_read_answer};
use crate::machine::{self, Machine, Outcome, Summaries};
use crate::operation::{Answer, Question, Reply};
use crate::wire;
use crate::worker::{Answer as Then, Applied, ApplyJob, Input, cancelled, not_hosted, stopped};

/// See the [module](self).
pub struct Applier {
    store: Arc<dyn StateStore>,
    hosted: Hosted,
    /// For how long transactions are undecided, and for nothing else: nothing that is applied depends on a clock.
    clock: Arc<dyn Clock>,
    machines: HashMap<ShardId, Machine>,
    summaries: Summaries,
    /// Those whose machine could not go on, and why. What is still queued for them must not see the state that lacks
    /// what came before it: a read behind a write that failed would show the value before that.
    stopped: HashMap<ShardId, String>,
    gathered: Gathered,
}

/// Who waits for an entry's commands.
type Replies = Vec<(Index, Vec<Option<Reply>>)>;

impl Applier {
    /// An applier without groups.
    pub fn new(store: Arc<dyn StateStore>, hosted: Hosted, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            hosted,
            clock,
            machines: HashMap::new(),
            summaries: Summaries::default(),
            stopped: HashMap::new(),
            gathered: Gathered::default(),
        }
    }

    /// Does jobs in their order; what the worker must know of them comes back.
    ///
    /// What is to be applied gathers over all groups, and is one write of the store, as far as nobody asks for what comes of it in between.
    pub fn run(&mut self, jobs: impl IntoIterator<Item = ApplyJob>) -> Vec<Input> {
        let mut told = Told::default();
        for job in jobs {
            match job {
                ApplyJob::Entries {
                    shard,
                    entries,
                    replies,
                    leader,
                } => {
                    self.gathered.add(shard, entries, replies, leader);
                    if self.gathered.is_full() {
                        self.apply_gathered(&mut told);
                    }
                }
                other => {
                    if self.gathered.has(other.shard()) {
                        self.apply_gathered(&mut told);
                    }
                    self.run_other(other, &mut told);
                }
            }
        }
        self.apply_gathered(&mut told);
        told.inputs
    }

    fn run_other(&mut self, job: ApplyJob, told: &mut Told) {
        match job {
            ApplyJob::Open { mut machine } => {
                machine.share(&self.summaries);
                machine.begin(self.clock.now().monotonic_millis);
                self.hosted.serve(machine.reader());
                self.stopped.remove(&machine.shard());
                self.machines.insert(machine.shard(), *machine);
            }
            ApplyJob::Reads {
                shard,
                reads,
                leader,
            } => self.read(shard, reads, leader),
            ApplyJob::Install {
                shard,
                generation,
                answer,
            } => told.inputs.extend(self.install(shard, generation, answer)),
            ApplyJob::Serve { shard, serving } => match self.machines.get(&shard) {
                Some(machine) if serving => self.hosted.serve(machine.reader()),
                None if self.stopped.contains_key(&shard) => {}
                _ => self.hosted.remove(shard),
            },
            ApplyJob::Close { shard, answer } => {
                self.hosted.remove(shard);
                self.machines.remove(&shard);
                self.stopped.remove(&shard);
                answer(());
            }
            // Gathers with others.
            ApplyJob::Entries { .. } => {}
        }
    }

    fn apply_gathered(&mut self, told: &mut Told) {
        let now = self.clock.now().monotonic_millis;
        let (mut steps, mut batches) = (Vec::new(), Vec::new());
        for (shard, gathered) in self.gathered.take() {
            let Some(machine) = self.machines.get_mut(&shard) else {
                continue;
            };
            machine.tell_time(now);
            match machine.stage(&gathered.entries) {
                Ok((staged, batch)) => {
                    batches.push(batch);
                    steps.push((shard, staged, gathered));
                }
                Err(broken) => told.inputs.push(self.stop(shard, broken.to_string())),
            }
        }
        if steps.is_empty() {
            return;
        }
        let written = self.store.write_all(batches);
        for (shard, staged, gathered) in steps {
            let Some(machine) = self.machines.get_mut(&shard) else {
                continue;
            };
            match machine.end(staged, &written) {
                Ok(applied) => {
                    if let Some(report) = self.report(shard, &applied) {
                        told.applied(report);
                    }
                    answer(applied, gathered.replies, gathered.leader);
                }
                Err(broken) => told.inputs.push(self.stop(shard, broken.to_string())),
            }
        }
    }

    /// What the worker is told of entries that were applied.
    fn report(&self, shard: ShardId, applied: &[machine::Applied]) -> Option<Applied> {
        let machine = self.machines.get(&shard)?;
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
        let meta = machine.meta();
        Some(Applied {
            shard,
            index: Index(meta.applied_index),
            items: meta.items,
            bytes: meta.bytes,
            checkpoints,
            changed,
        })
    }

    /// Lets go of a machine that can't go on.
    fn stop(&mut self, shard: ShardId, detail: String) -> Input {
        self.machines.remove(&shard);
        self.hosted.stop(shard, &detail);
        self.stopped.insert(shard, detail.clone());
        Input::ApplyFailed { shard, detail }
    }

    fn read(&self, shard: ShardId, reads: Vec<(Question, Reply)>, leader: Option<NodeId>) {
        let machine = self.machines.get(&shard);
        let reader = machine.map(Machine::reader);
        for (question, reply) in reads {
            let answer = match machine.zip(reader.as_ref()) {
                None => Answer::Failed(match self.stopped.get(&shard) {
                    Some(detail) => stopped(detail),
                    None => not_hosted(),
                }),
                Some(_) if reply.is_cancelled() => Answer::Failed(cancelled()),
                Some((_, reader)) if reader.sealed() => Answer::Failed(being_deleted()),
                Some(_) if reply.is_crowded() => {
                    Answer::Failed(overloaded("too many answers wait to be fetched"))
                }
                Some((machine, reader)) => match &question {
                    Question::Item(key) => read_answer(reader, key),
                    Question::Items(keys) => transact_read_answer(machine, keys),
                },
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
        machine.tell_time(self.clock.now().monotonic_millis);
        let installed = storage::snapshot::switch_generation(&*self.store, shard, generation)
            .map_err(|error| error.to_string())
            .and_then(|_| machine.reload().map_err(|error| error.to_string()));
        if let Err(error) = installed {
            answer(None);
            return Some(self.stop(shard, format!("a snapshot can't be installed: {error}")));
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

/// What the worker is told, in the order in which it happened: what was applied after a snapshot was installed may be beyond what the
/// worker has handed out itself, until it knows of the snapshot.
#[derive(Default)]
struct Told {
    inputs: Vec<Input>,
}

impl Told {
    /// Joins what was told last, if that is of the same kind.
    fn applied(&mut self, report: Applied) {
        if let Some(Input::Applied(reports)) = self.inputs.last_mut() {
            reports.push(report);
        } else {
            self.inputs.push(Input::Applied(vec![report]));
        }
    }
}

/// A group that can't run is shown to readers with its reason.
pub fn show_stopped(hosted: &Hosted, shard: ShardId, detail: &str) {
    hosted.stop(shard, detail);
    tracing::error!(%shard, reason = stopped(detail).message, "a replica has stopped");
}

#[cfg(test)]
mod tests;
