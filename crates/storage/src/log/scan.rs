//! Reading a segment's batches one after the other, and telling a torn end from damage.
//!
//! A power cut leaves behind the last sync any mixture of old and new sectors. So where a batch can't be
//! read, the question is whether it had been durable. Whoever wrote later knows: each batch header and
//! mark behind it says how far the log was synced.
//!
//! | what is found | verdict |
//! |---|---|
//! | `1 2 3 ▒▒▒` | 4 never became durable: a torn end |
//! | `1 2 3 ▒4▒ 5 (synced 3)` | 5 was written before 4 was durable: a torn end, both go |
//! | `1 2 3 ▒4▒ 5 (synced 4)` | 4 was durable once: damage |
//! | `1 2 ▒3▒ mark (synced 3)` | damage |
//! | `1 2 3 ▒▒▒`, and a later segment begins with batch 5 | 4 was durable: damage |
//!
//! # Caveats
//!
//! A mark is not waited for. If the power goes right after a sync, before the mark has reached the disk,
//! *and* a bit flips in just that last batch, it passes for torn. Only a second sync could tell.

use super::LogError;
use super::batch::{self, HEADER_LEN, Header, SECTOR};
use super::record::View;
use super::segment::{DATA_START, Segment};
use crate::disk::DiskFile;

const CHUNK: usize = 1 << 20;

/// A part of a file in memory that moves along as it is read.
struct Window<'a> {
    file: &'a dyn DiskFile,
    file_len: u64,
    buffer: Vec<u8>,
    start: u64,
}

impl Window<'_> {
    /// Up to `len` bytes from `offset`; fewer at the end of the file.
    fn get(&mut self, offset: u64, len: usize) -> std::io::Result<&[u8]> {
        let end = self.start + self.buffer.len() as u64;
        if offset < self.start || offset + len as u64 > end {
            let rest = self.file_len.saturating_sub(offset) as usize;
            self.buffer.resize(len.max(CHUNK).min(rest), 0);
            let count = self.file.read_at(&mut self.buffer, offset)?;
            self.buffer.truncate(count);
            self.start = offset;
        }
        let at = ((offset - self.start) as usize).min(self.buffer.len());
        Ok(&self.buffer[at..self.buffer.len().min(at + len)])
    }
}

/// A batch as it stands in a segment.
pub(super) struct Batch<'a> {
    /// Where it begins.
    pub(super) offset: u64,
    /// The records' bytes.
    pub(super) records: &'a [u8],
    /// The records with their offsets in the segment.
    pub(super) views: Vec<(u64, View<'a>)>,
}

/// Reads a segment from its first batch on.
pub(super) struct Scanner<'a> {
    segment: &'a Segment,
    window: Window<'a>,
    /// Where the next batch should begin.
    pub(super) offset: u64,
    /// The number that it should have.
    pub(super) next: u64,
    /// The highest batch that anything read so far calls synced.
    pub(super) synced: u64,
    /// Why there was no further batch.
    stopped_by: &'static str,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(segment: &'a Segment) -> Self {
        Self {
            segment,
            window: Window {
                file: &*segment.file,
                file_len: segment.capacity,
                buffer: Vec::new(),
                start: 0,
            },
            offset: DATA_START,
            next: segment.header.first_batch,
            synced: segment.header.first_batch.saturating_sub(1),
            stopped_by: "",
        }
    }

    fn header_at(&mut self, offset: u64) -> Result<Option<Header>, LogError> {
        let bytes = self
            .window
            .get(offset, HEADER_LEN)
            .map_err(self.segment.context("read"))?;
        Ok(Header::decode(bytes, self.segment.seal, offset))
    }

    /// The next batch; none where the segment's readable part ends.
    pub(super) fn next_batch(&mut self) -> Result<Option<Batch<'_>>, LogError> {
        let offset = self.offset;
        let Some(header) = self.header_at(offset)? else {
            self.stopped_by = "no batch begins here";
            return Ok(None);
        };
        self.synced = self.synced.max(header.synced);
        if header.is_mark || header.batch != self.next {
            self.stopped_by = "this is not the next batch";
            return Ok(None);
        }
        let len = header.len as usize;
        let bytes = self
            .window
            .get(offset, HEADER_LEN + len)
            .map_err(self.segment.context("read"))?;
        let records = bytes.get(HEADER_LEN..).unwrap_or_default();
        if records.len() != len {
            self.stopped_by = "the batch is cut off";
            return Ok(None);
        }
        match batch::parse_records(&header, records, self.segment.seal, offset) {
            Ok(views) => {
                self.offset += header.stride();
                self.next += 1;
                Ok(Some(Batch {
                    offset,
                    records,
                    views,
                }))
            }
            Err(malformed) => {
                self.stopped_by = malformed;
                Ok(None)
            }
        }
    }

    /// After the last batch of the last segment: looks through all that lies behind it, and refuses the
    /// log if a batch is missing that was durable. Says whether anything of this segment stands there.
    pub(super) fn check_end(&mut self) -> Result<bool, LogError> {
        let mut offset = self.offset;
        let mut found = false;
        while offset < self.segment.capacity {
            if let Some(header) = self.header_at(offset)? {
                self.synced = self.synced.max(header.synced);
                found = true;
            }
            offset += SECTOR;
        }
        if self.synced >= self.next {
            return Err(self.missing(&format!(
                "everything up to batch {} was synced",
                self.synced
            )));
        }
        Ok(found)
    }

    /// The error for a batch that must be there and isn't.
    pub(super) fn missing(&self, why: &str) -> LogError {
        let detail = format!(
            "batch {} can't be read: {}; {why}",
            self.next, self.stopped_by
        );
        LogError::damaged(self.segment.number(), self.offset, detail)
    }
}
