//! Handing operations on to the node that leads their shard.
//!
//! An operation is handed on once: it says so, and whoever gets it then serves or refuses it. What can't be handed on
//! was certainly not applied; what was sent and got no answer may have been. If its caller goes away meanwhile, the leader is
//! told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::{Error, internal};
use environment::{Clock, Network};
use links::{Nodes, NotSent, Outcome, Success, Timing};
use model::NodeId;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::admission::overloaded;
use crate::operation::{self, Answer, Request};
use crate::worker::no_leader;

/// Hands operations on. Clones share their links.
#[derive(Clone)]
pub struct Forwarder {
    nodes: Arc<Nodes>,
    clock: Arc<dyn Clock>,
}

impl Forwarder {
    /// A forwarder without links.
    pub fn new(clock: Arc<dyn Clock>, network: Arc<dyn Network>) -> Self {
        Self {
            nodes: Arc::new(Nodes::new(network, Timing::default())),
            clock,
        }
    }

    /// Makes the links those of these members. Runs within a runtime.
    pub fn set_members(&self, members: &BTreeMap<NodeId, String>) {
        self.nodes.set_members(
            members
                .iter()
                .map(|(&node, address)| (node, address.as_str())),
        );
    }

    /// Hands an operation on to `to`, and its answer back.
    pub fn forward(&self, runtime: &Handle, to: NodeId, request: Request) {
        let Request {
            shard,
            operation,
            deadline_millis,
            reply,
            ..
        } = request;
        let write = operation.is_write();
        let left = deadline_millis.saturating_sub(self.clock.now().monotonic_millis);
        let deadline = Instant::now() + Duration::from_millis(left);
        let operation = internal::Operation {
            correlation: 0,
            table: shard.table.0,
            shard: shard.index,
            timeout_millis: 0,
            forwarded: true,
            kind: Some(operation::encode(operation)),
        };
        match self.nodes.submit(to, operation, deadline) {
            Err(refused) => reply.fail(Some(to), not_sent(refused)),
            Ok(outcome) => {
                runtime.spawn(async move {
                    // Whatever ends this, `outcome` is dropped with it, and the leader told.
                    let outcome = tokio::select! {
                        biased;
                        outcome = timeout_at(deadline, outcome) => outcome.unwrap_or(Outcome::Lost),
                        () = reply.cancelled() => Outcome::Lost,
                    };
                    let (leader, answer) = answer(to, write, outcome);
                    reply.answer(leader, answer);
                });
            }
        }
    }
}

fn answer(to: NodeId, write: bool, outcome: Outcome) -> (Option<NodeId>, Answer) {
    match outcome {
        Outcome::Answer(answer) => (answer.leader, success(answer.result)),
        Outcome::NotSent(refused) => (Some(to), Answer::Failed(not_sent(refused))),
        Outcome::Lost if write => {
            let error =
                Error::outcome_unknown("the shard's leader got the write and did not answer");
            (None, Answer::Failed(error))
        }
        Outcome::Lost => (None, Answer::Failed(no_leader())),
    }
}

fn success(result: Result<Success, Error>) -> Answer {
    match result {
        Ok(Success::Found { value, version }) => Answer::Found { value, version },
        Ok(Success::Absent) => Answer::Absent,
        Ok(Success::Applied { version }) => Answer::Applied { version },
        Ok(Success::Prepared) => Answer::Prepared,
        Ok(Success::Rejected(objections)) => Answer::Rejected(objections),
        Ok(Success::State(state)) => Answer::State(state),
        Ok(Success::Items(items)) => Answer::Items(items),
        Err(error) => Answer::Failed(error),
    }
}

fn not_sent(refused: NotSent) -> Error {
    match refused {
        NotSent::Unreachable | NotSent::TooLate => no_leader(),
        NotSent::Overloaded => overloaded("too much is being handed on to the shard's leader"),
    }
}

#[cfg(test)]
mod tests {
    use api::Reason;
    use bytes::Bytes;
    use futures::future::BoxFuture;
    use links::testing::{FakeNode, Fault};
    use links::{Content, ReadItem};
    use model::{Key, Objection, ShardId, TableId, Timestamp, TransactionState};
    use tokio::sync::{Notify, mpsc};

    use super::*;
    use crate::operation::{Operation, Reply, ReplySink};

    /// Somebody who may go away.
    struct Caller {
        gone: Notify,
        answers: mpsc::UnboundedSender<Answer>,
    }

    impl ReplySink for Caller {
        fn answer(&self, _: u64, _: Option<NodeId>, answer: Answer) {
            let _ = self.answers.send(answer);
        }

        fn cancelled(&self, _: u64) -> BoxFuture<'_, ()> {
            Box::pin(self.gone.notified())
        }
    }

    fn delete(reply: Reply, deadline_millis: u64) -> Request {
        Request {
            shard: ShardId {
                table: TableId(1),
                index: 0,
            },
            operation: Operation::Delete {
                key: Key::new(Bytes::from_static(b"k")).unwrap(),
                request: model::RequestId {
                    issued_millis: 1,
                    client: 1,
                    sequence: 1,
                },
                condition: model::Condition::Always,
            },
            deadline_millis,
            forwarded: false,
            reply,
        }
    }

    async fn until(holds: impl Fn() -> bool) {
        let holds = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        timeout_at(Instant::now() + Duration::from_secs(10), holds)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn the_leader_hears_that_the_caller_of_what_was_handed_on_has_gone() {
        let leader = FakeNode::start(NodeId(1), &Arc::default());
        leader.set_fault(Fault::Silent);
        let clock = Arc::new(environment::SystemClock::default());
        let forwarder = Forwarder::new(clock.clone(), Arc::new(environment::Tcp));
        forwarder.set_members(&BTreeMap::from([(leader.id, leader.address.to_string())]));
        let (answers, mut answered) = mpsc::unbounded_channel();
        let gone = Notify::new();
        let caller = Arc::new(Caller { gone, answers });
        let reply = Reply::new(caller.clone(), 1, true, None);
        let deadline = clock.now().monotonic_millis + 60_000;
        forwarder.forward(&Handle::current(), leader.id, delete(reply, deadline));
        until(|| leader.operations() == 1).await;
        assert_eq!(leader.cancelled(), 0);
        caller.gone.notify_one();
        until(|| leader.cancelled() == 1).await;
        let answer = answered.recv().await;
        assert!(
            matches!(&answer, Some(Answer::Failed(error)) if error.reason == Reason::OutcomeUnknown),
            "it may be applied there: {answer:?}"
        );
    }

    #[test]
    fn an_answer_that_is_handed_back_is_the_answer_that_was_given() {
        let item = |content| ReadItem {
            content,
            lsn: 7,
            locked: true,
        };
        let value = Content::Value(Bytes::from_static(b"v"));
        for given in [
            Answer::Found {
                value: Bytes::from_static(b"v"),
                version: 3,
            },
            Answer::Absent,
            Answer::Applied { version: 4 },
            Answer::Prepared,
            Answer::Rejected(vec![
                None,
                Some(Objection::ConditionFailed),
                Some(Objection::TransactionConflict),
                Some(Objection::TimestampTooOld(Timestamp(9))),
                Some(Objection::Invalid),
            ]),
            Answer::State(TransactionState::Cancelled),
            Answer::Items(vec![
                item(None),
                item(Some(Content::Unchanged)),
                item(Some(value)),
            ]),
            Answer::Failed(Error::new(Reason::ConditionFailed, "no").with("version", 5)),
        ] {
            let result = operation::encode_answer(1, Some(NodeId(2)), given.clone());
            let outcome = Outcome::Answer(result.into());
            assert_eq!(answer(NodeId(1), true, outcome), (Some(NodeId(2)), given));
        }
    }
}
