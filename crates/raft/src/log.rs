//! The end of the log, in memory, and the pointers into the whole of it.
//!
//! The durable log is the caller's. The core keeps the entries that it will still need: those that are not yet
//! applied or not yet durable, and on a leader those that an active follower lacks, within a bound.
//!
//! ```text
//!   purged        preceding        applied   handed   committed        last
//! ────┼───────────────┼───────────────┼─────────┼─────────┼──────────────┼
//!     on disk only     ◀──────────────── in memory ─────────────────────▶
//! ```

use std::collections::VecDeque;

use crate::{Broken, Entry, Index, Term};

/// A place in the log: an index and the term of the entry there. (0, 0) is before the first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) index: Index,
    pub(crate) term: Term,
}

impl From<(Index, Term)> for Point {
    fn from((index, term): (Index, Term)) -> Self {
        Self { index, term }
    }
}

impl From<&Entry> for Point {
    fn from(entry: &Entry) -> Self {
        Self {
            index: entry.index,
            term: entry.term,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The durable log begins after this point.
    pub(crate) purged: Point,
    /// The point just before the first entry in memory. Its index is ≤ applied and ≤ persisted.
    preceding: Point,
    /// Contiguous, from `preceding.index + 1` on; terms never fall.
    entries: VecDeque<Entry>,
    /// The sizes of `entries`.
    bytes: usize,
    /// What has come out in a `Persist`; ≤ last.
    emitted: Index,
    /// What is durable; ≤ emitted.
    pub(crate) persisted: Index,
    /// Known to be committed; never falls, ≤ last.
    committed: Index,
    /// What has come out in `Effects::apply`; ≤ committed.
    handed: Index,
    /// What the state machine has applied; ≤ handed.
    pub(crate) applied: Index,
}

impl Log {
    /// A log that begins after `point`, where everything up to it is applied and durable.
    pub(crate) fn starting_at(point: Point) -> Self {
        let mut log = Self::default();
        log.discard(point);
        log
    }

    /// A log read back from disk: all of `entries` are durable, and those up to `applied` are applied.
    pub(crate) fn restored(
        purged: Point,
        preceding: Point,
        entries: Vec<Entry>,
        applied: Index,
    ) -> Self {
        let bytes = entries.iter().map(Entry::size).sum();
        let mut log = Self {
            purged,
            preceding,
            entries: entries.into(),
            bytes,
            ..Self::default()
        };
        let last = log.last().index;
        (log.emitted, log.persisted) = (last, last);
        (log.committed, log.handed, log.applied) = (applied, applied, applied);
        log
    }

    /// Forgets all entries: the log now begins after `point`, up to which the state is durable.
    pub(crate) fn discard(&mut self, point: Point) {
        self.entries.clear();
        self.bytes = 0;
        (self.purged, self.preceding) = (point, point);
        (self.emitted, self.persisted) = (point.index, point.index);
        self.state_is_at(point.index);
    }

    /// The state has been replaced by one at `index`.
    pub(crate) fn state_is_at(&mut self, index: Index) {
        self.committed = self.committed.max(index);
        self.handed = self.handed.max(index);
        self.applied = self.applied.max(index);
    }

    pub(crate) fn last(&self) -> Point {
        self.entries.back().map_or(self.preceding, Point::from)
    }

    pub(crate) fn preceding(&self) -> Point {
        self.preceding
    }

    pub(crate) fn committed(&self) -> Index {
        self.committed
    }

    pub(crate) fn handed(&self) -> Index {
        self.handed
    }

    /// The entries in memory.
    pub(crate) fn in_memory(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Where the entry after `index` is in `entries`. `None` if that is before the first.
    fn position_after(&self, index: Index) -> Option<usize> {
        index
            .0
            .checked_sub(self.preceding.index.0)
            .map(|position| position as usize)
    }

    /// The term of an entry in memory, or of the point before them.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        match self.position_after(index)? {
            0 => Some(self.preceding.term),
            position => self.entries.get(position - 1).map(|entry| entry.term),
        }
    }

    /// The last entry in memory at or before `index` whose term is not above `term`; or, if there is none, the point
    /// before the first one.
    pub(crate) fn last_of_term(&self, index: Index, term: Term) -> Point {
        let until = self
            .position_after(index)
            .unwrap_or(0)
            .min(self.entries.len());
        let position = self
            .entries
            .partition_point(|entry| entry.term <= term)
            .min(until);
        match position {
            0 => self.preceding,
            position => self
                .entries
                .get(position - 1)
                .map_or(self.preceding, Point::from),
        }
    }

    /// The entries after `after`, as many as fit (but at least one). Nothing if they aren't in memory.
    pub(crate) fn entries_after(&self, after: Index, max_bytes: usize) -> Vec<Entry> {
        self.range(after, self.last().index, max_bytes)
    }

    fn range(&self, after: Index, up_to: Index, max_bytes: usize) -> Vec<Entry> {
        let (Some(from), Some(until)) = (self.position_after(after), self.position_after(up_to))
        else {
            return Vec::new();
        };
        let mut bytes = 0;
        let mut count = 0;
        for entry in self.entries.range(from.min(until)..until) {
            bytes += entry.size();
            if count > 0 && bytes > max_bytes {
                break;
            }
            count += 1;
        }
        self.entries
            .range(from.min(until)..)
            .take(count)
            .cloned()
            .collect()
    }

    /// The sizes of the entries in `(after, up_to]`.
    pub(crate) fn size_of(&self, after: Index, up_to: Index) -> usize {
        match (self.position_after(after), self.position_after(up_to)) {
            (Some(from), Some(until)) if from < until => {
                self.entries.range(from..until).map(Entry::size).sum()
            }
            _ => 0,
        }
    }

    /// Adds an entry at the end.
    pub(crate) fn push(&mut self, entry: Entry) {
        debug_assert_eq!(entry.index, self.last().index.next());
        self.bytes += entry.size();
        self.entries.push_back(entry);
    }

    /// Brings `entries` into the log (§5.3, Figure 2 "AppendEntries" 3 and 4): those that it has already are skipped, the first that
    /// differs removes what stands there and everything after it. Returns the index from which on the log was cut, if it was.
    pub(crate) fn merge(&mut self, entries: Vec<Entry>) -> Result<Option<Index>, Broken> {
        let mut cut = None;
        for entry in entries {
            if entry.index <= self.last().index {
                match self.term_at(entry.index) {
                    Some(term) if term == entry.term => continue,
                    // Not in memory any more, so applied: a leader has every applied entry.
                    None => continue,
                    Some(_) if entry.index <= self.committed => {
                        let (index, term, committed) = (entry.index, entry.term, self.committed);
                        return Err(Broken::ConflictsWithCommitted {
                            index,
                            term,
                            committed,
                        });
                    }
                    Some(_) if mutant!(ConflictKept) => continue,
                    Some(_) => {
                        self.cut_from(entry.index);
                        cut = Some(entry.index);
                    }
                }
            }
            self.push(entry);
        }
        Ok(cut)
    }

    fn cut_from(&mut self, index: Index) {
        let keep = self.position_after(index.previous()).unwrap_or(0);
        self.bytes -= self
            .entries
            .range(keep.min(self.entries.len())..)
            .map(Entry::size)
            .sum::<usize>();
        self.entries.truncate(keep);
        self.emitted = self.emitted.min(index.previous());
        self.persisted = self.persisted.min(index.previous());
    }

    /// Everything up to `index` is committed. The caller has made sure that the log has it.
    pub(crate) fn commit(&mut self, index: Index) {
        debug_assert!(index <= self.last().index);
        self.committed = self.committed.max(index);
    }

    pub(crate) fn has_unemitted(&self) -> bool {
        self.emitted < self.last().index
    }

    /// The entries that have not come out in a `Persist` yet; now they have.
    pub(crate) fn emit(&mut self) -> Vec<Entry> {
        let last = self.last().index;
        let after = std::mem::replace(&mut self.emitted, last);
        self.range(after, last, usize::MAX)
    }

    pub(crate) fn has_unhanded(&self) -> bool {
        self.handed < self.committed
    }

    /// The next committed entries to apply, as many as fit; they count as handed out.
    pub(crate) fn hand_out(&mut self, max_bytes: usize) -> Vec<Entry> {
        let entries = self.range(self.handed, self.committed, max_bytes);
        if let Some(entry) = entries.last() {
            self.handed = entry.index;
        }
        entries
    }

    /// Drops what is applied, durable and not `wanted` by a follower (an index up to which all have everything), and if more
    /// than `max_bytes` are in memory, what is wanted too.
    pub(crate) fn trim(&mut self, wanted: Index, max_bytes: usize) {
        let droppable = self.applied.min(self.persisted);
        while let Some(first) = self.entries.front() {
            if first.index > droppable || (first.index > wanted && self.bytes <= max_bytes) {
                break;
            }
            self.bytes -= first.size();
            self.preceding = Point::from(first);
            self.entries.pop_front();
        }
        // A burst shouldn't hold its memory for ever: many groups are idle most of the time.
        if self.entries.is_empty() && self.entries.capacity() > 64 {
            self.entries.shrink_to(0);
        }
    }
}
