//! Whether records fit onto what the log has, checked before anything is written.

use std::collections::HashMap;

use model::ShardId;

use super::index::Index;
use super::record::{ENTRY_LEN, HEADER_LEN, Point};
use super::{LogError, Record};

/// Bytes of one batch at the most.
pub(super) const MAX_BATCH_BYTES: u64 = 1 << 30;

/// Checks a batch, record by record, each against the state that those before it leave. Gives the bytes
/// that the batch will have, roughly.
///
/// Refused are: entries that are not contiguous, that leave a gap behind the last entry, or that lie at
/// or before the point; indexes at the end of the number range; too many bytes.
pub(super) fn admit(index: &Index, records: &[Record]) -> Result<u64, LogError> {
    // Point and last index of the groups that the batch has touched so far.
    let mut touched: HashMap<ShardId, (Point, u64)> = HashMap::new();
    let mut bytes = 0u64;
    for record in records {
        let group = record.group();
        let refused = |detail: String| LogError::Refused { group, detail };
        let (point, last) = touched.entry(group).or_insert_with(|| {
            index
                .groups
                .get(&group)
                .map_or(((0, 0), 0), |g| (g.point(), g.last()))
        });
        bytes += HEADER_LEN as u64 + 32;
        match record {
            Record::Append { entries, .. } => {
                let Some(first) = entries.first() else {
                    continue;
                };
                if first.index <= point.0 || first.index > *last + 1 {
                    return Err(refused(format!(
                        "entries from {} on don't fit between point {} and last entry {last}",
                        first.index, point.0
                    )));
                }
                for (entry, expected) in entries.iter().zip(first.index..) {
                    if entry.index != expected {
                        return Err(refused(format!(
                            "entry {} stands in the place of {expected}",
                            entry.index
                        )));
                    }
                    bytes += (ENTRY_LEN + entry.payload.len()) as u64;
                }
                *last = first.index + entries.len() as u64 - 1;
            }
            Record::Purge { index, term, .. } | Record::Reset { index, term, .. } => {
                // Room for as many entries behind it as anyone will ever append.
                if *index > u64::MAX / 2 {
                    return Err(refused(format!("index {index} is out of range")));
                }
                let reset = matches!(record, Record::Reset { .. });
                if reset || *index >= point.0 {
                    *point = (*index, *term);
                    *last = if reset { *index } else { (*last).max(*index) };
                }
            }
            Record::Forget { .. } => {
                (*point, *last) = ((0, 0), 0);
            }
            Record::HardState { .. } => {}
        }
        if bytes > MAX_BATCH_BYTES {
            return Err(refused("the batch is too large".to_owned()));
        }
    }
    Ok(bytes)
}
