//! How an attempt to have a data node carry something out can end.

use api::{Error, Reason, internal};
use bytes::Bytes;
use model::{NodeId, Objection, TransactionState};

/// The end of one attempt to have a node carry something out.
pub type Outcome = lanes::Outcome<Answer>;

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
    /// A prepare was accepted, by this attempt or by an earlier one.
    Prepared,
    /// A prepare, or a transaction in one shard, was refused: one entry for each of its items, in order.
    Rejected(Vec<Option<Objection>>),
    /// To an inquiry.
    State(TransactionState),
    /// A round of a `TransactGet`: one entry for each key, in order.
    Items(Vec<ReadItem>),
}

/// A key in one round of a `TransactGet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadItem {
    /// Its value; `None` if it is absent.
    pub content: Option<Content>,
    /// Changes whenever value or existence do.
    pub lsn: u64,
    /// A transaction is prepared on it.
    pub locked: bool,
}

/// The value of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The value.
    Value(Bytes),
    /// The one that came with the lsn that the question named.
    Unchanged,
}

impl From<internal::TransactItem> for ReadItem {
    fn from(item: internal::TransactItem) -> Self {
        let content = match (item.found, item.unchanged) {
            (false, _) => None,
            (true, true) => Some(Content::Unchanged),
            (true, false) => Some(Content::Value(item.value)),
        };
        Self {
            content,
            lsn: item.lsn,
            locked: item.locked,
        }
    }
}

impl From<ReadItem> for internal::TransactItem {
    fn from(item: ReadItem) -> Self {
        let found = item.content.is_some();
        let unchanged = item.content == Some(Content::Unchanged);
        let value = match item.content {
            Some(Content::Value(value)) => value,
            Some(Content::Unchanged) | None => Bytes::new(),
        };
        Self {
            found,
            value,
            lsn: item.lsn,
            locked: item.locked,
            unchanged,
        }
    }
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
            Some(Kind::Prepared(_)) => Ok(Success::Prepared),
            Some(Kind::Rejected(rejected)) => {
                let objections = rejected.objections.into_iter().map(Into::into);
                Ok(Success::Rejected(objections.collect()))
            }
            Some(Kind::State(state)) => Ok(Success::State(state.into())),
            Some(Kind::Items(items)) => {
                let items = items.items.into_iter().map(Into::into);
                Ok(Success::Items(items.collect()))
            }
            None => Err(Error::new(
                Reason::OutcomeUnknown,
                "the data node sent a result that this version does not know",
            )),
        };
        Self { leader, result }
    }
}
