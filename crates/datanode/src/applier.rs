//! The applier: committed entries into the state store, reads out of it, and the answers to both.
//!
//! It owns the [`Machine`]s of one worker's groups and takes its jobs in order, so a read that was confirmed after a
//! write comes up after it. Entries of one job become one batch of the store.

use std::collections::HashMap;
use std::sync::Arc;

use api::{Error, Reason};
use environment::Clock;
use model::{Lsn, NodeId, ShardId};
use raft::{Entry, Index, Membership, Term};
use storage::state::StateStore;

use crate::admission::overloaded;
use crate::hosted::{Checkpoint, Hosted, read_answer, transact_read_answer};
use crate::machine::{self, Machine, Outcome, Refusal};
use crate::operation::{Answer, Question, Reply};
use crate::wire;
use crate::worker::{Answer as Then, Applied, ApplyJob, Input, not_hosted, stopped};

/// See the [module](self).
pub struct Applier {
    store: Arc<dyn StateStore>,
    hosted: Hosted,
    /// For how long transactions are undecided, and for nothing else: nothing that is applied depends on a clock.
    clock: Arc<dyn Clock>,
    machines: HashMap<ShardId, Machine>,
    /// Those whose machine could not go on, and why. What is still queued for them must not see the state that lacks
    /// what came before it: a read behind a write that failed would show the value before that.
    stopped: HashMap<ShardId, String>,
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
            stopped: HashMap::new(),
        }
    }

    /// Does a job; what the worker must know of it comes back.
    pub fn run(&mut self, job: ApplyJob) -> Option<Input> {
        match job {
            ApplyJob::Open { mut machine } => {
                machine.begin(self.clock.now().monotonic_millis);
                self.hosted.serve(machine.reader());
                self.stopped.remove(&machine.shard());
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
                    None if self.stopped.contains_key(&shard) => {}
                    _ => self.hosted.remove(shard),
                }
                None
            }
            ApplyJob::Close { shard, answer } => {
                self.hosted.remove(shard);
                self.machines.remove(&shard);
                self.stopped.remove(&shard);
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
        machine.tell_time(self.clock.now().monotonic_millis);
        let applied = match machine.apply(entries) {
            Ok(applied) => applied,
            Err(broken) => return Some(self.stop(shard, broken.to_string())),
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
        Outcome::Deleted | Outcome::Sealed | Outcome::Committed | Outcome::Decided => {
            Answer::Applied { version: 0 }
        }
        Outcome::Prepared => Answer::Prepared,
        Outcome::Rejected(objections) => Answer::Rejected(objections),
        Outcome::State(state) => Answer::State(state),
        Outcome::Checkpoint { index, .. } => Answer::Applied { version: index.0 },
        Outcome::Refused(Refusal::Expired) => Answer::Failed(expired()),
        Outcome::Refused(Refusal::Sealed) => Answer::Failed(being_deleted()),
        Outcome::Refused(Refusal::TransactionConflict(transaction)) => {
            let message = "the item is part of a transaction that is not decided yet; retry";
            let error = Error::new(Reason::TransactionConflict, message);
            Answer::Failed(error.with("transaction", transaction))
        }
        Outcome::Refused(Refusal::ConditionFailed(version)) => {
            Answer::Failed(condition_failed(version))
        }
    }
}

/// The item was not as the caller wanted it. It is told how it was.
fn condition_failed(version: Option<Lsn>) -> Error {
    let failed = |message: String| Error::new(Reason::ConditionFailed, message);
    let Some(Lsn(version)) = version else {
        return failed("the condition does not hold: there is no such item".into());
    };
    let message = format!("the condition does not hold: the item has version {version}");
    failed(message).with("version", version)
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use environment::SystemClock;
    use model::{Condition, Key, RequestId, TableId};
    use parking_lot::Mutex;
    use raft::EntryKind;
    use storage::state::MemoryStore;

    use crate::machine::{Command, CommandBatch};
    use crate::operation::ReplySink;

    const SHARD: ShardId = ShardId {
        table: TableId(1),
        index: 0,
    };

    #[derive(Default)]
    struct Answers(Mutex<Vec<Answer>>);

    impl ReplySink for Answers {
        fn answer(&self, _: u64, _: Option<NodeId>, answer: Answer) {
            self.0.lock().push(answer);
        }

        fn is_full(&self) -> bool {
            self.0.lock().len() >= 3
        }
    }

    fn applier(store: Arc<dyn StateStore>) -> Applier {
        Applier::new(store, Hosted::default(), Arc::new(SystemClock::default()))
    }

    fn key() -> Key {
        Key::new(Bytes::from_static(b"key")).unwrap()
    }

    fn put(index: u64) -> ApplyJob {
        let command = Command::Put {
            key: key(),
            value: Bytes::from_static(b"value"),
            request: RequestId {
                client: 1,
                sequence: index,
                issued_millis: 0,
            },
            condition: Condition::Always,
        };
        let batch = CommandBatch {
            now_millis: 0,
            commands: vec![command],
        };
        let entry = Entry {
            term: Term(1),
            index: Index(index),
            kind: EntryKind::Commands,
            payload: batch.encode(),
        };
        ApplyJob::Entries {
            shard: SHARD,
            entries: vec![entry],
            replies: Vec::new(),
            leader: None,
        }
    }

    /// They come in one frame, before there is any answer that its caller could leave unfetched.
    #[test]
    fn of_many_reads_those_are_answered_whose_answers_have_room() {
        let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new());
        let mut applier = applier(store.clone());
        let machine = Box::new(Machine::create(store, SHARD, vec![NodeId(1)]).unwrap());
        applier.run(ApplyJob::Open { machine });
        applier.run(put(1));
        let answers = Arc::new(Answers::default());
        let reads = (0..8).map(|read| {
            let question = match read % 2 {
                0 => Question::Item(key()),
                _ => Question::Items(vec![(key(), 0)]),
            };
            let sink: Arc<dyn ReplySink> = answers.clone();
            (question, Reply::new(sink, read, false, None))
        });
        let (shard, leader) = (SHARD, None);
        let reads = reads.collect();
        applier.run(ApplyJob::Reads {
            shard,
            reads,
            leader,
        });
        let answers = answers.0.lock();
        let refused = answers.iter().filter(
            |answer| matches!(answer, Answer::Failed(error) if error.reason == Reason::Overloaded),
        );
        assert_eq!((answers.len(), refused.count()), (8, 5), "{answers:?}");
    }

    #[test]
    fn a_read_behind_entries_that_could_not_be_applied_never_sees_the_state_before_them() {
        let memory = MemoryStore::new();
        let store: Arc<dyn StateStore> = Arc::new(memory.clone());
        let mut applier = applier(store.clone());
        let machine = Box::new(Machine::create(store, SHARD, vec![NodeId(1)]).unwrap());
        applier.run(ApplyJob::Open { machine });
        assert!(matches!(applier.run(put(1)), Some(Input::Applied(_))));

        memory.set_full(true);
        let answers = Arc::new(Answers::default());
        let read = || ApplyJob::Reads {
            shard: SHARD,
            reads: vec![(
                Question::Item(key()),
                Reply::new(answers.clone(), 1, false, None),
            )],
            leader: None,
        };
        // All of them were queued before the first one failed.
        let stopped = |after| matches!(after, Some(Input::ApplyFailed { .. }));
        assert!(stopped(applier.run(put(2))));
        applier.run(read());
        memory.set_full(false);
        assert!(applier.run(put(3)).is_none());
        applier.run(ApplyJob::Serve {
            shard: SHARD,
            serving: true,
        });
        applier.run(read());
        let answers = answers.0.lock();
        assert_eq!(answers.len(), 2);
        for answer in &*answers {
            assert!(
                matches!(answer, Answer::Failed(error) if error.reason == Reason::Corruption),
                "{answer:?}"
            );
        }
    }
}
