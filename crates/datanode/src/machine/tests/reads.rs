//! Reading beside a machine, through snapshots and removal.

use std::sync::atomic::{AtomicBool, Ordering};

use model::Lsn;
use storage::snapshot::{clean_generations, destroy_shard};

use super::*;

#[test]
fn a_placeholder_of_a_prepared_transaction_is_absent() {
    let mut replica = Replica::new();
    let placeholder = Item {
        value: None,
        timestamp: Timestamp::from_millis(NOW),
        lsn: Lsn(1),
        intent: None,
    };
    replica.plant("a", &placeholder);
    assert_eq!(replica.get("a"), None);
}

#[test]
fn an_empty_value_is_not_an_absent_key() {
    let mut replica = Replica::new();
    replica.one(put("a", "", request(NOW, 1)));
    assert_eq!(replica.get("a"), Some((String::new(), 1)));
}

#[test]
fn a_key_is_read_from_its_own_shard() {
    let mut replica = Replica::new();
    replica.one(put("a", "1", request(NOW, 1)));
    let other = ShardId { index: 4, ..SHARD };
    let store = Arc::new(replica.store.clone());
    let other = Machine::create(store, other, voters()).unwrap();
    assert_eq!(other.reader().get(&key("a")).unwrap(), None);
    assert_eq!(replica.get("a"), Some(("1".into(), 1)));
}

/// A leader that wrote on, and a follower with an older state of the same log.
fn leader_and_follower() -> (Replica, Replica) {
    let mut leader = Replica::new();
    leader.step(vec![
        put("both", "old", request(NOW, 1)),
        put("gone", "old", request(NOW, 2)),
    ]);
    let mut follower = Replica::new();
    follower.machine.apply(&leader.log).unwrap();
    leader.step(vec![
        put("both", "new", request(NOW, 3)),
        put("only new", "new", request(NOW, 4)),
        delete("gone", request(NOW, 5)),
    ]);
    (leader, follower)
}

#[test]
fn a_reader_finds_every_key_through_a_snapshot_switch_in_whatever_order_the_rest_is_done() {
    for clean_first in [false, true] {
        let (leader, mut follower) = leader_and_follower();
        let reader = follower.machine.reader();
        let read = |name: &str| reader.get(&key(name)).unwrap().map(|(value, _)| value);
        leader.send_snapshot(&follower.store);
        assert!(read("both").is_some());
        assert_eq!(
            read("only new"),
            Some(Bytes::from("new")),
            "asks for the pointer"
        );
        if clean_first {
            assert!(clean_generations(&follower.store, SHARD).unwrap() > 0);
            assert_eq!(read("both"), Some(Bytes::from("new")));
            follower.machine.reload().unwrap();
        } else {
            follower.machine.reload().unwrap();
            assert_eq!(read("both"), Some(Bytes::from("new")));
            assert!(clean_generations(&follower.store, SHARD).unwrap() > 0);
        }
        assert_eq!(read("both"), Some(Bytes::from("new")));
        assert_eq!(read("only new"), Some(Bytes::from("new")));
        assert_eq!(read("gone"), None);
    }
}

#[test]
fn a_reader_that_only_misses_does_not_take_a_removed_generation_for_an_empty_shard() {
    let (leader, follower) = leader_and_follower();
    let reader = follower.machine.reader();
    leader.send_snapshot(&follower.store);
    clean_generations(&follower.store, SHARD).unwrap();
    assert_eq!(
        reader.get(&key("both")).unwrap(),
        Some((Bytes::from("new"), 3))
    );
    assert_eq!(reader.get(&key("never")).unwrap(), None);
}

#[test]
fn a_machine_goes_on_from_the_snapshot_that_it_was_given() {
    let (mut leader, mut follower) = leader_and_follower();
    leader.send_snapshot(&follower.store);
    follower.machine.reload().unwrap();
    clean_generations(&follower.store, SHARD).unwrap();
    assert_eq!(follower.machine.meta(), leader.machine.meta());
    leader.one(put("both", "newer", request(NOW, 6)));
    let applied = follower.machine.apply(&leader.log).unwrap();
    assert_eq!(applied.len(), 1, "what the snapshot had is passed over");
    assert_eq!(follower.machine.meta(), leader.machine.meta());
    assert_eq!(follower.get("both"), leader.get("both"));
    follower.restart();
    follower.check();
}

#[test]
pub(super) fn after_a_reload_nothing_of_the_old_generation_is_read() {
    let (leader, mut follower) = leader_and_follower();
    let reader = follower.machine.reader();
    leader.send_snapshot(&follower.store);
    follower.machine.reload().unwrap();
    assert_eq!(reader.get(&key("gone")).unwrap(), None);
    assert_eq!(follower.get("both"), Some(("new".into(), 3)));
}

#[test]
fn a_snapshot_of_a_sealed_shard_seals() {
    let mut leader = Replica::new();
    leader.one(Command::Seal);
    let mut follower = Replica::new();
    let reader = follower.machine.reader();
    leader.send_snapshot(&follower.store);
    assert!(!reader.sealed());
    follower.machine.reload().unwrap();
    assert!(reader.sealed());
}

#[test]
fn a_shard_that_was_removed_is_not_an_empty_one() {
    let mut replica = Replica::new();
    replica.one(put("a", "1", request(NOW, 1)));
    destroy_shard(&replica.store, SHARD).unwrap();
    let read = replica.machine.reader().get(&key("a"));
    assert!(matches!(read, Err(ReadError::NotThere(SHARD))), "{read:?}");
    assert!(matches!(
        replica.machine.reload(),
        Err(Broken::NotThere(SHARD))
    ));
}

/// One thread reads all the time, another one installs snapshots and removes old generations.
#[test]
fn a_key_that_is_always_there_is_always_found_while_snapshots_are_installed() {
    let mut leader = Replica::new();
    leader.one(put("always", "0", request(NOW, 0)));
    let mut follower = Replica::new();
    leader.send_snapshot(&follower.store);
    follower.machine.reload().unwrap();
    clean_generations(&follower.store, SHARD).unwrap();
    let reader = follower.machine.reader();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut last = 0;
            let mut reads = 0_u32;
            while !done.load(Ordering::Acquire) || reads == 0 {
                let found = reader.get(&key("always")).unwrap();
                let (_, version) = found.expect("the key is always there");
                assert!(version >= last, "version {version} after {last}");
                last = version;
                reads += 1;
            }
            last
        });
        for n in 1..60 {
            leader.one(put("always", "n", request(NOW, n)));
            leader.send_snapshot(&follower.store);
            if n % 2 == 0 {
                follower.machine.reload().unwrap();
            }
            clean_generations(&follower.store, SHARD).unwrap();
        }
        done.store(true, Ordering::Release);
        assert!(reading.join().unwrap() <= 60);
    });
    assert_eq!(reader.get(&key("always")).unwrap().unwrap().1, 60);
}
