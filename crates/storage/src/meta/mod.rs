//! What the state store keeps beside the items: where a shard stands, which replicas the node has or had, and
//! which writes were applied.
//!
//! | record | under | written |
//! |---|---|---|
//! | [`ShardMeta`] | [`Key::Meta`](crate::keys::Key::Meta) | in the batch of every applied Raft entry |
//! | [`RequestBlock`] | [`Key::Requests`](crate::keys::Key::Requests) | in the batch of the entry whose writes it names |
//! | [`PreparedRecord`] | [`Key::Prepared`](crate::keys::Key::Prepared) | from the prepare of a transaction to its decision |
//! | [`ReplicaRecord`] | [`Key::Replica`](crate::keys::Key::Replica) | when a replica is made or destroyed |
//!
//! Because `ShardMeta` goes into the same atomic batch as the items, a store never shows an applied index without
//! the data of that index, or the data without the index, whatever crashed.
//!
//! Every record starts with the number of its format, followed by the fields in postcard's wire format. A newer
//! format is refused by name, not misread.
//!
//! # Caveats
//!
//! * [`ContentHash`] finds replicas that drifted apart by mistake or by damage. It is no protection against
//!   somebody who makes data collide on purpose.

mod content;
mod deletes;
mod remembered;

use bytes::Bytes;
use model::{Key, Lsn, NodeId, Participant, RequestId, TableName, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use content::ContentHash;
pub use deletes::RecentDeletes;
pub use remembered::{Rejection, Remembered};

/// Bytes that are not a record of a format known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaDecodeError {
    /// No bytes at all.
    #[error("a {0} record has no bytes")]
    Empty(&'static str),
    /// Written by another version of this software.
    #[error(
        "{0} format {1} is not known to this version: another one has written this data directory; start that one on it"
    )]
    UnknownFormat(&'static str, u8),
    /// Damaged.
    #[error("a {0} record can't be decoded: {1}")]
    Malformed(&'static str, String),
}

/// Where one generation of a shard's state stands.
///
/// All of it follows from the Raft entries up to `applied_index`, so it is equal on all replicas at that index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardMeta {
    /// The Raft index of the last entry that is in the state. After a crash it may lie beyond the end of the log,
    /// if the state store kept more than the log did.
    pub applied_index: u64,
    /// That entry's term.
    pub applied_term: u64,
    /// The last sequence number that a change got.
    pub last_lsn: Lsn,
    /// At or above the timestamp of everything that was deleted, or found absent by a delete.
    pub max_delete_timestamp: Timestamp,
    /// The sequence numbers of the last deletes.
    pub deletes: RecentDeletes,
    /// The highest clock value that an applied command carried, milliseconds since the Unix epoch.
    pub clock_millis: u64,
    /// Writes that were issued before this are not remembered any more, milliseconds since the Unix epoch.
    pub request_floor_millis: u64,
    /// The table is being deleted: no write and no consistent read is answered any more.
    pub sealed: bool,
    /// Stored items, the placeholders of prepared transactions included.
    pub items: u64,
    /// Bytes of those items: the replicated part of their keys ([`crate::keys::item_part`]) and their encodings.
    pub bytes: u64,
    /// Hash of those items and of the records of prepared transactions.
    pub content: ContentHash,
    /// The nodes of the shard's Raft group as of `applied_index`.
    pub voters: Vec<NodeId>,
}

impl ShardMeta {
    /// The state of a shard to which nothing was applied yet.
    pub fn new(voters: Vec<NodeId>) -> Self {
        Self {
            voters,
            ..Self::default()
        }
    }

    /// Whether a client's write was ever applied, be it a delete of what was not there.
    pub fn was_written(&self) -> bool {
        self.last_lsn > Lsn::default() || self.max_delete_timestamp > Timestamp::ZERO
    }

    /// Keeps `items`, `bytes` and `content` in step with one change: the item under `key` was `old` and becomes `new`,
    /// where `None` stands for absent. `key` is the [`crate::keys::item_part`] of the stored key, `old` and `new`
    /// are encoded items.
    ///
    /// A caller that passes another `old` than what is stored ruins the counters for good, which
    /// [`crate::snapshot::verify_shard`] finds.
    pub fn replace_item(&mut self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) {
        let count = |item| ItemCount::of(key, item);
        self.replace_counted(old.map(count), new.map(count));
    }

    /// The same for an item that has been counted.
    pub fn replace_counted(&mut self, old: Option<ItemCount>, new: Option<ItemCount>) {
        if let Some(old) = old {
            self.items = self.items.wrapping_sub(1);
            self.bytes = self.bytes.wrapping_sub(old.bytes);
            self.content -= old.content;
        }
        if let Some(new) = new {
            self.items = self.items.wrapping_add(1);
            self.bytes = self.bytes.wrapping_add(new.bytes);
            self.content += new.content;
        }
    }

    /// Keeps `content` in step with the record of a prepared transaction, which is neither an item nor counted as one: it
    /// comes with the prepare and goes with the decision. `key` is the [`crate::keys::generation_part`] of its key.
    pub fn replace_record(&mut self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) {
        if let Some(old) = old {
            self.content -= ContentHash::of(key, old);
        }
        if let Some(new) = new {
            self.content += ContentHash::of(key, new);
        }
    }
}

/// What one item counts in the [`ShardMeta`] of its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemCount {
    /// Bytes of the replicated part of its key and of its encoding.
    pub bytes: u64,
    /// Its hash.
    pub content: ContentHash,
}

impl ItemCount {
    /// Of the item under a key, its [`crate::keys::item_part`], as it is encoded.
    pub fn of(key: &[u8], item: &[u8]) -> Self {
        Self {
            bytes: (key.len() + item.len()) as u64,
            content: ContentHash::of(key, item),
        }
    }
}

/// Where a replica is in its life on this node. It only moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReplicaState {
    /// Being made: its state may not exist yet. Done again after a crash.
    Building,
    /// There.
    Hosted,
    /// Being destroyed: some of its keys may be gone. Done again after a crash.
    Destroying,
    /// Gone. The record stays, because a replica that was destroyed is never built again.
    Destroyed,
}

/// What a node knows of a replica that it has or had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// See [`ReplicaState`].
    pub state: ReplicaState,
    /// The nodes of the shard when the replica was made.
    pub voters: Vec<NodeId>,
    /// The table's name when the replica was made.
    pub table_name: TableName,
    /// How many shards the table has. With `hashes`, `voters` and the name, the nodes of a table can say what it
    /// was if the coordination store has lost it.
    pub table_shards: u32,
    /// The lowest and the highest key hash that fall to this shard.
    pub hashes: (u64, u64),
    /// When the replica was made, milliseconds since the Unix epoch by the node's clock.
    pub created_millis: u64,
    /// The node has seen the table `available` since. Clients may have used it then, whatever a coordination store that was
    /// restored from an older backup says.
    pub was_available: bool,
}

/// The identities of the writes and transactions that ended with one Raft entry, and how, so that what is sent
/// again gets the answer of the first time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestBlock {
    /// In the order of application.
    pub remembered: Vec<(RequestId, Remembered)>,
}

/// A transaction that is prepared on a shard. Each of its keys has an item with its intent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedRecord {
    /// Of all its writes.
    pub timestamp: Timestamp,
    /// Those of this shard.
    pub keys: Vec<Key>,
    /// All that it writes, here and elsewhere: who holds an answer to what became of it.
    pub participants: Vec<Participant>,
}

macro_rules! record {
    ($name:ident, $label:literal, $format:literal) => {
        impl $name {
            const FORMAT: u8 = $format;

            /// The stored form. Equal records have equal bytes.
            pub fn encode(&self) -> Bytes {
                encode(Self::FORMAT, self)
            }

            /// The inverse of `encode`.
            pub fn decode(bytes: &[u8]) -> Result<Self, MetaDecodeError> {
                decode($label, Self::FORMAT, bytes)
            }
        }
    };
}

record!(ShardMeta, "shard", 2);
record!(ReplicaRecord, "replica", 3);
record!(RequestBlock, "request", 2);
record!(PreparedRecord, "prepared transaction", 1);

pub(crate) fn encode<T: Serialize>(format: u8, value: &T) -> Bytes {
    let mut buffer = Vec::with_capacity(320);
    buffer.push(format);
    // Serialising plain structs into a growing vector has no failing case.
    postcard::to_extend(value, buffer)
        .map(Bytes::from)
        .unwrap_or_default()
}

pub(crate) fn decode<T: DeserializeOwned>(
    label: &'static str,
    format: u8,
    bytes: &[u8],
) -> Result<T, MetaDecodeError> {
    let malformed = |why: String| MetaDecodeError::Malformed(label, why);
    match bytes.split_first() {
        None => Err(MetaDecodeError::Empty(label)),
        Some((found, rest)) if *found == format => match postcard::take_from_bytes(rest) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(malformed(format!("{} bytes too many", rest.len()))),
            Err(error) => Err(malformed(error.to_string())),
        },
        Some((found, _)) => Err(MetaDecodeError::UnknownFormat(label, *found)),
    }
}

#[cfg(test)]
mod tests;
