//! The memory of a shard for the writes that it has applied.
//!
//! A write that is sent again, because its answer was lost or its leader died, must not take effect again. So a
//! shard remembers the [`RequestId`] of every write that it applies and the version that the write got. That
//! memory is bounded, and everything hangs on what happens at its edge: a write that may have been
//! forgotten must be refused, never applied. One number, the **floor**, says where the edge is:
//!
//! > The window holds every applied write that was issued after the floor, and none that was issued at it or
//! > before.
//!
//! | issued | remembered | so it is |
//! |---|---|---|
//! | after the floor | yes | a repetition: answered with the recorded version |
//! | after the floor | no | new: applied |
//! | at the floor or before | never | expired: refused, because nobody knows |
//!
//! The floor rises when something is forgotten, to the issue time of what goes. That is the case for what is older than
//! [`limits::REQUEST_WINDOW_MILLIS`], by the clock in the entry that is being applied, and for the oldest when there
//! are more than [`limits::REQUEST_WINDOW_ENTRIES`]. All writes of one millisecond are forgotten together, which
//! is what makes the sentence above hold exactly, and with it the window a function of the floor and of what was
//! applied. A write that is older than the window is expired even if the floor is lower.
//!
//! # On disk
//!
//! The writes that one Raft entry applied become one [`RequestBlock`], written in the entry's batch under the entry's
//! index. A block goes when everything in it is forgotten, a few per entry ([`DROPPED_BLOCKS_PER_ENTRY`]), so that no entry
//! pays for a long silence before it. At a start the window is what the blocks say above the floor.
//!
//! # Caveats
//!
//! * Age is measured by the clock that came with the entry, not by the highest clock that the shard has seen. So
//!   a leader whose clock was far ahead shortens the memory only while it leads, and does not
//!   make the shard refuse every write until the time that it dreamt of.
//! * All of this must be the same on every replica and after every restart: it depends on the log alone.

use std::collections::{BTreeMap, BTreeSet};

use model::{Lsn, RequestId, limits};
use storage::meta::RequestBlock;

/// Forgotten blocks that one entry removes, at the most. More than the one that it may add, so that they get fewer.
pub const DROPPED_BLOCKS_PER_ENTRY: usize = 32;

/// How much a window remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowBounds {
    /// How long, milliseconds.
    pub millis: u64,
    /// How many writes.
    pub entries: usize,
}

impl Default for WindowBounds {
    /// The bounds of [`limits`]. Replicas with different bounds would part ways.
    fn default() -> Self {
        Self {
            millis: limits::REQUEST_WINDOW_MILLIS,
            entries: limits::REQUEST_WINDOW_ENTRIES,
        }
    }
}

/// What a window knows of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It was never applied.
    New,
    /// It was applied and got this version.
    Applied(Lsn),
    /// It is too old to tell.
    Expired,
}

/// The writes that a shard remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestWindow {
    bounds: WindowBounds,
    /// Every write that was applied and issued after the floor. Identities sort by issue time first.
    applied: BTreeMap<RequestId, Lsn>,
    /// What was issued at this or before is forgotten, milliseconds since the Unix epoch. Never falls.
    floor_millis: u64,
    /// The blocks in the store, by the issue time of their newest write; the second is the Raft index.
    blocks: BTreeSet<(u64, u64)>,
    /// What the current entry has applied.
    current: Vec<(RequestId, Lsn)>,
}

impl RequestWindow {
    /// The window of a shard to which nothing was applied.
    pub fn new(bounds: WindowBounds) -> Self {
        Self {
            bounds,
            applied: BTreeMap::new(),
            floor_millis: 0,
            blocks: BTreeSet::new(),
            current: Vec::new(),
        }
    }

    /// An empty window with a floor, to which [`RequestWindow::restore`] adds the stored blocks.
    pub fn at_floor(bounds: WindowBounds, floor_millis: u64) -> Self {
        Self {
            floor_millis,
            ..Self::new(bounds)
        }
    }

    /// Takes in a stored block. The order of blocks doesn't matter.
    pub fn restore(&mut self, index: u64, block: &RequestBlock) {
        self.blocks.insert((newest(&block.applied), index));
        let floor = self.floor_millis;
        let remembered = block.applied.iter().copied();
        self.applied
            .extend(remembered.filter(|(request, _)| request.issued_millis > floor));
    }

    /// What was issued at this or before is forgotten.
    pub fn floor_millis(&self) -> u64 {
        self.floor_millis
    }

    /// The number of writes that are remembered.
    pub fn len(&self) -> usize {
        self.applied.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty()
    }

    /// The number of blocks in the store, those among them that are yet to be removed.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Begins an entry: forgets what is too old by its clock.
    pub fn begin_entry(&mut self, now_millis: u64) {
        self.current.clear();
        let oldest = self.oldest_known(now_millis);
        let newest_gone = self.applied.range(..starting_at(oldest)).next_back();
        if let Some((request, _)) = newest_gone {
            self.forget_through(request.issued_millis);
        }
    }

    /// What is known of a write that comes with an entry of this clock.
    pub fn look(&self, request: RequestId, now_millis: u64) -> Seen {
        if let Some(version) = self.applied.get(&request)
            && !mutant!(RetryAppliedTwice)
        {
            return Seen::Applied(*version);
        }
        let issued = request.issued_millis;
        if issued <= self.floor_millis || issued < self.oldest_known(now_millis) {
            Seen::Expired
        } else {
            Seen::New
        }
    }

    /// Remembers a write that was [`Seen::New`] and is applied now; forgets the oldest ones if there are too many.
    pub fn remember(&mut self, request: RequestId, version: Lsn) {
        self.current.push((request, version));
        self.applied.insert(request, version);
        while self.applied.len() > self.bounds.entries {
            let Some((oldest, _)) = self.applied.first_key_value() else {
                break;
            };
            self.forget_through(oldest.issued_millis);
        }
    }

    /// Ends an entry: the block to write under its index, if it applied any write.
    pub fn end_entry(&mut self, index: u64) -> Option<RequestBlock> {
        let applied = std::mem::take(&mut self.current);
        if applied.is_empty() {
            return None;
        }
        self.blocks.insert((newest(&applied), index));
        Some(RequestBlock { applied })
    }

    /// The next blocks to remove from the store, by their indexes: all of what is in them is forgotten.
    pub fn drop_blocks(&mut self) -> Vec<u64> {
        let mut dropped = Vec::new();
        while dropped.len() < DROPPED_BLOCKS_PER_ENTRY {
            match self.blocks.first() {
                Some(&(newest, index)) if newest <= self.floor_millis => {
                    self.blocks.pop_first();
                    dropped.push(index);
                }
                _ => break,
            }
        }
        dropped
    }

    /// What was issued before this is older than the window.
    fn oldest_known(&self, now_millis: u64) -> u64 {
        now_millis.saturating_sub(self.bounds.millis)
    }

    fn forget_through(&mut self, issued_millis: u64) {
        self.floor_millis = self.floor_millis.max(issued_millis);
        // One by one and not by splitting the map, because in a full window one goes with each that comes.
        while let Some(oldest) = self.applied.first_entry() {
            if oldest.key().issued_millis > self.floor_millis {
                break;
            }
            oldest.remove();
        }
    }
}

/// Before every identity of that issue time.
fn starting_at(issued_millis: u64) -> RequestId {
    RequestId {
        issued_millis,
        client: 0,
        sequence: 0,
    }
}

fn newest(applied: &[(RequestId, Lsn)]) -> u64 {
    let issued = applied.iter().map(|(request, _)| request.issued_millis);
    issued.max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
