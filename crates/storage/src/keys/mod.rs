//! Every key of the state store, in one place.
//!
//! The state store is one ordered map from bytes to bytes ([`crate::state`]). Everything that a node keeps
//! in it lies under one of the six kinds of key of [`Key`], and nothing else writes a key by hand:
//!
//! | key | bytes |
//! |---|---|
//! | [`Key::Replica`] | 12 zeros, `00`, shard (12) |
//! | [`Key::Generation`] | shard (12), `00` |
//! | [`Key::Meta`] | shard (12), `01`, generation (4), `00` |
//! | [`Key::Requests`] | shard (12), `01`, generation (4), `01`, index (8) |
//! | [`Key::Item`] | shard (12), `01`, generation (4), `02`, key hash (8), length of the partition key (2), partition key, sort key |
//! | [`Key::Prepared`] | shard (12), `01`, generation (4), `03`, transaction (16) |
//!
//! All numbers are big-endian, so that keys sort like the values that they stand for. So a shard is one
//! contiguous range ([`shard`]), and so is each of its generations, and within a generation the items lie in
//! the order of their hashes: dropping a shard, taking a snapshot of it and, later, splitting it are range
//! operations.
//!
//! A **generation** is one whole copy of a shard's state. A shard has one that is current, and while a snapshot
//! is being received a second one grows beside it, invisible, until [`Key::Generation`] is switched over to it
//! ([`crate::snapshot`]).
//!
//! # Caveats
//!
//! * The tags are pinned: they are on disk. A new kind of key gets a new tag, an old tag is never used again.
//! * Table id 0 stands for the node itself and is never drawn for a table.
//! * Items of one hash sort by the *length* of the partition key first. Nothing needs another order, and so a
//!   partition key can't be taken for the beginning of a longer one.

mod range;

use bytes::Bytes;
use model::{KeyHash, ShardId, TableId, TransactionId};

pub use range::{KeyRange, generation, hashes, items, prepared, replicas, requests, shard};
pub(crate) use range::{contents, generations_from};

/// Tag of [`Key::Replica`] behind the node's prefix.
const NODE_REPLICA: u8 = 0;
/// Tag of [`Key::Generation`] behind a shard's prefix.
const SHARD_POINTER: u8 = 0;
/// Tag of all keys of a generation behind a shard's prefix.
const SHARD_GENERATION: u8 = 1;
/// Kind of [`Key::Meta`] behind a generation's prefix.
const KIND_META: u8 = 0;
/// Kind of [`Key::Requests`] behind a generation's prefix.
const KIND_REQUESTS: u8 = 1;
/// Kind of [`Key::Item`] behind a generation's prefix.
const KIND_ITEM: u8 = 2;
/// Kind of [`Key::Prepared`] behind a generation's prefix.
const KIND_PREPARED: u8 = 3;

/// Bytes of a shard's prefix.
const SHARD_LEN: usize = ShardId::ENCODED_LEN;
/// Bytes of a generation's prefix: shard, tag, generation.
const GENERATION_LEN: usize = SHARD_LEN + 1 + 4;
/// Bytes of a hash and of the length of a partition key, which stand before it.
const ITEM_HEAD: usize = 8 + 2;

/// The prefix that stands in the place of a shard's for what belongs to the node.
const NODE: ShardId = ShardId {
    table: TableId(0),
    index: 0,
};

/// A key of the state store.
///
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// What this node knows of a replica, destroyed ones included: a [`ReplicaRecord`](crate::meta::ReplicaRecord).
    ///
    /// `00 × 12, 00, shard 12`
    Replica(ShardId),
    /// Which generation of a shard's keys is current: 4 bytes, big-endian.
    ///
    /// `shard 12, 00`
    Generation(ShardId),
    /// Where a generation stands: a [`ShardMeta`](crate::meta::ShardMeta).
    ///
    /// `shard 12, 01, generation 4, 00`
    Meta {
        /// The shard.
        shard: ShardId,
        /// The generation.
        generation: u32,
    },
    /// The identities of the writes that one Raft entry applied: a [`RequestBlock`](crate::meta::RequestBlock).
    ///
    /// `shard 12, 01, generation 4, 01, index 8`
    Requests {
        /// The shard.
        shard: ShardId,
        /// The generation.
        generation: u32,
        /// The entry's Raft index.
        index: u64,
    },
    /// An item: a [`model::Item`].
    ///
    /// `shard 12, 01, generation 4, 02, hash 8, length 2, partition key, sort key`, where the hash is
    /// [`model::Key::hash`] and the length is the partition key's.
    Item {
        /// The shard.
        shard: ShardId,
        /// The generation.
        generation: u32,
        /// The item's key. The encoding needs a partition key of less than 64 KiB, which
        /// [`model::Key::new`] guarantees.
        key: model::Key,
    },
    /// A transaction that is prepared and not decided: a [`PreparedRecord`](crate::meta::PreparedRecord).
    ///
    /// `shard 12, 01, generation 4, 03, transaction 16`
    Prepared {
        /// The shard.
        shard: ShardId,
        /// The generation.
        generation: u32,
        /// The transaction.
        transaction: TransactionId,
    },
}

/// Bytes that are not a key of the state store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyDecodeError {
    /// Too short for what its tags announce.
    #[error("a stored key ends too early, after {0} bytes")]
    TooShort(usize),
    /// Longer than what its tags announce.
    #[error("a stored key has {0} bytes too many")]
    TooLong(usize),
    /// A tag that this version does not know.
    #[error("a stored key has the unknown tag {tag} at byte {at}")]
    UnknownTag {
        /// The tag.
        tag: u8,
        /// Its position.
        at: usize,
    },
    /// A shard of table 0, which no table is.
    #[error("a stored key is of table 0, which is reserved")]
    ReservedTable,
    /// The stored hash is not that of the stored partition key.
    #[error("the hash in a stored key is not that of its partition key")]
    WrongHash,
}

impl Key {
    /// The stored form.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Replica(shard) => {
                let mut bytes = NODE.to_bytes().to_vec();
                bytes.push(NODE_REPLICA);
                bytes.extend_from_slice(&shard.to_bytes());
                bytes.into()
            }
            Self::Generation(shard) => {
                let mut bytes = shard.to_bytes().to_vec();
                bytes.push(SHARD_POINTER);
                bytes.into()
            }
            Self::Meta { shard, generation } => {
                in_generation(*shard, *generation, KIND_META, 0).into()
            }
            Self::Requests {
                shard,
                generation,
                index,
            } => {
                let mut bytes = in_generation(*shard, *generation, KIND_REQUESTS, 8);
                bytes.extend_from_slice(&index.to_be_bytes());
                bytes.into()
            }
            Self::Item {
                shard,
                generation,
                key,
            } => item(*shard, *generation, key),
            Self::Prepared {
                shard,
                generation,
                transaction,
            } => {
                let mut bytes = in_generation(*shard, *generation, KIND_PREPARED, 16);
                bytes.extend_from_slice(&transaction.0.to_be_bytes());
                bytes.into()
            }
        }
    }

    /// The inverse of [`Key::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyDecodeError> {
        let mut rest = Reader { bytes, at: 0 };
        let prefix = ShardId::from_bytes(rest.array()?);
        if prefix == NODE {
            return match rest.tag()? {
                NODE_REPLICA => {
                    let shard = ShardId::from_bytes(rest.array()?);
                    rest.end()?;
                    not_reserved(shard).map(Self::Replica)
                }
                tag => Err(rest.unknown(tag)),
            };
        }
        let shard = not_reserved(prefix)?;
        match rest.tag()? {
            SHARD_POINTER => rest.end().map(|()| Self::Generation(shard)),
            SHARD_GENERATION => {
                let generation = u32::from_be_bytes(rest.array()?);
                Self::decode_in_generation(shard, generation, rest)
            }
            tag => Err(rest.unknown(tag)),
        }
    }

    fn decode_in_generation(
        shard: ShardId,
        generation: u32,
        mut rest: Reader<'_>,
    ) -> Result<Self, KeyDecodeError> {
        match rest.tag()? {
            KIND_META => rest.end().map(|()| Self::Meta { shard, generation }),
            KIND_REQUESTS => {
                let index = u64::from_be_bytes(rest.array()?);
                rest.end().map(|()| Self::Requests {
                    shard,
                    generation,
                    index,
                })
            }
            KIND_ITEM => {
                let hash = KeyHash(u64::from_be_bytes(rest.array()?));
                let len = u16::from_be_bytes(rest.array()?);
                let partition = Bytes::copy_from_slice(rest.take(usize::from(len))?);
                let sort = Bytes::copy_from_slice(rest.bytes);
                let key = model::Key { partition, sort };
                if key.hash() != hash {
                    return Err(KeyDecodeError::WrongHash);
                }
                Ok(Self::Item {
                    shard,
                    generation,
                    key,
                })
            }
            KIND_PREPARED => {
                let transaction = TransactionId(u128::from_be_bytes(rest.array()?));
                rest.end().map(|()| Self::Prepared {
                    shard,
                    generation,
                    transaction,
                })
            }
            tag => Err(rest.unknown(tag)),
        }
    }
}

/// [`Key::Item`]'s encoding without making the enum first: what reading and applying use.
pub fn item(shard: ShardId, generation: u32, key: &model::Key) -> Bytes {
    let room = ITEM_HEAD + key.partition.len() + key.sort.len();
    let mut bytes = in_generation(shard, generation, KIND_ITEM, room);
    bytes.extend_from_slice(&key.hash().0.to_be_bytes());
    bytes.extend_from_slice(&(key.partition.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&key.partition);
    bytes.extend_from_slice(&key.sort);
    bytes.into()
}

/// The part of an encoded [`Key::Item`] that is the same in every generation and on every replica: hash,
/// length, partition key and sort key. Empty if the bytes are too short to have one.
///
/// Content hashes and byte counts are made over it.
pub fn item_part(encoded: &[u8]) -> &[u8] {
    encoded.get(GENERATION_LEN + 1..).unwrap_or_default()
}

/// The part of an encoded key of a generation behind the shard and the generation: kind and what follows it.
/// Empty if the bytes are too short to have one. This is the form that keys have in a snapshot.
pub fn generation_part(encoded: &[u8]) -> &[u8] {
    encoded.get(GENERATION_LEN..).unwrap_or_default()
}

/// Whether encoded bytes are a [`Key::Item`], by the tags that stand where its tags stand.
pub(crate) fn is_item(encoded: &[u8]) -> bool {
    encoded.get(SHARD_LEN) == Some(&SHARD_GENERATION)
        && encoded.get(GENERATION_LEN) == Some(&KIND_ITEM)
        && !encoded.starts_with(&NODE.to_bytes())
}

/// The generation that an encoded key belongs to, if it is long enough to have one. Only for keys found in a range of
/// generations.
pub(crate) fn generation_of(encoded: &[u8]) -> Option<u32> {
    let number = encoded.get(SHARD_LEN + 1..GENERATION_LEN)?;
    number.try_into().ok().map(u32::from_be_bytes)
}

/// The inverse of [`generation_part`]: puts a key of a snapshot into a generation.
///
/// Refuses what would not be a key of a generation, so that nothing from a snapshot can be written anywhere else.
pub fn from_generation_part(
    shard: ShardId,
    generation: u32,
    part: &[u8],
) -> Result<(Bytes, Key), KeyDecodeError> {
    let mut bytes = Vec::with_capacity(GENERATION_LEN + part.len());
    bytes.extend_from_slice(&generation_prefix(shard, generation));
    bytes.extend_from_slice(part);
    let key = Key::decode(&bytes)?;
    Ok((bytes.into(), key))
}

fn generation_prefix(shard: ShardId, generation: u32) -> [u8; GENERATION_LEN] {
    let mut prefix = [0; GENERATION_LEN];
    prefix[..SHARD_LEN].copy_from_slice(&shard.to_bytes());
    prefix[SHARD_LEN] = SHARD_GENERATION;
    prefix[SHARD_LEN + 1..].copy_from_slice(&generation.to_be_bytes());
    prefix
}

fn in_generation(shard: ShardId, generation: u32, kind: u8, room: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(GENERATION_LEN + 1 + room);
    bytes.extend_from_slice(&generation_prefix(shard, generation));
    bytes.push(kind);
    bytes
}

fn not_reserved(shard: ShardId) -> Result<ShardId, KeyDecodeError> {
    if shard.table == NODE.table {
        Err(KeyDecodeError::ReservedTable)
    } else {
        Ok(shard)
    }
}

/// The bytes of a key that are not decoded yet.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], KeyDecodeError> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(len)
            .ok_or(KeyDecodeError::TooShort(self.at + self.bytes.len()))?;
        self.bytes = rest;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], KeyDecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn tag(&mut self) -> Result<u8, KeyDecodeError> {
        self.array().map(|[tag]| tag)
    }

    fn unknown(&self, tag: u8) -> KeyDecodeError {
        KeyDecodeError::UnknownTag {
            tag,
            at: self.at - 1,
        }
    }

    fn end(&self) -> Result<(), KeyDecodeError> {
        match self.bytes.len() {
            0 => Ok(()),
            n => Err(KeyDecodeError::TooLong(n)),
        }
    }
}

#[cfg(test)]
mod tests;
