//! How an attempt to have a data node carry something out can end.

use api::{Error, Reason, internal};
use bytes::Bytes;
use model::NodeId;

/// The end of one attempt. Every submitted operation gets exactly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The node has answered.
    Answer(Answer),
    /// The operation was certainly not sent: nobody can have carried it out.
    NotSent(NotSent),
    /// The operation was handed to the transport and its answer will never come. The node may have
    /// received it.
    Lost,
}

/// Why an operation was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSent {
    /// There is no connection to the node.
    Unreachable,
    /// There is too much in flight to that node already.
    Overloaded,
    /// The operation's time was up before it could be sent.
    TooLate,
}

/// What a node said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Who leads the shard, as far as that node knows.
    pub leader: Option<NodeId>,
    /// The result, or the node's refusal.
    pub result: Result<Success, Error>,
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Success {
    /// A get found its item.
    Found {
        /// The item's value.
        value: Bytes,
        /// The item's version.
        version: u64,
    },
    /// A get found nothing.
    Absent,
    /// A put, delete, seal or checkpoint was applied.
    Applied {
        /// Of the item that was written; for a checkpoint its Raft index.
        version: u64,
    },
}

impl From<internal::OperationResult> for Answer {
    /// A result without content, which only a newer version could send, is taken for an unknown outcome.
    fn from(result: internal::OperationResult) -> Self {
        use internal::operation_result::Kind;
        let leader = (result.leader != 0).then_some(NodeId(result.leader));
        let result = match result.kind {
            Some(Kind::Found(found)) => Ok(Success::Found {
                value: found.value,
                version: found.version,
            }),
            Some(Kind::Absent(_)) => Ok(Success::Absent),
            Some(Kind::Applied(applied)) => Ok(Success::Applied {
                version: applied.version,
            }),
            Some(Kind::Failure(failure)) => Err(failure.into()),
            None => Err(Error::new(
                Reason::OutcomeUnknown,
                "the data node sent a result that this version does not know",
            )),
        };
        Self { leader, result }
    }
}
