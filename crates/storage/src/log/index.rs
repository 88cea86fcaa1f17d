//! What all groups have in the log, and the open segments: the state that the writer changes and readers
//! look things up in.
//!
//! There is one way into it, [`Index::apply`], for a batch that was just written and for one that is
//! replayed. So what a running log knows is, by construction, what recovery would make of the bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::ShardId;

use super::group::{Group, Place};
use super::record::{Body, View};
use super::segment::Segment;
use super::usage::Usage;

/// What all groups have in the log, and the open segments.
#[derive(Default)]
pub(super) struct Index {
    pub(super) groups: BTreeMap<ShardId, Group>,
    /// Segments that count, by number.
    pub(super) segments: BTreeMap<u64, Arc<Segment>>,
    usage: Usage,
}

impl Index {
    /// Takes in a record that stands at `offset` of a segment.
    pub(super) fn apply(&mut self, segment: u64, offset: u64, view: &View<'_>) {
        let place = Place {
            segment,
            offset,
            len: view.len as u32,
        };
        if view.body == Body::Forget {
            if let Some(mut group) = self.groups.remove(&view.group) {
                group.release_all(&mut self.usage);
            }
            return;
        }
        let group = self.groups.entry(view.group).or_default();
        group.apply(&view.body, place, &mut self.usage);
    }

    /// The oldest segment that any group needs.
    pub(super) fn oldest_needed(&self) -> Option<u64> {
        self.usage.oldest()
    }

    /// Bytes of the records that any group needs.
    pub(super) fn live_bytes(&self) -> u64 {
        self.usage.bytes()
    }

    /// Bytes of the segments from this one on.
    pub(super) fn bytes_from(&self, segment: u64) -> u64 {
        self.segments
            .range(segment..)
            .map(|(_, s)| s.capacity)
            .sum()
    }

    /// Takes out the segments before `oldest`. Readers don't find them any more.
    pub(super) fn take_free(&mut self, oldest: u64) -> Vec<Arc<Segment>> {
        let kept = self.segments.split_off(&oldest);
        std::mem::replace(&mut self.segments, kept)
            .into_values()
            .collect()
    }
}
