//! Looking at the journals before fjall does.
//!
//! fjall's own recovery is made for the death of a process: it cuts the journal off where it *ends* in the middle of a batch.
//! Three things it does not do, and they are done here:
//!
//! | found | fjall | here |
//! |---|---|---|
//! | a hole near the end: what was written behind the last sync may be on disk in any order | refuses to open | cut off there |
//! | a wrong tag in a journal that has successors | drops its rest, and goes on with the successors | refused |
//! | a wrong sequence number, which no checksum covers | believes it | like a wrong checksum |
//!
//! Cutting off loses nothing that somebody relies on: the Raft log still has every entry that the store was not asked to
//! persist. Only the newest journal is cut. Those before it were synced to their ends, so a wrong byte in one of them is
//! damage. In the newest journal the two can't be told apart; cutting at damage takes the store back to a state before it was
//! persisted, which the node finds out when a shard's applied index lies before the start of its log.
//!
//! The format is that of fjall 3, all numbers little-endian. Behind the last batch a journal is zeros.
//!
//! | record | bytes |
//! |---|---|
//! | start of a batch | `01`, number of operations (4), sequence number (8) |
//! | put or delete | `02`, kind (1), compression (1), keyspace (8), key length (2), value length (4), stored length (4), key, value |
//! | clear | `04`, keyspace (8) |
//! | end of a batch | `03`, `xxh3_64` of the operations (8), `FJL` `03` |

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::StoreError;

const START: u8 = 1;
const OPERATION: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: [u8; 4] = *b"FJL\x03";
/// Bytes of an operation behind its tag, before the key.
const OPERATION_HEAD: usize = 1 + 1 + 8 + 2 + 4 + 4;
/// The file that fjall locks while it has the directory open.
const LOCK_FILE: &str = "lock";

/// Checks the journals in the directory of a store that is not open, and cuts the newest one off behind its last whole
/// batch. Nothing happens in a directory without a store.
pub(super) fn check(dir: &Path) -> Result<(), StoreError> {
    let io = |e| StoreError::io(format!("opening {}", dir.display()), e);
    let lock = match File::open(dir.join(LOCK_FILE)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io(e)),
    };
    // Held to the end of this function: a journal that is in use must not be cut.
    lock.try_lock().map_err(|e| match e {
        TryLockError::WouldBlock => StoreError::Locked(dir.to_owned()),
        TryLockError::Error(e) => io(e),
    })?;
    let mut journals = super::journals(dir).map_err(io)?;
    let newest = journals.pop();
    let mut sequence = None;
    for (_, path) in journals {
        let found = read(&path, &mut sequence).map_err(io)?;
        if found.rest {
            return Err(StoreError::Damaged(format!(
                "{} has no whole batch at byte {}",
                path.display(),
                found.whole
            )));
        }
    }
    if let Some((_, path)) = newest {
        let found = read(&path, &mut sequence).map_err(io)?;
        if found.rest {
            cut(&path, found.whole).map_err(io)?;
        }
    }
    Ok(())
}

fn cut(path: &Path, whole: u64) -> io::Result<()> {
    tracing::info!(
        journal = %path.display(), at = whole,
        "state store: a batch at the end of the journal was not whole and is cut off"
    );
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(whole)?;
    file.sync_all()
}

/// What a journal contains.
struct Found {
    /// The length of its whole batches.
    whole: u64,
    /// Whether something other than zeros comes behind them.
    rest: bool,
}

/// Reads a journal. `sequence` is the number of the last batch before it, then of its last one.
fn read(path: &Path, sequence: &mut Option<u64>) -> io::Result<Found> {
    let file = File::open(path)?;
    let total = file.metadata()?.len();
    let mut journal = Journal {
        left: total,
        reader: BufReader::with_capacity(64 << 10, file),
        record: Vec::new(),
    };
    let mut whole = 0;
    while let Some(number) = journal.batch()? {
        if sequence.is_some_and(|before| number <= before) {
            break;
        }
        *sequence = Some(number);
        whole = total - journal.left;
    }
    Ok(Found {
        whole,
        rest: !only_zeros(journal.reader.into_inner(), whole)?,
    })
}

/// Whether a file has nothing but zeros from a position on. Skips holes, of which a journal mostly consists behind its
/// last batch.
fn only_zeros(mut file: File, from: u64) -> io::Result<bool> {
    match rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(from)) {
        Ok(_) => {}
        Err(rustix::io::Errno::NXIO) => return Ok(true),
        // A file system without holes.
        Err(_) => {
            file.seek(SeekFrom::Start(from))?;
        }
    }
    let mut buffer = vec![0; 64 << 10];
    let zeros = buffer.clone();
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(true),
            len if buffer[..len] != zeros[..len] => return Ok(false),
            _ => {}
        }
    }
}

struct Journal {
    reader: BufReader<File>,
    /// Bytes from here to the end of the file.
    left: u64,
    /// The record that was read last.
    record: Vec<u8>,
}

impl Journal {
    /// Reads a batch and returns its sequence number. `None` if what comes is not a whole batch.
    fn batch(&mut self) -> io::Result<Option<u64>> {
        self.record.clear();
        if !self.more(1 + 4 + 8)? || self.record[0] != START {
            return Ok(None);
        }
        let operations = self.number(1, 4);
        let sequence = self.number(5, 8);
        let mut checksum = Xxh3::new();
        for _ in 0..operations {
            if !self.operation()? {
                return Ok(None);
            }
            checksum.update(&self.record);
        }
        self.record.clear();
        let whole = self.more(1 + 8 + MAGIC.len())?
            && self.record[0] == END
            && self.number(1, 8) == checksum.digest()
            && self.record[9..] == MAGIC;
        Ok(whole.then_some(sequence))
    }

    fn operation(&mut self) -> io::Result<bool> {
        self.record.clear();
        if !self.more(1)? {
            return Ok(false);
        }
        match self.record[0] {
            CLEAR => self.more(8),
            OPERATION => {
                if !self.more(OPERATION_HEAD)? {
                    return Ok(false);
                }
                let key = self.number(11, 2);
                let value = self.number(17, 4);
                self.more((key + value) as usize)
            }
            _ => Ok(false),
        }
    }

    /// Reads that many bytes more of the record. False if the file has not that many.
    fn more(&mut self, len: usize) -> io::Result<bool> {
        if len as u64 > self.left {
            return Ok(false);
        }
        let start = self.record.len();
        self.record.resize(start + len, 0);
        self.reader.read_exact(&mut self.record[start..])?;
        self.left -= len as u64;
        Ok(true)
    }

    fn number(&self, at: usize, len: usize) -> u64 {
        let bytes = self.record[at..at + len].iter().rev();
        bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}
