//! Operations on one shard, and the promise of exactly one answer to each.
//!
//! An operation comes in over a stream, from a router or forwarded by another node, and its [`Reply`] goes
//! with it wherever it goes: into the worker, into a Raft entry, through the applier. Whoever has the result
//! answers. A reply that is dropped without an answer says `OUTCOME_UNKNOWN`, so that nobody waits for
//! something that was lost.

use std::fmt;
use std::sync::Arc;

use api::{Error, Reason, internal};
use bytes::Bytes;
use model::{Key, NodeId, RequestId, ShardId};

use crate::admission::Permit;

/// What is asked of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Read an item.
    Get {
        /// Its key.
        key: Key,
        /// Linearizable, or whatever this replica has.
        consistent: bool,
    },
    /// Write an item.
    Put {
        /// Its key.
        key: Key,
        /// Its new value.
        value: Bytes,
        /// By which a repetition is recognised.
        request: RequestId,
    },
    /// Remove an item.
    Delete {
        /// Its key.
        key: Key,
        /// By which a repetition is recognised.
        request: RequestId,
    },
    /// Refuse every write and consistent read from here on.
    Seal,
    /// Note the content hash at this point of the log.
    Checkpoint {
        /// By which the hash is asked for later; 0 for the regular comparison.
        verify_id: u64,
    },
}

impl Operation {
    /// Whether sending it twice could have another effect than sending it once, had it no identity.
    pub fn is_write(&self) -> bool {
        !matches!(self, Self::Get { .. })
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Get { key, .. } | Self::Delete { key, .. } => key.partition.len(),
            Self::Put { key, value, .. } => key.partition.len() + value.len(),
            Self::Seal | Self::Checkpoint { .. } => 0,
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The item.
    Found {
        /// Its value.
        value: Bytes,
        /// Its version.
        version: u64,
    },
    /// There is no such item.
    Absent,
    /// A write, seal or checkpoint was applied.
    Applied {
        /// Of the item that was written; the index for a checkpoint; else 0.
        version: u64,
    },
    /// It was not done, or it is not known whether it was.
    Failed(Error),
}

/// Where answers go.
pub trait ReplySink: Send + Sync {
    /// Passes an answer on. `leader` is who leads the shard, as far as is known. Must not block.
    fn answer(&self, correlation: u64, leader: Option<NodeId>, answer: Answer);
}

/// The obligation to answer one operation.
pub struct Reply {
    sink: Option<Arc<dyn ReplySink>>,
    correlation: u64,
    write: bool,
    // Held for as long as the operation is in flight.
    _permit: Option<Permit>,
}

impl Reply {
    /// An obligation towards `sink`. `write` decides what a lost reply means.
    pub fn new(
        sink: Arc<dyn ReplySink>,
        correlation: u64,
        write: bool,
        permit: Option<Permit>,
    ) -> Self {
        Self {
            sink: Some(sink),
            correlation,
            write,
            _permit: permit,
        }
    }

    /// Meets the obligation.
    pub fn answer(mut self, leader: Option<NodeId>, answer: Answer) {
        if let Some(sink) = self.sink.take() {
            sink.answer(self.correlation, leader, answer);
        }
    }

    /// Meets the obligation with an error.
    pub fn fail(self, leader: Option<NodeId>, error: Error) {
        self.answer(leader, Answer::Failed(error));
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let Some(sink) = self.sink.take() else { return };
        let error = if self.write {
            Error::outcome_unknown("the node stopped working on this shard")
        } else {
            Error::new(
                Reason::NoLeader,
                "the node stopped working on this shard; retry",
            )
        };
        sink.answer(self.correlation, None, Answer::Failed(error));
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({})", self.correlation)
    }
}

/// An operation on its way through the node.
#[derive(Debug)]
pub struct Request {
    /// The shard it is for.
    pub shard: ShardId,
    /// What is asked.
    pub operation: Operation,
    /// When the caller stops waiting, on the node's monotonic clock.
    pub deadline_millis: u64,
    /// Another node has handed it on already; it must not travel any further.
    pub forwarded: bool,
    /// Who waits for it.
    pub reply: Reply,
}

/// Reads an operation from the wire, checking its limits.
pub fn decode(operation: internal::operation::Kind) -> Result<Operation, Error> {
    use internal::operation::Kind;
    let identity = |id: Option<api::v1::RequestId>| {
        id.map(RequestId::from).ok_or_else(|| {
            Error::invalid("request_id", "a write between nodes carries its identity")
        })
    };
    Ok(match operation {
        Kind::Get(get) => Operation::Get {
            key: api::convert::key(get.key)?,
            consistent: get.consistent,
        },
        Kind::Put(put) => Operation::Put {
            key: api::convert::key(put.key)?,
            value: api::convert::value(put.value)?,
            request: identity(put.request_id)?,
        },
        Kind::Delete(delete) => Operation::Delete {
            key: api::convert::key(delete.key)?,
            request: identity(delete.request_id)?,
        },
        Kind::Seal(_) => Operation::Seal,
        Kind::Checkpoint(checkpoint) => Operation::Checkpoint {
            verify_id: checkpoint.verify_id,
        },
    })
}

/// Writes an operation for the wire, to be handed on.
pub fn encode(operation: Operation) -> internal::operation::Kind {
    use internal::operation::Kind;
    match operation {
        Operation::Get { key, consistent } => Kind::Get(internal::Get {
            key: key.partition,
            consistent,
        }),
        Operation::Put {
            key,
            value,
            request,
        } => Kind::Put(internal::Put {
            key: key.partition,
            value,
            request_id: Some(request.into()),
        }),
        Operation::Delete { key, request } => Kind::Delete(internal::Delete {
            key: key.partition,
            request_id: Some(request.into()),
        }),
        Operation::Seal => Kind::Seal(internal::Seal {}),
        Operation::Checkpoint { verify_id } => Kind::Checkpoint(internal::Checkpoint { verify_id }),
    }
}

/// Writes an answer for the wire.
pub fn encode_answer(
    correlation: u64,
    leader: Option<NodeId>,
    answer: Answer,
) -> internal::OperationResult {
    use internal::operation_result::Kind;
    let kind = match answer {
        Answer::Found { value, version } => Kind::Found(internal::Found { value, version }),
        Answer::Absent => Kind::Absent(internal::Absent {}),
        Answer::Applied { version } => Kind::Applied(internal::Applied { version }),
        Answer::Failed(error) => Kind::Failure(error.into()),
    };
    internal::OperationResult {
        correlation,
        leader: leader.map_or(0, |node| node.0),
        kind: Some(kind),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use parking_lot::Mutex;

    /// Collects answers for a test to look at.
    #[derive(Default)]
    pub(crate) struct Collected(pub(crate) Mutex<Vec<(u64, Answer)>>);

    impl ReplySink for Collected {
        fn answer(&self, correlation: u64, _: Option<NodeId>, answer: Answer) {
            self.0.lock().push((correlation, answer));
        }
    }

    fn reason(answer: &Answer) -> Option<Reason> {
        match answer {
            Answer::Failed(error) => Some(error.reason),
            _ => None,
        }
    }

    #[test]
    fn a_reply_that_is_dropped_still_answers_once() {
        let sink = Arc::new(Collected::default());
        drop(Reply::new(sink.clone(), 1, true, None));
        drop(Reply::new(sink.clone(), 2, false, None));
        Reply::new(sink.clone(), 3, true, None).answer(None, Answer::Absent);
        let answers = sink.0.lock();
        let reasons: Vec<_> = answers
            .iter()
            .map(|(c, answer)| (*c, reason(answer)))
            .collect();
        let expected = [
            (1, Some(Reason::OutcomeUnknown)),
            (2, Some(Reason::NoLeader)),
            (3, None),
        ];
        assert_eq!(reasons, expected);
    }

    #[test]
    fn operations_and_answers_survive_the_wire() {
        let key = Key::new(Bytes::from_static(b"k")).unwrap();
        let request = RequestId {
            issued_millis: 1,
            client: 2,
            sequence: 3,
        };
        for operation in [
            Operation::Get {
                key: key.clone(),
                consistent: true,
            },
            Operation::Put {
                key: key.clone(),
                value: Bytes::from_static(b"v"),
                request,
            },
            Operation::Delete { key, request },
            Operation::Seal,
            Operation::Checkpoint { verify_id: 9 },
        ] {
            assert_eq!(decode(encode(operation.clone())), Ok(operation));
        }
    }

    #[test]
    fn a_write_without_identity_is_refused_between_nodes() {
        let put = internal::Put {
            key: Bytes::from_static(b"k"),
            ..Default::default()
        };
        let error = decode(internal::operation::Kind::Put(put)).unwrap_err();
        assert_eq!(error.metadata["field"], "request_id");
    }
}
