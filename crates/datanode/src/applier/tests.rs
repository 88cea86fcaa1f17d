//! Scripts for the applier.

use api::Reason;
use bytes::Bytes;
use environment::SystemClock;
use model::{Condition, Key, RequestId, TableId};
use parking_lot::Mutex;
use raft::{Entry, EntryKind};
use storage::state::MemoryStore;

use super::*;
use crate::machine::tests::transfer;
use crate::machine::{Command, CommandBatch};
use crate::operation::ReplySink;
use crate::operation::tests::Collected;

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
    put_in(SHARD, index)
}

fn put_in(shard: ShardId, index: u64) -> ApplyJob {
    let command = Command::Put {
        key: key(),
        value: Bytes::from_static(b"value"),
        request: RequestId {
            client: 1,
            sequence: index,
            issued_millis: 1_000,
        },
        condition: Condition::Always,
    };
    let batch = CommandBatch {
        now_millis: 1_000,
        commands: vec![command],
    };
    let entry = Entry {
        term: Term(1),
        index: Index(index),
        kind: EntryKind::Commands,
        payload: batch.encode(),
    };
    ApplyJob::Entries {
        shard,
        entries: vec![entry],
        replies: Vec::new(),
        leader: None,
    }
}

/// An applier whose group has one item.
fn with_an_item() -> Applier {
    let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new());
    let mut applier = applier(store.clone());
    let machine = Box::new(Machine::create(store, SHARD, vec![NodeId(1)]).unwrap());
    applier.run([ApplyJob::Open { machine }]);
    applier.run([put(1)]);
    applier
}

/// Reads in one go. The questions are numbered from 0 on.
fn ask(
    applier: &mut Applier,
    answers: &Arc<impl ReplySink + 'static>,
    questions: impl IntoIterator<Item = Question>,
) {
    let reads = (0..).zip(questions).map(|(read, question)| {
        let sink: Arc<dyn ReplySink> = answers.clone();
        (question, Reply::new(sink, read, false, None))
    });
    applier.run([ApplyJob::Reads {
        shard: SHARD,
        reads: reads.collect(),
        leader: None,
    }]);
}

/// They come in one frame, before there is any answer that its caller could leave unfetched.
#[test]
fn of_many_reads_those_are_answered_whose_answers_have_room() {
    let mut applier = with_an_item();
    let answers = Arc::new(Answers::default());
    let questions = (0..8).map(|read| match read % 2 {
        0 => Question::Item(key()),
        _ => Question::Items(vec![(key(), 0)]),
    });
    ask(&mut applier, &answers, questions);
    let answers = answers.0.lock();
    let refused = answers.iter().filter(
        |answer| matches!(answer, Answer::Failed(error) if error.reason == Reason::Overloaded),
    );
    assert_eq!((answers.len(), refused.count()), (8, 5), "{answers:?}");
}

#[test]
fn what_nobody_waits_for_is_answered_and_not_read() {
    let mut applier = with_an_item();
    let answers = Arc::new(Collected::default());
    answers.1.lock().extend([0, 1]);
    let questions = [
        Question::Item(key()),
        Question::Items(vec![(key(), 0)]),
        Question::Item(key()),
    ];
    ask(&mut applier, &answers, questions);
    let answers = answers.0.lock();
    let found = answers.iter().map(|(_, answer)| match answer {
        Answer::Failed(error) => Some(error.reason),
        _ => None,
    });
    let gone = Some(Reason::NoLeader);
    assert_eq!(found.collect::<Vec<_>>(), [gone, gone, None]);
}

#[test]
fn a_read_behind_entries_that_could_not_be_applied_never_sees_the_state_before_them() {
    let memory = MemoryStore::new();
    let store: Arc<dyn StateStore> = Arc::new(memory.clone());
    let mut applier = applier(store.clone());
    let machine = Box::new(Machine::create(store, SHARD, vec![NodeId(1)]).unwrap());
    applier.run([ApplyJob::Open { machine }]);
    assert!(matches!(applier.run([put(1)])[..], [Input::Applied(_)]));

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
    let stopped = |after: Vec<Input>| matches!(after[..], [Input::ApplyFailed { .. }]);
    assert!(stopped(applier.run([put(2)])));
    applier.run([read()]);
    memory.set_full(false);
    assert!(applier.run([put(3)]).is_empty());
    applier.run([ApplyJob::Serve {
        shard: SHARD,
        serving: true,
    }]);
    applier.run([read()]);
    let answers = answers.0.lock();
    assert_eq!(answers.len(), 2);
    for answer in &*answers {
        assert!(
            matches!(answer, Answer::Failed(error) if error.reason == Reason::Corruption),
            "{answer:?}"
        );
    }
}

/// An applier with the shards 0 to 2 of a table.
fn with_shards(memory: &MemoryStore) -> (Applier, [ShardId; 3]) {
    let store: Arc<dyn StateStore> = Arc::new(memory.clone());
    let mut applier = applier(store.clone());
    let shards = [0, 1, 2].map(|index| ShardId { index, ..SHARD });
    for shard in shards {
        let machine = Box::new(Machine::create(store.clone(), shard, vec![NodeId(1)]).unwrap());
        applier.run([ApplyJob::Open { machine }]);
    }
    (applier, shards)
}

fn applied(told: &[Input]) -> Vec<(u32, u64)> {
    let all = told.iter().filter_map(|input| match input {
        Input::Applied(all) => Some(all),
        _ => None,
    });
    all.flatten()
        .map(|applied| (applied.shard.index, applied.index.0))
        .collect()
}

#[test]
fn what_has_gathered_is_one_write_whichever_groups_it_belongs_to() {
    let memory = MemoryStore::new();
    let (mut applier, [first, second, third]) = with_shards(&memory);
    let before = memory.unpersisted_batches();
    let told = applier.run([
        put_in(first, 1),
        put_in(second, 1),
        put_in(first, 2),
        put_in(third, 1),
        put_in(first, 3),
    ]);
    assert_eq!(applied(&told), [(0, 3), (1, 1), (2, 1)]);
    assert_eq!(memory.unpersisted_batches(), before + 1);
}

#[test]
fn a_read_sees_what_gathered_before_it_and_nothing_after_it() {
    let (mut applier, [first, second, _]) = with_shards(&MemoryStore::new());
    let answers = Arc::new(Answers::default());
    let read = |number| ApplyJob::Reads {
        shard: first,
        reads: vec![(
            Question::Item(key()),
            Reply::new(answers.clone(), number, false, None),
        )],
        leader: None,
    };
    let jobs = [
        read(1),
        put_in(first, 1),
        put_in(second, 1),
        read(2),
        put_in(first, 2),
    ];
    assert_eq!(applied(&applier.run(jobs)), [(0, 1), (1, 1), (0, 2)]);
    let answers = answers.0.lock();
    assert!(matches!(answers[0], Answer::Absent), "{:?}", answers[0]);
    assert!(
        matches!(answers[1], Answer::Found { version: 1, .. }),
        "{:?}",
        answers[1]
    );
}

/// Entry 1 is missing, which breaks a machine before anything is written.
#[test]
fn one_group_that_cant_go_on_holds_none_of_the_others_up() {
    let (mut applier, [first, second, third]) = with_shards(&MemoryStore::new());
    let told = applier.run([put_in(first, 1), put_in(second, 2), put_in(third, 1)]);
    assert_eq!(applied(&told), [(0, 1), (2, 1)]);
    let stopped = told
        .iter()
        .filter(|input| matches!(input, Input::ApplyFailed { shard, .. } if *shard == second));
    assert_eq!(stopped.count(), 1);
}

#[test]
fn a_write_that_fails_stops_every_group_that_was_in_it() {
    let memory = MemoryStore::new();
    let (mut applier, [first, second, _]) = with_shards(&memory);
    memory.set_full(true);
    let told = applier.run([put_in(first, 1), put_in(second, 1)]);
    let stopped = told
        .iter()
        .filter(|input| matches!(input, Input::ApplyFailed { .. }));
    assert_eq!((stopped.count(), applied(&told)), (2, vec![]));
}

/// Entries may have been handed out before the worker knows that a snapshot stands for them, and come up behind it.
#[test]
fn of_what_is_applied_behind_a_snapshot_the_worker_hears_after_the_snapshot() {
    let source = MemoryStore::new();
    let (mut ahead, [first, ..]) = with_shards(&source);
    ahead.run((1..=4).map(|index| put_in(first, index)));
    let behind = MemoryStore::new();
    let (mut applier, [_, second, _]) = with_shards(&behind);
    applier.run([put_in(first, 1)]);
    let install = ApplyJob::Install {
        shard: first,
        generation: transfer(&source, &behind, first),
        answer: Box::new(|_| {}),
    };
    let told = applier.run([
        put_in(second, 1),
        install,
        put_in(first, 2),
        put_in(first, 3),
    ]);
    let order: Vec<_> = told
        .iter()
        .map(|input| match input {
            Input::SnapshotInstalled { index, .. } => ("installed", index.0),
            Input::Applied(reports) => ("applied", reports[0].index.0),
            _ => ("something else", 0),
        })
        .collect();
    assert_eq!(order, [("installed", 4), ("applied", 4)]);
    assert_eq!(applied(&told), [(0, 4), (1, 1)]);
}
