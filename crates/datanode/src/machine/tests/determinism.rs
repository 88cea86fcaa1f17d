//! The state is a function of the log.

use proptest::prelude::*;
use storage::state::{FjallOptions, FjallStore};

use super::*;

/// Small enough that the scripts run into both bounds.
const BOUNDS: WindowBounds = WindowBounds {
    millis: 20,
    entries: 5,
};

pub(super) fn any_request() -> impl Strategy<Value = RequestId> {
    (NOW - 10..NOW + 60, 0..2_u64, 0..4_u64).prop_map(|(issued_millis, client, sequence)| {
        RequestId {
            issued_millis,
            client,
            sequence,
        }
    })
}

fn any_command() -> impl Strategy<Value = Command> {
    let name = || prop::sample::select(vec!["a", "b", "c", "d"]);
    prop_oneof![
        6 => (name(), "[a-z]{0,3}", any_request()).prop_map(|(name, v, r)| put(name, &v, r)),
        3 => (name(), any_request()).prop_map(|(name, request)| delete(name, request)),
        1 => (name(), "[a-z]{0,3}", any_request(), any_condition())
            .prop_map(|(name, v, r, condition)| only_if(condition, put(name, &v, r))),
        1 => (name(), any_request(), any_condition())
            .prop_map(|(name, request, condition)| only_if(condition, delete(name, request))),
        1 => any::<u64>().prop_map(|verify_id| Command::Checkpoint { verify_id }),
        2 => (any_transaction(), NOW - 10..NOW + 60, any_items())
            .prop_map(|((id, _), issued, items)| transact_write(id + (1 << 64), issued, items)),
        5 => (any_transaction(), any_items())
            .prop_map(|((id, timestamp), items)| prepare(id, timestamp, items)),
        4 => (any_transaction(), any::<bool>(), 0..8)
            .prop_map(|((id, timestamp), commit, unknown)| {
                let timestamp = if unknown == 0 { Timestamp::ZERO } else { timestamp };
                decide(id, timestamp, commit)
            }),
        1 => any_transaction().prop_map(|(id, timestamp)| inquire_of(id, timestamp, &["a", "b"])),
    ]
}

fn any_condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::Always),
        Just(Condition::Exists),
        Just(Condition::NotExists),
        (0..12_u64).prop_map(Condition::VersionIs),
    ]
}

/// Few of them, so that they meet again. No other request has such an identity, and what is prepared is never sent as a
/// transaction in one shard.
fn any_transaction() -> impl Strategy<Value = (u128, Timestamp)> {
    (0..8_u64).prop_map(|n| ((9 << 64) + u128::from(n), at(NOW + n * 19 % 50, n)))
}

fn any_items() -> impl Strategy<Value = Vec<TransactionItem>> {
    let name = prop::sample::select(vec!["a", "b", "c", "d"]);
    let condition = prop_oneof![3 => Just(Condition::Always), 1 => any_condition()];
    let one = (name, "[a-z]{0,3}", condition);
    let some = prop::collection::vec(one, 1..4);
    some.prop_map(|some| {
        let each = some
            .iter()
            .map(|(name, value, c)| (*name, value.as_str(), *c));
        items(&each.collect::<Vec<_>>())
    })
}

/// A log: terms that never fall, clocks that do, now and then a no-op, and perhaps a seal towards the end.
pub(super) fn any_log(len: usize) -> impl Strategy<Value = Vec<Entry>> {
    let commands = prop::collection::vec(any_command(), 0..4);
    let one = (any::<u8>(), NOW..NOW + 60, commands);
    let seal = prop::option::weighted(0.2, any::<prop::sample::Index>());
    (prop::collection::vec(one, 1..len), seal).prop_map(|(entries, seal)| {
        let seal = seal.map(|at| entries.len() / 2 + at.index(entries.len().div_ceil(2)));
        let mut term = 1;
        let numbered = entries.into_iter().enumerate();
        let log = numbered.map(|(at, (kind, now_millis, mut commands))| {
            let index = at as u64 + 1;
            if kind < 25 {
                term += 1;
                return noop(index, term);
            }
            if Some(at) == seal {
                commands.push(Command::Seal);
            }
            Entry {
                term: Term(term),
                ..entry(index, now_millis, commands)
            }
        });
        log.collect()
    })
}

#[derive(Debug, Clone)]
enum Event {
    /// Up to so many entries in one call, the last of those before them once more.
    Apply(usize),
    Persist,
    Restart,
    /// The machine loses power; so many batches of what was not persisted survive.
    Crash(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1..6_usize).prop_map(Event::Apply),
        1 => Just(Event::Persist),
        1 => Just(Event::Restart),
        1 => (0..4_u64).prop_map(Event::Crash),
    ]
}

type Dump = Vec<(Bytes, Bytes)>;

/// The log taken entry by entry: the state after each, from 0 on, and what became of each.
fn reference(log: &[Entry]) -> (Vec<Dump>, Vec<Applied>) {
    let mut replica = Replica::with(BOUNDS);
    let mut dumps = vec![dump(&replica.store)];
    let mut outcomes = Vec::new();
    for entry in log {
        outcomes.extend(replica.machine.apply(std::slice::from_ref(entry)).unwrap());
        dumps.push(dump(&replica.store));
    }
    replica.check();
    (dumps, outcomes)
}

/// The same log on a replica that lives through these events; returns nothing, checks after each of them.
fn replay(log: &[Entry], events: Vec<Event>, dumps: &[Dump], outcomes: &[Applied]) {
    let mut replica = Replica::with(BOUNDS);
    for event in events.into_iter().chain([Event::Apply(log.len())]) {
        let at = replica.machine.meta().applied_index as usize;
        match event {
            Event::Apply(count) => {
                let end = (at + count).min(log.len());
                let applied = replica
                    .machine
                    .apply(&log[at.saturating_sub(1)..end])
                    .unwrap();
                assert_eq!(applied, outcomes[at..end]);
            }
            Event::Persist => replica.store.persist().unwrap(),
            Event::Restart => replica.restart(),
            Event::Crash(kept) => {
                replica.store.crash_keeping(kept);
                let store = Arc::new(replica.store.clone());
                let opened = Machine::open_with(store, SHARD, BOUNDS);
                replica.machine = opened.unwrap().unwrap();
            }
        }
        let applied = replica.machine.meta().applied_index as usize;
        assert_eq!(dump(&replica.store), dumps[applied], "at index {applied}");
        replica.check();
    }
    assert_eq!(replica.machine.meta().applied_index, log.len() as u64);
}

/// The stores differ, the bytes in them do not.
#[test]
fn the_same_log_makes_the_same_bytes_on_disk_as_in_memory() {
    let log: Vec<Entry> = (1..=200_u64)
        .map(|index| {
            let name = format!("key {}", index % 7);
            let request = |n| request(NOW + index, n);
            let commands = vec![put(&name, "value", request(1)), delete("key 3", request(2))];
            entry(index, NOW + index, commands)
        })
        .collect();
    let mut memory = Replica::with(BOUNDS);
    memory.machine.apply(&log).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let open = || -> Arc<dyn StateStore> {
        Arc::new(FjallStore::open(dir.path(), &FjallOptions::default()).unwrap())
    };
    let store = open();
    let mut machine = Machine::create_with(Arc::clone(&store), SHARD, voters(), BOUNDS).unwrap();
    for entries in log.chunks(3) {
        machine.apply(entries).unwrap();
    }
    store.persist().unwrap();
    drop((machine, store));
    let store = open();
    let view = store.view();
    let stored: Dump = view
        .scan(&keys::shard(SHARD))
        .map(|pair| pair.unwrap())
        .collect();
    assert_eq!(stored, dump(&memory.store));
    drop(view);
    let machine = Machine::open_with(store, SHARD, BOUNDS).unwrap().unwrap();
    assert_eq!(machine.window, memory.machine.window);
}

proptest! {
    /// Row 10 of the checklist (etcd #11651). The outcomes and every stored byte are the same whatever the grouping
    /// of entries into calls, and whatever restarts and crashes there were.
    #[test]
    fn apply_is_deterministic_over_groupings_restarts_and_crashes(
        log in any_log(40), events in prop::collection::vec(any_event(), 0..25),
    ) {
        let (dumps, outcomes) = reference(&log);
        replay(&log, events, &dumps, &outcomes);
    }

    /// Row 9 (etcd 3.5). Whatever a crash leaves of the unpersisted batches, the store shows the
    /// state of exactly the index that it names, with that entry's term.
    #[test]
    fn applied_index_and_data_are_in_one_atomic_write(log in any_log(20), kept in 0..25_u64) {
        let (dumps, _) = reference(&log);
        let mut replica = Replica::with(BOUNDS);
        for entry in &log {
            replica.machine.apply(std::slice::from_ref(entry)).unwrap();
        }
        replica.store.crash_keeping(kept);
        let (_, meta) = load_meta(&*replica.store.view(), SHARD).unwrap().unwrap();
        prop_assert_eq!(meta.applied_index, kept.min(log.len() as u64));
        prop_assert_eq!(dump(&replica.store), &dumps[meta.applied_index as usize][..]);
        let last = meta.applied_index.checked_sub(1).map(|at| log[at as usize].term.0);
        prop_assert_eq!(meta.applied_term, last.unwrap_or(0));
    }

    #[test]
    fn replicas_that_took_a_snapshot_end_with_the_same_bytes(
        log in any_log(30), at in any::<prop::sample::Index>(),
    ) {
        let at = at.index(log.len());
        let mut sender = Replica::with(BOUNDS);
        sender.machine.apply(&log[..at]).unwrap();
        let mut follower = Replica::with(BOUNDS);
        sender.send_snapshot(&follower.store);
        follower.machine.reload().unwrap();
        let by_sender = sender.machine.apply(&log[at..]).unwrap();
        prop_assert_eq!(follower.machine.apply(&log[at..]).unwrap(), by_sender);
        prop_assert_eq!(follower.machine.meta(), sender.machine.meta());
        prop_assert_eq!(&follower.machine.window, &sender.machine.window);
        let contents = |replica: &Replica| {
            let view = replica.store.view();
            let range = keys::generation(SHARD, replica.machine.generation());
            let pairs = view.scan(&range).map(|pair| pair.unwrap());
            pairs.map(|(k, v)| (keys::generation_part(&k).to_vec(), v)).collect::<Vec<_>>()
        };
        prop_assert_eq!(contents(&follower), contents(&sender));
    }
}
