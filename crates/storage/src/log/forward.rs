//! Rewriting forward: what is still needed of the oldest segment is written again at the end of the log,
//! so that the segment can be given up.
//!
//! It is done only if the segments together are much larger than what is needed in them, and in portions
//! that go along with the batches:
//!
//! | segments, MiB | needed, MiB | |
//! |---|---|---|
//! | 256 | 60 | nothing to do: up to 3 × 60 + 3 × 64 |
//! | 640 | 60 | the oldest segment's needed records are copied |
//! | 640 | 400 | nothing to do: copying would move much and free little |
//!
//! A portion is four times the batch that it goes with, and at least 64 KiB. When a segment's turn comes
//! at most a third of the log is needed, so each byte written frees more room than it takes.

use model::ShardId;

use super::group::Group;
use super::index::Index;
use super::reader::read_entries;
use super::record::{self, SPLIT_LEN};
use super::{Log, LogEntry, LogError};

const MIN_PORTION: u64 = 64 << 10;
const MAX_PORTION: u64 = 4 << 20;
/// What a record of term, vote and point takes from a portion.
const STATE_COST: u64 = 128;

/// A segment whose needed records are being written again.
pub(super) struct Collector {
    segment: u64,
    /// Groups that are not finished; the last one is next.
    groups: Vec<ShardId>,
    /// How far the next group is done: its entries before this index.
    from: u64,
}

impl Log {
    /// Adds a portion of what is to be written again to the batch that is being built; `batch_bytes` is
    /// what the batch has besides.
    pub(super) fn forward(&mut self, batch_bytes: u64) -> Result<(), LogError> {
        let segment_bytes = self.files.options.segment_bytes;
        let index = self.index.read();
        if self.collector.is_none() {
            self.collector = Collector::start(&index, self.active.segment.number(), segment_bytes);
        }
        let Some(collector) = &mut self.collector else {
            return Ok(());
        };
        let before = self.builder.len();
        let portion = (batch_bytes * 4).clamp(MIN_PORTION, MAX_PORTION);
        let mut portion = Portion {
            builder: &mut self.builder,
            left: portion.min(segment_bytes / 4),
        };
        if collector.copy(&index, &mut portion)? {
            self.collector = None;
        }
        self.forwarded_bytes += self.builder.len() - before;
        Ok(())
    }
}

/// A bounded number of bytes that go into the batch at hand.
struct Portion<'a> {
    builder: &'a mut super::batch::Builder,
    left: u64,
}

impl Portion<'_> {
    fn spend(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
    }

    fn state(&mut self, id: ShardId, group: &Group) {
        let (hard, point) = (group.hard(), group.point());
        self.builder
            .push_with(|buffer| record::encode_state(buffer, id, hard, point));
        self.spend(STATE_COST);
    }

    fn entries(&mut self, id: ShardId, entries: &mut Vec<LogEntry>) {
        if let Some(first) = entries.first().map(|entry| entry.index) {
            let views = entries.iter().map(LogEntry::view);
            self.builder
                .push_with(|buffer| record::encode_keep(buffer, id, first, views));
            entries.clear();
        }
    }
}

impl Collector {
    fn start(index: &Index, active: u64, segment_bytes: u64) -> Option<Self> {
        let segment = index.oldest_needed().filter(|oldest| *oldest < active)?;
        let bound = 3 * index.live_bytes() + 3 * segment_bytes;
        if index.bytes_from(segment) <= bound {
            return None;
        }
        let needs_it = |group: &Group| group.oldest_segment() == Some(segment);
        let groups = index.groups.iter();
        Some(Self {
            segment,
            groups: groups
                .filter(|(_, g)| needs_it(g))
                .map(|(id, _)| *id)
                .collect(),
            from: 0,
        })
    }

    /// Copies until the portion is used up. True if the segment is done.
    fn copy(&mut self, index: &Index, portion: &mut Portion<'_>) -> Result<bool, LogError> {
        while let Some(id) = self.groups.last().copied() {
            if portion.left == 0 {
                return Ok(false);
            }
            if let Some(group) = index.groups.get(&id) {
                if self.from == 0 && group.has_state_in(self.segment) {
                    portion.state(id, group);
                }
                if !self.copy_entries(index, id, group, portion)? {
                    return Ok(false);
                }
            }
            self.groups.pop();
            self.from = 0;
        }
        Ok(true)
    }

    /// The same for the entries of one group. Neighbours go into one record.
    fn copy_entries(
        &mut self,
        index: &Index,
        id: ShardId,
        group: &Group,
        portion: &mut Portion<'_>,
    ) -> Result<bool, LogError> {
        let count = group.extents_in(self.segment);
        let Some(segment) = index.segments.get(&self.segment).filter(|_| count > 0) else {
            return Ok(true);
        };
        let mut run: Vec<LogEntry> = Vec::new();
        let mut run_bytes = 0;
        let in_segment = group
            .extents_from(self.from)
            .filter(|(_, extent)| extent.place.segment == self.segment);
        for (position, (first, extent)) in (1..=count).zip(in_segment) {
            let end = first + extent.count;
            let continues = run.last().is_some_and(|entry| entry.index + 1 == first);
            if !continues || run_bytes + extent.place.len as usize > SPLIT_LEN {
                portion.entries(id, &mut run);
                run_bytes = 0;
            }
            run.extend(read_entries(segment, extent.place, first..end)?);
            run_bytes += extent.place.len as usize;
            portion.spend(u64::from(extent.place.len));
            self.from = end;
            if portion.left == 0 && position < count {
                portion.entries(id, &mut run);
                return Ok(false);
            }
        }
        portion.entries(id, &mut run);
        Ok(true)
    }
}
