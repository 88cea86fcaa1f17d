//! Receiving a snapshot.

use std::sync::Arc;

use bytes::Bytes;
use model::Item;

use super::generation::{CLEAN_CHUNK, generations, next_generation};
use super::{SnapshotChunk, SnapshotError, SnapshotHeader, SnapshotTotals};
use crate::keys::{self, Key};
use crate::meta::{PreparedRecord, RequestBlock, ShardMeta};
use crate::state::{Batch, StateStore, delete_range};

/// Bytes of one batch beyond which the next pair goes into another one, so that other shards' writes get their turn.
const BATCH_BYTES: usize = 256 << 10;

/// Writes a snapshot into a new generation of a shard, which nothing reads before
/// [`switch_generation`](super::switch_generation).
///
/// Dropped before [`SnapshotSink::finish`], it leaves keys that [`clean_generations`](super::clean_generations)
/// removes; [`SnapshotSink::abandon`] removes them at once.
pub struct SnapshotSink {
    store: Arc<dyn StateStore>,
    header: SnapshotHeader,
    mark: u64,
    generation: u32,
    expected: u64,
    totals: SnapshotTotals,
    /// Items, bytes and content as they came.
    counted: ShardMeta,
    /// From the last chunk.
    end: Option<(ShardMeta, SnapshotTotals)>,
}

/// A snapshot that has arrived whole and is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Where it lies; for [`switch_generation`](super::switch_generation).
    pub generation: u32,
    /// Where its state stands.
    pub meta: ShardMeta,
}

impl SnapshotSink {
    /// Prepares to receive a snapshot into a generation of a number that the shard does not have.
    pub fn begin(
        store: Arc<dyn StateStore>,
        header: SnapshotHeader,
    ) -> Result<Self, SnapshotError> {
        let used = generations(&*store.view(), header.shard)?;
        let generation = match used.last() {
            Some(last) => next_generation(*last)?,
            None => 1,
        };
        Ok(Self {
            store,
            mark: header.mark(),
            header,
            generation,
            expected: 0,
            totals: SnapshotTotals::default(),
            counted: ShardMeta::default(),
            end: None,
        })
    }

    /// What is being received.
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// The number of the chunk that is to come next.
    pub fn next_sequence(&self) -> u64 {
        self.expected
    }

    /// Takes the next chunk. A chunk that came before, or is refused, changes nothing; after an error of the
    /// store the sink is of no use any more.
    pub fn add(&mut self, chunk: SnapshotChunk) -> Result<(), SnapshotError> {
        if chunk.mark != self.mark {
            return Err(SnapshotError::OtherSnapshot);
        }
        if self.end.is_some() {
            return Err(SnapshotError::Incomplete("a chunk came after the last one"));
        }
        if chunk.sequence != self.expected {
            return Err(SnapshotError::Sequence {
                expected: self.expected,
                found: chunk.sequence,
            });
        }
        let taken = self.check(chunk)?;
        self.write(taken.entries)?;
        self.expected += 1;
        self.totals = taken.totals;
        self.counted = taken.counted;
        self.end = taken.end;
        Ok(())
    }

    /// Checks totals and content, writes the meta and makes all of it durable. The shard's current generation
    /// is what it was.
    pub fn finish(self) -> Result<Received, SnapshotError> {
        let Some((meta, expected)) = self.end else {
            return Err(SnapshotError::Incomplete("the last chunk is missing"));
        };
        if expected != self.totals {
            return Err(SnapshotError::Totals {
                expected,
                found: self.totals,
            });
        }
        if meta != self.header.meta {
            return Err(SnapshotError::Malformed(
                "the last chunk has another state than the header".into(),
            ));
        }
        let counted = &self.counted;
        if (meta.content, meta.items, meta.bytes) != (counted.content, counted.items, counted.bytes)
        {
            return Err(SnapshotError::Content {
                expected: meta.content,
                found: counted.content,
            });
        }
        let key = Key::Meta {
            shard: self.header.shard,
            generation: self.generation,
        };
        let mut batch = Batch::new();
        batch.put(key.encode(), meta.encode());
        self.store.write(batch)?;
        self.store.persist()?;
        Ok(Received {
            generation: self.generation,
            meta,
        })
    }

    /// Gives it up and removes what was received.
    pub fn abandon(self) -> Result<(), SnapshotError> {
        let range = keys::generation(self.header.shard, self.generation);
        delete_range(&*self.store, range, CLEAN_CHUNK)?;
        Ok(())
    }

    /// Looks at every pair of a chunk before any is written.
    fn check(&self, chunk: SnapshotChunk) -> Result<Taken, SnapshotError> {
        let mut taken = Taken {
            entries: Vec::with_capacity(chunk.pairs.len()),
            totals: self.totals,
            counted: self.counted.clone(),
            end: None,
        };
        let mut meta = None;
        for (part, value) in chunk.pairs {
            let (key, decoded) =
                keys::from_generation_part(self.header.shard, self.generation, &part)
                    .map_err(malformed)?;
            taken.totals.count(&part, &value);
            if meta.is_some() {
                return Err(SnapshotError::Malformed(
                    "a chunk has something after the shard's meta".into(),
                ));
            }
            match decoded {
                Key::Meta { .. } => meta = Some(ShardMeta::decode(&value).map_err(malformed)?),
                Key::Requests { .. } => {
                    RequestBlock::decode(&value).map_err(malformed)?;
                    if !mutant!(SnapshotForgetsRequests) {
                        taken.entries.push((key, value));
                    }
                }
                Key::Item { .. } => {
                    Item::decode(&value).map_err(malformed)?;
                    let part = keys::item_part(&key);
                    taken.counted.replace_item(part, None, Some(&value));
                    taken.entries.push((key, value));
                }
                Key::Prepared { .. } => {
                    PreparedRecord::decode(&value).map_err(malformed)?;
                    let part = keys::generation_part(&key);
                    taken.counted.replace_record(part, None, Some(&value));
                    if !mutant!(IntentsNotInSnapshot) {
                        taken.entries.push((key, value));
                    }
                }
                Key::Replica(_) | Key::Generation(_) => {
                    return Err(SnapshotError::Malformed(
                        "a chunk has a key that is not of a generation".into(),
                    ));
                }
            }
        }
        taken.end = match (meta, chunk.totals) {
            (Some(meta), Some(totals)) => Some((meta, totals)),
            (None, None) => None,
            _ => {
                return Err(SnapshotError::Malformed(
                    "the shard's meta is not at the end of the last chunk".into(),
                ));
            }
        };
        Ok(taken)
    }

    fn write(&self, entries: Vec<(Bytes, Bytes)>) -> Result<(), SnapshotError> {
        let mut batch = Batch::new();
        for (key, value) in entries {
            // A copy, because the value is a slice of its chunk.
            batch.put(key, Bytes::copy_from_slice(&value));
            if batch.bytes() >= BATCH_BYTES {
                self.store.write(std::mem::take(&mut batch))?;
            }
        }
        self.store.write(batch)?;
        Ok(())
    }
}

/// A chunk that was found in order.
struct Taken {
    entries: Vec<(Bytes, Bytes)>,
    totals: SnapshotTotals,
    counted: ShardMeta,
    end: Option<(ShardMeta, SnapshotTotals)>,
}

fn malformed(error: impl std::fmt::Display) -> SnapshotError {
    SnapshotError::Malformed(error.to_string())
}
