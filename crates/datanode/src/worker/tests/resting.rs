//! Scripts for groups that rest.

use model::{NodeId, ShardId};
use raft::Role;

use super::ELECTION;
use super::lab::{Lab, SHARD, get, put};
use crate::operation::Answer;
use crate::options::Tuning;
use crate::worker::Input;

/// Until a group that nobody uses rests: the last checkpoint, then the time itself.
pub(super) fn idle() -> usize {
    let tuning = Tuning::default();
    let checkpoint = tuning.checkpoint_interval_millis / tuning.tick_millis;
    (checkpoint + 2 * tuning.rest_ticks) as usize
}

fn resting(write: bool) -> (Lab, NodeId) {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    if write {
        lab.settle_write(leader, "a", "1");
    }
    lab.ticks(idle());
    (lab, leader)
}

#[test]
fn a_group_that_nobody_uses_says_nothing_and_goes_on_when_it_is_asked() {
    for write in [false, true] {
        let (mut lab, leader) = resting(write);
        let said = lab.messages();
        lab.ticks(ELECTION);
        assert_eq!(lab.messages(), said, "only empty frames");
        assert!(lab.frames() > said, "the nodes say that they are there");
        assert_eq!(lab.leader(), Some(leader));
        lab.settle_write(leader, "b", "2");
        let read = lab.ask(leader, get("b"));
        lab.settle();
        assert_eq!(lab.value(read).as_deref(), Some(&b"2"[..]));
        assert!(lab.messages() > said);
    }
}

#[test]
fn a_write_through_a_follower_wakes_the_group() {
    let (mut lab, leader) = resting(true);
    let [follower, _] = lab.others(leader);
    let write = lab.ask(follower, put("b", "2"));
    lab.settle();
    assert!(matches!(lab.answer(write), Some(Answer::Applied { .. })));
    lab.ticks(ELECTION);
    assert_eq!(lab.leader(), Some(leader), "nobody had to be elected");
}

#[test]
fn those_who_rest_elect_another_leader_when_its_node_falls_silent() {
    let (mut lab, leader) = resting(true);
    lab.pause(leader, true);
    let tuning = Tuning::default();
    // It is missed after one election timeout, and then the timers run out within another one.
    lab.ticks(3 * tuning.election_ticks as usize);
    let next = lab.leader_but(leader).expect("another one");
    lab.settle_write(next, "b", "2");
    lab.pause(leader, false);
    lab.ticks(ELECTION);
    assert_eq!(lab.status(leader).role, Some(Role::Follower));
}

#[test]
fn those_who_rest_elect_another_leader_when_its_node_has_another_process() {
    let (mut lab, leader) = resting(true);
    let [follower, other] = lab.others(leader);
    for node in [follower, other] {
        for incarnation in [7, 8] {
            lab.input(
                node,
                Input::Heard {
                    from: leader,
                    incarnation,
                },
            );
        }
    }
    lab.settle();
    let said = lab.messages();
    lab.ticks(2 * Tuning::default().election_ticks as usize);
    assert!(lab.messages() > said, "they are awake");
}

#[test]
fn a_leader_that_stopped_while_all_rested_is_replaced_once_somebody_asks() {
    let (mut lab, leader) = resting(true);
    lab.remove(leader);
    lab.ticks(ELECTION);
    let [follower, _] = lab.others(leader);
    let lost = lab.ask(follower, put("b", "2"));
    lab.ticks(2 * ELECTION);
    assert!(lab.answer(lost).is_some());
    let next = lab.leader_but(leader).expect("another one");
    lab.settle_write(next, "c", "3");
}

#[test]
fn a_group_goes_home_before_it_rests() {
    for home in 1..=3 {
        let mut lab = Lab::with(3, 1, Some(NodeId(home)));
        lab.elect();
        lab.ticks(idle());
        let said = lab.messages();
        lab.ticks(ELECTION);
        assert_eq!(lab.messages(), said, "it rests");
        assert_eq!(lab.leader(), Some(NodeId(home)));
    }
}

/// What the busy group's messages are must not matter to the other one's rest.
#[test]
fn a_group_rests_while_another_one_between_the_same_nodes_is_busy() {
    let mut lab = Lab::with(3, 2, None);
    let leader = lab.elect();
    let other = ShardId { index: 1, ..SHARD };
    let all = |lab: &Lab| (1..=3).all(|node| lab.rests(NodeId(node), other));
    for tick in 0..idle() + 20 * ELECTION {
        if tick >= idle() {
            assert!(all(&lab), "at tick {tick}");
        }
        let write = lab.ask(leader, put("a", "1"));
        lab.ticks(1);
        assert!(lab.answer(write).is_some());
    }
    assert!(!lab.rests(leader, SHARD));
}
