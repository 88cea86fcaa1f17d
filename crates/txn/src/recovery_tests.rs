//! Scripts: what happens, line by line, and what the recovery does about it.

use super::*;
use Decision::{Cancelled, Committed};
use TransactionState::{Prepared, Unknown};

struct Script {
    recovery: Recovery,
    effects: Vec<Effect>,
}

/// A recovery of a transaction over two groups that has looked into the ledger.
fn reads(standing: Option<Standing>) -> Script {
    let mut recovery = Recovery::new(2);
    assert_eq!(recovery.step(Event::Begin), [Effect::Read]);
    let effects = recovery.step(Event::Read(standing));
    Script { recovery, effects }
}

impl Script {
    fn on(mut self, event: Event) -> Self {
        self.effects = self.recovery.step(event);
        self
    }

    fn answers(self, group: usize, state: TransactionState) -> Self {
        self.on(Event::Answered { group, state })
    }

    #[track_caller]
    fn does(self, effects: impl IntoIterator<Item = Effect>) -> Self {
        assert_eq!(self.effects, Vec::from_iter(effects));
        self
    }

    #[track_caller]
    fn applies(self, decision: Decision) -> Self {
        self.does([0, 1].map(|group| Effect::Apply { group, decision }))
    }

    fn all_applied(self) -> Self {
        self.on(Event::Applied { group: 1 })
            .does([])
            .on(Event::Applied { group: 0 })
    }

    #[track_caller]
    fn inquires(self) -> Self {
        self.does([0, 1].map(|group| Effect::Inquire { group }))
    }

    #[track_caller]
    fn ends(self, end: End) {
        self.does([Effect::End(end)]);
    }
}

fn a_pending_one_is_cancelled_and_never_committed() {
    reads(Some(Standing::Pending))
        .does([Effect::Write(Cancelled)])
        .on(Event::Written)
        .applies(Cancelled)
        .all_applied()
        .does([Effect::Remove])
        .on(Event::Removed)
        .ends(End::Finished(Cancelled));
}

fn a_missing_one_is_cancelled_only_after_all_were_asked_and_it_is_written() {
    reads(None)
        .inquires()
        .answers(0, Prepared)
        .does([])
        .answers(1, Unknown)
        .does([Effect::CreateCancelled])
        .on(Event::Written)
        .applies(Cancelled)
        .all_applied()
        .does([Effect::Remove])
        .on(Event::Removed)
        .ends(End::Finished(Cancelled));
}

#[test]
fn what_may_be_cancelled_is() {
    a_pending_one_is_cancelled_and_never_committed();
    a_missing_one_is_cancelled_only_after_all_were_asked_and_it_is_written();
}

#[test]
fn a_decided_one_is_driven_to_all_participants() {
    for decision in [Committed, Cancelled] {
        reads(Some(Standing::Decided(decision)))
            .applies(decision)
            .all_applied()
            .does([Effect::Remove])
            .on(Event::Removed)
            .ends(End::Finished(decision));
    }
}

#[test]
fn a_coordinator_that_was_faster_has_decided() {
    reads(Some(Standing::Pending))
        .on(Event::FoundDecided(Committed))
        .applies(Committed);
}

#[test]
fn one_participant_that_has_committed_decides_a_missing_one() {
    reads(None)
        .answers(1, TransactionState::Committed)
        .applies(Committed)
        .all_applied()
        .ends(End::Finished(Committed));
}

#[test]
fn a_missing_one_of_which_not_all_could_be_asked_stays_as_it_is() {
    reads(None)
        .answers(0, Prepared)
        .on(Event::InquiryFailed { group: 1 })
        .ends(End::GivenUp);
    // But one that has committed is enough.
    reads(None)
        .on(Event::InquiryFailed { group: 1 })
        .answers(0, TransactionState::Committed)
        .applies(Committed);
}

/// It may have been committed, applied here and written over since, and the caller may have been told so.
#[test]
fn a_missing_one_that_may_have_been_committed_is_not_cancelled() {
    reads(None)
        .answers(0, Prepared)
        .answers(1, TransactionState::Forgotten)
        .ends(End::Undecidable);
}

#[test]
fn one_that_was_not_committed_somewhere_was_not_committed() {
    for denial in [Unknown, TransactionState::Cancelled] {
        let mut recovery = Recovery::new(3);
        recovery.step(Event::Begin);
        recovery.step(Event::Read(None));
        let states = [Prepared, TransactionState::Forgotten, denial];
        let mut effects = Vec::new();
        for (group, state) in states.into_iter().enumerate() {
            effects = recovery.step(Event::Answered { group, state });
        }
        assert_eq!(effects, [Effect::CreateCancelled]);
    }
    // A deleted table says nothing, and holds nothing up.
    reads(None)
        .answers(0, Prepared)
        .on(Event::TableDeleted { group: 1 })
        .does([Effect::CreateCancelled]);
}

#[test]
fn where_nobody_holds_an_intent_there_is_nothing_to_write() {
    reads(None)
        .answers(0, Unknown)
        .answers(1, TransactionState::Cancelled)
        .ends(End::Nothing);
}

#[test]
fn somebody_else_may_create_the_entry_first() {
    reads(None)
        .answers(0, Prepared)
        .answers(1, Prepared)
        .on(Event::FoundDecided(Cancelled))
        .applies(Cancelled);
}

#[test]
fn an_entry_that_goes_meanwhile_is_looked_for_once_more() {
    reads(Some(Standing::Pending))
        .on(Event::EntryGone)
        .does([Effect::Read])
        .on(Event::Read(None))
        .inquires()
        .answers(0, Unknown)
        .answers(1, Unknown)
        .ends(End::Nothing);
}

#[test]
fn a_deleted_table_counts_as_applied_and_knows_nothing() {
    reads(None)
        .on(Event::TableDeleted { group: 0 })
        .answers(1, Prepared)
        .does([Effect::CreateCancelled])
        .on(Event::Written)
        .on(Event::TableDeleted { group: 0 })
        .on(Event::Applied { group: 1 })
        .does([Effect::Remove]);
}

#[test]
fn the_entry_stays_while_a_group_can_t_be_reached() {
    reads(Some(Standing::Decided(Committed)))
        .on(Event::ApplyFailed { group: 0 })
        .does([])
        .on(Event::Applied { group: 1 })
        .ends(End::GivenUp);
}

#[test]
fn what_can_t_be_read_or_written_is_given_up_until_the_next_time() {
    let mut recovery = Recovery::new(1);
    recovery.step(Event::Begin);
    let given_up = [Effect::End(End::GivenUp)];
    assert_eq!(recovery.step(Event::ReadFailed), given_up);
    reads(Some(Standing::Pending))
        .on(Event::WriteFailed)
        .ends(End::GivenUp);
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutants_are_noticed() {
    use mutants::{Mutant, is_noticed};
    let pending = a_pending_one_is_cancelled_and_never_committed;
    assert!(is_noticed(Mutant::RecoveryCommitsPending, pending));
    let missing = a_missing_one_is_cancelled_only_after_all_were_asked_and_it_is_written;
    assert!(is_noticed(Mutant::MissingTakenForCancelled, missing));
}
