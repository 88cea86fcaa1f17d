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
//! * The order of the variants of [`Command`] is on disk and between nodes. New ones, conditions and
//!   transactions among them, go at the end.
//! * Whoever proposes checks keys with [`Key::new`] first. A key that breaks the limits can't be decoded, and what
//!   can't be decoded stops every replica, as an entry that is committed is never skipped.

use std::fmt;

use bytes::Bytes;
use model::key::InvalidKey;
use model::{Key, RequestId};
use serde::{Deserialize, Serialize};

/// Number of the encoding, the first byte of every payload.
const FORMAT: u8 = 1;

/// Bytes that a command takes in a payload beside its key and value, at the most: tag, lengths and identity.
const COMMAND_OVERHEAD: usize = 48;

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
    },
    /// Removes a key, if it is there.
    Delete {
        /// The key.
        key: Key,
        /// By which the write is known when it comes again.
        request: RequestId,
    },
    /// Ends all writes, because the table is being deleted. There is no way back.
    Seal,
    /// Asks every replica for the hash of its content behind the entry that the command is in.
    Checkpoint {
        /// By which who asked knows the answers; means nothing to the state.
        verify_id: u64,
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
}

impl Command {
    /// Bytes that the command takes in a payload, rounded up by a little: what fills an entry up to
    /// [`model::limits::MAX_ENTRY_BYTES`].
    pub fn size(&self) -> usize {
        let contents = match self {
            Self::Put { key, value, .. } => key.partition.len() + key.sort.len() + value.len(),
            Self::Delete { key, .. } => key.partition.len() + key.sort.len(),
            Self::Seal | Self::Checkpoint { .. } => 0,
        };
        contents + COMMAND_OVERHEAD
    }
}

/// Shows lengths and hashes only: keys and values are users' data and don't go to logs.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put {
                key,
                value,
                request,
            } => write!(f, "Put({key:?}, {} B, {request:?})", value.len()),
            Self::Delete { key, request } => write!(f, "Delete({key:?}, {request:?})"),
            Self::Seal => f.write_str("Seal"),
            Self::Checkpoint { verify_id } => write!(f, "Checkpoint({verify_id})"),
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
    },
    Delete {
        #[serde(borrow)]
        key: WireKey<'a>,
        request: RequestId,
    },
    Seal,
    Checkpoint {
        verify_id: u64,
    },
}

/// [`Key`], unchecked.
#[derive(Deserialize)]
struct WireKey<'a> {
    partition: &'a [u8],
    sort: &'a [u8],
}

impl WireCommand<'_> {
    fn own(self, payload: &Bytes) -> Result<Command, InvalidKey> {
        Ok(match self {
            Self::Put {
                key,
                value,
                request,
            } => Command::Put {
                key: key.own(payload)?,
                value: payload.slice_ref(value),
                request,
            },
            Self::Delete { key, request } => Command::Delete {
                key: key.own(payload)?,
                request,
            },
            Self::Seal => Command::Seal,
            Self::Checkpoint { verify_id } => Command::Checkpoint { verify_id },
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
    use model::limits;
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
            (key(), bytes(0..200), request()).prop_map(|(key, value, request)| Command::Put {
                key,
                value,
                request
            }),
            (key(), request()).prop_map(|(key, request)| Command::Delete { key, request }),
            Just(Command::Seal),
            any::<u64>().prop_map(|verify_id| Command::Checkpoint { verify_id }),
        ]
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
        };
        let batch = CommandBatch {
            now_millis: 300,
            commands: vec![
                put(b"k", b"vw"),
                delete,
                Command::Seal,
                Command::Checkpoint { verify_id: 9 },
            ],
        };
        let pinned = [
            &[1, 0xac, 2, 4][..], // format, clock, number of commands
            &[0, 1, b'k', 0, 2, b'v', b'w', 5, 6, 7][..], // put
            &[1, 1, b'd', 1, b's', 5, 6, 7][..], // delete
            &[2][..],             // seal
            &[3, 9][..],          // checkpoint
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
            Err(CommandDecodeError::UnknownFormat(2))
        );
        for malformed in [&[1][..], &[1, 0, 1, 99], &[1, 0, 0, 0]] {
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
    fn debug_shows_no_user_data() {
        let shown = format!("{:?}", put(b"secret key", b"secret value"));
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("12 B"), "{shown}");
    }
}
