//! Leaders that go home.

use api::Reason;
use model::NodeId;
use raft::Role;

use super::lab::{Lab, SHARD, put};
use crate::options::Tuning;
use crate::worker::Input;

const HOME: NodeId = NodeId(1);

/// What [`Tuning::default`] says, as the lab's nodes have it.
fn wait() -> usize {
    Tuning::default().home_ticks as usize
}

/// The longest that a transfer is under way.
fn election() -> usize {
    Tuning::default().election_ticks as usize
}

/// A leader that is not at home, one tick old as such: home, which is node 1, is cut off while it is elected, and healed now.
fn led_from_elsewhere(lab: &mut Lab) -> NodeId {
    lab.cut(HOME);
    lab.ticks(super::ELECTION);
    let leader = lab.leader_but(HOME).expect("the others have elected one");
    lab.heal();
    // Home is heard, and is told what it lacks.
    lab.ticks(3);
    assert_eq!(lab.leader(), Some(leader));
    leader
}

/// Ticks until home leads; `None`: it does not.
fn ticks_until_home(lab: &mut Lab, most: usize) -> Option<usize> {
    (1..=most).find(|_| {
        lab.ticks(1);
        lab.status(HOME).role == Some(Role::Leader)
    })
}

#[test]
fn a_leader_that_is_not_at_home_hands_over_to_home_after_the_time_and_not_before() {
    let mut lab = Lab::with(3, 1, Some(HOME));
    let leader = led_from_elsewhere(&mut lab);
    lab.settle_write(leader, "a", "1");
    let took = ticks_until_home(&mut lab, 2 * wait()).expect("home leads");
    assert!((wait() - 3..=wait()).contains(&took), "{took}");
    lab.settle_write(HOME, "a", "2");
    let term = lab.status(HOME).term;
    lab.ticks(5 * wait());
    let status = lab.status(HOME);
    assert_eq!((status.role, status.term), (Some(Role::Leader), term));
}

#[test]
fn without_a_home_the_leader_stays_where_it_is() {
    let mut lab = Lab::new(3);
    let leader = led_from_elsewhere(&mut lab);
    assert_eq!(ticks_until_home(&mut lab, 3 * wait()), None);
    assert_eq!(lab.leader(), Some(leader));
}

#[test]
fn a_home_that_is_silent_gets_nothing_and_each_silence_begins_the_time_anew() {
    let mut lab = Lab::with(3, 1, Some(HOME));
    let leader = led_from_elsewhere(&mut lab);
    for _ in 0..4 {
        lab.ticks(wait() / 2);
        lab.cut(HOME);
        lab.ticks(wait());
        lab.heal();
        lab.ticks(3);
        assert_eq!(lab.status(leader).role, Some(Role::Leader));
        assert_eq!(lab.status(leader).term, lab.status(HOME).term);
    }
    let took = ticks_until_home(&mut lab, 2 * wait()).expect("home leads");
    assert!(took > wait() - 10, "{took}");
}

#[test]
fn a_home_that_lags_gets_nothing_until_it_is_level() {
    let mut lab = Lab::with(3, 1, Some(HOME));
    let leader = led_from_elsewhere(&mut lab);
    // It hears and answers, but its disk has stopped.
    lab.hold_log(HOME, true);
    lab.settle_write(leader, "a", "1");
    assert_eq!(ticks_until_home(&mut lab, 3 * wait()), None);
    lab.settle_write(leader, "a", "2");
    lab.hold_log(HOME, false);
    let took = ticks_until_home(&mut lab, 2 * wait()).expect("home leads");
    assert!(took > wait() - 10, "{took}");
}

#[test]
fn under_load_home_is_level_although_something_is_always_on_its_way() {
    let mut lab = Lab::with(3, 1, Some(HOME));
    let leader = led_from_elsewhere(&mut lab);
    let due = (1..=wait()).find(|i| {
        // With each tick an entry is committed that home does not have yet.
        lab.hold_log(HOME, true);
        lab.settle_write(leader, "a", &format!("{i}"));
        lab.ticks(1);
        lab.hold_log(HOME, false);
        lab.settle();
        lab.status(HOME).role == Some(Role::Leader)
    });
    assert!(due.is_some());
}

#[test]
fn a_leader_whose_contents_are_distrusted_keeps_its_place() {
    let mut lab = Lab::with(3, 1, Some(HOME));
    let leader = led_from_elsewhere(&mut lab);
    lab.settle_write(leader, "a", "1");
    for (node, hash) in [(HOME, 1), (leader, 3)] {
        lab.report_content(leader, node, u64::MAX / 2, hash);
    }
    let [first, second] = lab.others(leader);
    let third = if first == HOME { second } else { first };
    lab.report_content(leader, third, u64::MAX / 2, 2);
    assert!(lab.status(leader).no_quorum);
    assert_eq!(ticks_until_home(&mut lab, 3 * wait()), None);
}

#[test]
fn a_quarantined_leader_moves_nothing_and_counts_anew_afterwards() {
    let mut lab = Lab::with(3, 1, Some(HOME));
    let leader = led_from_elsewhere(&mut lab);
    lab.ticks(wait() / 2);
    let quarantine = |lab: &mut Lab, quarantined| {
        let shard = SHARD;
        lab.input(leader, Input::Quarantine { shard, quarantined });
    };
    quarantine(&mut lab, true);
    lab.ticks(2);
    quarantine(&mut lab, false);
    let took = ticks_until_home(&mut lab, 2 * wait()).expect("home leads");
    assert!(took > wait() - 10, "{took}");
}

#[test]
fn a_transfer_that_fails_is_tried_again_later_and_later_and_writes_go_on_between() {
    let mut lab = Lab::with(3, 1, Some(HOME));
    let leader = led_from_elsewhere(&mut lab);
    lab.lose_transfers(true);
    let mut refused = Vec::new();
    for tick in 0..32 * wait() {
        let write = lab.ask(leader, put("a", "1"));
        lab.ticks(1);
        if lab.reason(write) == Some(Reason::NoLeader) {
            refused.push(tick);
        }
    }
    assert_eq!(lab.status(leader).role, Some(Role::Leader));
    let begun = starts(&refused);
    let waits: Vec<_> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let expected = [2, 4, 8, 12].map(|times| times * wait() + election());
    assert_eq!(waits.len(), expected.len(), "{waits:?}");
    for (wait, expected) in waits.into_iter().zip(expected) {
        assert!(wait.abs_diff(expected) <= 3, "{wait} for {expected}");
    }
    assert_eq!(refused.len(), begun.len() * election(), "and no others");
    lab.lose_transfers(false);
    assert!(ticks_until_home(&mut lab, 13 * wait()).is_some());
}

/// Where stretches of consecutive numbers begin.
fn starts(numbers: &[usize]) -> Vec<usize> {
    let begins = |i: &usize| *i == 0 || numbers[i - 1] + 1 < numbers[*i];
    (0..numbers.len())
        .filter(begins)
        .map(|i| numbers[i])
        .collect()
}

#[test]
fn a_node_that_returns_gets_its_groups_one_after_the_other() {
    const SHARDS: u32 = 40;
    let mut lab = Lab::with(3, SHARDS, Some(HOME));
    led_from_elsewhere(&mut lab);
    assert_eq!(led_by_home(&mut lab), 0);
    let mut before = 0;
    for _ in 0..wait() + SHARDS as usize {
        lab.ticks(1);
        let led = led_by_home(&mut lab);
        // Two others lead, and each transfers one.
        assert!(led <= before + 2, "{led} after {before}");
        before = led;
    }
    assert_eq!(before, SHARDS as usize);
}

fn led_by_home(lab: &mut Lab) -> usize {
    let statuses = lab.statuses(HOME);
    let led = statuses.iter().filter(|s| s.role == Some(Role::Leader));
    led.count()
}

#[test]
fn a_node_that_goes_down_passes_on_what_it_gets_meanwhile() {
    let mut lab = Lab::with(3, 1, Some(HOME));
    led_from_elsewhere(&mut lab);
    lab.input(HOME, Input::HandOver);
    let (mut got, mut led_for) = (0, 0);
    for _ in 0..8 * wait() {
        lab.ticks(1);
        let leads = lab.status(HOME).role == Some(Role::Leader);
        led_for = if leads { led_for + 1 } else { 0 };
        got += usize::from(led_for == 1);
        assert!(led_for <= 2, "it keeps it");
    }
    assert!(
        (1..=3).contains(&got),
        "{got} times: once, and less and less often"
    );
    assert!(lab.leader_but(HOME).is_some());
}
