//! Scripts: what happens, line by line, and what the coordinator does about it.

use model::Timestamp;

use super::*;
use Decision::{Cancelled, Committed};
use Effect::{Remove, Stamp, Write};

const FIRST: TransactionId = TransactionId(1);
const SECOND: TransactionId = TransactionId(2);

struct Script {
    coordinator: Coordinator,
    effects: Vec<Effect>,
}

fn apply(group: usize, decision: Decision) -> Effect {
    Effect::Apply { group, decision }
}

fn prepare(group: usize) -> Effect {
    Effect::Prepare { group }
}

fn says(answer: Answer) -> Effect {
    Effect::Answer(answer)
}

/// A transaction over two groups that has just begun.
fn begin() -> Script {
    let coordinator = Coordinator::new(FIRST, 2);
    let script = Script {
        coordinator,
        effects: Vec::new(),
    };
    script.on(Event::Begin)
}

/// … whose prepares are on their way.
fn preparing() -> Script {
    begin()
        .on(Event::Confirmed)
        .does([Stamp, prepare(0), prepare(1)])
}

/// … whose commit stands in the ledger.
fn committed() -> Script {
    preparing()
        .on(Event::Prepared { group: 0 })
        .on(Event::Prepared { group: 1 })
        .on(Event::Written)
}

impl Script {
    fn on(mut self, event: Event) -> Self {
        self.effects = self.coordinator.step(event);
        self
    }

    #[track_caller]
    fn does(self, effects: impl IntoIterator<Item = Effect>) -> Self {
        assert_eq!(self.effects, Vec::from_iter(effects));
        self
    }

    #[track_caller]
    fn answers(self, answer: Answer) {
        assert!(self.effects.contains(&says(answer)), "{:?}", self.effects);
    }

    #[track_caller]
    fn does_nothing(self) -> Self {
        self.does([])
    }

    #[track_caller]
    fn ends(self) {
        assert!(self.coordinator.is_ended());
    }

    #[track_caller]
    fn goes_on(self) -> Self {
        assert!(!self.coordinator.is_ended());
        self
    }
}

fn nothing_is_prepared_before_the_entry_is_confirmed() {
    begin()
        .does([Effect::Create(FIRST)])
        .on(Event::Confirmed)
        .does([Stamp, prepare(0), prepare(1)]);
}

fn no_shard_hears_of_a_decision_before_the_ledger_has_it() {
    preparing()
        .on(Event::Prepared { group: 1 })
        .does_nothing()
        .on(Event::Prepared { group: 0 })
        .does([Write(Committed)])
        .on(Event::WriteFailed)
        .does([Write(Committed)])
        .on(Event::Written)
        .does([apply(0, Committed), apply(1, Committed)]);
}

fn success_is_answered_when_all_have_applied() {
    committed()
        .does([apply(0, Committed), apply(1, Committed)])
        .on(Event::Applied { group: 1 })
        .does_nothing()
        .on(Event::ApplyFailed { group: 0 })
        .does([apply(0, Committed)])
        .on(Event::Applied { group: 0 })
        .does([says(Answer::Committed), Remove])
        .on(Event::RemoveFailed)
        .does([Remove])
        .on(Event::Removed)
        .ends();
}

fn the_entry_stays_until_all_have_applied() {
    committed()
        .does([apply(0, Committed), apply(1, Committed)])
        .on(Event::Applied { group: 0 })
        .does_nothing()
        .on(Event::Deadline)
        .does([says(Answer::Unknown { committed: true })])
        .on(Event::Applied { group: 1 })
        .does([Remove]);
}

#[test]
fn the_steps_come_in_their_order() {
    nothing_is_prepared_before_the_entry_is_confirmed();
    no_shard_hears_of_a_decision_before_the_ledger_has_it();
    success_is_answered_when_all_have_applied();
    the_entry_stays_until_all_have_applied();
}

#[test]
fn an_id_whose_creation_is_in_doubt_is_given_up() {
    begin()
        .on(Event::Lost { next: SECOND })
        .does([Effect::Create(SECOND)])
        .on(Event::Confirmed)
        .does([Stamp, prepare(0), prepare(1)]);
}

#[test]
fn what_was_not_created_has_not_begun() {
    begin()
        .on(Event::NotCreated)
        .does([says(Answer::NotBegun)])
        .ends();
}

#[test]
fn one_refusal_cancels_and_is_told_once_the_others_have_dropped_their_intents() {
    let objections = vec![None, Some(Objection::ConditionFailed)];
    let script = preparing()
        .on(Event::Rejected {
            group: 0,
            objections: objections.clone(),
        })
        .does_nothing()
        .on(Event::Prepared { group: 1 })
        .does([Write(Cancelled)])
        .on(Event::Written)
        .does([apply(0, Cancelled), apply(1, Cancelled)])
        .on(Event::Applied { group: 1 })
        .does([says(Answer::Cancelled)])
        .on(Event::Applied { group: 0 })
        .does([Remove]);
    let votes: Vec<_> = script.coordinator.votes().cloned().collect();
    assert_eq!(votes, [Vote::Rejected(objections), Vote::Prepared]);
}

#[test]
fn a_group_that_certainly_holds_nothing_is_not_waited_for() {
    preparing()
        .on(Event::Prepared { group: 1 })
        .on(Event::PrepareFailed {
            group: 0,
            certain: true,
        })
        .does([Write(Cancelled)])
        .on(Event::Written)
        .does([apply(1, Cancelled)])
        .on(Event::Applied { group: 1 })
        .does([says(Answer::Cancelled), Remove]);
}

#[test]
fn a_group_that_may_hold_intents_is_told_of_the_cancellation() {
    preparing()
        .on(Event::Prepared { group: 1 })
        .on(Event::PrepareFailed {
            group: 0,
            certain: false,
        })
        .does([Write(Cancelled)])
        .on(Event::Written)
        .does([apply(0, Cancelled), apply(1, Cancelled)]);
}

#[test]
fn a_deleted_table_refuses_a_prepare_and_counts_as_applied_later() {
    preparing()
        .on(Event::TableDeleted { group: 0 })
        .on(Event::Prepared { group: 1 })
        .does([Write(Cancelled)]);
    committed()
        .on(Event::TableDeleted { group: 0 })
        .on(Event::Applied { group: 1 })
        .does([says(Answer::Committed), Remove]);
}

#[test]
fn who_was_cancelled_by_recovery_says_so() {
    preparing()
        .on(Event::Prepared { group: 0 })
        .on(Event::Prepared { group: 1 })
        .on(Event::FoundDecided(Cancelled))
        .does([apply(0, Cancelled), apply(1, Cancelled)])
        .on(Event::Applied { group: 0 })
        .on(Event::Applied { group: 1 })
        .does([says(Answer::Cancelled), Remove]);
}

#[test]
fn an_entry_that_is_gone_leaves_the_outcome_unknown() {
    preparing()
        .on(Event::Prepared { group: 0 })
        .on(Event::Prepared { group: 1 })
        .on(Event::EntryGone)
        .does([says(Answer::Unknown { committed: false })])
        .ends();
}

#[test]
fn a_lost_session_ends_it_wherever_it_is() {
    let unknown = |committed| [says(Answer::Unknown { committed })];
    begin()
        .on(Event::SessionLost)
        .does([says(Answer::NotBegun)])
        .ends();
    preparing()
        .on(Event::SessionLost)
        .does(unknown(false))
        .ends();
    preparing()
        .on(Event::Prepared { group: 0 })
        .on(Event::Prepared { group: 1 })
        .on(Event::SessionLost)
        .does(unknown(false))
        .ends();
    committed()
        .on(Event::SessionLost)
        .does(unknown(true))
        .ends();
    committed()
        .on(Event::SessionLost)
        .on(Event::Applied { group: 0 })
        .does_nothing()
        .ends();
}

#[test]
fn the_deadline_answers_and_the_work_goes_on() {
    let unknown = || says(Answer::Unknown { committed: false });
    begin()
        .on(Event::Deadline)
        .does([says(Answer::NotBegun)])
        .goes_on()
        .on(Event::Confirmed)
        .does([Write(Cancelled)])
        .on(Event::Written)
        .does([Remove]);
    begin()
        .on(Event::Deadline)
        .on(Event::Lost { next: SECOND })
        .does_nothing()
        .ends();
    preparing()
        .on(Event::Prepared { group: 0 })
        .on(Event::Deadline)
        .does([unknown(), Write(Cancelled)])
        .on(Event::Prepared { group: 1 })
        .does_nothing()
        .on(Event::Written)
        .does([apply(0, Cancelled), apply(1, Cancelled)])
        .goes_on();
    preparing()
        .on(Event::Prepared { group: 0 })
        .on(Event::Prepared { group: 1 })
        .on(Event::Deadline)
        .does([unknown()])
        .on(Event::Written)
        .does([apply(0, Committed), apply(1, Committed)])
        .goes_on();
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn event() -> impl Strategy<Value = Event> {
        let group = 0usize..3;
        prop_oneof![
            Just(Event::Begin),
            Just(Event::Confirmed),
            Just(Event::Lost { next: SECOND }),
            Just(Event::NotCreated),
            group.clone().prop_map(|group| Event::Prepared { group }),
            group.clone().prop_map(|group| Event::Prepared { group }),
            group.clone().prop_map(|group| Event::Rejected {
                group,
                objections: vec![Some(Objection::TransactionConflict)]
            }),
            (group.clone(), any::<bool>())
                .prop_map(|(group, certain)| Event::PrepareFailed { group, certain }),
            group
                .clone()
                .prop_map(|group| Event::TableDeleted { group }),
            Just(Event::Written),
            Just(Event::FoundDecided(Committed)),
            Just(Event::FoundDecided(Cancelled)),
            Just(Event::EntryGone),
            Just(Event::WriteFailed),
            group.clone().prop_map(|group| Event::Applied { group }),
            group.prop_map(|group| Event::ApplyFailed { group }),
            Just(Event::Removed),
            Just(Event::Deadline),
            Just(Event::SessionLost),
        ]
    }

    proptest! {
        /// Whatever comes in whatever order: one answer, one decision sought, and nothing to a shard before its time.
        #[test]
        fn the_rules_hold(events in prop::collection::vec(event(), 0..60)) {
            let mut coordinator = Coordinator::new(FIRST, 3);
            let (mut confirmed, mut in_ledger, mut answers) = (false, false, 0);
            let mut sought = None;
            for event in events {
                confirmed |= event == Event::Confirmed;
                if matches!(event, Event::Written | Event::FoundDecided(_)) {
                    in_ledger |= sought.is_some();
                }
                for effect in coordinator.step(event) {
                    match effect {
                        Effect::Prepare { .. } | Effect::Stamp => prop_assert!(confirmed),
                        Effect::Apply { .. } | Effect::Remove => prop_assert!(in_ledger),
                        Effect::Write(decision) => {
                            prop_assert_eq!(*sought.get_or_insert(decision), decision);
                        }
                        Effect::Answer(answer) => {
                            answers += 1;
                            if matches!(answer, Answer::Committed | Answer::Cancelled) {
                                prop_assert!(in_ledger);
                            }
                        }
                        Effect::Create(_) => {}
                    }
                }
            }
            prop_assert!(answers <= 1);
        }
    }
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutants_are_noticed() {
    use mutants::{Mutant, is_noticed};
    let tests: [(Mutant, fn()); 4] = [
        (
            Mutant::PrepareBeforeLedger,
            nothing_is_prepared_before_the_entry_is_confirmed,
        ),
        (
            Mutant::DecisionBeforeLedger,
            no_shard_hears_of_a_decision_before_the_ledger_has_it,
        ),
        (
            Mutant::SuccessBeforeApplied,
            success_is_answered_when_all_have_applied,
        ),
        (
            Mutant::EntryRemovedEarly,
            the_entry_stays_until_all_have_applied,
        ),
    ];
    for (mutant, test) in tests {
        assert!(is_noticed(mutant, test), "{mutant}");
    }
}

#[test]
fn after_a_refusal_the_others_are_waited_for_a_moment_only() {
    let refused = Event::Rejected {
        group: 0,
        objections: vec![Some(Objection::ConditionFailed)],
    };
    preparing()
        .on(Event::Hasten)
        .does_nothing()
        .on(refused)
        .does_nothing()
        .on(Event::Hasten)
        .does([Write(Cancelled)])
        // The other one may be without a leader for long; the caller need not wait for it.
        .on(Event::Written)
        .does([apply(0, Cancelled), says(Answer::Cancelled)])
        .on(Event::Applied { group: 0 })
        .does_nothing()
        // Now it holds intents, and is told.
        .on(Event::Prepared { group: 1 })
        .does([apply(1, Cancelled)])
        .on(Event::Applied { group: 1 })
        .does([Remove])
        .on(Event::Removed)
        .ends();
}

#[test]
fn who_is_not_waited_for_and_holds_nothing_is_not_told() {
    let untouched = |group| Event::PrepareFailed {
        group,
        certain: true,
    };
    preparing()
        .on(untouched(0))
        .on(Event::Hasten)
        .does([Write(Cancelled)])
        // While the ledger is being written, so that the decision finds it known.
        .on(untouched(1))
        .does_nothing()
        .on(Event::Written)
        .does([says(Answer::Cancelled), Remove]);
    preparing()
        .on(Event::TableDeleted { group: 0 })
        .on(Event::Hasten)
        .on(Event::Written)
        .does([says(Answer::Cancelled)])
        .on(untouched(1))
        .does([Remove]);
}

#[test]
fn who_will_try_again_hears_nothing_before_all_have_voted() {
    let too_old = Event::Rejected {
        group: 0,
        objections: vec![Some(Objection::TimestampTooOld(Timestamp(9)))],
    };
    let failed = Event::PrepareFailed {
        group: 0,
        certain: true,
    };
    for (refusal, told) in [(too_old, vec![apply(0, Cancelled)]), (failed, vec![])] {
        preparing()
            .on(refusal)
            .on(Event::Hasten)
            .does([Write(Cancelled)])
            .on(Event::Written)
            .does(told)
            .on(Event::Prepared { group: 1 })
            .does([apply(1, Cancelled)])
            .on(Event::Applied { group: 1 })
            .answers(Answer::Cancelled);
    }
}

#[test]
fn as_long_as_nobody_has_refused_all_are_waited_for() {
    preparing()
        .on(Event::Prepared { group: 0 })
        .on(Event::Hasten)
        .does_nothing()
        .on(Event::Prepared { group: 1 })
        .does([Write(Committed)]);
}
