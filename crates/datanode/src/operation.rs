//! Operations on one shard, and the promise of exactly one answer to each.
//!
//! An operation comes in over a stream, from a router or forwarded by another node, and its [`Reply`] goes
//! with it wherever it goes: into the worker, into a Raft entry, through the applier. Whoever has the result
//! answers. A reply that is dropped without an answer says `OUTCOME_UNKNOWN`, so that nobody waits for
//! something that was lost.
//!
//! A caller that has gone is no reason not to answer, only one not to begin: [`Reply::is_cancelled`] is asked wherever an
//! operation may have waited and nothing was done for it yet.

use std::fmt;
use std::sync::Arc;

use api::{Error, Reason, internal};
use bytes::Bytes;
use futures::future::BoxFuture;
use links::ReadItem;
use model::{
    Condition, Key, NodeId, Objection, Participant, RequestId, ShardId, Timestamp, TransactionId,
    TransactionItem, TransactionState, limits,
};

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
        /// Under which it happens.
        condition: Condition,
    },
    /// Remove an item.
    Delete {
        /// Its key.
        key: Key,
        /// By which a repetition is recognised.
        request: RequestId,
        /// Under which it happens.
        condition: Condition,
    },
    /// Refuse every write and consistent read from here on.
    Seal,
    /// Note the content hash at this point of the log.
    Checkpoint {
        /// By which the hash is asked for later; 0 for the regular comparison.
        verify_id: u64,
    },
    /// Check, decide and apply a transaction that lies in this shard alone.
    TransactWrite {
        /// The transaction.
        transaction: TransactionId,
        /// When it was issued, milliseconds since the Unix epoch by its router's clock.
        issued_millis: u64,
        /// What it puts.
        items: Vec<TransactionItem>,
    },
    /// The first phase of a transaction.
    Prepare {
        /// The transaction.
        transaction: TransactionId,
        /// Of all its writes.
        timestamp: Timestamp,
        /// What it puts in this shard.
        items: Vec<TransactionItem>,
        /// Everything that it writes.
        participants: Vec<Participant>,
    },
    /// The second phase of a transaction.
    Decide {
        /// The transaction.
        transaction: TransactionId,
        /// Of all its writes; [`Timestamp::ZERO`] where it is not known.
        timestamp: Timestamp,
        /// Committed or cancelled.
        commit: bool,
    },
    /// What became of a transaction here?
    Inquire {
        /// The transaction.
        transaction: TransactionId,
        /// Of all its writes.
        timestamp: Timestamp,
        /// What it writes here.
        keys: Vec<Key>,
    },
    /// One round of a reading transaction. Linearizable.
    TransactRead {
        /// The keys, each with the lsn that the last round has seen; 0 for none.
        keys: Vec<(Key, u64)>,
    },
}

/// What is to be read of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// An item.
    Item(Key),
    /// Several at one moment: see [`Operation::TransactRead`].
    Items(Vec<(Key, u64)>),
}

impl Question {
    /// How many keys are looked up for it.
    pub fn keys(&self) -> usize {
        match self {
            Self::Item(_) => 1,
            Self::Items(keys) => keys.len(),
        }
    }
}

impl Operation {
    /// Whether sending it twice could have another effect than sending it once, had it no identity.
    pub fn is_write(&self) -> bool {
        !matches!(
            self,
            Self::Get { .. } | Self::TransactRead { .. } | Self::Inquire { .. }
        )
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Get { key, .. } | Self::Delete { key, .. } => key.partition.len(),
            Self::Put { key, value, .. } => key.partition.len() + value.len(),
            Self::TransactWrite { items, .. } => items_bytes(items),
            Self::Prepare {
                items,
                participants,
                ..
            } => {
                let keys = participants.iter().map(|one| one.key.partition.len());
                items_bytes(items) + keys.sum::<usize>()
            }
            Self::TransactRead { keys } => keys.iter().map(|(key, _)| key.partition.len()).sum(),
            Self::Inquire { keys, .. } => keys.iter().map(|key| key.partition.len()).sum(),
            Self::Seal | Self::Checkpoint { .. } | Self::Decide { .. } => 0,
        }
    }
}

fn items_bytes(items: &[TransactionItem]) -> usize {
    items.iter().map(TransactionItem::bytes).sum()
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
    /// A prepare was accepted, now or before.
    Prepared,
    /// A prepare or a transaction in one shard was refused: for each item, in order, what there is against it.
    Rejected(Vec<Option<Objection>>),
    /// To an inquiry.
    State(TransactionState),
    /// To one round of a reading transaction: one for each key, in order.
    Items(Vec<ReadItem>),
    /// It was not done, or it is not known whether it was.
    Failed(Error),
}

/// Where answers go.
pub trait ReplySink: Send + Sync {
    /// Passes an answer on. `leader` is who leads the shard, as far as is known. Must not block.
    fn answer(&self, correlation: u64, leader: Option<NodeId>, answer: Answer);

    /// Whether so much waits to be fetched there that nothing large should be added.
    fn is_full(&self) -> bool {
        false
    }

    /// Whether nobody waits for the answer any more. It is given all the same.
    fn is_cancelled(&self, _correlation: u64) -> bool {
        false
    }

    /// Resolves once it is so.
    fn cancelled(&self, _correlation: u64) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
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

    /// Whether whoever asked has much to fetch before this answer.
    pub fn is_crowded(&self) -> bool {
        self.sink.as_ref().is_some_and(|sink| sink.is_full())
    }

    /// Whether nobody waits for the answer any more, as far as is known. What was not begun by then need not be.
    pub fn is_cancelled(&self) -> bool {
        let sink = self.sink.as_ref();
        sink.is_some_and(|sink| sink.is_cancelled(self.correlation))
    }

    /// Resolves once it is so. Never, mostly.
    pub async fn cancelled(&self) {
        match &self.sink {
            Some(sink) => sink.cancelled(self.correlation).await,
            None => std::future::pending().await,
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
            condition: api::convert::condition(put.condition.as_ref()),
        },
        Kind::Delete(delete) => Operation::Delete {
            key: api::convert::key(delete.key)?,
            request: identity(delete.request_id)?,
            condition: api::convert::condition(delete.condition.as_ref()),
        },
        Kind::Seal(_) => Operation::Seal,
        Kind::Checkpoint(checkpoint) => Operation::Checkpoint {
            verify_id: checkpoint.verify_id,
        },
        Kind::TransactWrite(write) => Operation::TransactWrite {
            transaction: api::convert::transaction_id(&write.transaction)?,
            issued_millis: write.issued_at_millis,
            items: decode_items(write.items)?,
        },
        Kind::Prepare(prepare) => {
            api::convert::batch_len("participants", prepare.participants.len())?;
            let participants = prepare.participants.into_iter().map(TryInto::try_into);
            Operation::Prepare {
                transaction: api::convert::transaction_id(&prepare.transaction)?,
                timestamp: Timestamp(prepare.timestamp),
                items: decode_items(prepare.items)?,
                participants: participants.collect::<Result<_, _>>()?,
            }
        }
        Kind::Decide(decide) => Operation::Decide {
            transaction: api::convert::transaction_id(&decide.transaction)?,
            timestamp: Timestamp(decide.timestamp),
            commit: decide.commit,
        },
        Kind::Inquire(inquire) => {
            check_keys(inquire.keys.len())?;
            let keys = inquire.keys.into_iter().map(api::convert::key);
            Operation::Inquire {
                transaction: api::convert::transaction_id(&inquire.transaction)?,
                timestamp: Timestamp(inquire.timestamp),
                keys: keys.collect::<Result<_, Error>>()?,
            }
        }
        Kind::TransactRead(read) => {
            api::convert::batch_len("keys", read.keys.len())?;
            let keys = read.keys.into_iter();
            let keys = keys.map(|one| Ok((api::convert::key(one.key)?, one.known_lsn)));
            Operation::TransactRead {
                keys: keys.collect::<Result<_, Error>>()?,
            }
        }
    })
}

/// Of an inquiry there may be none: then nothing is concluded from items.
fn check_keys(count: usize) -> Result<(), Error> {
    match count {
        0 => Ok(()),
        count => api::convert::batch_len("keys", count),
    }
}

fn decode_items(items: Vec<internal::TransactionItem>) -> Result<Vec<TransactionItem>, Error> {
    api::convert::batch_len("items", items.len())?;
    let items = items.into_iter().map(TryInto::try_into);
    let items: Vec<_> = items.collect::<Result<_, _>>()?;
    let bytes = items_bytes(&items);
    if bytes > limits::MAX_BATCH_BYTES {
        let max = limits::MAX_BATCH_BYTES;
        let message = format!("a transaction has at most {max} bytes, this one has {bytes}");
        return Err(Error::invalid("items", message));
    }
    Ok(items)
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
            condition,
        } => Kind::Put(internal::Put {
            key: key.partition,
            value,
            request_id: Some(request.into()),
            condition: api::convert::condition_message(condition),
        }),
        Operation::Delete {
            key,
            request,
            condition,
        } => Kind::Delete(internal::Delete {
            key: key.partition,
            request_id: Some(request.into()),
            condition: api::convert::condition_message(condition),
        }),
        Operation::Seal => Kind::Seal(internal::Seal {}),
        Operation::Checkpoint { verify_id } => Kind::Checkpoint(internal::Checkpoint { verify_id }),
        Operation::TransactWrite {
            transaction,
            issued_millis,
            items,
        } => Kind::TransactWrite(internal::TransactWrite {
            transaction: api::convert::transaction_bytes(transaction),
            issued_at_millis: issued_millis,
            items: items.into_iter().map(Into::into).collect(),
        }),
        Operation::Prepare {
            transaction,
            timestamp,
            items,
            participants,
        } => Kind::Prepare(internal::Prepare {
            transaction: api::convert::transaction_bytes(transaction),
            timestamp: timestamp.0,
            items: items.into_iter().map(Into::into).collect(),
            participants: participants.into_iter().map(Into::into).collect(),
        }),
        Operation::Decide {
            transaction,
            timestamp,
            commit,
        } => Kind::Decide(internal::Decide {
            transaction: api::convert::transaction_bytes(transaction),
            timestamp: timestamp.0,
            commit,
        }),
        Operation::Inquire {
            transaction,
            timestamp,
            keys,
        } => Kind::Inquire(internal::Inquire {
            transaction: api::convert::transaction_bytes(transaction),
            timestamp: timestamp.0,
            keys: keys.into_iter().map(|key| key.partition).collect(),
        }),
        Operation::TransactRead { keys } => {
            let keys = keys
                .into_iter()
                .map(|(key, known_lsn)| internal::TransactReadKey {
                    key: key.partition,
                    known_lsn,
                });
            Kind::TransactRead(internal::TransactRead {
                keys: keys.collect(),
            })
        }
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
        Answer::Prepared => Kind::Prepared(internal::Prepared {}),
        Answer::Rejected(objections) => Kind::Rejected(internal::Rejected {
            objections: objections.into_iter().map(Into::into).collect(),
        }),
        Answer::State(state) => Kind::State(state.into()),
        Answer::Items(items) => Kind::Items(internal::TransactItems {
            items: items.into_iter().map(Into::into).collect(),
        }),
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

    /// Collects answers for a test to look at. The numbers beside them are those that nobody waits for.
    #[derive(Default)]
    pub(crate) struct Collected(
        pub(crate) Mutex<Vec<(u64, Answer)>>,
        pub(crate) Mutex<Vec<u64>>,
    );

    impl ReplySink for Collected {
        fn answer(&self, correlation: u64, _: Option<NodeId>, answer: Answer) {
            self.0.lock().push((correlation, answer));
        }

        fn is_cancelled(&self, correlation: u64) -> bool {
            self.1.lock().contains(&correlation)
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
        let condition = Condition::VersionIs(8);
        let (transaction, timestamp) = (TransactionId(u128::MAX - 1), Timestamp(7));
        let items = vec![item(b"k", 3), item(b"l", 0)];
        let participants = [1, 2].map(|table| Participant {
            table: model::TableId(table),
            key: key.clone(),
        });
        for operation in [
            Operation::Get {
                key: key.clone(),
                consistent: true,
            },
            Operation::Put {
                key: key.clone(),
                value: Bytes::from_static(b"v"),
                request,
                condition,
            },
            Operation::Delete {
                key: key.clone(),
                request,
                condition,
            },
            Operation::Seal,
            Operation::Checkpoint { verify_id: 9 },
            Operation::TransactWrite {
                transaction,
                issued_millis: 5,
                items: items.clone(),
            },
            Operation::Prepare {
                transaction,
                timestamp,
                items,
                participants: participants.to_vec(),
            },
            Operation::Decide {
                transaction,
                timestamp,
                commit: true,
            },
            Operation::Inquire {
                transaction,
                timestamp,
                keys: vec![key.clone()],
            },
            Operation::TransactRead {
                keys: vec![(key.clone(), 0), (key, 9)],
            },
        ] {
            assert_eq!(decode(encode(operation.clone())), Ok(operation));
        }
    }

    fn item(key: &'static [u8], len: usize) -> TransactionItem {
        TransactionItem {
            key: Key::new(Bytes::from_static(key)).unwrap(),
            value: Bytes::from(vec![b'v'; len]),
            condition: Condition::NotExists,
        }
    }

    #[test]
    fn what_exceeds_the_limits_of_a_transaction_is_refused() {
        let write = |items: Vec<TransactionItem>| {
            decode(encode(Operation::TransactWrite {
                transaction: TransactionId(1),
                issued_millis: 1,
                items,
            }))
        };
        let refused = |decoded: Result<Operation, Error>| {
            let error = decoded.unwrap_err();
            assert_eq!(error.reason, Reason::InvalidRequest);
            error.metadata["field"].clone()
        };
        assert_eq!(refused(write(Vec::new())), "items");
        assert!(write(vec![item(b"k", 1); limits::MAX_BATCH_ITEMS]).is_ok());
        assert_eq!(
            refused(write(vec![item(b"k", 1); limits::MAX_BATCH_ITEMS + 1])),
            "items"
        );
        let large = vec![item(b"k", limits::MAX_VALUE_BYTES); 10];
        assert!(write(large).is_ok());
        let larger = vec![item(b"k", limits::MAX_VALUE_BYTES); 11];
        assert_eq!(refused(write(larger)), "items");
        let prepare = |count| {
            let one = Participant {
                table: model::TableId(1),
                key: item(b"k", 0).key,
            };
            decode(encode(Operation::Prepare {
                transaction: TransactionId(1),
                timestamp: Timestamp(1),
                items: vec![item(b"k", 1)],
                participants: vec![one; count],
            }))
        };
        assert!(prepare(limits::MAX_BATCH_ITEMS).is_ok());
        assert_eq!(
            refused(prepare(limits::MAX_BATCH_ITEMS + 1)),
            "participants"
        );
        assert_eq!(refused(prepare(0)), "participants");
        let read = |count| {
            let keys = vec![(item(b"k", 0).key, 0); count];
            decode(encode(Operation::TransactRead { keys }))
        };
        assert!(read(limits::MAX_BATCH_ITEMS).is_ok());
        assert_eq!(refused(read(limits::MAX_BATCH_ITEMS + 1)), "keys");
        let short_id = internal::Decide {
            transaction: Bytes::from_static(&[1; 15]),
            ..Default::default()
        };
        let decoded = decode(internal::operation::Kind::Decide(short_id));
        assert_eq!(refused(decoded), "transaction");
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
