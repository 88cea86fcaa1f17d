//! Making segments and giving them up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::batch::{HEADER_LEN, Header, PAGE, SECTOR, Seal};
use super::segment::{self, DATA_START, Segment, SegmentHeader};
use super::{LogError, LogOptions};
use crate::disk::Disk;

/// How far ahead of the batches blocks are written with zeros. Room that is only reserved costs a sync
/// that writes into it a change of metadata, about 40 % of its speed; this way one sync in sixty pays.
const ZERO_AHEAD: usize = 1 << 20;
static ZEROS: [u8; ZERO_AHEAD] = [0; ZERO_AHEAD];

/// The segment that batches go to.
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    /// Where the next batch begins.
    pub(super) end: u64,
    /// Blocks below this were written at least once.
    pub(super) written: u64,
}

impl Active {
    pub(super) fn has_room(&self, len: u64) -> bool {
        self.end + len <= self.segment.capacity
    }

    /// Writes a finished batch at the end: `bytes` reach to the end of a page, the next batch begins after
    /// `stride`.
    pub(super) fn write(&mut self, bytes: &[u8], stride: u64) -> Result<(), LogError> {
        let file = &self.segment.file;
        let page_end = self.end + bytes.len() as u64;
        if page_end > self.written {
            let until = (page_end + ZERO_AHEAD as u64).min(self.segment.capacity);
            let zeros = &ZEROS[..until.saturating_sub(page_end) as usize];
            if !zeros.is_empty() {
                file.write_all_at(zeros, page_end)
                    .map_err(self.segment.context("write to"))?;
            }
            self.written = until;
        }
        file.write_all_at(bytes, self.end)
            .map_err(self.segment.context("write to"))?;
        self.end += stride;
        Ok(())
    }

    /// Says where the next batch will begin how far the log is synced.
    pub(super) fn mark(&self, next_batch: u64, synced: u64) -> Result<(), LogError> {
        if !self.has_room(SECTOR) {
            return Ok(());
        }
        let header = Header::mark(next_batch, synced).encode(self.segment.seal, self.end);
        // A page that was not written before is written whole, or the kernel would have to read it.
        let mut page = [0; PAGE as usize];
        page[..HEADER_LEN].copy_from_slice(&header);
        let fresh = self.end.is_multiple_of(PAGE);
        let bytes = if fresh {
            &page[..]
        } else {
            &page[..HEADER_LEN]
        };
        self.segment
            .file
            .write_all_at(bytes, self.end)
            .map_err(self.segment.context("write to"))
    }

    pub(super) fn sync(&self) -> Result<(), LogError> {
        self.segment
            .file
            .sync_data()
            .map_err(self.segment.context("sync"))
    }
}

/// A segment's file that nobody needs.
struct Spare {
    number: u64,
    len: u64,
    /// As [`Active::written`].
    written: u64,
}

/// The directory of the log.
pub(super) struct Files {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) options: LogOptions,
    spares: Vec<Spare>,
    /// [`Active::written`] of the segments that were active before.
    written: BTreeMap<u64, u64>,
}

impl Files {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: PathBuf, mut options: LogOptions) -> Self {
        options.segment_bytes = options.segment_bytes.max(DATA_START + PAGE);
        Self {
            disk,
            dir,
            options,
            spares: Vec::new(),
            written: BTreeMap::new(),
        }
    }

    /// Makes a segment with room for `needed` bytes of batches. What `prepare` writes into it is durable
    /// before the segment has its name; so is the name when this returns.
    pub(super) fn create(
        &mut self,
        header: SegmentHeader,
        needed: u64,
        prepare: impl FnOnce(&mut Active) -> Result<(), LogError>,
    ) -> Result<Active, LogError> {
        let number = header.segment;
        let context = |verb: &str| LogError::io(format!("{verb} segment {number}"));
        let capacity = (self.options.segment_bytes.max(DATA_START + needed)).next_multiple_of(PAGE);
        let new = segment::new_path(&self.dir, number);
        let (file, len, written) = match self.spares.pop() {
            Some(spare) => {
                let old = segment::path(&self.dir, spare.number);
                self.disk.rename(&old, &new).map_err(context("reuse"))?;
                let file = self.disk.open(&new).map_err(context("reuse"))?;
                (file, spare.len, spare.written)
            }
            None => (self.disk.create(&new).map_err(context("create"))?, 0, 0),
        };
        if len > capacity {
            file.set_len(capacity).map_err(context("cut"))?;
        } else if len < capacity {
            file.preallocate(capacity).map_err(context("preallocate"))?;
        }
        file.write_all_at(&header.encode(), 0)
            .map_err(context("write to"))?;
        let mut active = Active {
            segment: Arc::new(Segment {
                header,
                seal: Seal::new(header.salt, number),
                file,
                capacity,
            }),
            end: DATA_START,
            written: written.clamp(DATA_START, capacity),
        };
        prepare(&mut active)?;
        if !mutant!(SegmentNamedBeforeSync) {
            active.sync()?;
        }
        let path = segment::path(&self.dir, number);
        self.disk.rename(&new, &path).map_err(context("name"))?;
        self.disk
            .sync_dir(&self.dir)
            .map_err(context("sync the name of"))?;
        Ok(active)
    }

    /// A segment stops being the active one.
    pub(super) fn retire(&mut self, active: &Active) {
        self.written.insert(active.segment.number(), active.written);
    }

    /// A segment counts no more, by a durable header of a later one: its file is kept for use again or
    /// removed.
    pub(super) fn release(&mut self, number: u64, len: u64) -> Result<(), LogError> {
        let written = self.written.remove(&number).unwrap_or_default();
        if self.spares.len() < self.options.spare_segments {
            self.spares.push(Spare {
                number,
                len,
                written,
            });
            return Ok(());
        }
        let path = segment::path(&self.dir, number);
        self.disk
            .remove(&path)
            .map_err(LogError::io(format!("remove segment {number}")))
    }

    /// Number and bytes of the files that are kept for use again.
    pub(super) fn spares(&self) -> (usize, u64) {
        let bytes = self.spares.iter().map(|spare| spare.len).sum();
        (self.spares.len(), bytes)
    }
}
