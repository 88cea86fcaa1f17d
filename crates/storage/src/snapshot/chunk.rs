//! The form in which snapshots travel.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use model::ShardId;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::SnapshotError;
use crate::meta::{self, ShardMeta};

/// Number of the encoding of headers and chunks, the first byte of each.
const FORMAT: u8 = 1;
/// Set in the flags of a last chunk.
const LAST: u8 = 1;
/// Format, flags, mark, sequence, number of pairs.
const HEAD_LEN: usize = 1 + 1 + 8 + 8 + 4;
/// Pairs and bytes.
const TOTALS_LEN: usize = 8 + 8;
const CHECKSUM_LEN: usize = 8;
/// What a pair takes beside its key and value.
pub(super) const PAIR_LEN: usize = 2 + 4;

/// What a snapshot is of. Goes before its chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHeader {
    /// The shard.
    pub shard: ShardId,
    /// Where its state stands: applied index and term, sizes, voters.
    pub meta: ShardMeta,
}

impl SnapshotHeader {
    /// The Raft index up to which entries are in the snapshot.
    pub fn index(&self) -> u64 {
        self.meta.applied_index
    }

    /// The term of the entry at that index.
    pub fn term(&self) -> u64 {
        self.meta.applied_term
    }

    /// The form in which it travels.
    pub fn encode(&self) -> Bytes {
        meta::encode(FORMAT, self)
    }

    /// The inverse of [`SnapshotHeader::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        meta::decode("snapshot header", FORMAT, bytes)
            .map_err(|error| SnapshotError::Malformed(error.to_string()))
    }

    /// Marks the chunks of this snapshot.
    pub(super) fn mark(&self) -> u64 {
        xxh3_64(&self.encode())
    }
}

/// Sums over a whole snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotTotals {
    /// Pairs of key and value.
    pub pairs: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

impl SnapshotTotals {
    pub(super) fn count(&mut self, key: &[u8], value: &[u8]) {
        self.pairs += 1;
        self.bytes += (key.len() + value.len()) as u64;
    }
}

/// A part of a snapshot.
///
/// Its encoding, all numbers big-endian:
///
/// `format 1, flags 1, mark 8, sequence 8, pairs 4, (key length 2, key, value length 4, value) …, [pairs 8,
/// bytes 8,] checksum 8`
///
/// with the totals in brackets only in the last chunk, which has flag 1. The checksum is `xxh3_64` of all bytes before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotChunk {
    /// The mark of its snapshot.
    pub mark: u64,
    /// Its number, from 0 without gaps.
    pub sequence: u64,
    /// Keys, without shard and generation, and values.
    pub pairs: Vec<(Bytes, Bytes)>,
    /// In the last chunk: the sums over all.
    pub totals: Option<SnapshotTotals>,
}

impl SnapshotChunk {
    /// Whether no chunk comes after this one.
    pub fn last(&self) -> bool {
        self.totals.is_some()
    }

    /// The form in which it travels. Keys are shorter than 64 KiB and values than 4 GiB, as those of a store are.
    pub fn encode(&self) -> Bytes {
        let pairs = self.pairs.iter();
        let room: usize = pairs.map(|(k, v)| PAIR_LEN + k.len() + v.len()).sum();
        let mut buffer = BytesMut::with_capacity(HEAD_LEN + room + TOTALS_LEN + CHECKSUM_LEN);
        buffer.put_u8(FORMAT);
        buffer.put_u8(if self.last() { LAST } else { 0 });
        buffer.put_u64(self.mark);
        buffer.put_u64(self.sequence);
        buffer.put_u32(self.pairs.len() as u32);
        for (key, value) in &self.pairs {
            buffer.put_u16(key.len() as u16);
            buffer.put_slice(key);
            buffer.put_u32(value.len() as u32);
            buffer.put_slice(value);
        }
        if let Some(totals) = self.totals {
            buffer.put_u64(totals.pairs);
            buffer.put_u64(totals.bytes);
        }
        let checksum = xxh3_64(&buffer);
        buffer.put_u64(checksum);
        buffer.freeze()
    }

    /// The inverse of [`SnapshotChunk::encode`]. Checks the checksum. Keys and values share the buffer of `bytes`.
    pub fn decode(bytes: Bytes) -> Result<Self, SnapshotError> {
        let mut rest = checked(bytes)?;
        let last = match rest.get_u8() {
            0 => false,
            LAST => true,
            flags => {
                return Err(SnapshotError::Malformed(format!(
                    "a chunk has unknown flags {flags:#04x}"
                )));
            }
        };
        let mark = rest.get_u64();
        let sequence = rest.get_u64();
        let count = rest.get_u32() as usize;
        // Not more room than the bytes could fill, whatever the count says.
        let mut pairs = Vec::with_capacity(count.min(rest.len() / PAIR_LEN));
        for _ in 0..count {
            let key_len = rest.try_get_u16().map_err(|_| cut())?;
            let key = take(&mut rest, usize::from(key_len))?;
            let value_len = rest.try_get_u32().map_err(|_| cut())?;
            let value = take(&mut rest, value_len as usize)?;
            pairs.push((key, value));
        }
        let totals = if last {
            Some(SnapshotTotals {
                pairs: rest.try_get_u64().map_err(|_| cut())?,
                bytes: rest.try_get_u64().map_err(|_| cut())?,
            })
        } else {
            None
        };
        if !rest.is_empty() {
            return Err(SnapshotError::Malformed(format!(
                "a chunk has {} bytes too many",
                rest.len()
            )));
        }
        Ok(Self {
            mark,
            sequence,
            pairs,
            totals,
        })
    }
}

/// The bytes of a chunk behind the format, without the checksum. At least those of a head.
fn checked(mut bytes: Bytes) -> Result<Bytes, SnapshotError> {
    match bytes.first() {
        Some(&FORMAT) => {}
        Some(other) => {
            return Err(SnapshotError::Malformed(format!(
                "chunk format {other} is not known to this version"
            )));
        }
        None => return Err(cut()),
    }
    if bytes.len() < HEAD_LEN + CHECKSUM_LEN {
        return Err(cut());
    }
    let mut checksum = bytes.split_off(bytes.len() - CHECKSUM_LEN);
    if xxh3_64(&bytes) != checksum.get_u64() {
        return Err(SnapshotError::Checksum);
    }
    bytes.advance(1);
    Ok(bytes)
}

fn take(rest: &mut Bytes, len: usize) -> Result<Bytes, SnapshotError> {
    if rest.len() < len {
        return Err(cut());
    }
    Ok(rest.split_to(len))
}

fn cut() -> SnapshotError {
    SnapshotError::Malformed("a chunk ends too early".into())
}
