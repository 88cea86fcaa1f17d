//! What a Raft entry of a shard says: the commands, and the clock that goes with them.
//!
//! All commands that a leader has in hand when it proposes become one [`CommandBatch`], and that is the payload
//! of one Raft entry. It carries the leader's clock, because nothing reads a clock while applying: two replicas
//! that apply the same entry a week apart must end with the same bytes.
//!
//! The payload's first byte is the number of the format; the rest is the batch in
//! [postcard](https://postcard.jamesmunns.com)'s wire format. Keys and values that are decoded are slices of the
//! payload, not copies.
//!
//! # Caveats
//!
//! * The order of the variants of [`Command`] is on disk and between nodes. New ones go at the end.
//! * Whoever proposes checks keys with [`Key::new`] first, and the number of a transaction's items. What breaks these
//!   limits can't be decoded, and what can't be decoded stops every replica, as an entry that is committed is never skipped.

use std::fmt;

use bytes::Bytes;
use model::key::InvalidKey;
use model::{
    Condition, Key, Participant, RequestId, TableId, Timestamp, TransactionId, TransactionItem,
    limits,
};
use serde::{Deserialize, Serialize};

/// Number of the encoding, the first byte of every payload.
const FORMAT: u8 = 3;

/// Bytes that a command takes in a payload beside its keys and values, at the most: tag, lengths, condition and
/// identity.
const COMMAND_OVERHEAD: usize = 48;
/// … and each item of a transaction beside its key and value: lengths and condition.
const ITEM_OVERHEAD: usize = 20;
/// … and each participant beside its key: table and lengths.
const PARTICIPANT_OVERHEAD: usize = 16;

/// One change of a shard, or a question about it, in the order of the shard's log.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub enum Command {
    /// Gives a key a value, whether it has one or not.
    Put {
        /// The key.
        key: Key,
        /// The new value.
        value: Bytes,
        /// By which the write is known when it comes again.
        request: RequestId,
        /// Under which it happens.
        condition: Condition,
    },
    /// Removes a key, if it is there.
    Delete {
        /// The key.
        key: Key,
        /// By which the write is known when it comes again.
        request: RequestId,
        /// Under which it happens.
        condition: Condition,
    },
    /// Ends all writes, because the table is being deleted. There is no way back.
    Seal,
    /// Asks every replica for the hash of its content behind the entry that the command is in.
    Checkpoint {
        /// By which who asked knows the answers; means nothing to the state.
        verify_id: u64,
    },
    /// A whole transaction whose keys all lie in this shard: all of its puts, or none.
    TransactWrite {
        /// The transaction.
        transaction: TransactionId,
        /// When it was issued, milliseconds since the Unix epoch by its router's clock.
        issued_millis: u64,
        /// No key twice.
        items: Vec<TransactionItem>,
    },
    /// The first phase of a transaction: an intent on each of these items, or on none.
    Prepare {
        /// The transaction.
        transaction: TransactionId,
        /// Of all its writes.
        timestamp: Timestamp,
        /// Those of this shard. No key twice.
        items: Vec<TransactionItem>,
        /// Everything that it writes, here and elsewhere.
        participants: Vec<Participant>,
    },
    /// The second phase: what was prepared becomes the state, or goes.
    Decide {
        /// The transaction.
        transaction: TransactionId,
        /// Of all its writes; [`Timestamp::ZERO`] where it is not known.
        timestamp: Timestamp,
        /// Committed or cancelled.
        commit: bool,
    },
    /// Asks what became of a transaction here.
    Inquire {
        /// The transaction.
        transaction: TransactionId,
        /// Of all its writes.
        timestamp: Timestamp,
        /// What it writes here.
        keys: Vec<Key>,
    },
}

/// The commands of one Raft entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandBatch {
    /// The leader's clock when it proposed, milliseconds since the Unix epoch.
    pub now_millis: u64,
    /// In the order in which they are applied.
    pub commands: Vec<Command>,
}

/// A payload that is not a [`CommandBatch`] of a format known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandDecodeError {
    /// No bytes at all.
    #[error("an entry of commands has no bytes")]
    Empty,
    /// Written by a newer version of this software.
    #[error("command format {0} is not known to this version")]
    UnknownFormat(u8),
    /// Damaged, or with a command that this version does not know.
    #[error("an entry of commands can't be decoded: {0}")]
    Malformed(String),
    /// A key that no client may have.
    #[error("an entry of commands has an invalid key: {0}")]
    InvalidKey(#[from] InvalidKey),
    /// A transaction of more items, or of more participants, than any may have.
    #[error("an entry of commands has a transaction of {0} items")]
    TooManyItems(usize),
}

impl Command {
    /// Bytes that the command takes in a payload, rounded up by a little: what fills an entry up to
    /// [`model::limits::MAX_ENTRY_BYTES`].
    pub fn size(&self) -> usize {
        let contents = match self {
            Self::Put { key, value, .. } => key_len(key) + value.len(),
            Self::Delete { key, .. } => key_len(key),
            Self::TransactWrite { items, .. } => items_len(items),
            Self::Prepare {
                items,
                participants,
                ..
            } => {
                let keys = participants.iter().map(|one| key_len(&one.key));
                items_len(items) + keys.map(|len| len + PARTICIPANT_OVERHEAD).sum::<usize>()
            }
            Self::Inquire { keys, .. } => keys.iter().map(|key| key.partition.len()).sum(),
            Self::Seal | Self::Checkpoint { .. } | Self::Decide { .. } => 0,
        };
        contents + COMMAND_OVERHEAD
    }
}

fn key_len(key: &Key) -> usize {
    key.partition.len() + key.sort.len()
}

fn items_len(items: &[TransactionItem]) -> usize {
    items.iter().map(|item| item.bytes() + ITEM_OVERHEAD).sum()
}

/// Shows lengths and hashes only: keys and values are users' data and don't go to logs.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put {
                key,
                value,
                request,
                condition,
            } => {
                let len = value.len();
                write!(f, "Put({key:?}, {len} B, {request:?}, {condition:?})")
            }
            Self::Delete {
                key,
                request,
                condition,
            } => write!(f, "Delete({key:?}, {request:?}, {condition:?})"),
            Self::Seal => f.write_str("Seal"),
            Self::Checkpoint { verify_id } => write!(f, "Checkpoint({verify_id})"),
            Self::TransactWrite {
                transaction,
                issued_millis,
                items,
            } => write!(
                f,
                "TransactWrite({transaction}, {issued_millis}, {items:?})"
            ),
            Self::Prepare {
                transaction,
                timestamp,
                items,
                participants,
            } => {
                let count = participants.len();
                write!(
                    f,
                    "Prepare({transaction}, {timestamp}, {items:?} of {count})"
                )
            }
            Self::Decide {
                transaction,
                timestamp,
                commit,
            } => write!(f, "Decide({transaction}, {timestamp}, commit: {commit})"),
            Self::Inquire {
                transaction,
                timestamp,
                ..
            } => write!(f, "Inquire({transaction}, {timestamp})"),
        }
    }
}

impl CommandBatch {
    /// The payload of a Raft entry.
    pub fn encode(&self) -> Bytes {
        let room = 20 + self.commands.iter().map(Command::size).sum::<usize>();
        let mut buffer = Vec::with_capacity(room);
        buffer.push(FORMAT);
        // Serialising plain structs into a growing vector has no failing case.
        postcard::to_extend(self, buffer)
            .map(Bytes::from)
            .unwrap_or_default()
    }

    /// The inverse of [`CommandBatch::encode`]. The keys and values share the payload's memory.
    pub fn decode(payload: &Bytes) -> Result<Self, CommandDecodeError> {
        let wire: WireBatch<'_> = match payload.split_first() {
            None => return Err(CommandDecodeError::Empty),
            Some((&FORMAT, rest)) => match postcard::take_from_bytes(rest) {
                Ok((batch, [])) => batch,
                Ok((_, rest)) => {
                    let message = format!("{} bytes too many", rest.len());
                    return Err(CommandDecodeError::Malformed(message));
                }
                Err(error) => return Err(CommandDecodeError::Malformed(error.to_string())),
            },
            Some((&other, _)) => return Err(CommandDecodeError::UnknownFormat(other)),
        };
        let commands = wire.commands.into_iter();
        Ok(Self {
            now_millis: wire.now_millis,
            commands: commands
                .map(|command| command.own(payload))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// [`CommandBatch`] with everything of variable length still in the payload.
#[derive(Deserialize)]
struct WireBatch<'a> {
    now_millis: u64,
    #[serde(borrow)]
    commands: Vec<WireCommand<'a>>,
}

/// [`Command`], the same variants in the same order.
#[derive(Deserialize)]
enum WireCommand<'a> {
    Put {
        #[serde(borrow)]
        key: WireKey<'a>,
        value: &'a [u8],
        request: RequestId,
        condition: Condition,
    },
    Delete {
        #[serde(borrow)]
        key: WireKey<'a>,
        request: RequestId,
        condition: Condition,
    },
    Seal,
    Checkpoint {
        verify_id: u64,
    },
    TransactWrite {
        transaction: TransactionId,
        issued_millis: u64,
        #[serde(borrow)]
        items: Vec<WireItem<'a>>,
    },
    Prepare {
        transaction: TransactionId,
        timestamp: Timestamp,
        #[serde(borrow)]
        items: Vec<WireItem<'a>>,
        #[serde(borrow)]
        participants: Vec<WireParticipant<'a>>,
    },
    Decide {
        transaction: TransactionId,
        timestamp: Timestamp,
        commit: bool,
    },
    Inquire {
        transaction: TransactionId,
        timestamp: Timestamp,
        #[serde(borrow)]
        keys: Vec<WireKey<'a>>,
    },
}

/// [`TransactionItem`].
#[derive(Deserialize)]
struct WireItem<'a> {
    #[serde(borrow)]
    key: WireKey<'a>,
    value: &'a [u8],
    condition: Condition,
}

/// [`Participant`].
#[derive(Deserialize)]
struct WireParticipant<'a> {
    table: TableId,
    #[serde(borrow)]
    key: WireKey<'a>,
}

/// [`Key`], unchecked.
#[derive(Deserialize)]
struct WireKey<'a> {
    partition: &'a [u8],
    sort: &'a [u8],
}

impl WireCommand<'_> {
    fn own(self, payload: &Bytes) -> Result<Command, CommandDecodeError> {
        Ok(match self {
            Self::Put {
                key,
                value,
                request,
                condition,
            } => Command::Put {
                key: key.own(payload)?,
                value: payload.slice_ref(value),
                request,
                condition,
            },
            Self::Delete {
                key,
                request,
                condition,
            } => Command::Delete {
                key: key.own(payload)?,
                request,
                condition,
            },
            Self::Seal => Command::Seal,
            Self::Checkpoint { verify_id } => Command::Checkpoint { verify_id },
            Self::TransactWrite {
                transaction,
                issued_millis,
                items,
            } => Command::TransactWrite {
                transaction,
                issued_millis,
                items: own_all(items, |item| item.own(payload))?,
            },
            Self::Prepare {
                transaction,
                timestamp,
                items,
                participants,
            } => Command::Prepare {
                transaction,
                timestamp,
                items: own_all(items, |item| item.own(payload))?,
                participants: own_all(participants, |one| one.own(payload))?,
            },
            Self::Decide {
                transaction,
                timestamp,
                commit,
            } => Command::Decide {
                transaction,
                timestamp,
                commit,
            },
            Self::Inquire {
                transaction,
                timestamp,
                keys,
            } => Command::Inquire {
                transaction,
                timestamp,
                keys: own_all(keys, |key| key.own(payload))?,
            },
        })
    }
}

fn own_all<W, T>(
    wire: Vec<W>,
    own: impl FnMut(W) -> Result<T, InvalidKey>,
) -> Result<Vec<T>, CommandDecodeError> {
    if wire.len() > limits::MAX_BATCH_ITEMS {
        return Err(CommandDecodeError::TooManyItems(wire.len()));
    }
    Ok(wire.into_iter().map(own).collect::<Result<_, _>>()?)
}

impl WireItem<'_> {
    fn own(self, payload: &Bytes) -> Result<TransactionItem, InvalidKey> {
        Ok(TransactionItem {
            key: self.key.own(payload)?,
            value: payload.slice_ref(self.value),
            condition: self.condition,
        })
    }
}

impl WireParticipant<'_> {
    fn own(self, payload: &Bytes) -> Result<Participant, InvalidKey> {
        Ok(Participant {
            table: self.table,
            key: self.key.own(payload)?,
        })
    }
}

impl WireKey<'_> {
    fn own(self, payload: &Bytes) -> Result<Key, InvalidKey> {
        Ok(Key {
            sort: payload.slice_ref(self.sort),
            ..Key::new(payload.slice_ref(self.partition))?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(range: std::ops::Range<usize>) -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), range).prop_map(Bytes::from)
    }

    fn key() -> impl Strategy<Value = Key> {
        (bytes(1..40), bytes(0..3)).prop_map(|(partition, sort)| Key { partition, sort })
    }

    fn request() -> impl Strategy<Value = RequestId> {
        any::<(u64, u64, u64)>().prop_map(|(issued_millis, client, sequence)| RequestId {
            issued_millis,
            client,
            sequence,
        })
    }

    fn command() -> impl Strategy<Value = Command> {
        prop_oneof![
            (key(), bytes(0..200), request(), condition()).prop_map(
                |(key, value, request, condition)| Command::Put {
                    key,
                    value,
                    request,
                    condition,
                }
            ),
            (key(), request(), condition()).prop_map(|(key, request, condition)| {
                Command::Delete {
                    key,
                    request,
                    condition,
                }
            }),
            Just(Command::Seal),
            any::<u64>().prop_map(|verify_id| Command::Checkpoint { verify_id }),
            (any::<u128>(), any::<u64>(), items()).prop_map(|(id, issued_millis, items)| {
                Command::TransactWrite {
                    transaction: TransactionId(id),
                    issued_millis,
                    items,
                }
            }),
            (any::<u128>(), any::<u64>(), items(), participants()).prop_map(
                |(id, timestamp, items, participants)| Command::Prepare {
                    transaction: TransactionId(id),
                    timestamp: Timestamp(timestamp),
                    items,
                    participants,
                }
            ),
            any::<(u128, u64, bool)>().prop_map(|(id, timestamp, commit)| Command::Decide {
                transaction: TransactionId(id),
                timestamp: Timestamp(timestamp),
                commit,
            }),
            (any::<(u128, u64)>(), proptest::collection::vec(key(), 0..3)).prop_map(
                |((id, timestamp), keys)| Command::Inquire {
                    transaction: TransactionId(id),
                    timestamp: Timestamp(timestamp),
                    keys,
                }
            ),
        ]
    }

    fn condition() -> impl Strategy<Value = Condition> {
        prop_oneof![
            Just(Condition::Always),
            Just(Condition::Exists),
            Just(Condition::NotExists),
            any::<u64>().prop_map(Condition::VersionIs),
        ]
    }

    fn items() -> impl Strategy<Value = Vec<TransactionItem>> {
        let item = (key(), bytes(0..50), condition());
        let item = item.prop_map(|(key, value, condition)| TransactionItem {
            key,
            value,
            condition,
        });
        proptest::collection::vec(item, 0..5)
    }

    fn participants() -> impl Strategy<Value = Vec<Participant>> {
        let one = (any::<u64>(), key());
        let one = one.prop_map(|(table, key)| Participant {
            table: TableId(table),
            key,
        });
        proptest::collection::vec(one, 0..5)
    }

    fn batch() -> impl Strategy<Value = CommandBatch> {
        let commands = proptest::collection::vec(command(), 0..8);
        (any::<u64>(), commands).prop_map(|(now_millis, commands)| CommandBatch {
            now_millis,
            commands,
        })
    }

    proptest! {
        #[test]
        fn a_batch_survives_its_encoding(batch in batch()) {
            let payload = batch.encode();
            let sizes: usize = batch.commands.iter().map(Command::size).sum();
            prop_assert!(payload.len() <= sizes + 20, "{} > {sizes} + 20", payload.len());
            prop_assert_eq!(CommandBatch::decode(&payload), Ok(batch));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused_but_never_panic(bytes in bytes(0..200)) {
            let _ = CommandBatch::decode(&bytes);
            let formatted = Bytes::from([&[FORMAT], &bytes[..]].concat());
            let _ = CommandBatch::decode(&formatted);
        }

        #[test]
        fn a_cut_batch_is_refused(batch in batch(), at in any::<prop::sample::Index>()) {
            let payload = batch.encode();
            prop_assert!(CommandBatch::decode(&payload.slice(..at.index(payload.len()))).is_err());
        }
    }

    const REQUEST: RequestId = RequestId {
        issued_millis: 5,
        client: 6,
        sequence: 7,
    };

    fn put(key: &'static [u8], value: &'static [u8]) -> Command {
        Command::Put {
            key: Key {
                partition: Bytes::from_static(key),
                sort: Bytes::new(),
            },
            value: Bytes::from_static(value),
            request: REQUEST,
            condition: Condition::Always,
        }
    }

    #[test]
    fn the_format_is_pinned() {
        let delete = Command::Delete {
            key: Key {
                partition: Bytes::from_static(b"d"),
                sort: Bytes::from_static(b"s"),
            },
            request: REQUEST,
            condition: Condition::VersionIs(4),
        };
        let short = |name: &'static [u8]| Key {
            partition: Bytes::from_static(name),
            sort: Bytes::new(),
        };
        let items = vec![TransactionItem {
            key: short(b"i"),
            value: Bytes::from_static(b"v"),
            condition: Condition::NotExists,
        }];
        let transaction = TransactionId(1);
        let timestamp = Timestamp(2);
        let batch = CommandBatch {
            now_millis: 300,
            commands: vec![
                put(b"k", b"vw"),
                delete,
                Command::Seal,
                Command::Checkpoint { verify_id: 9 },
                Command::TransactWrite {
                    transaction,
                    issued_millis: 3,
                    items: items.clone(),
                },
                Command::Prepare {
                    transaction,
                    timestamp,
                    items,
                    participants: vec![Participant {
                        table: TableId(6),
                        key: short(b"p"),
                    }],
                },
                Command::Decide {
                    transaction,
                    timestamp,
                    commit: true,
                },
                Command::Inquire {
                    transaction,
                    timestamp,
                    keys: vec![short(b"i")],
                },
            ],
        };
        let pinned = [
            &[3, 0xac, 2, 8][..], // format, clock, number of commands
            &[0, 1, b'k', 0, 2, b'v', b'w', 5, 6, 7, 0][..], // put
            &[1, 1, b'd', 1, b's', 5, 6, 7, 3, 4][..], // delete
            &[2][..],             // seal
            &[3, 9][..],          // checkpoint
            &[4, 1, 3, 1, 1, b'i', 0, 1, b'v', 2][..], // transaction
            &[5, 1, 2, 1, 1, b'i', 0, 1, b'v', 2][..], // prepare: the items
            &[1, 6, 1, b'p', 0][..], // ... and the participants
            &[6, 1, 2, 1][..],    // decide
            &[7, 1, 2, 1, 1, b'i', 0][..], // inquire
        ]
        .concat();
        assert_eq!(batch.encode().as_ref(), pinned);
        assert_eq!(CommandBatch::decode(&pinned.into()), Ok(batch));
    }

    #[test]
    fn decoded_values_are_slices_of_the_payload() {
        let batch = CommandBatch {
            now_millis: 1,
            commands: vec![put(b"key", b"value")],
        };
        let payload = batch.encode();
        let decoded = CommandBatch::decode(&payload).unwrap();
        let Command::Put { value, .. } = &decoded.commands[0] else {
            panic!("{decoded:?}")
        };
        assert!(payload.as_ptr_range().contains(&value.as_ptr()));
    }

    #[test]
    fn what_is_wrong_with_a_payload_is_named() {
        let decode = |bytes: &[u8]| CommandBatch::decode(&Bytes::copy_from_slice(bytes));
        assert_eq!(decode(&[]), Err(CommandDecodeError::Empty));
        assert_eq!(
            decode(&[2, 0, 0]),
            Err(CommandDecodeError::UnknownFormat(2)),
            "an older one, whose inquiries name no keys"
        );
        for malformed in [&[3][..], &[3, 0, 1, 99], &[3, 0, 0, 0]] {
            let decoded = decode(malformed);
            assert!(
                matches!(decoded, Err(CommandDecodeError::Malformed(_))),
                "{decoded:?}"
            );
        }
    }

    #[test]
    fn a_key_beyond_the_limits_is_refused() {
        let decode = |command| {
            let commands = vec![command];
            let batch = CommandBatch {
                now_millis: 1,
                commands,
            };
            CommandBatch::decode(&batch.encode())
        };
        let long: &'static [u8] = &[7; limits::MAX_KEY_BYTES + 1];
        assert_eq!(decode(put(b"", b"v")), Err(InvalidKey::Empty.into()));
        assert_eq!(
            decode(put(long, b"v")),
            Err(InvalidKey::TooLong(long.len()).into())
        );
        assert!(decode(put(&long[1..], b"v")).is_ok());
    }

    #[test]
    fn a_transaction_of_too_many_items_is_refused() {
        let item = TransactionItem {
            key: Key::new(Bytes::from_static(b"k")).unwrap(),
            value: Bytes::new(),
            condition: Condition::Always,
        };
        let decode = |count| {
            let command = Command::TransactWrite {
                transaction: TransactionId(1),
                issued_millis: 0,
                items: vec![item.clone(); count],
            };
            let batch = CommandBatch {
                now_millis: 1,
                commands: vec![command],
            };
            CommandBatch::decode(&batch.encode()).map(|_| ())
        };
        assert_eq!(decode(limits::MAX_BATCH_ITEMS), Ok(()));
        let more = limits::MAX_BATCH_ITEMS + 1;
        assert_eq!(decode(more), Err(CommandDecodeError::TooManyItems(more)));
    }

    #[test]
    fn debug_shows_no_user_data() {
        let shown = format!("{:?}", put(b"secret key", b"secret value"));
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("12 B"), "{shown}");
        let secret = TransactionItem {
            key: Key::new(Bytes::from_static(b"secret key")).unwrap(),
            value: Bytes::from_static(b"secret value"),
            condition: Condition::Always,
        };
        let prepare = Command::Prepare {
            transaction: TransactionId(1),
            timestamp: Timestamp(1),
            participants: vec![Participant {
                table: TableId(1),
                key: secret.key.clone(),
            }],
            items: vec![secret],
        };
        let shown = format!("{prepare:?}");
        assert!(!shown.contains("secret"), "{shown}");
    }
}
