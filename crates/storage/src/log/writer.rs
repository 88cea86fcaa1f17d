//! Writing: one batch, one buffer, one write; then one sync for all batches since the last one.

use std::sync::Arc;

use parking_lot::RwLock;

use super::admit::admit;
use super::batch::{self, Builder};
use super::files::{Active, Files};
use super::forward::Collector;
use super::index::Index;
use super::reader::LogReader;
use super::segment::SegmentHeader;
use super::{LogError, LogStats, Record};

/// The log of a node, as its one writer has it. See the [module](super) for what it promises.
pub struct Log {
    pub(super) files: Files,
    pub(super) index: Arc<RwLock<Index>>,
    pub(super) active: Active,
    pub(super) builder: Builder,
    /// Number of the next batch.
    pub(super) next_batch: u64,
    /// Number of the last batch that is durable.
    pub(super) synced: u64,
    /// The segment whose needed records are being written again.
    pub(super) collector: Option<Collector>,
    pub(super) forwarded_bytes: u64,
    /// A write or a sync has failed.
    pub(super) failed: bool,
}

impl Log {
    /// Writes records as one batch. They are readable at once, durable after the next
    /// [`Log::sync`]; a crash before that keeps all of them or none.
    ///
    /// # Errors
    ///
    /// [`LogError::Refused`] if a record doesn't fit onto what the log has; then nothing is written. Every
    /// other error is final: all later calls give [`LogError::Failed`].
    pub fn write(&mut self, records: &[Record]) -> Result<(), LogError> {
        if self.failed {
            return Err(LogError::Failed);
        }
        let bytes = admit(&self.index.read(), records)?;
        let written = self.write_admitted(records, bytes);
        self.failed |= written.is_err();
        written
    }

    fn write_admitted(&mut self, records: &[Record], bytes: u64) -> Result<(), LogError> {
        self.builder.clear();
        // What is written again comes first: it is the state before the batch.
        self.forward(bytes)?;
        for record in records {
            self.builder.push(record);
        }
        if self.builder.is_empty() {
            return Ok(());
        }
        if !self.active.has_room(self.builder.len()) {
            self.roll(self.builder.len())?;
        }
        let (seal, offset) = (self.active.segment.seal, self.active.end);
        let (header, bytes) = self
            .builder
            .finish(self.next_batch, self.synced, seal, offset);
        self.active.write(bytes, header.stride())?;
        self.next_batch += 1;

        let number = self.active.segment.number();
        let mut index = self.index.write();
        for record in batch::split(self.builder.records(&header), offset) {
            let applied = record.and_then(|(place, bytes)| {
                index.apply(number, place, &super::record::view(bytes)?);
                Ok(())
            });
            applied.map_err(|malformed| LogError::damaged(number, offset, malformed))?;
        }
        Ok(())
    }

    /// Makes durable whatever was written so far.
    ///
    /// # Errors
    ///
    /// Final, as those of [`Log::write`]: a sync that fails is not tried again, because the next one may
    /// succeed without having written anything.
    pub fn sync(&mut self) -> Result<(), LogError> {
        if self.failed {
            return Err(LogError::Failed);
        }
        if self.is_synced() {
            return Ok(());
        }
        let synced = self
            .sync_active()
            .and_then(|()| self.active.mark(self.next_batch, self.synced));
        if mutant!(FailedSyncIgnored) {
            return Ok(());
        }
        self.failed |= synced.is_err();
        synced
    }

    /// Makes everything durable, the mark of how far that is included, so that whatever happens to the
    /// disk from now on is told from a torn end. A log that is only dropped loses none of what it has
    /// confirmed either.
    pub fn close(mut self) -> Result<(), LogError> {
        self.sync()?;
        self.active.mark(self.next_batch, self.synced)?;
        self.active.sync()
    }

    /// A handle that reads entries back.
    pub fn reader(&self) -> LogReader {
        LogReader {
            index: Arc::clone(&self.index),
        }
    }

    /// Sizes.
    pub fn stats(&self) -> LogStats {
        let index = self.index.read();
        let (spare_segments, spare_bytes) = self.files.spares();
        LogStats {
            segments: index.segments.len(),
            spare_segments,
            disk_bytes: index.bytes_from(0) + spare_bytes,
            live_bytes: index.live_bytes(),
            forwarded_bytes: self.forwarded_bytes,
        }
    }

    fn is_synced(&self) -> bool {
        self.synced + 1 == self.next_batch
    }

    fn sync_active(&mut self) -> Result<(), LogError> {
        self.active.sync()?;
        self.synced = self.next_batch - 1;
        Ok(())
    }

    /// Goes on in a fresh segment, and gives up those that nobody needs.
    fn roll(&mut self, needed: u64) -> Result<(), LogError> {
        // The header of the next segment says that everything before it is durable.
        if !self.is_synced() {
            self.sync_active()?;
        }
        let number = self.active.segment.number() + 1;
        let oldest = self.index.read().oldest_needed().unwrap_or(number);
        let header = SegmentHeader {
            segment: number,
            first_batch: self.next_batch,
            oldest,
            salt: self.files.options.salt,
        };
        let fresh = self.files.create(header, needed, |_| Ok(()))?;
        self.files.retire(&self.active);
        self.active = fresh;
        let freed = {
            let mut index = self.index.write();
            let segment = Arc::clone(&self.active.segment);
            index.segments.insert(number, segment);
            index.take_free(oldest)
        };
        for segment in freed {
            self.files.release(segment.number(), segment.capacity)?;
        }
        Ok(())
    }
}
