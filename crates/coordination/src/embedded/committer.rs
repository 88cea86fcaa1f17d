//! The one thread that writes: it takes all writes that wait, makes them durable with one sync, shows them
//! to readers and answers.
//!
//! | state | who sees it | holds |
//! |---|---|---|
//! | staged | this thread | everything accepted, the sync still to come |
//! | visible | readers, watches | everything durable |
//!
//! So nobody ever reads what a crash could take back, and a write is checked against all writes before
//! it, durable or not; its answer, a refusal too, waits for their sync.
//!
//! **The first failed write or sync is final.** The writes that waited for it have an unknown outcome, every
//! later call fails with [`Error::Unavailable`], and all sessions are [`SessionState::Disconnected`], until
//! the store is opened again and reads what the disk really holds.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use super::journal::Journal;
use super::snapshot;
use crate::tree_state::{Edit, State, Transaction};
use crate::{Error, Operation, Outcome, SessionState, WatchSender, path};

/// Operations that join one sync at the most; more wait for the next.
const MAX_BATCH_OPERATIONS: usize = 4096;

/// What sessions ask of the committer.
pub(super) enum Request {
    /// A session begins.
    Open { session: i64 },
    /// A session ends.
    Close {
        session: i64,
        done: oneshot::Sender<()>,
    },
    /// A session writes.
    Multi {
        session: i64,
        operations: Vec<Operation>,
        answer: oneshot::Sender<Answer>,
    },
}

pub(super) type Answer = Result<Vec<Outcome>, Error>;

/// What sessions and the committer share.
pub(super) struct Shared {
    /// What readers see.
    pub(super) visible: RwLock<State>,
    /// Why the store has failed, once it has.
    pub(super) failure: RwLock<Option<String>>,
    /// All live watches.
    pub(super) watches: Mutex<Vec<Registration>>,
    /// All live sessions.
    pub(super) sessions: Mutex<Vec<(i64, Arc<watch::Sender<SessionState>>)>>,
}

/// A watch of a session on a root.
pub(super) struct Registration {
    pub(super) session: i64,
    pub(super) root: String,
    pub(super) sender: WatchSender,
}

/// Where the files are and when the journal has become too long.
pub(super) struct Files {
    pub(super) journal: PathBuf,
    pub(super) snapshot: PathBuf,
    /// Length of the journal beyond which a snapshot replaces it, if the snapshot is shorter than this too.
    pub(super) compact_after: u64,
    pub(super) snapshot_bytes: u64,
}

/// The thread's state.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) staged: State,
    pub(super) journal: Journal,
    pub(super) files: Files,
    pub(super) live: BTreeSet<i64>,
}

/// An answer that waits for the sync.
enum Waiting {
    Multi(oneshot::Sender<Answer>, Answer),
    Close(i64, oneshot::Sender<()>),
}

#[derive(Default)]
struct Batch {
    transactions: Vec<Transaction>,
    waiting: Vec<Waiting>,
    operations: usize,
}

impl Committer {
    /// Serves requests until nobody can send any more.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        while let Ok(request) = requests.recv() {
            let mut batch = Batch::default();
            self.stage(request, &mut batch);
            while batch.operations < MAX_BATCH_OPERATIONS {
                let Ok(request) = requests.try_recv() else {
                    break;
                };
                self.stage(request, &mut batch);
            }
            match self.commit(&batch.transactions) {
                Ok(()) => self.confirm(batch),
                Err(error) => {
                    self.fail(&error);
                    drop_unanswered(batch);
                    return refuse_all(requests, &self.shared);
                }
            }
        }
    }

    fn stage(&mut self, request: Request, batch: &mut Batch) {
        match request {
            Request::Open { session } => {
                self.live.insert(session);
            }
            Request::Close { session, done } => {
                self.live.remove(&session);
                batch.add(self.staged.stage_end(session));
                batch.waiting.push(Waiting::Close(session, done));
            }
            Request::Multi { answer, .. } if answer.is_closed() => {
                // The caller has gone before anything was done.
            }
            Request::Multi {
                session,
                operations,
                answer,
            } => {
                batch.operations += operations.len();
                let staged = if self.live.contains(&session) {
                    self.staged.stage(session, operations)
                } else {
                    Err(Error::SessionExpired)
                };
                let result = staged.map(|(transaction, outcomes)| {
                    batch.add(transaction);
                    outcomes
                });
                batch.waiting.push(Waiting::Multi(answer, result));
            }
        }
    }

    fn commit(&mut self, transactions: &[Transaction]) -> io::Result<()> {
        if transactions.is_empty() {
            return Ok(());
        }
        self.journal.append(transactions)?;
        {
            let mut visible = self.shared.visible.write();
            for transaction in transactions {
                visible
                    .apply(transaction)
                    .map_err(|misfit| io::Error::other(misfit.0))?;
            }
        }
        self.tell_watches(transactions);
        self.compact_if_due()
    }

    fn tell_watches(&self, transactions: &[Transaction]) {
        let mut watches = self.shared.watches.lock();
        watches.retain(|watch| !watch.sender.is_closed());
        for edit in transactions.iter().flat_map(|t| &t.edits) {
            let (Edit::Create { path, .. } | Edit::Set { path, .. } | Edit::Delete { path }) = edit;
            for watch in watches.iter() {
                if path::is_within(path, &watch.root) {
                    watch.sender.path(path);
                }
            }
        }
    }

    /// The snapshot first, then the new journal: between the two, the old journal is skipped up to the
    /// snapshot.
    fn compact_if_due(&mut self) -> io::Result<()> {
        let due = self.journal.bytes() > self.files.compact_after.max(self.files.snapshot_bytes);
        if due {
            self.files.snapshot_bytes = snapshot::write(&self.files.snapshot, &self.staged)?;
            self.journal = Journal::create(&self.files.journal, self.staged.zxid())
                .map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn confirm(&self, batch: Batch) {
        for waiting in batch.waiting {
            match waiting {
                Waiting::Multi(answer, result) => {
                    // An error means that the caller has gone.
                    let _ = answer.send(result);
                }
                Waiting::Close(session, done) => {
                    self.forget(session);
                    let _ = done.send(());
                }
            }
        }
    }

    fn forget(&self, session: i64) {
        let mut sessions = self.shared.sessions.lock();
        if let Some(position) = sessions.iter().position(|(id, _)| *id == session) {
            let (_, state) = sessions.swap_remove(position);
            state.send_replace(SessionState::Expired);
        }
        let mut watches = self.shared.watches.lock();
        for watch in watches.iter().filter(|watch| watch.session == session) {
            watch.sender.end();
        }
        watches.retain(|watch| watch.session != session);
    }

    fn fail(&self, error: &io::Error) {
        let reason = format!("{}: {error}", self.files.journal.display());
        tracing::error!(
            reason,
            "the embedded coordination store has failed for good"
        );
        *self.shared.failure.write() = Some(reason);
        for (_, state) in self.shared.sessions.lock().iter() {
            state.send_if_modified(|state| {
                let connected = state.connected().is_some();
                if connected {
                    *state = SessionState::Disconnected;
                }
                connected
            });
        }
    }
}

impl Batch {
    fn add(&mut self, transaction: Transaction) {
        if !transaction.edits.is_empty() {
            self.transactions.push(transaction);
        }
    }
}

/// The outcome of these writes is unknown, which their callers conclude from the missing answer.
fn drop_unanswered(batch: Batch) {
    drop(batch);
}

/// What a failed store does with requests that come later.
fn refuse_all(requests: &Receiver<Request>, shared: &Shared) {
    while let Ok(request) = requests.recv() {
        if let Request::Multi { answer, .. } = request {
            let _ = answer.send(Err(shared.unavailable()));
        }
    }
}

impl Shared {
    /// The error of a store that has failed.
    fn unavailable(&self) -> Error {
        Error::Unavailable {
            reason: self.failure.read().clone().unwrap_or_default(),
        }
    }

    /// Whether the store works.
    pub(super) fn check(&self) -> Result<(), Error> {
        match &*self.failure.read() {
            None => Ok(()),
            Some(reason) => Err(Error::Unavailable {
                reason: reason.clone(),
            }),
        }
    }
}
