//! A segment: one file of the log.
//!
//! The file `<sequence number, 16 hexadecimal digits>.log` has its full length from the beginning, with
//! room reserved, and is used again for a later number when nobody needs its content. Its first page is the header:
//!
//! ```text
//!  0        8        12      16        24            32       40     48
//!  | magic  | format | check | segment | first batch | oldest | salt | check
//! ```
//!
//! `first batch` is the number of the first batch in it, so the segment before it holds exactly the
//! batches up to that number, and they were durable when this header was written. `oldest` is the first
//! segment that still counted at that time: files of lower numbers are free.
//!
//! A segment is made under the name `….new`, written, synced and only then renamed, and the directory
//! is synced. So a file `….log` always has a whole header, or the disk is at fault.
//!
//! Magic and format have a check of their own, at the same place in all formats to come, so that a
//! newer format is told from a damaged header.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::LogError;
use super::batch::{PAGE, Seal};
use crate::disk::{Disk, DiskFile};

/// The format that this version writes, and the newest one that it reads.
pub(super) const FORMAT: u32 = 1;
/// Where the first batch begins.
pub(super) const DATA_START: u64 = PAGE;

const MAGIC: [u8; 8] = *b"minidlog";
const HEADER_LEN: usize = 56;

/// What stands in a segment's first page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) segment: u64,
    pub(super) first_batch: u64,
    pub(super) oldest: u64,
    pub(super) salt: u64,
}

impl SegmentHeader {
    /// The first page.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PAGE as usize);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        let check = xxh3_64(&bytes) as u32;
        bytes.extend_from_slice(&check.to_le_bytes());
        for number in [self.segment, self.first_batch, self.oldest, self.salt] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let check = xxh3_64(&bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        bytes.resize(PAGE as usize, 0);
        bytes
    }

    /// Reads the header of the file that is named for `segment`.
    pub(super) fn decode(bytes: &[u8], segment: u64) -> Result<Self, LogError> {
        let damaged = |detail: &str| LogError::damaged(segment, 0, detail);
        let bytes: &[u8; HEADER_LEN] = bytes
            .first_chunk()
            .ok_or_else(|| damaged("the segment's header is cut off"))?;
        let u32_at = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        let u64_at =
            |at: usize| u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| bytes[at + i]));
        if bytes[..8] != MAGIC || u32_at(12) != xxh3_64(&bytes[..12]) as u32 {
            return Err(damaged("the segment doesn't begin like one"));
        }
        match u32_at(8) {
            FORMAT => {}
            found if found > FORMAT => {
                return Err(LogError::NewerFormat {
                    segment,
                    found,
                    known: FORMAT,
                });
            }
            found => return Err(damaged(&format!("there is no format {found}"))),
        }
        if u64_at(48) != xxh3_64(&bytes[..48]) {
            return Err(damaged(
                "the checksum of the segment's header doesn't match",
            ));
        }
        let header = Self {
            segment: u64_at(16),
            first_batch: u64_at(24),
            oldest: u64_at(32),
            salt: u64_at(40),
        };
        if header.segment != segment {
            let detail = format!("the file holds segment {}", header.segment);
            return Err(damaged(&detail));
        }
        Ok(header)
    }
}

/// An open segment.
pub(super) struct Segment {
    pub(super) header: SegmentHeader,
    pub(super) seal: Seal,
    pub(super) file: Arc<dyn DiskFile>,
    /// Length of the file.
    pub(super) capacity: u64,
}

impl Segment {
    pub(super) fn number(&self) -> u64 {
        self.header.segment
    }

    /// Opens the file of a segment and reads its header.
    pub(super) fn open(disk: &dyn Disk, dir: &Path, segment: u64) -> Result<Self, LogError> {
        let path = path(dir, segment);
        let context = |verb: &str| LogError::io(format!("{verb} {}", path.display()));
        let file = disk.open(&path).map_err(context("open"))?;
        let mut page = [0; HEADER_LEN];
        let count = file.read_at(&mut page, 0).map_err(context("read"))?;
        let header = SegmentHeader::decode(&page[..count], segment)?;
        let capacity = file.len().map_err(context("get the length of"))?;
        Ok(Self {
            header,
            seal: Seal::new(header.salt, segment),
            file,
            capacity,
        })
    }

    /// What failed, for `map_err`.
    pub(super) fn context(&self, verb: &str) -> impl FnOnce(std::io::Error) -> LogError + use<> {
        LogError::io(format!("{verb} segment {}", self.number()))
    }
}

/// Path of a segment.
pub(super) fn path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:016x}.log"))
}

/// Path of a segment that is being made.
pub(super) fn new_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:016x}.new"))
}

/// The number in a segment's file name; none for other files.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 16)
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

/// Whether this names a segment that is being made.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(".new").is_some_and(|n| n.len() == 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        segment: 7,
        first_batch: 100,
        oldest: 3,
        salt: 9,
    };

    #[test]
    fn a_header_survives_its_encoding() {
        assert_eq!(SegmentHeader::decode(&HEADER.encode(), 7).unwrap(), HEADER);
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_damage() {
        for bit in 0..HEADER_LEN * 8 {
            let mut bytes = HEADER.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = SegmentHeader::decode(&bytes, 7).unwrap_err();
            assert!(
                matches!(error, LogError::Damaged { segment: 7, .. }),
                "bit {bit}: {error}"
            );
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = HEADER.encode();
        bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
        let check = xxh3_64(&bytes[..12]) as u32;
        bytes[12..16].copy_from_slice(&check.to_le_bytes());
        // The rest may look like anything in a format to come.
        bytes[16..].fill(0xff);
        assert_eq!(
            SegmentHeader::decode(&bytes, 7).unwrap_err().to_string(),
            "segment 7 of the log has format 2, this version knows 1 at most"
        );
    }

    #[test]
    fn a_file_under_another_segments_name_is_damage() {
        assert!(SegmentHeader::decode(&HEADER.encode(), 8).is_err());
    }

    #[test]
    fn names_carry_the_number() {
        assert_eq!(
            path(Path::new("/d"), 0xab),
            Path::new("/d/00000000000000ab.log")
        );
        assert_eq!(number_of("00000000000000ab.log"), Some(0xab));
        assert_eq!(number_of("00000000000000ab.new"), None);
        assert_eq!(number_of("ab.log"), None);
    }
}
