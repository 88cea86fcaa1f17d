//! Sending a snapshot.

use std::sync::Arc;

use bytes::Bytes;
use model::ShardId;

use super::chunk::PAIR_LEN;
use super::{SnapshotChunk, SnapshotError, SnapshotHeader, SnapshotTotals, load_meta};
use crate::keys::{self, Key, KeyRange};
use crate::state::{StateView, StoreError};

/// Reads a shard's state out of a view, chunk by chunk.
///
/// It holds the view, and with it the disk space of everything that is overwritten meanwhile, until it is dropped.
pub struct SnapshotSource {
    view: Arc<dyn StateView>,
    header: SnapshotHeader,
    mark: u64,
    sequence: u64,
    /// What is not sent yet, without the meta.
    rest: KeyRange,
    meta: Bytes,
    totals: SnapshotTotals,
    done: bool,
}

impl SnapshotSource {
    /// A snapshot of a shard's current generation in `view`.
    pub fn new(view: Arc<dyn StateView>, shard: ShardId) -> Result<Self, SnapshotError> {
        let (generation, meta) =
            load_meta(&*view, shard)?.ok_or(SnapshotError::NoSuchShard(shard))?;
        let encoded = meta.encode();
        let header = SnapshotHeader { shard, meta };
        Ok(Self {
            view,
            mark: header.mark(),
            header,
            sequence: 0,
            rest: keys::contents(shard, generation),
            meta: encoded,
            totals: SnapshotTotals::default(),
            done: false,
        })
    }

    /// What it is a snapshot of.
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// The next chunk, `None` after the last one.
    ///
    /// Its encoding ends at the pair with which it reaches `max_bytes`, so it may be longer by one pair, and a
    /// pair is at most an item with an intent. Reads from disk. After an error the snapshot must be started anew.
    pub fn next_chunk(&mut self, max_bytes: usize) -> Result<Option<SnapshotChunk>, SnapshotError> {
        if self.done {
            return Ok(None);
        }
        let (mut pairs, more) = self.read_pairs(max_bytes)?;
        let mut chunk = SnapshotChunk {
            mark: self.mark,
            sequence: self.sequence,
            pairs: Vec::new(),
            totals: None,
        };
        if !more {
            pairs.push((meta_key(&self.header), self.meta.clone()));
        }
        for (key, value) in &pairs {
            self.totals.count(key, value);
        }
        if !more {
            chunk.totals = Some(self.totals);
            self.done = true;
        }
        chunk.pairs = pairs;
        self.sequence += 1;
        Ok(Some(chunk))
    }

    /// The next pairs, and whether there are more.
    fn read_pairs(&mut self, max_bytes: usize) -> Result<(Vec<(Bytes, Bytes)>, bool), StoreError> {
        let mut pairs = Vec::new();
        let mut bytes = 0;
        let mut next = None;
        for entry in self.view.scan(&self.rest) {
            let (key, value) = entry?;
            if bytes >= max_bytes && !pairs.is_empty() {
                next = Some(key.to_vec());
                break;
            }
            let part = key.slice_ref(keys::generation_part(&key));
            bytes += PAIR_LEN + part.len() + value.len();
            pairs.push((part, value));
        }
        let more = next.is_some();
        // Where there is no next key the rest is empty.
        self.rest.start = next.unwrap_or_else(|| self.rest.end.clone());
        Ok((pairs, more))
    }
}

/// The key of the meta as it stands in a snapshot.
fn meta_key(header: &SnapshotHeader) -> Bytes {
    let key = Key::Meta {
        shard: header.shard,
        generation: 0,
    };
    let encoded = key.encode();
    encoded.slice_ref(keys::generation_part(&encoded))
}
