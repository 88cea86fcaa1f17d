//! Scripts for reads by a lease.

use model::NodeId;

use super::ELECTION;
use super::lab::{Lab, get, put};
use super::resting::idle;
use crate::operation::Answer;
use crate::options::ReadMode;

/// A leader with a lease, and an item.
fn leased() -> (Lab, NodeId) {
    let mut lab = Lab::reading(ReadMode::Lease, 3, 1, None);
    let leader = lab.elect();
    lab.settle_write(leader, "a", "1");
    lab.ticks(4);
    (lab, leader)
}

/// Reads the item; how many messages that took.
fn read_messages(lab: &mut Lab, leader: NodeId) -> usize {
    let before = lab.messages();
    let read = lab.ask(leader, get("a"));
    lab.settle();
    assert_eq!(lab.value(read).as_deref(), Some(&b"1"[..]));
    lab.messages() - before
}

#[test]
fn a_leader_with_a_lease_reads_without_a_message() {
    let (mut lab, leader) = leased();
    assert_eq!(read_messages(&mut lab, leader), 0);
    assert_eq!(lab.status(leader).lease_reads, 1);
}

#[test]
fn a_leader_that_was_paused_while_another_was_elected_reads_nothing_old() {
    let (mut lab, leader) = leased();
    lab.pause(leader, true);
    let reads: Vec<_> = (0..3).map(|_| lab.ask(leader, get("a"))).collect();
    lab.ticks(4 * ELECTION);
    let [other, _] = lab.others(leader);
    let write = lab.ask(other, put("a", "2"));
    lab.settle();
    assert!(matches!(lab.answer(write), Some(Answer::Applied { .. })));
    lab.pause(leader, false);
    lab.settle();
    for read in reads {
        assert_ne!(lab.value(read).as_deref(), Some(&b"1"[..]));
    }
    assert_eq!(lab.status(leader).lease_reads, 0);
}

#[test]
fn a_group_that_rested_asks_again_before_it_reads() {
    let (mut lab, leader) = leased();
    lab.ticks(idle());
    assert!(read_messages(&mut lab, leader) > 0);
    assert_eq!(lab.status(leader).lease_reads, 0);
}

#[test]
fn without_leases_every_read_asks() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    lab.settle_write(leader, "a", "1");
    lab.ticks(4);
    assert!(read_messages(&mut lab, leader) > 0);
    assert_eq!(lab.status(leader).lease_reads, 0);
}
