//! The embedded store: coordination for a cluster that lives in one process.
//!
//! `minidynamo dev` runs routers and data nodes in one process, with nothing else installed. This store
//! stands in for ZooKeeper there, behind the same trait and with the same semantics: versions, `multi`,
//! ephemeral and sequential znodes, watches, sessions. The tree is in memory; every write is appended to
//! a journal and synced before it is confirmed, many waiting writes with one sync; from time to time a
//! snapshot replaces the journal.
//!
//! ```text
//! DIR/lock       held while the store is open
//! DIR/snapshot   the tree at one transaction
//! DIR/journal    the transactions since
//! ```
//!
//! | after a | the next [`Embedded::open`] |
//! |---|---|
//! | kill, crash or loss of power at any byte | finds every confirmed write, and of the unconfirmed ones all of a `multi` or none of it |
//! | change of the files by something else | refuses with [`Error::Damaged`], which names file and offset |
//! | any end of the process | finds no ephemeral znode: their sessions have ended with it |
//!
//! # How it differs from ZooKeeper
//!
//! Sessions don't time out, for they can't lose touch with their own process; they end when they are
//! closed or dropped. There is one copy of the data: it is for development and for trying things out. A
//! disk that hangs makes writes wait, without a timeout.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};

use self::committer::{Committer, Files, Request, Shared};
use self::journal::{Journal, unavailable};
use self::session::Session;
use crate::tree_state::State;
use crate::{Error, SharedCoordination};

mod committer;
mod journal;
mod session;
mod snapshot;
#[cfg(test)]
mod tests;

/// Length of the journal from which on a snapshot replaces it.
const COMPACT_AFTER_BYTES: u64 = 4 << 20;

/// A store in a directory of this process. Cheap to clone; the directory is released when all clones and
/// all sessions have been dropped.
#[derive(Clone)]
pub struct Embedded {
    core: Arc<Core>,
}

/// What all sessions hold on to.
struct Core {
    shared: Arc<Shared>,
    /// `None` only while this is being dropped.
    requests: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    /// Released last, when the thread has ended.
    _lock: File,
}

impl Embedded {
    /// Opens the store in a directory, which is made if it does not exist, and ends all sessions of the
    /// process that had it before. Blocks while it reads.
    ///
    /// [`Error::Unavailable`] if another process has it open or the files can't be read or written;
    /// [`Error::Damaged`] if their content can't be what was written.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_compacting_after(directory.as_ref(), COMPACT_AFTER_BYTES)
    }

    fn open_compacting_after(directory: &Path, compact_after: u64) -> Result<Self, Error> {
        fs::create_dir_all(directory).map_err(|error| unavailable(directory, &error))?;
        let lock = lock(&directory.join("lock"))?;
        let mut files = Files {
            journal: directory.join("journal"),
            snapshot: directory.join("snapshot"),
            compact_after,
            snapshot_bytes: 0,
        };
        let (staged, journal) = load(&mut files)?;
        Self::start(staged, journal, files, lock)
    }

    fn start(staged: State, journal: Journal, files: Files, lock: File) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            visible: RwLock::new(staged.clone()),
            failure: RwLock::new(None),
            watches: Mutex::new(Vec::new()),
            sessions: Mutex::new(Vec::new()),
        });
        let committer = Committer {
            shared: Arc::clone(&shared),
            staged,
            journal,
            files,
            live: BTreeSet::new(),
        };
        let (requests, received) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("coordination".into())
            .spawn(move || committer.run(&received))
            .map_err(|error| Error::Unavailable {
                reason: format!("no thread for the embedded coordination store: {error}"),
            })?;
        Ok(Self {
            core: Arc::new(Core {
                shared,
                requests: Some(requests),
                thread: Some(thread),
                _lock: lock,
            }),
        })
    }

    /// A new session. It ends, and its ephemeral znodes go, when it is closed or dropped.
    pub fn session(&self) -> SharedCoordination {
        Arc::new(Session::open(Arc::clone(&self.core)))
    }
}

impl Core {
    fn send(&self, request: Request) {
        if let Some(requests) = &self.requests {
            // An error means that the thread has ended, which drops the request unanswered.
            let _ = requests.send(request);
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(path: &Path) -> Result<File, Error> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| unavailable(path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Unavailable {
            reason: format!("{}: another process has it open", path.display()),
        }),
        Err(TryLockError::Error(error)) => Err(unavailable(path, &error)),
    }
}

/// The state on disk, without the ephemeral znodes, and the journal to go on with.
fn load(files: &mut Files) -> Result<(State, Journal), Error> {
    let snapshot = snapshot::read(&files.snapshot)?;
    let has_journal = files
        .journal
        .try_exists()
        .map_err(|error| unavailable(&files.journal, &error))?;
    let mut state = match snapshot {
        None => State::new(),
        Some(_) if !has_journal => {
            return Err(Error::Damaged {
                file: files.journal.display().to_string(),
                offset: 0,
                reason: "it is missing beside its snapshot".into(),
            });
        }
        Some((state, bytes)) => {
            files.snapshot_bytes = bytes;
            state
        }
    };
    let mut journal = if has_journal {
        Journal::open(&files.journal, &mut state)?
    } else {
        Journal::create(&files.journal, 0)?
    };
    let ends: Vec<_> = state
        .sessions()
        .into_iter()
        .map(|session| state.stage_end(session))
        .collect();
    if !ends.is_empty() {
        journal
            .append(&ends)
            .map_err(|error| unavailable(&files.journal, &error))?;
    }
    Ok((state, journal))
}
