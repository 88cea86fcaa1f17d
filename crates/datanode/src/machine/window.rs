//! The memory of a shard for what it was asked to write, and for how that ended.
//!
//! A write that is sent again, because its answer was lost or its leader died, must not take effect again. So a
//! shard remembers the [`RequestId`] of every write that it applies and the version that the write got. It remembers a
//! refusal by condition as well: an earlier attempt that is still on its way must not find the condition fulfilled, when
//! the caller was told that nothing was written. And it remembers how transactions ended, under an identity made of their
//! id and their time ([`RequestId::of_transaction`]), so that a prepare that comes after the decision is recognised. That
//! memory is bounded, and everything hangs on what happens at its edge: a write that may have been
//! forgotten must be refused, never applied. One number, the **floor**, says where the edge is:
//!
//! > The window holds everything that ended and was issued after the floor, and nothing that was issued at it or
//! > before.
//!
//! | issued | remembered | so it is |
//! |---|---|---|
//! | after the floor | yes | a repetition: answered as the first time |
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
//! What ended with one Raft entry becomes one [`RequestBlock`], written in the entry's batch under the entry's
//! index. A block goes when everything in it is forgotten, a few per entry ([`DROPPED_BLOCKS_PER_ENTRY`]), so that no entry
//! pays for a long silence before it. At a start the window is what the blocks say above the floor.
//!
//! # Caveats
//!
//! * A write that was refused because a transaction is prepared on its key is not remembered: its issuer sends it again
//!   under the same identity until the transaction is over.
//! * Age is measured by the clock that came with the entry, not by the highest clock that the shard has seen. So
//!   a leader whose clock was far ahead shortens the memory only while it leads. But what it forgets then may have been issued by a client
//!   whose clock is ahead, by [`limits::MAX_CLOCK_AHEAD_MILLIS`] at the most where the leader before it was right, and the floor rises to that time: until it has come the shard
//!   refuses every new write. If clients, or routers, were as far ahead as the leader, that is as long as they were.
//! * All of this must be the same on every replica and after every restart: it depends on the log alone.

mod identities;

use std::collections::BTreeSet;

use model::{RequestId, limits};
use storage::meta::{Remembered, RequestBlock};

use identities::Identities;

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
pub enum Seen<'a> {
    /// It has not ended here.
    New,
    /// It has, in this way.
    Known(&'a Remembered),
    /// It is too old to tell.
    Expired,
}

/// The writes that a shard remembers.
#[derive(Debug, Clone)]
#[cfg_attr(test, derive(PartialEq))]
pub struct RequestWindow {
    bounds: WindowBounds,
    /// Everything that ended and was issued after the floor. Identities sort by issue time first.
    known: Identities,
    /// What was issued at this or before is forgotten, milliseconds since the Unix epoch. Never falls.
    floor_millis: u64,
    /// The blocks in the store, by the issue time of their newest write; the second is the Raft index.
    blocks: BTreeSet<(u64, u64)>,
    /// What has ended with the current entry.
    current: Vec<(RequestId, Remembered)>,
}

impl RequestWindow {
    /// The window of a shard to which nothing was applied.
    pub fn new(bounds: WindowBounds) -> Self {
        Self {
            bounds,
            known: Identities::default(),
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
        self.blocks.insert((newest(&block.remembered), index));
        let floor = self.floor_millis;
        for (request, ended) in &block.remembered {
            if request.issued_millis > floor {
                self.known.insert(*request, ended.clone());
            }
        }
    }

    /// What was issued at this or before is forgotten.
    pub fn floor_millis(&self) -> u64 {
        self.floor_millis
    }

    /// The number of writes that are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.known.len() == 0
    }

    /// The number of blocks in the store, those among them that are yet to be removed.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Begins an entry: forgets what is too old by its clock.
    pub fn begin_entry(&mut self, now_millis: u64) {
        self.current.clear();
        let oldest = self.oldest_known(now_millis);
        let newest_gone = self.known.last_before(&starting_at(oldest));
        if let Some(request) = newest_gone {
            self.forget_through(request.issued_millis);
        }
    }

    /// What is known of a write that comes with an entry of this clock.
    pub fn look(&self, request: RequestId, now_millis: u64) -> Seen<'_> {
        if let Some(remembered) = self.known.get(&request)
            && !mutant!(RetryAppliedTwice)
        {
            return Seen::Known(remembered);
        }
        let issued = request.issued_millis;
        if issued <= self.floor_millis || issued < self.oldest_known(now_millis) {
            Seen::Expired
        } else {
            Seen::New
        }
    }

    /// The issue time below which everything is [`Seen::Expired`] or known, for an entry of this clock.
    pub fn oldest_new_millis(&self, now_millis: u64) -> u64 {
        let above_floor = self.floor_millis.saturating_add(1);
        above_floor.max(self.oldest_known(now_millis))
    }

    /// Remembers how something ended that was [`Seen::New`] until now; forgets the oldest ones if there are too many.
    pub fn remember(&mut self, request: RequestId, ended: Remembered) {
        self.current.push((request, ended.clone()));
        self.known.insert(request, ended);
        while self.known.len() > self.bounds.entries {
            let Some(oldest) = self.known.first() else {
                break;
            };
            self.forget_through(oldest.issued_millis);
        }
    }

    /// Ends an entry: the block to write under its index, if anything ended with it.
    pub fn end_entry(&mut self, index: u64) -> Option<RequestBlock> {
        let remembered = std::mem::take(&mut self.current);
        if remembered.is_empty() {
            return None;
        }
        self.blocks.insert((newest(&remembered), index));
        Some(RequestBlock { remembered })
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
        self.known.forget_through(self.floor_millis);
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

fn newest(remembered: &[(RequestId, Remembered)]) -> u64 {
    let issued = remembered.iter().map(|(request, _)| request.issued_millis);
    issued.max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
