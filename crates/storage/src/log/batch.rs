//! A batch: the records of one write, which survive together or not at all.
//!
//! ```text
//!  0        8      12     13      16      24       32    36      40        48
//!  | check  | magic | kind | 0 0 0 | batch | synced | len | count | contents | records (len bytes) …
//! ```
//!
//! A batch begins on a 512-byte boundary, so no sector holds two of them. Its header carries
//!
//! * the batch's number, one more than that of the batch before it,
//! * `synced`, the number of the last batch that was durable when this one was written, and
//! * `contents`, a hash over the records' checksums, which ties the header to exactly these records: a torn
//!   batch can't be completed by what an earlier, abandoned attempt left at the same place.
//!
//! A *mark* is a header alone (kind 2). It stands where the next batch will begin and says `synced`
//! before there is a next batch to say it. It is written after each sync and never waited for.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Record;
use super::record::{self, View};

/// Batches begin at multiples of this.
pub(super) const SECTOR: u64 = 512;
/// Writes end at multiples of this, so that the kernel need not read what it is about to overwrite.
pub(super) const PAGE: u64 = 4096;
/// Bytes before the records.
pub(super) const HEADER_LEN: usize = 48;

const MAGIC: u32 = u32::from_le_bytes(*b"mdbt");
const RECORDS: u8 = 1;
const MARK: u8 = 2;

/// Binds checksums to one use of one segment, and to the place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal(u64);

impl Seal {
    /// The seal of a segment. `salt` keeps apart logs that count their segments alike.
    pub(super) fn new(salt: u64, segment: u64) -> Self {
        Self(xxh3_64_with_seed(&segment.to_le_bytes(), salt))
    }

    /// The checksum of bytes that stand at this offset of the segment.
    pub(super) fn check(self, offset: u64, bytes: &[u8]) -> u64 {
        let place = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        xxh3_64_with_seed(bytes, self.0.wrapping_add(place))
    }
}

/// The header of a batch, or a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) is_mark: bool,
    pub(super) batch: u64,
    pub(super) synced: u64,
    /// Bytes of the records.
    pub(super) len: u32,
    pub(super) count: u32,
    contents: u64,
}

impl Header {
    /// A mark in front of batch `batch`.
    pub(super) fn mark(batch: u64, synced: u64) -> Self {
        Self {
            is_mark: true,
            batch,
            synced,
            len: 0,
            count: 0,
            contents: 0,
        }
    }

    /// The bytes for this place.
    pub(super) fn encode(&self, seal: Seal, offset: u64) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[8..12].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[12] = if self.is_mark { MARK } else { RECORDS };
        bytes[16..24].copy_from_slice(&self.batch.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.synced.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.len.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.count.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.contents.to_le_bytes());
        let check = seal.check(offset, &bytes[8..]);
        bytes[..8].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads the header that stands at this place, if one does.
    pub(super) fn decode(bytes: &[u8], seal: Seal, offset: u64) -> Option<Self> {
        let bytes: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        let u32_at = |at: usize| {
            let chunk = bytes.get(at..)?.first_chunk()?;
            Some(u32::from_le_bytes(*chunk))
        };
        let u64_at = |at: usize| {
            let chunk = bytes.get(at..)?.first_chunk()?;
            Some(u64::from_le_bytes(*chunk))
        };
        if u32_at(8)? != MAGIC || seal.check(offset, &bytes[8..]) != u64_at(0)? {
            return None;
        }
        let is_mark = match bytes[12] {
            RECORDS => false,
            MARK => true,
            _ => return None,
        };
        Some(Self {
            is_mark,
            batch: u64_at(16)?,
            synced: u64_at(24)?,
            len: u32_at(32)?,
            count: u32_at(36)?,
            contents: u64_at(40)?,
        })
    }

    /// From this batch's beginning to the next one's.
    pub(super) fn stride(&self) -> u64 {
        (HEADER_LEN as u64 + u64::from(self.len)).next_multiple_of(SECTOR)
    }
}

/// Reads the records behind a header and holds them against it. `bytes` are exactly the header's `len`;
/// `offset` is where the batch begins. Gives each record with its own offset in the segment.
pub(super) fn parse_records<'a>(
    header: &Header,
    bytes: &'a [u8],
    seal: Seal,
    offset: u64,
) -> Result<Vec<(u64, View<'a>)>, record::Malformed> {
    let mut views = Vec::new();
    let mut contents = Vec::new();
    for record in split(bytes, offset) {
        let (place, bytes) = record?;
        contents.extend_from_slice(&record::stored_check(bytes).to_le_bytes());
        views.push((place, record::parse(bytes, seal, place)?));
    }
    if views.len() != header.count as usize || seal.check(offset, &contents) != header.contents {
        return Err("these are not the records of this header");
    }
    Ok(views)
}

/// Cuts the bytes behind a header into records, each with its own offset in the segment.
pub(super) fn split(
    bytes: &[u8],
    offset: u64,
) -> impl Iterator<Item = Result<(u64, &[u8]), record::Malformed>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let place = offset + (HEADER_LEN + at) as u64;
        let Some(record) = record::total_len(rest).and_then(|len| rest.get(..len)) else {
            at = bytes.len();
            return Some(Err("a record is cut off"));
        };
        at += record.len();
        Some(Ok((place, record)))
    })
}

/// Builds a batch in a buffer that is used again and again.
#[derive(Default)]
pub(super) struct Builder {
    buffer: Vec<u8>,
    /// Where each record begins in the buffer.
    starts: Vec<usize>,
}

impl Builder {
    /// Begins a new batch.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        // One huge batch must not keep its memory for ever.
        self.buffer.shrink_to(4 << 20);
        self.buffer.resize(HEADER_LEN, 0);
        self.starts.clear();
    }

    /// Adds a record of a group.
    pub(super) fn push(&mut self, record: &Record) {
        let starts = &mut self.starts;
        record::encode(record, &mut self.buffer, |start| starts.push(start));
    }

    /// Adds one record of the log's own, which `encode` appends to the buffer.
    pub(super) fn push_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        self.starts.push(self.buffer.len());
        encode(&mut self.buffer);
    }

    /// Takes over the records of a batch that was read from elsewhere.
    pub(super) fn push_raw(&mut self, records: &[u8]) {
        let mut at = 0;
        while let Some(len) = records.get(at..).and_then(record::total_len) {
            self.starts.push(self.buffer.len() + at);
            at += len;
        }
        self.buffer.extend_from_slice(records);
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Bytes of the batch so far, without padding.
    pub(super) fn len(&self) -> u64 {
        self.buffer.len() as u64
    }

    /// Completes the batch for its place and gives the bytes to write there: up to the end of a page.
    /// The header comes with them.
    pub(super) fn finish(
        &mut self,
        batch: u64,
        synced: u64,
        seal: Seal,
        offset: u64,
    ) -> (Header, &[u8]) {
        let end = self.buffer.len();
        let mut contents = Vec::with_capacity(self.starts.len() * 8);
        for (position, start) in self.starts.iter().copied().enumerate() {
            let next = self.starts.get(position + 1).copied().unwrap_or(end);
            let bytes = &mut self.buffer[start..next];
            record::seal(bytes, seal, offset + start as u64);
            contents.extend_from_slice(&bytes[..8]);
        }
        let header = Header {
            is_mark: false,
            batch,
            synced,
            len: (end - HEADER_LEN) as u32,
            count: self.starts.len() as u32,
            contents: seal.check(offset, &contents),
        };
        self.buffer[..HEADER_LEN].copy_from_slice(&header.encode(seal, offset));
        let page_end = (offset + end as u64).next_multiple_of(PAGE) - offset;
        self.buffer.resize(page_end as usize, 0);
        (header, &self.buffer)
    }

    /// The records of the finished batch.
    pub(super) fn records(&self, header: &Header) -> &[u8] {
        &self.buffer[HEADER_LEN..HEADER_LEN + header.len as usize]
    }
}

#[cfg(test)]
mod tests;
