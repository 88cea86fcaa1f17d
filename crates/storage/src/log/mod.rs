//! One append-only log for all Raft groups of a node.
//!
//! Raft asks each group to have term, vote and entries on disk before it answers. A node holds
//! thousands of groups, and a sync costs the same for one of them as for all. So all of them write into
//! one log: whatever gathered while the last sync ran is one batch, one write and one sync.
//!
//! ```text
//! segment 7                                    segment 8 (active)
//! ┌────────┬─────────┬───────┬─────────┐       ┌────────┬──────────────┬──────┬─ ─ ─ ─ ─
//! │ header │ batch 1 │ 2     │ 3       │       │ header │ batch 4      │ mark │ (zeros)
//! └────────┴─────────┴───────┴─────────┘       └────────┴──────────────┴──────┴─ ─ ─ ─ ─
//!             a: append 1..=8                              b: hard state 3, vote 2
//!             b: reset 4, append 5..=6                     b: append 6..=7
//!                                                          a: purge 8
//! ```
//!
//! After these four batches group `a` has point 8 and no entries; `b` has entry 5 from segment 7 and 6 and
//! 7 from segment 8: an append replaces everything from its first index on. Nothing is ever changed in
//! place, and the state of a group is what its [`Record`]s make of it, in the order of the log.
//!
//! # The parts
//!
//! | file | what |
//! |---|---|
//! | `record`, `batch`, `segment`, `files` | the bytes, from the inside to the outside |
//! | `terms`, `usage`, `group`, `index` | what is known in memory: where each record is, not what it says |
//! | `admit`, `writer`, `forward` | writing: checks, batches and syncs, rewriting what would pin old segments |
//! | `scan`, `recover` | starting: torn or damaged, replay, making the tail durable |
//! | `reader` | reading back what a lagging follower needs |
//!
//! # What is promised
//!
//! * What [`Log::sync`] has confirmed survives: any crash, any number of them.
//! * A batch (one [`Log::write`]) that was not synced survives whole or not at all, and only if all before
//!   it do. So term and vote can stand in one batch with what depends on them.
//! * After the first failed write or sync the log takes nothing more ([`LogError::Failed`]).
//! * Damage is refused with its place, never repaired, never served: see `scan` for how it is told from
//!   the torn end that a crash leaves.
//! * What [`Log::open`] gives is durable, although it may have come from the page cache only: the part of
//!   the log that is not known to be synced is copied into a fresh segment, which is synced and
//!   then renamed into place.
//! * Disk space is bounded by what the groups need: about three times that and a few segments.
//!
//! # Space
//!
//! Segments are given up oldest first, when no group needs anything in them any more. Then a record that
//! makes another one void is never gone before it. If a few needed records pin an old segment (an idle
//! group's vote; entries that a follower still lacks), they are written again at the end of the log, a
//! bounded portion with each batch. Such a copy needs no position of its own: it only says what was there
//! already when it was written, and the records that void it come after it.
//!
//! Segments are preallocated, and their blocks are written with zeros a little ahead of the first use, so
//! that a sync has no metadata to write. Given-up segments are used again, and checksums are
//! seeded with the segment's number, so nothing that an earlier use left behind passes for new.
//!
//! # Caveats
//!
//! * One process at a time: the log doesn't lock its directory.
//! * A group's entries stay on disk, unreachable, until their segment is used again or removed.
//! * Indexes begin at 1. The point of a fresh group is (0, 0).

mod admit;
mod batch;
mod error;
mod files;
mod forward;
mod group;
mod index;
mod reader;
mod record;
mod recover;
mod scan;
mod segment;
mod terms;
mod usage;
mod writer;

use bytes::Bytes;
use model::ShardId;

pub use error::LogError;
pub use reader::{LogReader, Read};
pub use writer::Log;

/// One entry of a group's Raft log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Position in the group's log, from 1.
    pub index: u64,
    /// The term of the leader that made it.
    pub term: u64,
    /// What the payload is; the log doesn't look at it.
    pub kind: u8,
    /// The content; the log doesn't look at it either.
    pub payload: Bytes,
}

impl LogEntry {
    fn view(&self) -> record::EntryView<'_> {
        record::EntryView {
            index: self.index,
            term: self.term,
            kind: self.kind,
            payload: &self.payload,
        }
    }
}

/// One change of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Contiguous entries, which replace everything that the group has from the first one's index on.
    Append {
        /// The group.
        group: ShardId,
        /// The entries. The first index lies behind the point and at most one behind the last entry.
        entries: Vec<LogEntry>,
    },
    /// The group's term and vote from now on.
    HardState {
        /// The group.
        group: ShardId,
        /// The current term.
        term: u64,
        /// Whom the replica has voted for in it.
        vote: Option<u64>,
    },
    /// Entries up to `index` are not needed any more. The group remembers `(index, term)` as its point. Nothing
    /// happens if the point lies further already; if `index` lies behind the last entry, all go.
    Purge {
        /// The group.
        group: ShardId,
        /// The last index that is not needed.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// A snapshot was installed: all entries go, and the log begins anew behind `(index, term)`.
    Reset {
        /// The group.
        group: ShardId,
        /// The last index that the snapshot covers.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// The group is destroyed: nothing of it remains. Later records of the same id start afresh.
    Forget {
        /// The group.
        group: ShardId,
    },
}

impl Record {
    /// The group that it is about.
    pub fn group(&self) -> ShardId {
        match self {
            Self::Append { group, .. }
            | Self::HardState { group, .. }
            | Self::Purge { group, .. }
            | Self::Reset { group, .. }
            | Self::Forget { group } => *group,
        }
    }
}

/// How a log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes of a segment's file. A batch that is larger gets a segment of its own size. What lies on
    /// disk already keeps the size that it has.
    pub segment_bytes: u64,
    /// Given-up segments to keep for use again, instead of removing them. None are kept over a restart.
    pub spare_segments: usize,
    /// Payload bytes of the last entries of each group that [`Log::open`] hands out. The last
    /// entry comes however large it is.
    pub memory_tail_bytes: usize,
    /// Goes into every checksum, so that logs of different nodes can't be taken for one another: the
    /// node's id, for example. Each segment remembers the one it was written with.
    pub salt: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            spare_segments: 2,
            memory_tail_bytes: 256 << 10,
            salt: 0,
        }
    }
}

/// What [`Log::open`] found of a group, all of it durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// The current term; 0 if none was ever recorded.
    pub term: u64,
    /// Whom the replica has voted for in it.
    pub vote: Option<u64>,
    /// Index and term behind which the log begins, by the last purge or reset.
    pub point: (u64, u64),
    /// The last entries, contiguous up to `last_index`, as many as
    /// [`LogOptions::memory_tail_bytes`] allows. Those before are for [`LogReader`].
    pub entries: Vec<LogEntry>,
    /// The term of the entry just before the first of `entries`, or of the last entry if there are none.
    pub preceding_term: u64,
    /// Index of the last entry; the point's if there is none.
    pub last_index: u64,
    /// Bytes of the group's records, all of its entries included.
    pub bytes: u64,
}

/// Sizes, in bytes unless the name says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Number of segments that count.
    pub segments: usize,
    /// Number of given-up segments that are kept for use again.
    pub spare_segments: usize,
    /// All files together.
    pub disk_bytes: u64,
    /// Records that some group needs.
    pub live_bytes: u64,
    /// Records that were written again because they pinned an old segment, since the log was opened.
    pub forwarded_bytes: u64,
}
