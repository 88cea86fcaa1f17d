//! What the log holds of one group, and where.
//!
//! ```text
//!  point          extents (one per record)                      last
//!    │    ┌──────────────┬────────────┬───────────────────┐      │
//!  (7, 2) │ 8..=20 @ s3  │ 21 @ s3    │ 22..=40 @ s4      │     40
//!         └──────────────┴────────────┴───────────────────┘
//! ```
//!
//! In a running log the extents leave no gap between the point and the last entry. While old segments are
//! replayed they may: entries that were written again (a *keep* record) are missing until the replay
//! gets there. [`Group::gap`] says whether it has.

use std::collections::BTreeMap;

use super::record::{Body, Entries, Hard, Point};
use super::terms::Terms;
use super::usage::Usage;

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// Some or all of the entries of one record. The key in the map is the first index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) count: u64,
    pub(super) place: Place,
}

/// What the log holds of one group.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    hard: Option<(Hard, Place)>,
    point: Point,
    point_place: Option<Place>,
    extents: BTreeMap<u64, Extent>,
    terms: Terms,
    usage: Usage,
}

/// The group's own usage and the total one, changed together.
struct Books<'a>(&'a mut Usage, &'a mut Usage);

impl Books<'_> {
    fn add(&mut self, place: Place) {
        for usage in [&mut *self.0, &mut *self.1] {
            usage.add(place.segment, u64::from(place.len));
        }
    }

    fn release(&mut self, place: Place) {
        for usage in [&mut *self.0, &mut *self.1] {
            usage.release(place.segment, u64::from(place.len));
        }
    }
}

impl Group {
    /// Takes in a record that stands at `place`. *Forget* is not for the group itself to take in: see
    /// [`Group::release_all`].
    pub(super) fn apply(&mut self, body: &Body<'_>, place: Place, total: &mut Usage) {
        match *body {
            Body::Append(entries) => {
                self.cut_from(entries.first, total);
                self.terms.append(entries.first, entries.terms());
                self.insert(entries, place, total);
            }
            Body::Keep(entries) => {
                self.clear_range(
                    entries.first,
                    entries.first + u64::from(entries.count),
                    total,
                );
                self.terms.assign(entries.first, entries.terms());
                self.insert(entries, place, total);
            }
            Body::HardState(hard) => self.set_hard(hard, place, total),
            Body::Purge(point) => {
                if point.0 >= self.point.0 {
                    self.set_point(point, place, total);
                }
            }
            Body::Reset(point) => {
                self.cut_from(0, total);
                self.terms.clear();
                self.set_point(point, place, total);
            }
            Body::State(hard, point) => {
                if let Some(hard) = hard {
                    self.set_hard(hard, place, total);
                }
                self.set_point(point, place, total);
            }
            Body::Forget => self.release_all(total),
        }
    }

    /// Gives up everything that the group needs.
    pub(super) fn release_all(&mut self, total: &mut Usage) {
        self.cut_from(0, total);
        let mut books = Books(&mut self.usage, total);
        if let Some((_, place)) = self.hard.take() {
            books.release(place);
        }
        if let Some(place) = self.point_place.take() {
            books.release(place);
        }
        *self = Self::default();
    }

    fn insert(&mut self, entries: Entries<'_>, place: Place, total: &mut Usage) {
        let count = u64::from(entries.count);
        self.extents.insert(entries.first, Extent { count, place });
        Books(&mut self.usage, total).add(place);
    }

    fn set_hard(&mut self, hard: Hard, place: Place, total: &mut Usage) {
        let mut books = Books(&mut self.usage, total);
        books.add(place);
        if let Some((_, old)) = self.hard.replace((hard, place)) {
            books.release(old);
        }
    }

    fn set_point(&mut self, point: Point, place: Place, total: &mut Usage) {
        let first = point.0.saturating_add(1);
        self.clear_range(0, first, total);
        self.terms.forget_before(first);
        self.point = point;
        let mut books = Books(&mut self.usage, total);
        books.add(place);
        if let Some(old) = self.point_place.replace(place) {
            books.release(old);
        }
    }

    /// Drops the entries from `index` on.
    fn cut_from(&mut self, index: u64, total: &mut Usage) {
        self.clear_range(index, u64::MAX, total);
    }

    /// Drops the entries of `start..end`; extents that reach over an edge keep what lies outside.
    fn clear_range(&mut self, start: u64, end: u64, total: &mut Usage) {
        let mut books = Books(&mut self.usage, total);
        if let Some((&first, extent)) = self.extents.range_mut(..start).next_back() {
            let behind = first + extent.count;
            if behind > start {
                extent.count = start - first;
                if behind > end {
                    let place = extent.place;
                    let count = behind - end;
                    self.extents.insert(end, Extent { count, place });
                    books.add(place);
                }
            }
        }
        while let Some((&first, &extent)) = self.extents.range(start..end).next() {
            self.extents.remove(&first);
            let behind = first + extent.count;
            if behind > end {
                let count = behind - end;
                self.extents.insert(end, Extent { count, ..extent });
            } else {
                books.release(extent.place);
            }
        }
    }

    /// Term and vote, if any were ever recorded.
    pub(super) fn hard(&self) -> Option<Hard> {
        self.hard.map(|(hard, _)| hard)
    }

    /// Entries up to this index are not needed; its term is remembered.
    pub(super) fn point(&self) -> Point {
        self.point
    }

    /// Index of the last entry, or of the point if there is none.
    pub(super) fn last(&self) -> u64 {
        self.extents
            .last_key_value()
            .map_or(self.point.0, |(first, extent)| first + extent.count - 1)
    }

    /// The term of an index from the point to the last entry.
    pub(super) fn term(&self, index: u64) -> u64 {
        if index == self.point.0 {
            self.point.1
        } else {
            self.terms.get(index)
        }
    }

    /// Extents with entries at or above `index`, in order.
    pub(super) fn extents_from(&self, index: u64) -> impl Iterator<Item = (u64, Extent)> {
        let covering = self
            .extents
            .range(..index)
            .next_back()
            .filter(move |(first, extent)| **first + extent.count > index);
        covering
            .into_iter()
            .chain(self.extents.range(index..))
            .map(|(first, extent)| (*first, *extent))
    }

    /// All extents, the last one first.
    pub(super) fn extents_backwards(&self) -> impl Iterator<Item = (u64, Extent)> {
        self.extents
            .iter()
            .rev()
            .map(|(first, extent)| (*first, *extent))
    }

    /// The first index between point and last entry of which there is no entry.
    pub(super) fn gap(&self) -> Option<u64> {
        let mut next = self.point.0.saturating_add(1);
        for (first, extent) in &self.extents {
            if *first != next {
                return Some(next);
            }
            next = first + extent.count;
        }
        None
    }

    /// Bytes of the records that it needs.
    pub(super) fn bytes(&self) -> u64 {
        self.usage.bytes()
    }

    /// The oldest segment that the group needs.
    pub(super) fn oldest_segment(&self) -> Option<u64> {
        self.usage.oldest()
    }

    /// Whether term, vote or point stand in this segment.
    pub(super) fn has_state_in(&self, segment: u64) -> bool {
        self.states_in(segment) > 0
    }

    /// How many extents stand in this segment.
    pub(super) fn extents_in(&self, segment: u64) -> u64 {
        self.usage
            .records(segment)
            .saturating_sub(self.states_in(segment))
    }

    fn states_in(&self, segment: u64) -> u64 {
        let hard = self.hard.as_ref().map(|(_, place)| place);
        let places = hard.into_iter().chain(&self.point_place);
        places.filter(|place| place.segment == segment).count() as u64
    }
}
