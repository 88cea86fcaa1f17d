//! Scripts for operations whose callers have gone.

use api::Reason;

use super::lab::{Lab, get, put, transact_read};
use crate::operation::Answer;

#[test]
fn a_write_whose_caller_has_gone_before_it_is_proposed_is_not() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let before = lab.status(leader).last_index;
    let gone = lab.queue(leader, put("a", "1"));
    lab.cancel(gone);
    lab.settle();
    assert_eq!(lab.reason(gone), Some(Reason::NoLeader), "nothing was done");
    assert_eq!(lab.status(leader).last_index, before);
    let (gone, kept) = (
        lab.queue(leader, put("a", "2")),
        lab.queue(leader, put("b", "3")),
    );
    lab.cancel(gone);
    lab.settle();
    assert_eq!(lab.answer(kept), Some(Answer::Applied { version: 1 }));
    let read = lab.ask(leader, get("a"));
    lab.settle();
    assert_eq!(lab.answer(read), Some(Answer::Absent));
}

#[test]
fn a_write_that_was_proposed_is_not_called_back() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let others = lab.others(leader);
    for node in others {
        lab.hold_log(node, true);
    }
    let write = lab.ask(leader, put("a", "1"));
    lab.settle();
    lab.cancel(write);
    lab.ticks(1);
    assert_eq!(lab.answer(write), None, "what becomes of it is not known");
    for node in others {
        lab.hold_log(node, false);
    }
    lab.settle();
    assert_eq!(lab.answer(write), Some(Answer::Applied { version: 1 }));
}

#[test]
fn a_consistent_read_whose_caller_has_gone_begins_no_round() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    lab.settle_write(leader, "a", "1");
    lab.ticks(4);
    let before = lab.messages();
    for read in [get("a"), transact_read(&[("a", 0)])] {
        let gone = lab.queue(leader, read);
        lab.cancel(gone);
        lab.settle();
        assert_eq!(lab.reason(gone), Some(Reason::NoLeader));
    }
    assert_eq!(lab.messages(), before);
}

#[test]
fn a_read_that_waits_for_its_round_is_let_go_of_when_its_caller_has_gone() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    lab.settle_write(leader, "a", "1");
    for other in lab.others(leader) {
        lab.cut(other);
    }
    let (gone, kept) = (lab.ask(leader, get("a")), lab.ask(leader, get("a")));
    lab.settle();
    lab.cancel(gone);
    lab.ticks(1);
    assert!(lab.reason(gone).is_some(), "long before its deadline");
    assert_eq!(lab.answer(kept), None);
    lab.heal();
    lab.ticks(4);
    assert_eq!(lab.value(kept).as_deref(), Some(&b"1"[..]));
}

#[test]
fn what_nobody_waits_for_is_not_handed_on() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let [follower, _] = lab.others(leader);
    let before = lab.status(leader).last_index;
    let gone = lab.queue(follower, put("a", "1"));
    lab.cancel(gone);
    lab.settle();
    assert_eq!(lab.reason(gone), Some(Reason::NoLeader));
    assert_eq!(lab.status(leader).last_index, before);
}
