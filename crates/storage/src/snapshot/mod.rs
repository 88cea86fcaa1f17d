//! Snapshots: a shard's whole state, from one replica to another.
//!
//! A replica that has fallen behind what the leader's log still has gets the state instead of the entries. It
//! takes minutes for a large shard, so three things must hold all that time: the sender goes on writing, the receiver
//! goes on answering eventual reads from its old state, and either may crash at any byte.
//!
//! * The **sender** reads a [view](crate::state::StateStore::view), which is one state of the store at one applied index,
//!   whatever is written meanwhile ([`SnapshotSource`]).
//! * The **receiver** writes into a new *generation* of keys, which nothing reads ([`SnapshotSink`]). When all of it is
//!   there, checked and durable, one batch points [`Key::Generation`](crate::keys::Key::Generation) at it
//!   ([`switch_generation`]).
//!
//! | step | pointer | generation 1 | generation 2 |
//! |---|---|---|---|
//! | before | 1 | old state | |
//! | [`SnapshotSink::begin`], [`add`](SnapshotSink::add) … | 1 | old state | grows |
//! | [`finish`](SnapshotSink::finish): totals and hashes checked, durable | 1 | old state | new state |
//! | [`switch_generation`]: one batch, then durable | **2** | old state | new state |
//! | the log is reset to the snapshot's index and term | 2 | old state | new state |
//! | [`clean_generations`] | 2 | goes | new state |
//!
//! A crash in any row leaves the state of that row or of the one before it, and both are whole. What is not pointed at
//! is removed at the next start. The old generation goes only after the pointer to the new one is durable.
//!
//! # What travels
//!
//! A [`SnapshotHeader`], then [`SnapshotChunk`]s in order: pairs of key and value, the keys without shard and
//! generation. First the request blocks, then the items, then the prepared transactions, and as the last pair of the last chunk the
//! [`ShardMeta`](crate::meta::ShardMeta), with the Raft group's own configuration in it. Each chunk carries its number, a checksum
//! and the mark of its snapshot, so that chunks that are lost, repeated, damaged or of another snapshot are refused.
//!
//! # Caveats
//!
//! * A shard receives one snapshot at a time, and its generations are not cleaned meanwhile: the caller sees to that.
//! * A reader must find the pointer and the item in one view. With a pointer remembered from before a switch it would look
//!   into a generation that is being removed, and take what is gone for absent.

mod chunk;
mod generation;
mod sink;
mod source;
mod verify;

pub use chunk::{SnapshotChunk, SnapshotHeader, SnapshotTotals};
pub use generation::{
    clean_generations, create_shard, current_generation, destroy_shard, load_meta, stored_shards,
    switch_generation,
};
pub use sink::{Received, SnapshotSink};
pub use source::SnapshotSource;
pub use verify::{Verified, verify_shard};

use model::ShardId;

use crate::meta::ContentHash;
use crate::state::StoreError;

/// Why a snapshot can't be made or taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SnapshotError {
    /// The state store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The shard, or that generation of it, is not in the store.
    #[error("snapshot: the store has no whole state of shard {0}")]
    NoSuchShard(ShardId),
    /// Bytes that are not a header or a chunk of a format known here.
    #[error("snapshot: {0}")]
    Malformed(String),
    /// A chunk that was damaged on its way.
    #[error("snapshot: the checksum of a chunk does not match")]
    Checksum,
    /// A chunk that belongs to another snapshot.
    #[error("snapshot: a chunk is of another snapshot")]
    OtherSnapshot,
    /// A chunk that is not the next one.
    #[error("snapshot: chunk {expected} was expected, chunk {found} came")]
    Sequence {
        /// The number of the next chunk.
        expected: u64,
        /// The number of the one that came.
        found: u64,
    },
    /// More after the last chunk, or an end before it.
    #[error("snapshot: {0}")]
    Incomplete(&'static str),
    /// What came is not as much as was sent.
    #[error("snapshot: {expected:?} were announced, {found:?} came")]
    Totals {
        /// By the sender.
        expected: SnapshotTotals,
        /// Counted here.
        found: SnapshotTotals,
    },
    /// What came is not the content that the sender's replica has.
    #[error("snapshot: the content hash is {found} and should be {expected}")]
    Content {
        /// As the sender's replica kept it.
        expected: ContentHash,
        /// Of the items that came.
        found: ContentHash,
    },
}

#[cfg(test)]
mod tests;
