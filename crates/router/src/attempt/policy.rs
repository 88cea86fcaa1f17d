//! The decision what to do next, as a pure state machine.
//!
//! [`Policy::step`] gets an [`Event`] and the time since the request began, and answers with one [`Step`].
//! Replicas are asked one after the other in *rounds*: the remembered leader first, then the leader that an
//! answer names, then the rest in random order, those known to be out of reach last. A round that brought
//! nothing ends in a judgement over all its verdicts:
//!
//! | the replicas said | then |
//! |---|---|
//! | any success | done |
//! | at least one `NO_LEADER` or a lost answer | wait a little and begin a new round: an election takes a second |
//! | `NO_QUORUM`, the others out of reach | `NO_QUORUM`, at once |
//! | all out of reach | wait for the patience with that, then `NO_QUORUM` |
//! | `SHARD_NOT_HOSTED`, the others out of reach | read the table again, it may be gone; then as `NO_LEADER` |
//! | `TRANSACTION_CONFLICT` | wait a little and ask the same one again |
//! | all damaged | `CORRUPTION` |
//!
//! A shard's answer from its log ends the request: success, a refusal by condition, a transaction's objections. Shards remember
//! such a refusal under the write's identity, so it is certain whatever has become of earlier attempts. Only
//! `TRANSACTION_CONFLICT` is not remembered: the same write goes through once the other transaction is decided, so
//! it is sent again, with growing pauses, until the deadline.
//!
//! A write that may have been applied is never answered by any of these: it goes on until a replica tells what
//! became of it, or its deadline passes.

use std::time::Duration;

use api::{Error, Reason};
use model::NodeId;

use links::{Answer, NotSent, Outcome, Success};

/// In the details of the answer to a write that is older than what its shard remembers.
pub(crate) const EXPIRED: &str = "expired";
/// Beside it: there was no other attempt of this request.
pub(crate) const ALONE: &str = "only_attempt";

/// What an operation needs of a replica, and what may be said about its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Changes something, and carries an identity.
    Write,
    /// Needs the leader.
    ConsistentRead,
    /// Any replica can answer.
    EventualRead,
}

/// The patience of a request.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// The end, counted from the beginning of the request.
    pub(crate) deadline: Duration,
    /// For the first attempt to be answered before another replica is asked as well; doubles.
    pub(crate) attempt_timeout: Duration,
    /// Before a new round: at first, and at the most.
    pub(crate) backoff: (Duration, Duration),
    /// For replicas to come into reach while none is.
    pub(crate) unreachable_patience: Duration,
}

/// One replica, in the order of preference.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    node: NodeId,
    /// The connection to it has ended, or it has answered nothing lately.
    suspect: bool,
    verdict: Option<Verdict>,
}

/// What is known of a replica in this round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Asked; no answer yet.
    Asked,
    /// Out of reach, or silent for too long.
    OutOfReach,
    NoLeader,
    NoQuorum,
    NotHosted,
    /// It has stopped for damage.
    Damaged,
    /// It has too much to do.
    Overloaded,
    /// It may have carried the operation out.
    Unknown,
    /// A transaction is prepared on the item.
    Conflict,
}

/// What has happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The request begins.
    Begin,
    /// An attempt on this node has ended.
    Ended(NodeId, Outcome),
    /// The time that the last step asked for has passed.
    TimeUp,
    /// The table was read again and is as it was.
    SameTable,
    /// The table was read again; this is the error for its users now.
    TableGone(Error),
    /// The table was read again; there is another one of that name.
    TableReplaced,
}

/// What to do next. After each, the next event is awaited.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Send to this node, and say [`Event::TimeUp`] if no attempt ends before this time.
    Send(NodeId, Duration),
    /// Say [`Event::TimeUp`] at this time. Attempts on the way may still end before.
    Wait(Duration),
    /// Read the table again.
    ReadTable,
    /// Answer the caller.
    Finish(Result<Success, Error>),
    /// Begin again with the table that now has the name.
    Restart,
}

/// The state of one request.
#[derive(Debug)]
pub(crate) struct Policy {
    kind: Kind,
    limits: Limits,
    candidates: Vec<Candidate>,
    /// Where to go next, if it was not asked in this round yet.
    hint: Option<NodeId>,
    /// The node whose answer is waited for now.
    current: Option<NodeId>,
    /// Attempts that were sent and have not ended.
    outstanding: usize,
    /// An attempt ended in a way that leaves open whether it was applied.
    maybe_applied: bool,
    /// Whether the table was read again already.
    table_read: bool,
    /// Attempts that were silent for too long; each round of them doubles the patience.
    silent: u32,
    rounds: u32,
    /// When the last step's patience is over.
    wake_at: Duration,
    /// The last refusal, for the answer at the deadline.
    last: Option<Error>,
}

impl Policy {
    /// A request to these replicas, most preferred first, each with whether it is suspected to be out of
    /// reach.
    pub(crate) fn new(
        kind: Kind,
        limits: Limits,
        replicas: impl IntoIterator<Item = (NodeId, bool)>,
    ) -> Self {
        let candidate = |(node, suspect)| Candidate {
            node,
            suspect,
            verdict: None,
        };
        Self {
            kind,
            limits,
            candidates: replicas.into_iter().map(candidate).collect(),
            hint: None,
            current: None,
            outstanding: 0,
            maybe_applied: false,
            table_read: false,
            silent: 0,
            rounds: 0,
            wake_at: Duration::ZERO,
            last: None,
        }
    }

    /// Takes note of an event and says what to do.
    pub(crate) fn step(&mut self, now: Duration, event: Event) -> Step {
        match event {
            Event::Begin | Event::SameTable => {}
            Event::Ended(node, outcome) => {
                let was_current = self.current == Some(node);
                if let Some(finish) = self.ended(node, outcome) {
                    return finish;
                }
                if !was_current && now < self.limits.deadline {
                    // An attempt beside the current one, or during a wait, has failed: go on as before.
                    return Step::Wait(self.wake_at);
                }
            }
            Event::TimeUp => self.time_up(),
            Event::TableGone(error) => return self.refuse(error),
            Event::TableReplaced if self.may_be_applied() => {
                return self.refuse(Error::new(
                    Reason::TableNotFound,
                    "the table was deleted meanwhile",
                ));
            }
            Event::TableReplaced => return Step::Restart,
        }
        if now >= self.limits.deadline {
            return self.deadline_passed();
        }
        self.next(now)
    }

    fn ended(&mut self, node: NodeId, outcome: Outcome) -> Option<Step> {
        if self.current == Some(node) {
            self.current = None;
        }
        self.outstanding = self.outstanding.saturating_sub(1);
        let verdict = match outcome {
            Outcome::NotSent(NotSent::Unreachable | NotSent::TooLate) => Verdict::OutOfReach,
            Outcome::NotSent(NotSent::Overloaded) => {
                self.last = Some(overloaded());
                Verdict::Overloaded
            }
            Outcome::Lost => {
                self.maybe_applied |= self.kind == Kind::Write;
                Verdict::Unknown
            }
            Outcome::Answer(Answer { leader, result }) => match result {
                Ok(success) => return Some(Step::Finish(Ok(success))),
                Err(error) => {
                    let alone = !self.may_be_applied();
                    let verdict = self.verdict_on(&error);
                    match verdict {
                        Some(verdict) => {
                            let conflict = verdict == Verdict::Conflict;
                            let leader = leader.or(conflict.then_some(node));
                            self.hint = leader.or(self.hint);
                            self.last = Some(error);
                            verdict
                        }
                        // The shard has decided against the write, at this attempt or at an earlier one.
                        None if error.reason == Reason::ConditionFailed => {
                            return Some(Step::Finish(Err(error)));
                        }
                        // Whoever knows that nobody has sent it before can conclude something.
                        None if alone && error.metadata.contains_key(EXPIRED) => {
                            return Some(Step::Finish(Err(error.with(ALONE, true))));
                        }
                        // An answer that another replica would give as well.
                        None => return Some(self.refuse(error)),
                    }
                }
            },
        };
        self.set_verdict(node, verdict);
        (verdict == Verdict::Overloaded && self.gives_way())
            .then(|| Step::Finish(Err(self.last.take().unwrap_or_else(overloaded))))
    }

    /// Whether overload is the caller's to handle: there is nobody else to ask, and nothing to find out.
    fn gives_way(&self) -> bool {
        self.kind != Kind::EventualRead && !self.may_be_applied()
    }

    /// What a refusal says about the replica. `None`: it is the final answer.
    fn verdict_on(&mut self, error: &Error) -> Option<Verdict> {
        Some(match error.reason {
            Reason::NoLeader => Verdict::NoLeader,
            Reason::NoQuorum => Verdict::NoQuorum,
            Reason::ShardNotHosted | Reason::TableNotFound | Reason::TableNotReady => {
                Verdict::NotHosted
            }
            Reason::Overloaded => Verdict::Overloaded,
            Reason::Corruption => Verdict::Damaged,
            Reason::OutcomeUnknown => {
                self.maybe_applied |= self.kind == Kind::Write;
                if error.metadata.contains_key(EXPIRED) {
                    // Older than what the shard remembers: it never gets younger.
                    return None;
                }
                Verdict::Unknown
            }
            Reason::CoordinationUnavailable => Verdict::OutOfReach,
            Reason::TransactionConflict => Verdict::Conflict,
            Reason::InvalidRequest
            | Reason::IdempotencyMismatch
            | Reason::TableAlreadyExists
            | Reason::TooFewNodes
            | Reason::ConditionFailed
            | Reason::TransactionCancelled
            | Reason::Unauthenticated
            | Reason::PermissionDenied => return None,
        })
    }

    /// The patience with the current attempt, or the wait between rounds, is over.
    fn time_up(&mut self) {
        if let Some(node) = self.current.take() {
            // It stays outstanding: its answer counts if it comes after all.
            self.set_verdict(node, Verdict::OutOfReach);
            self.silent += 1;
        }
    }

    fn next(&mut self, now: Duration) -> Step {
        if self.round_is_over() {
            if let Some(step) = self.judge(now) {
                return step;
            }
            self.rounds += 1;
            for candidate in &mut self.candidates {
                candidate.verdict = None;
            }
            self.wake_at = (now + self.backoff()).min(self.limits.deadline);
            return Step::Wait(self.wake_at);
        }
        let untried = |c: &&mut Candidate| c.verdict.is_none();
        let hinted = self.hint.take();
        let mut candidates = self.candidates.iter_mut().filter(untried);
        let first = candidates.next();
        let chosen = match (hinted, first) {
            (Some(hint), Some(first)) if first.node != hint => {
                Some(candidates.find(|c| c.node == hint).unwrap_or(first))
            }
            (_, first) => first,
        };
        let Some(candidate) = chosen else {
            return self.deadline_passed();
        };
        candidate.verdict = Some(Verdict::Asked);
        let node = candidate.node;
        self.current = Some(node);
        self.outstanding += 1;
        self.wake_at = (now + self.patience()).min(self.limits.deadline);
        Step::Send(node, self.wake_at)
    }

    /// Whether everybody was asked, or one has answered for the shard. Those suspected to be out of reach are not waited for when one that is
    /// in reach has no quorum and the others in reach agree.
    fn round_is_over(&self) -> bool {
        let some = |verdict| self.candidates.iter().any(|c| c.verdict == Some(verdict));
        let no_quorum = some(Verdict::NoQuorum);
        let mut candidates = self.candidates.iter();
        some(Verdict::Conflict)
            || candidates.all(|c| c.verdict.is_some() || (no_quorum && c.suspect))
    }

    /// What all replicas together have said. `None`: begin a new round.
    fn judge(&mut self, now: Duration) -> Option<Step> {
        let some = |verdict| self.candidates.iter().any(|c| c.verdict == Some(verdict));
        let all = |verdict| self.candidates.iter().all(|c| c.verdict == Some(verdict));
        if some(Verdict::Conflict) {
            return None;
        }
        if some(Verdict::NotHosted) && !self.table_read {
            self.table_read = true;
            return Some(Step::ReadTable);
        }
        if self.may_be_applied() || some(Verdict::NoLeader) || some(Verdict::Unknown) {
            return None;
        }
        if some(Verdict::NoQuorum) {
            return Some(self.give_up(Reason::NoQuorum));
        }
        if some(Verdict::NotHosted) {
            return None;
        }
        if some(Verdict::Overloaded) {
            return Some(self.give_up(Reason::Overloaded));
        }
        if all(Verdict::Damaged) {
            return Some(self.give_up(Reason::Corruption));
        }
        if now >= self.limits.unreachable_patience {
            return Some(self.give_up(Reason::NoQuorum));
        }
        None
    }

    /// The answer while nothing was applied: the last refusal if it is of this reason.
    fn give_up(&mut self, reason: Reason) -> Step {
        let error = match self.last.take() {
            Some(error) if error.reason == reason => error,
            _ => match reason {
                Reason::NoQuorum => {
                    Error::new(reason, "not enough replicas of the shard can be reached")
                }
                Reason::Corruption => Error::new(
                    reason,
                    "every replica of the shard has stopped because its data is damaged",
                ),
                _ => overloaded(),
            },
        };
        Step::Finish(Err(error))
    }

    /// A final refusal, or an unknown outcome if an earlier attempt may have been applied.
    fn refuse(&self, error: Error) -> Step {
        if self.may_be_applied() {
            return Step::Finish(Err(Error::outcome_unknown(format_args!(
                "an attempt was not answered, and a later one was refused ({error})"
            ))));
        }
        Step::Finish(Err(error))
    }

    fn deadline_passed(&mut self) -> Step {
        if self.may_be_applied() {
            return Step::Finish(Err(Error::outcome_unknown(
                "the deadline passed before a replica said what became of it",
            )));
        }
        let error = match self.last.take() {
            Some(error)
                if matches!(
                    error.reason,
                    Reason::NoLeader
                        | Reason::NoQuorum
                        | Reason::Overloaded
                        | Reason::TransactionConflict
                ) =>
            {
                error
            }
            Some(_) => Error::new(
                Reason::NoQuorum,
                "no replica of the shard could answer before the deadline",
            ),
            None => Error::new(
                Reason::NoQuorum,
                "no replica of the shard was reached before the deadline",
            ),
        };
        Step::Finish(Err(error))
    }

    /// Whether an attempt may have been applied, or may yet be.
    fn may_be_applied(&self) -> bool {
        let open = self.maybe_applied || self.outstanding > 0;
        self.kind == Kind::Write && open && !mutant!(RouterDenies)
    }

    fn set_verdict(&mut self, node: NodeId, verdict: Verdict) {
        if let Some(candidate) = self.candidates.iter_mut().find(|c| c.node == node) {
            candidate.verdict = Some(verdict);
        }
    }

    fn patience(&self) -> Duration {
        // One round asks every replica at the same pace: all of them may be paused but the last.
        let rounds = self.silent / (self.candidates.len() as u32).max(1);
        self.limits.attempt_timeout * 2u32.saturating_pow(rounds.min(6))
    }

    fn backoff(&self) -> Duration {
        let (first, most) = self.limits.backoff;
        (first * 2u32.saturating_pow(self.rounds.saturating_sub(1).min(10))).min(most)
    }
}

fn overloaded() -> Error {
    Error::new(
        Reason::Overloaded,
        "too much is in flight to the shard's data nodes: try again later",
    )
    .retry_after(Duration::from_millis(100))
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
