//! Carries out what the [policy](super::policy) decides.

use std::future::Future;

use api::Error;
use api::internal::{Operation, operation};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use model::{NodeId, ShardId};
use rand::seq::SliceRandom as _;
use tokio::time::{Instant, sleep_until};

use super::leaders::Leaders;
use super::policy::{Event, Kind, Limits, Policy, Step};
use crate::options::Timing;
use links::{Answer, Nodes, NotSent, Outcome, Success, Waiting};

/// What is to be carried out, and by when.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) kind: Kind,
    pub(crate) shard: ShardId,
    pub(crate) replicas: &'a [NodeId],
    pub(crate) operation: operation::Kind,
    pub(crate) deadline: Instant,
}

/// What a second look at the table has shown.
#[derive(Debug)]
pub(crate) enum Reread {
    /// It is the one that the request is for.
    Same,
    /// The name now belongs to another table.
    Replaced,
    /// Its users get this error.
    Gone(Error),
}

/// How a request has ended.
#[derive(Debug)]
pub(crate) enum End {
    /// With this answer.
    Answer(Result<Success, Error>),
    /// The name belongs to another table now, and this one has certainly not been changed.
    Restart,
}

/// The means to carry requests out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Means<'a> {
    pub(crate) nodes: &'a Nodes,
    pub(crate) leaders: &'a Leaders,
    pub(crate) timing: &'a Timing,
}

impl Means<'_> {
    /// Carries a request out. Dropping the future leaves a write's outcome open. What is still under way when it is
    /// dropped, or has its answer from another node, is cancelled.
    pub(crate) async fn run<F>(&self, request: Request<'_>, reread: impl Fn() -> F) -> End
    where
        F: Future<Output = Reread>,
    {
        let begin = Instant::now();
        let limits = self.limits(&request, begin);
        let mut policy = Policy::new(request.kind, limits, self.in_order(&request));
        let mut attempts = FuturesUnordered::new();
        let alarm = sleep_until(begin);
        tokio::pin!(alarm);
        let mut event = Event::Begin;
        let mut asked = None;
        loop {
            match policy.step(begin.elapsed(), event) {
                Step::Finish(answer) => return End::Answer(answer),
                Step::Restart => return End::Restart,
                Step::ReadTable => {
                    event = match reread().await {
                        Reread::Same => Event::SameTable,
                        Reread::Replaced => Event::TableReplaced,
                        Reread::Gone(error) => Event::TableGone(error),
                    };
                    continue;
                }
                Step::Send(node, until) => match self.submit(node, &request) {
                    Ok(outcome) => {
                        asked = Some(node);
                        attempts.push(async move { (node, outcome.await) });
                        alarm.as_mut().reset(begin + until);
                    }
                    Err(reason) => {
                        self.learn(&request, node, &Outcome::NotSent(reason));
                        event = Event::Ended(node, Outcome::NotSent(reason));
                        continue;
                    }
                },
                Step::Wait(until) => alarm.as_mut().reset(begin + until),
            }
            event = tokio::select! {
                biased;
                Some((node, outcome)) = attempts.next() => {
                    self.learn(&request, node, &outcome);
                    Event::Ended(node, outcome)
                }
                () = &mut alarm => {
                    if let Some(silent) = asked.take() {
                        self.leaders.forget(request.shard, silent);
                    }
                    Event::TimeUp
                }
            };
        }
    }

    pub(crate) fn limits(&self, request: &Request<'_>, begin: Instant) -> Limits {
        Limits {
            deadline: request.deadline.saturating_duration_since(begin),
            attempt_timeout: match request.kind {
                Kind::EventualRead => self.timing.eventual_attempt_timeout,
                Kind::ConsistentRead | Kind::Write => self.timing.attempt_timeout,
            },
            backoff: self.timing.round_backoff,
            unreachable_patience: self.timing.unreachable_patience,
        }
    }

    /// The replicas: the leader first where one is needed and known, the rest at random, those that are
    /// suspected to be out of reach at the end.
    pub(crate) fn in_order(&self, request: &Request<'_>) -> Vec<(NodeId, bool)> {
        let suspected = |&node: &NodeId| (node, self.nodes.is_suspect(node));
        let mut replicas: Vec<_> = request.replicas.iter().map(suspected).collect();
        replicas.shuffle(&mut rand::rng());
        let leader = match request.kind {
            Kind::EventualRead => None,
            Kind::ConsistentRead | Kind::Write => self.leaders.get(request.shard),
        };
        replicas.sort_by_key(|&(node, suspect)| (suspect, Some(node) != leader));
        replicas
    }

    fn submit(&self, node: NodeId, request: &Request<'_>) -> Result<Waiting, NotSent> {
        let operation = Operation {
            table: request.shard.table.0,
            shard: request.shard.index,
            kind: Some(request.operation.clone()),
            ..Operation::default()
        };
        self.nodes.submit(node, operation, request.deadline)
    }

    /// Keeps what an outcome says about the shard's leader.
    fn learn(&self, request: &Request<'_>, node: NodeId, outcome: &Outcome) {
        let leader = match outcome {
            Outcome::Answer(Answer { leader, result }) => leader
                .filter(|leader| request.replicas.contains(leader))
                // Who refuses is not the way to the leader, whoever it takes for it.
                .filter(|_| result.is_ok()),
            Outcome::NotSent(_) | Outcome::Lost => None,
        };
        match (leader, outcome) {
            (Some(leader), _) => self.leaders.remember(request.shard, leader),
            (None, Outcome::Answer(Answer { result: Ok(_), .. })) => {}
            (None, _) => self.leaders.forget(request.shard, node),
        }
    }
}
