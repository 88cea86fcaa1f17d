//! No write is applied twice (K5), and none lands after its time.

use model::limits;

use super::*;

const WINDOW: u64 = limits::REQUEST_WINDOW_MILLIS;

/// Row 12 of the checklist (TiDB #47060): the first attempt is held up on its way, the second one, with the same
/// identity, is applied, somebody else writes, and then the first attempt arrives.
#[test]
pub(super) fn a_delayed_first_attempt_cannot_land_after_a_later_write() {
    for delay in [0, 1, WINDOW, WINDOW + 1, 10 * WINDOW] {
        for restarted in [false, true] {
            let mut replica = Replica::new();
            let attempt = put("a", "mine", request(NOW, 1));
            assert_eq!(replica.one(attempt.clone()), written(1));
            replica.one(put("a", "later", request(NOW + 1, 2)));
            if restarted {
                replica.restart();
            }
            replica.now_millis = NOW + delay;
            let expected = if delay <= WINDOW { written(1) } else { EXPIRED };
            assert_eq!(replica.one(attempt), expected, "{delay} ms later");
            assert_eq!(replica.get("a"), Some(("later".into(), 2)));
        }
    }
}

#[test]
fn a_delayed_delete_cannot_land_after_a_later_write() {
    for absent_at_first in [false, true] {
        let mut replica = Replica::new();
        if !absent_at_first {
            replica.one(put("a", "old", request(NOW, 1)));
        }
        let attempt = delete("a", request(NOW, 2));
        assert_eq!(replica.one(attempt.clone()), Outcome::Deleted);
        replica.one(put("a", "later", request(NOW, 3)));
        assert_eq!(replica.one(attempt.clone()), Outcome::Deleted);
        assert_eq!(replica.get("a").unwrap().0, "later");
        replica.now_millis = NOW + WINDOW + 1;
        assert_eq!(replica.one(attempt), EXPIRED);
        assert_eq!(replica.get("a").unwrap().0, "later");
    }
}

#[test]
fn a_write_older_than_the_window_is_refused_though_nobody_has_seen_it() {
    let mut replica = Replica::new();
    assert_eq!(
        replica.one(put("a", "1", request(NOW - WINDOW - 1, 1))),
        EXPIRED
    );
    assert_eq!(replica.get("a"), None);
    assert_eq!(
        replica.one(put("a", "1", request(NOW - WINDOW, 1))),
        written(1)
    );
}

#[test]
pub(super) fn a_follower_that_took_a_snapshot_remembers_what_the_sender_remembered() {
    let mut sender = Replica::new();
    sender.one(put("a", "1", request(NOW, 1)));
    sender.one(put("a", "2", request(NOW, 2)));
    let mut follower = Replica::new();
    sender.send_snapshot(&follower.store);
    follower.machine.reload().unwrap();
    assert_eq!(follower.machine.window, sender.machine.window);
    assert_eq!(follower.one(put("a", "1", request(NOW, 1))), written(1));
    assert_eq!(follower.get("a"), Some(("2".into(), 2)));
    assert_eq!(follower.one(put("a", "3", request(NOW, 3))), written(3));
}

/// The leader's clock jumps two days ahead for one entry. Writes by right clocks are taken again right after it,
/// and what was applied before is still not applied again.
#[test]
fn a_clock_that_was_far_ahead_does_not_lock_the_shard() {
    let mut replica = Replica::new();
    replica.one(put("a", "1", request(NOW, 1)));
    replica.now_millis = NOW + 48 * 3600 * 1000;
    replica.one(Command::Checkpoint { verify_id: 0 });
    replica.now_millis = NOW + 10;
    assert_eq!(replica.one(put("a", "1", request(NOW, 1))), EXPIRED);
    assert_eq!(replica.one(put("a", "2", request(NOW + 5, 2))), written(2));
    assert_eq!(replica.one(put("a", "2", request(NOW + 5, 2))), written(2));
}

#[test]
fn beyond_its_bound_a_shard_forgets_the_oldest_issued_and_refuses_them() {
    let bounds = WindowBounds {
        entries: 3,
        ..WindowBounds::default()
    };
    let mut replica = Replica::with(bounds);
    for (n, issued) in [(1, NOW + 1), (2, NOW + 4), (3, NOW + 2), (4, NOW + 3)] {
        assert_eq!(replica.one(put("a", "v", request(issued, n))), written(n));
    }
    assert_eq!(replica.machine.meta().request_floor_millis, NOW + 1);
    assert_eq!(replica.one(put("a", "v", request(NOW + 1, 1))), EXPIRED);
    assert_eq!(
        replica.one(put("a", "v", request(NOW + 1, 9))),
        EXPIRED,
        "it can't be known"
    );
    assert_eq!(replica.one(put("a", "v", request(NOW + 2, 3))), written(3));
    replica.restart();
    assert_eq!(replica.one(put("a", "v", request(NOW + 1, 1))), EXPIRED);
    assert_eq!(replica.one(put("a", "v", request(NOW + 2, 3))), written(3));
}

#[test]
fn blocks_of_forgotten_requests_go_from_the_store() {
    let mut replica = Replica::new();
    let count = 3 * window::DROPPED_BLOCKS_PER_ENTRY;
    for n in 0..count as u64 {
        replica.one(put("a", "v", request(NOW + n, n)));
    }
    let stored = |replica: &Replica| {
        let range = keys::requests(SHARD, replica.machine.generation());
        let view = replica.store.view();
        view.scan(&range).count()
    };
    assert_eq!(stored(&replica), count);
    replica.now_millis = NOW + 2 * WINDOW;
    // An entry without a write removes as many as any other.
    for left in [2, 1, 0] {
        replica.one(Command::Checkpoint { verify_id: 0 });
        assert_eq!(stored(&replica), left * window::DROPPED_BLOCKS_PER_ENTRY);
        replica.restart();
    }
    assert!(replica.machine.window.is_empty());
    assert_eq!(replica.machine.window.blocks(), 0);
}

#[test]
fn a_refused_write_is_not_remembered() {
    let mut replica = Replica::new();
    let before = replica.machine.window.clone();
    replica.one(put("a", "1", request(NOW - WINDOW - 1, 1)));
    replica.one(Command::Seal);
    replica.one(put("a", "1", request(NOW, 1)));
    assert_eq!(replica.machine.window, before);
}
