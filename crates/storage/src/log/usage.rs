//! Who needs which segment, and how much of it.

use std::collections::BTreeMap;

/// Segment → records in it that are still needed, and their bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Usage {
    segments: BTreeMap<u64, (u64, u64)>,
    bytes: u64,
}

impl Usage {
    /// One more record is needed.
    pub(super) fn add(&mut self, segment: u64, len: u64) {
        let (records, bytes) = self.segments.entry(segment).or_default();
        *records += 1;
        *bytes += len;
        self.bytes += len;
    }

    /// One record less is needed.
    pub(super) fn release(&mut self, segment: u64, len: u64) {
        if let Some((records, bytes)) = self.segments.get_mut(&segment) {
            *records = records.saturating_sub(1);
            *bytes = bytes.saturating_sub(len);
            self.bytes = self.bytes.saturating_sub(len);
            if *records == 0 {
                self.segments.remove(&segment);
            }
        }
    }

    /// The oldest segment that is needed.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.segments.keys().next().copied()
    }

    /// How many records are needed in this segment.
    pub(super) fn records(&self, segment: u64) -> u64 {
        self.segments
            .get(&segment)
            .map_or(0, |(records, _)| *records)
    }

    /// Bytes that are needed, over all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
