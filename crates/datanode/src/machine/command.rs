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

mod wire;

use std::fmt;

use bytes::Bytes;
use model::key::InvalidKey;
use model::{Condition, Key, Participant, RequestId, Timestamp, TransactionId, TransactionItem};
use serde::Serialize;

use wire::WireBatch;

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

#[cfg(test)]
mod tests;
