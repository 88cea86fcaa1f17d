//! Scripts: what happens, line by line, and what the policy does about it.

use super::*;
use Kind::{ConsistentRead, EventualRead, Write};

const A: NodeId = NodeId(0xa);
const B: NodeId = NodeId(0xb);
const C: NodeId = NodeId(0xc);

/// A request in progress, at a time.
struct Script {
    policy: Policy,
    now: u64,
    step: Step,
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn limits() -> Limits {
    Limits {
        deadline: millis(5000),
        attempt_timeout: millis(1000),
        backoff: (millis(10), millis(200)),
        unreachable_patience: millis(1000),
    }
}

fn begin(kind: Kind) -> Script {
    begin_with(kind, [(A, false), (B, false), (C, false)])
}

fn begin_with(kind: Kind, replicas: [(NodeId, bool); 3]) -> Script {
    let mut policy = Policy::new(kind, limits(), replicas);
    let step = policy.step(Duration::ZERO, Event::Begin);
    Script {
        policy,
        now: 0,
        step,
    }
}

impl Script {
    fn at(mut self, now: u64) -> Self {
        self.now = now;
        self
    }

    fn event(mut self, event: Event) -> Self {
        self.step = self.policy.step(millis(self.now), event);
        self
    }

    fn ended(self, node: NodeId, outcome: Outcome) -> Self {
        self.event(Event::Ended(node, outcome))
    }

    fn says(self, node: NodeId, reason: Reason) -> Self {
        self.ended(node, refusal(reason, None))
    }

    fn says_leader_is(self, node: NodeId, leader: NodeId) -> Self {
        self.ended(node, refusal(Reason::NoLeader, Some(leader)))
    }

    fn succeeds(self, node: NodeId) -> Self {
        self.ended(node, success())
    }

    fn unreachable(self, node: NodeId) -> Self {
        self.ended(node, Outcome::NotSent(NotSent::Unreachable))
    }

    fn lost(self, node: NodeId) -> Self {
        self.ended(node, Outcome::Lost)
    }

    fn time_up(self) -> Self {
        self.event(Event::TimeUp)
    }

    /// Expects an operation sent to this node, with this time for its answer.
    #[track_caller]
    fn sends(self, node: NodeId, until: u64) -> Self {
        assert_eq!(self.step, Step::Send(node, millis(until)));
        self
    }

    #[track_caller]
    fn waits(self, until: u64) -> Self {
        assert_eq!(self.step, Step::Wait(millis(until)));
        self
    }

    #[track_caller]
    fn reads_table(self) -> Self {
        assert_eq!(self.step, Step::ReadTable);
        self
    }

    #[track_caller]
    fn restarts(self) {
        assert_eq!(self.step, Step::Restart);
    }

    #[track_caller]
    fn done(self) {
        assert_eq!(self.step, Step::Finish(Ok(Success::Applied { version: 7 })));
    }

    #[track_caller]
    fn fails(self, reason: Reason) {
        match self.step {
            Step::Finish(Err(error)) => assert_eq!(error.reason, reason, "{error}"),
            step => panic!("{step:?}"),
        }
    }

    /// With this in the details.
    fn fails_with(self, detail: &str) {
        match self.step {
            Step::Finish(Err(error)) => assert!(error.metadata.contains_key(detail), "{error}"),
            step => panic!("{step:?}"),
        }
    }
}

fn refusal(reason: Reason, leader: Option<NodeId>) -> Outcome {
    Outcome::Answer(Answer {
        leader,
        result: Err(Error::new(reason, "as the node says")),
    })
}

fn success() -> Outcome {
    Outcome::Answer(Answer {
        leader: Some(A),
        result: Ok(Success::Applied { version: 7 }),
    })
}

#[test]
fn the_first_choice_is_asked_and_its_success_is_the_answer() {
    for kind in [Write, ConsistentRead, EventualRead] {
        begin(kind).sends(A, 1000).at(3).succeeds(A).done();
    }
}

#[test]
fn a_replica_that_names_the_leader_is_believed_next() {
    begin(Write)
        .says_leader_is(A, C)
        .sends(C, 1000)
        .succeeds(C)
        .done();
}

#[test]
fn a_named_leader_that_was_asked_in_this_round_is_not_asked_twice() {
    begin(Write)
        .says(A, Reason::NoLeader)
        .says_leader_is(B, A)
        .sends(C, 1000);
}

#[test]
fn an_election_is_waited_for_in_rounds_with_growing_pauses() {
    begin(Write)
        .says(A, Reason::NoLeader)
        .sends(B, 1000)
        .says(B, Reason::NoLeader)
        .sends(C, 1000)
        .says(C, Reason::NoLeader)
        .waits(10)
        .at(10)
        .time_up()
        .sends(A, 1010)
        .says(A, Reason::NoLeader)
        .says(B, Reason::NoLeader)
        .says(C, Reason::NoLeader)
        .waits(30)
        .at(30)
        .time_up()
        .sends(A, 1030)
        .succeeds(A)
        .done();
}

#[test]
fn no_quorum_is_answered_when_all_in_reach_say_so_and_not_at_the_deadline() {
    for kind in [Write, ConsistentRead] {
        begin(kind)
            .unreachable(A)
            .sends(B, 1000)
            .says(B, Reason::NoQuorum)
            .sends(C, 1000)
            .unreachable(C)
            .fails(Reason::NoQuorum);
    }
}

#[test]
fn one_replica_without_quorum_is_not_the_shard() {
    begin(Write)
        .says(A, Reason::NoQuorum)
        .sends(B, 1000)
        .succeeds(B)
        .done();
    begin(Write)
        .says(A, Reason::NoQuorum)
        .says(B, Reason::NoLeader)
        .says(C, Reason::NoQuorum)
        .waits(10);
}

#[test]
fn suspects_are_not_waited_for_once_the_others_have_no_quorum() {
    begin_with(Write, [(A, false), (B, true), (C, true)])
        .says(A, Reason::NoQuorum)
        .fails(Reason::NoQuorum);
    // But they are asked if that may help.
    begin_with(Write, [(A, false), (B, true), (C, true)])
        .says(A, Reason::NoLeader)
        .sends(B, 1000);
}

#[test]
fn replicas_out_of_reach_are_waited_for_a_little() {
    begin(ConsistentRead)
        .unreachable(A)
        .unreachable(B)
        .unreachable(C)
        .waits(10)
        .at(1000)
        .time_up()
        .unreachable(A)
        .unreachable(B)
        .unreachable(C)
        .fails(Reason::NoQuorum);
}

#[test]
fn a_write_that_was_lost_is_sent_again_and_its_success_is_its_own() {
    begin(Write).lost(A).sends(B, 1000).succeeds(B).done();
}

#[test]
fn after_a_lost_attempt_no_refusal_is_passed_on_as_certain() {
    let lost = || begin(Write).lost(A);
    lost()
        .says(B, Reason::InvalidRequest)
        .fails(Reason::OutcomeUnknown);
    lost()
        .says(B, Reason::NoQuorum)
        .says(C, Reason::NoQuorum)
        .waits(10)
        .at(5000)
        .time_up()
        .fails(Reason::OutcomeUnknown);
    lost()
        .says(B, Reason::ShardNotHosted)
        .says(C, Reason::ShardNotHosted)
        .reads_table()
        .event(Event::TableGone(Error::new(Reason::TableNotFound, "")))
        .fails(Reason::OutcomeUnknown);
    lost()
        .says(B, Reason::ShardNotHosted)
        .says(C, Reason::ShardNotHosted)
        .reads_table()
        .event(Event::TableReplaced)
        .fails(Reason::OutcomeUnknown);
}

#[test]
fn an_unknown_outcome_at_the_node_is_one_here() {
    begin(Write)
        .says(A, Reason::OutcomeUnknown)
        .sends(B, 1000)
        .at(5000)
        .says(B, Reason::NoLeader)
        .fails(Reason::OutcomeUnknown);
}

#[test]
fn a_write_older_than_the_shards_memory_is_not_sent_again() {
    let expired = Error::outcome_unknown("too old").with("expired", true);
    let answer = Answer {
        leader: Some(A),
        result: Err(expired),
    };
    begin(Write)
        .ended(A, Outcome::Answer(answer.clone()))
        .fails_with(ALONE);
    begin(Write)
        .lost(A)
        .ended(B, Outcome::Answer(answer))
        .fails(Reason::OutcomeUnknown);
}

#[test]
fn a_read_has_no_unknown_outcome() {
    begin(ConsistentRead)
        .lost(A)
        .says(B, Reason::OutcomeUnknown)
        .lost(C)
        .waits(10)
        .at(5000)
        .time_up()
        .fails(Reason::NoQuorum);
    begin(ConsistentRead)
        .lost(A)
        .says(B, Reason::NoLeader)
        .at(5000)
        .time_up()
        .fails(Reason::NoLeader);
}

#[test]
fn a_silent_replica_is_kept_listening_to_beside_the_next() {
    begin(Write)
        .sends(A, 1000)
        .at(1000)
        .time_up()
        .sends(B, 2000)
        .at(1500)
        .succeeds(A)
        .done();
}

#[test]
fn a_late_refusal_of_a_silent_replica_changes_nothing_for_the_current_one() {
    begin(Write)
        .at(1000)
        .time_up()
        .sends(B, 2000)
        .at(1500)
        .says(A, Reason::NoLeader)
        .waits(2000)
        .at(1800)
        .says(B, Reason::NoQuorum)
        .sends(C, 2800)
        .says(C, Reason::NoQuorum)
        .waits(1810);
}

#[test]
fn a_write_whose_silent_attempt_was_refused_in_the_end_is_certain_again() {
    begin(Write)
        .at(1000)
        .time_up()
        .sends(B, 2000)
        .says(A, Reason::NoQuorum)
        .says(B, Reason::NoQuorum)
        .says(C, Reason::NoQuorum)
        .fails(Reason::NoQuorum);
}

#[test]
fn a_write_that_still_waits_for_an_answer_is_unknown_at_the_deadline() {
    begin(Write)
        .at(1000)
        .time_up()
        .says(B, Reason::NoQuorum)
        .says(C, Reason::NoQuorum)
        .waits(1010)
        .at(5000)
        .time_up()
        .fails(Reason::OutcomeUnknown);
}

#[test]
fn a_deadline_with_certain_refusals_only_names_the_last() {
    begin(Write)
        .says(A, Reason::NoLeader)
        .says(B, Reason::NoLeader)
        .at(5000)
        .says(C, Reason::NoLeader)
        .fails(Reason::NoLeader);
}

#[test]
fn the_table_is_read_again_once_when_no_replica_holds_the_shard() {
    let not_hosted = |kind| {
        begin(kind)
            .says(A, Reason::ShardNotHosted)
            .says(B, Reason::ShardNotHosted)
            .unreachable(C)
            .reads_table()
    };
    not_hosted(Write)
        .event(Event::TableGone(Error::new(Reason::TableNotFound, "")))
        .fails(Reason::TableNotFound);
    not_hosted(EventualRead)
        .event(Event::TableReplaced)
        .restarts();
    not_hosted(Write)
        .event(Event::SameTable)
        .waits(10)
        .at(10)
        .time_up()
        .says(A, Reason::ShardNotHosted)
        .says(B, Reason::ShardNotHosted)
        .says(C, Reason::ShardNotHosted)
        .waits(30)
        .at(5000)
        .time_up()
        .fails(Reason::NoQuorum);
}

#[test]
fn a_damaged_replica_is_passed_over_and_three_are_corruption() {
    begin(EventualRead)
        .says(A, Reason::Corruption)
        .succeeds(B)
        .done();
    begin(Write)
        .says(A, Reason::Corruption)
        .says(B, Reason::Corruption)
        .says(C, Reason::Corruption)
        .fails(Reason::Corruption);
}

#[test]
fn overload_is_passed_on_at_once_but_an_eventual_get_asks_the_others() {
    begin(Write)
        .says(A, Reason::Overloaded)
        .fails(Reason::Overloaded);
    begin(ConsistentRead)
        .ended(A, Outcome::NotSent(NotSent::Overloaded))
        .fails(Reason::Overloaded);
    begin(EventualRead)
        .says(A, Reason::Overloaded)
        .succeeds(B)
        .done();
    begin(EventualRead)
        .says(A, Reason::Overloaded)
        .says(B, Reason::Overloaded)
        .unreachable(C)
        .fails(Reason::Overloaded);
    // A write that may have been applied finds out.
    begin(Write)
        .lost(A)
        .says(B, Reason::Overloaded)
        .sends(C, 1000);
}

#[test]
fn an_answer_that_every_replica_would_give_is_final() {
    for reason in [Reason::InvalidRequest, Reason::ConditionFailed] {
        begin(Write).says(A, reason).fails(reason);
    }
}

#[test]
fn what_the_shard_remembers_of_a_write_is_certain_even_after_a_lost_attempt() {
    begin(Write)
        .lost(A)
        .says(B, Reason::ConditionFailed)
        .fails(Reason::ConditionFailed);
    // Beside an attempt that is still on its way, too.
    begin(Write)
        .at(1000)
        .time_up()
        .says(B, Reason::ConditionFailed)
        .fails(Reason::ConditionFailed);
    let rejected = Success::Rejected(vec![Some(model::Objection::TransactionConflict)]);
    let answer = Outcome::Answer(Answer {
        leader: Some(B),
        result: Ok(rejected.clone()),
    });
    let script = begin(Write).lost(A).ended(B, answer);
    assert_eq!(script.step, Step::Finish(Ok(rejected)));
}

#[test]
fn a_conflict_is_tried_again_at_the_same_replica_until_the_deadline() {
    begin(Write)
        .says(A, Reason::NoLeader)
        .sends(B, 1000)
        .says(B, Reason::TransactionConflict)
        .waits(10)
        .at(10)
        .time_up()
        .sends(B, 1010)
        .at(20)
        .says(B, Reason::TransactionConflict)
        .waits(40)
        .at(40)
        .time_up()
        .sends(B, 1040)
        .succeeds(B)
        .done();
    begin(Write)
        .says(A, Reason::TransactionConflict)
        .waits(10)
        .at(5000)
        .time_up()
        .fails(Reason::TransactionConflict);
}

#[test]
fn a_conflict_says_nothing_about_an_attempt_that_was_lost() {
    begin(Write)
        .lost(A)
        .says(B, Reason::TransactionConflict)
        .waits(10)
        .at(5000)
        .time_up()
        .fails(Reason::OutcomeUnknown);
}

/// Whatever happens, in whatever order: the policy comes to an end by its deadline, and says "certainly not
/// applied" only if every attempt on a write ended so.
mod properties {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, Copy)]
    enum Fate {
        Says(Reason),
        NotSent,
        Lost,
        Silent,
    }

    fn fate() -> impl Strategy<Value = Fate> {
        prop_oneof![
            prop::sample::select(vec![
                Reason::NoLeader,
                Reason::NoQuorum,
                Reason::ShardNotHosted,
                Reason::OutcomeUnknown,
                Reason::Overloaded,
                Reason::Corruption,
                Reason::InvalidRequest,
                Reason::TransactionConflict,
            ])
            .prop_map(Fate::Says),
            Just(Fate::NotSent),
            Just(Fate::Lost),
            Just(Fate::Silent),
        ]
    }

    proptest! {
        #[test]
        fn certainty_is_never_claimed_for_a_write_that_may_have_been_applied(
            fates in prop::collection::vec(fate(), 1..40),
        ) {
            let mut script = begin(Write);
            let mut doubtful = false;
            let mut fates = fates.into_iter().chain(std::iter::repeat(Fate::Silent));
            for _ in 0..2000 {
                script = match script.step {
                    Step::Send(node, until) => match fates.next() {
                        Some(Fate::Says(reason)) => {
                            doubtful |= reason == Reason::OutcomeUnknown;
                            script.says(node, reason)
                        }
                        Some(Fate::NotSent) => script.unreachable(node),
                        Some(Fate::Lost) => {
                            doubtful = true;
                            script.lost(node)
                        }
                        Some(Fate::Silent) | None => {
                            doubtful = true;
                            script.at(until.as_millis() as u64).time_up()
                        }
                    },
                    Step::Wait(until) => {
                        prop_assert!(until <= millis(5000));
                        script.at(until.as_millis() as u64).time_up()
                    }
                    Step::ReadTable => script.event(Event::SameTable),
                    Step::Restart => panic!("nobody has replaced the table"),
                    Step::Finish(answer) => {
                        let error = answer.unwrap_err();
                        prop_assert_eq!(error.reason == Reason::OutcomeUnknown, doubtful);
                        return Ok(());
                    }
                };
            }
            prop_assert!(false, "no end");
        }
    }
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutant_is_noticed() {
    let test = a_write_that_still_waits_for_an_answer_is_unknown_at_the_deadline;
    assert!(mutants::is_noticed(mutants::Mutant::RouterDenies, test));
}
