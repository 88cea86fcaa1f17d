//! Reading entries back.

use std::sync::Arc;

use bytes::Bytes;
use model::ShardId;
use parking_lot::RwLock;

use super::group::{Extent, Group, Place};
use super::index::Index;
use super::record::{self, Body};
use super::segment::Segment;
use super::{LogEntry, LogError};

/// Reads entries back, from any thread, while the log is being written.
///
/// It sees what [`Log::write`](super::Log::write) has taken, synced or not: a leader sends entries before
/// they are durable on its own disk.
#[derive(Clone)]
pub struct LogReader {
    pub(super) index: Arc<RwLock<Index>>,
}

/// What [`LogReader::read`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Contiguous entries from the wanted index on; none if that lies behind the last one.
    Entries {
        /// The term of the entry just before the wanted index, or of the last one if the wanted index
        /// lies further behind it.
        previous_term: u64,
        /// The entries.
        entries: Vec<LogEntry>,
    },
    /// The entry was purged, or a snapshot stands in its place.
    Compacted,
}

/// Where to find what was asked for.
struct Plan {
    previous_term: u64,
    /// One past the last entry, as the group was when this was made.
    end: u64,
    extents: Vec<(u64, Extent, Arc<Segment>)>,
}

impl LogReader {
    /// Reads entries of a group from index `from` on, as many as have payloads of `max_bytes` together,
    /// but at least one if there is one. A group that the log doesn't know has no entries.
    ///
    /// # Errors
    ///
    /// [`LogError::Damaged`] if the disk doesn't give back what was written, [`LogError::Io`] if it
    /// gives nothing.
    pub fn read(&self, group: ShardId, from: u64, max_bytes: usize) -> Result<Read, LogError> {
        loop {
            let plan = {
                let index = self.index.read();
                match index.groups.get(&group) {
                    None if from == 0 => return Ok(Read::Compacted),
                    None => Plan::nothing(0),
                    Some(found) if from <= found.point().0 => return Ok(Read::Compacted),
                    Some(found) => Plan::new(&index, found, from, max_bytes),
                }
            };
            match plan.read(from, max_bytes) {
                Ok(entries) => {
                    return Ok(Read::Entries {
                        previous_term: plan.previous_term,
                        entries,
                    });
                }
                // The segment may have been given up and used again since the plan was made. Then the
                // entries are somewhere else now, or gone: look again.
                Err(error) if self.still_valid(&plan) => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn still_valid(&self, plan: &Plan) -> bool {
        let index = self.index.read();
        plan.extents
            .iter()
            .all(|(_, _, segment)| index.segments.contains_key(&segment.number()))
    }
}

impl Plan {
    fn nothing(previous_term: u64) -> Self {
        Self {
            previous_term,
            end: 0,
            extents: Vec::new(),
        }
    }

    fn new(index: &Index, group: &Group, from: u64, max_bytes: usize) -> Self {
        let last = group.last();
        if from > last {
            return Self::nothing(group.term(last));
        }
        let mut extents = Vec::new();
        let mut bytes = 0;
        for (first, extent) in group.extents_from(from) {
            let Some(segment) = index.segments.get(&extent.place.segment) else {
                break;
            };
            extents.push((first, extent, Arc::clone(segment)));
            bytes += extent.place.len as usize;
            if bytes >= max_bytes {
                break;
            }
        }
        Self {
            previous_term: group.term(from - 1),
            end: last + 1,
            extents,
        }
    }

    fn read(&self, from: u64, max_bytes: usize) -> Result<Vec<LogEntry>, LogError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for (first, extent, segment) in &self.extents {
            let wanted = from.max(*first)..(first + extent.count).min(self.end);
            for entry in read_entries(segment, extent.place, wanted)? {
                bytes += entry.payload.len();
                if bytes > max_bytes && !entries.is_empty() {
                    return Ok(entries);
                }
                entries.push(entry);
            }
        }
        Ok(entries)
    }
}

/// Reads one record back and gives those of its entries that are wanted. Their payloads share the memory
/// of the record.
pub(super) fn read_entries(
    segment: &Segment,
    place: Place,
    wanted: std::ops::Range<u64>,
) -> Result<Vec<LogEntry>, LogError> {
    let mut buffer = vec![0; place.len as usize];
    let count = segment
        .file
        .read_at(&mut buffer, place.offset)
        .map_err(segment.context("read"))?;
    buffer.truncate(count);
    let buffer = Bytes::from(buffer);
    let damaged = |detail: &str| LogError::damaged(segment.number(), place.offset, detail);
    let view = record::parse(&buffer, segment.seal, place.offset).map_err(damaged)?;
    let (Body::Append(entries) | Body::Keep(entries)) = view.body else {
        return Err(damaged("a record of another type stands here"));
    };
    let entries: Vec<_> = entries
        .iter()
        .filter(|entry| wanted.contains(&entry.index))
        .map(|entry| LogEntry {
            index: entry.index,
            term: entry.term,
            kind: entry.kind,
            payload: buffer.slice_ref(entry.payload),
        })
        .collect();
    if entries.len() as u64 != wanted.end.saturating_sub(wanted.start) {
        return Err(damaged("the record lacks entries"));
    }
    Ok(entries)
}
