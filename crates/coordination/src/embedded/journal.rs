//! The journal: every transaction since the last snapshot, synced before it is confirmed.
//!
//! ```text
//! file   = magic(8) base zxid(8) crc32(4) frame*
//! frame  = magic(4) length(4) crc32 of the payload(4) crc32 of these 12 bytes(4) payload
//! payload = postcard of a list of transactions: all that waited for the same sync
//! ```
//!
//! Numbers are little-endian. A frame is written when the one before it is durable, so a crash can
//! tear the **last** frame only, and nobody was told that its transactions happened:
//!
//! | at the first frame that does not check | then |
//! |---|---|
//! | nothing whole follows | the torn end of a crash: it is cut off |
//! | bytes of a later frame follow | something durable was damaged: refused, by file and offset |
//!
//! # Caveats
//!
//! A flipped bit in the very last frame can't be told from a torn write, and is cut off as one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::tree_state::{State, Transaction};

const FILE_MAGIC: [u8; 8] = *b"MDCOORD\x01";
const FILE_HEADER: usize = 20;
const FRAME_MAGIC: [u8; 4] = *b"\xd7MDj";
const FRAME_HEADER: usize = 16;

/// What the journal needs of its file. A trait, so that tests can make it fail.
pub(super) trait LogFile: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything appended so far would survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;
}

impl LogFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The journal, open for appending.
pub(super) struct Journal {
    file: Box<dyn LogFile>,
    bytes: u64,
}

impl Journal {
    /// A journal that writes to a file of the caller's.
    #[cfg(test)]
    pub(super) fn on(file: Box<dyn LogFile>) -> Self {
        Self { file, bytes: 0 }
    }

    /// Starts a new journal that follows the state of `base`, in place of an old one, if any, all at once.
    pub(super) fn create(path: &Path, base: i64) -> Result<Self, Error> {
        write_whole(path, &file_header(base)).map_err(|error| unavailable(path, &error))?;
        Self::reopen(path, FILE_HEADER as u64)
    }

    /// Reads a journal, applies it to the state of the snapshot and opens it for appending behind the last
    /// whole frame.
    pub(super) fn open(path: &Path, state: &mut State) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(|error| unavailable(path, &error))?;
        let damaged = |offset: usize, reason: String| Error::Damaged {
            file: path.display().to_string(),
            offset: offset as u64,
            reason,
        };
        let base = file_base(&bytes)
            .ok_or_else(|| damaged(0, "it does not begin like a journal of this version".into()))?;
        if base > state.zxid() {
            let reason = format!(
                "it follows a snapshot at {base}, but the snapshot is at {}",
                state.zxid()
            );
            return Err(damaged(0, reason));
        }
        let mut offset = FILE_HEADER;
        while offset < bytes.len() {
            let Some(payload) = payload_at(&bytes, offset) else {
                if durable_bytes_follow(&bytes, offset) {
                    return Err(damaged(offset, "a checksum does not match".into()));
                }
                break;
            };
            apply(payload, state).map_err(|reason| damaged(offset, reason))?;
            offset += FRAME_HEADER + payload.len();
        }
        cut(path, offset as u64, bytes.len()).map_err(|error| unavailable(path, &error))?;
        Self::reopen(path, offset as u64)
    }

    fn reopen(path: &Path, bytes: u64) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(|error| unavailable(path, &error))?;
        Ok(Self {
            file: Box::new(file),
            bytes,
        })
    }

    /// Length of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes transactions durable, all or none of them. After an error the journal must not be used any
    /// more: what the file holds is not known, and a second sync that succeeds proves nothing.
    pub(super) fn append(&mut self, transactions: &[Transaction]) -> io::Result<()> {
        let payload = postcard::to_stdvec(transactions).map_err(io::Error::other)?;
        let frame = frame(&payload);
        self.file.append(&frame)?;
        self.file.sync()?;
        self.bytes += frame.len() as u64;
        Ok(())
    }
}

fn apply(payload: &[u8], state: &mut State) -> Result<(), String> {
    let transactions: Vec<Transaction> =
        postcard::from_bytes(payload).map_err(|error| error.to_string())?;
    for transaction in transactions {
        // A crash between writing a snapshot and starting its journal leaves the older journal.
        if transaction.zxid > state.zxid() {
            state.apply(&transaction).map_err(|misfit| misfit.0)?;
        }
    }
    Ok(())
}

/// Cuts a torn end off for good, before anything is appended.
fn cut(path: &Path, at: u64, len: usize) -> io::Result<()> {
    if at == len as u64 {
        return Ok(());
    }
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(at)?;
    file.sync_all()
}

fn file_header(base: i64) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[..8].copy_from_slice(&FILE_MAGIC);
    header[8..16].copy_from_slice(&base.to_le_bytes());
    let crc = crc32fast::hash(&header[..16]);
    header[16..].copy_from_slice(&crc.to_le_bytes());
    header
}

fn file_base(bytes: &[u8]) -> Option<i64> {
    let header = bytes.get(..FILE_HEADER)?;
    let base = i64::from_le_bytes(header[8..16].try_into().ok()?);
    (file_header(base) == header).then_some(base)
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_HEADER + payload.len());
    frame.extend_from_slice(&FRAME_MAGIC);
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Length and checksum of the payload, if a frame's header is whole here.
fn header_at(bytes: &[u8], offset: usize) -> Option<(usize, u32)> {
    let header = bytes.get(offset..offset + FRAME_HEADER)?;
    let checks =
        header.starts_with(&FRAME_MAGIC) && u32_at(header, 12)? == crc32fast::hash(&header[..12]);
    checks.then_some((u32_at(header, 4)? as usize, u32_at(header, 8)?))
}

fn payload_at(bytes: &[u8], offset: usize) -> Option<&[u8]> {
    let (length, crc) = header_at(bytes, offset)?;
    let start = offset + FRAME_HEADER;
    let payload = bytes.get(start..start.checked_add(length)?)?;
    (crc32fast::hash(payload) == crc).then_some(payload)
}

/// Whether the bad frame here was followed by another one, and so was durable once.
fn durable_bytes_follow(bytes: &[u8], offset: usize) -> bool {
    match header_at(bytes, offset) {
        Some((length, _)) => offset + FRAME_HEADER + length < bytes.len(),
        None => (offset + 1..bytes.len()).any(|later| payload_at(bytes, later).is_some()),
    }
}

/// Writes a file so that a crash leaves either the old one or the new one, whole.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Where a file is written before it gets its name.
fn temporary(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// The error for a file that the operating system does not let us use.
pub(super) fn unavailable(path: &Path, error: &io::Error) -> Error {
    Error::Unavailable {
        reason: format!("{}: {error}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CreateMode, Operation};

    fn path(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("journal")
    }

    /// A journal of `count` frames, each with one create, and the file's length after each frame.
    fn filled(path: &Path, count: usize) -> Vec<u64> {
        let mut state = State::new();
        let mut journal = Journal::create(path, 0).unwrap();
        let mut ends = vec![journal.bytes()];
        for i in 0..count {
            let create = Operation::create(format!("/{i}"), "data", CreateMode::Persistent);
            let (transaction, _) = state.stage(1, vec![create]).unwrap();
            journal.append(&[transaction]).unwrap();
            ends.push(journal.bytes());
        }
        ends
    }

    fn reopened(path: &Path) -> Result<usize, Error> {
        let mut state = State::new();
        Journal::open(path, &mut state)?;
        Ok(state.children("/").unwrap().len())
    }

    #[test]
    fn killed_at_any_byte_the_journal_keeps_every_whole_frame() {
        let directory = tempfile::tempdir().unwrap();
        let ends = filled(&path(&directory), 5);
        let whole = fs::read(path(&directory)).unwrap();
        for length in FILE_HEADER..=whole.len() {
            fs::write(path(&directory), &whole[..length]).unwrap();
            let frames = ends.iter().filter(|end| **end <= length as u64).count() - 1;
            assert_eq!(reopened(&path(&directory)), Ok(frames), "cut at {length}");
            // The torn end is gone for good.
            let length = fs::metadata(path(&directory)).unwrap().len();
            assert_eq!(length, ends[frames]);
        }
    }

    #[test]
    fn a_last_frame_whose_pages_came_out_of_order_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let ends = filled(&path(&directory), 3);
        let mut bytes = fs::read(path(&directory)).unwrap();
        bytes[ends[2] as usize..ends[2] as usize + FRAME_HEADER].fill(0);
        fs::write(path(&directory), &bytes).unwrap();
        assert_eq!(reopened(&path(&directory)), Ok(2));
    }

    #[test]
    fn damage_in_the_middle_is_refused_wherever_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let ends = filled(&path(&directory), 4);
        let whole = fs::read(path(&directory)).unwrap();
        for offset in 0..ends[3] as usize {
            let mut bytes = whole.clone();
            bytes[offset] ^= 0x10;
            fs::write(path(&directory), &bytes).unwrap();
            let error = reopened(&path(&directory)).unwrap_err();
            let frame = ends.iter().rfind(|end| **end <= offset as u64);
            assert!(
                matches!(&error, Error::Damaged { file, offset, .. }
                    if file.ends_with("journal") && offset == frame.unwrap_or(&0)),
                "{offset}: {error}"
            );
        }
    }

    #[test]
    fn a_frame_that_is_missing_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let ends = filled(&path(&directory), 4);
        let mut bytes = fs::read(path(&directory)).unwrap();
        bytes.drain(ends[1] as usize..ends[2] as usize);
        fs::write(path(&directory), &bytes).unwrap();
        assert!(matches!(
            reopened(&path(&directory)),
            Err(Error::Damaged { .. })
        ));
    }

    #[test]
    fn the_format_is_pinned() {
        assert_eq!(file_header(2)[..16], *b"MDCOORD\x01\x02\0\0\0\0\0\0\0");
        let frame = frame(b"payload");
        assert_eq!(frame[..8], *b"\xd7MDj\x07\0\0\0");
        assert_eq!(frame[FRAME_HEADER..], *b"payload");
    }
}
