//! What this router knows of tables and nodes: a copy of part of the coordination store, kept in step.
//!
//! The data path reads a [`Snapshot`] behind an atomic pointer: no lock, no call to anybody. One task, the
//! [keeper], replaces the snapshot when watches say that something has changed. Without changes there are no
//! reads: a minute of steady load costs the coordination store nothing.
//!
//! A copy may lag. So the router never refuses because of what its copy says: before `TABLE_NOT_FOUND` or
//! `TABLE_NOT_READY` the keeper looks the name up in the store, after a `sync`, for all who wait for it at
//! once.
//!
//! | the copy says | the store says | answer for data |
//! |---|---|---|
//! | available | – | go on; a data node that does not hold the shard any more says so |
//! | anything else | available | go on |
//! | anything else | creating | `TABLE_NOT_READY` |
//! | anything else | deleting, or no such table | `TABLE_NOT_FOUND` |
//! | anything else | can't be reached | `COORDINATION_UNAVAILABLE` |
//!
//! # Caveats
//!
//! Without the coordination store the copy stays as it is, and the data path with it.

pub(crate) mod keeper;
pub(crate) mod read;
pub(crate) mod snapshot;

use std::sync::Arc;

use api::{Error, Reason};
use arc_swap::ArcSwap;
use model::{TableName, TableState};
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

pub(crate) use snapshot::{Snapshot, TableEntry, nodes_of};

/// Names that may wait to be looked up; beyond that callers are refused.
const MAX_WAITING_LOOKUPS: usize = 10_000;

/// What a look-up found.
pub(crate) type Found = Result<Option<Arc<TableEntry>>, Error>;

/// Asks the keeper to read a name from the store.
#[derive(Debug)]
pub(crate) struct Lookup {
    name: TableName,
    reply: oneshot::Sender<Found>,
}

/// The readers' side.
#[derive(Debug)]
pub(crate) struct Directory {
    snapshot: ArcSwap<Snapshot>,
    /// Counts the snapshots.
    changes: watch::Sender<u64>,
    /// The keeper of the current session with the store.
    keeper: RwLock<Option<mpsc::Sender<Lookup>>>,
}

impl Directory {
    pub(crate) fn new() -> Self {
        Self {
            snapshot: ArcSwap::default(),
            changes: watch::Sender::new(0),
            keeper: RwLock::new(None),
        }
    }

    /// What is known now.
    pub(crate) fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Changes whenever the snapshot does.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The table to send a data operation to, or the error for the caller.
    pub(crate) async fn table_for_data(
        &self,
        name: &str,
        deadline: Instant,
    ) -> Result<Arc<TableEntry>, Error> {
        if let Some(entry) = self.snapshot().by_name(name)
            && entry.value.state == TableState::Available
        {
            return Ok(Arc::clone(entry));
        }
        let name = api::convert::table_name("table", name)?;
        if mutant!(AbsenceFromCache) {
            return Err(not_found(&name));
        }
        let found = self.look_up(name.clone(), deadline).await?;
        match found.map(|entry| (entry.value.state, entry)) {
            Some((TableState::Available, entry)) => Ok(entry),
            Some((TableState::Creating, _)) => Err(Error::new(
                Reason::TableNotReady,
                format!("table {name} is still being created: try again in a moment"),
            )
            .with("table", name)),
            Some((TableState::Deleting, _)) | None => Err(not_found(&name)),
        }
    }

    /// What the store says of a name now, read after a `sync`.
    pub(crate) async fn look_up(&self, name: TableName, deadline: Instant) -> Found {
        let keeper = self.keeper.read().clone();
        let keeper = keeper
            .ok_or_else(|| unavailable("this router has no session with it at the moment"))?;
        let (reply, found) = oneshot::channel();
        keeper
            .try_send(Lookup { name, reply })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    unavailable("too many requests wait for it already")
                }
                mpsc::error::TrySendError::Closed(_) => unavailable("the session has ended"),
            })?;
        match timeout_at(deadline, found).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Err(unavailable("the session has ended")),
            Err(_) => Err(unavailable("it did not answer in time")),
        }
    }

    /// A keeper begins its work: look-ups go to it.
    fn appoint(&self) -> mpsc::Receiver<Lookup> {
        let (sender, receiver) = mpsc::channel(MAX_WAITING_LOOKUPS);
        *self.keeper.write() = Some(sender);
        receiver
    }

    /// The keeper has ended: look-ups are refused.
    fn dismiss(&self) {
        *self.keeper.write() = None;
    }

    pub(crate) fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.changes.send_modify(|count| *count += 1);
    }
}

/// The error for a table that does not exist (any more).
pub(crate) fn not_found(name: &TableName) -> Error {
    Error::new(
        Reason::TableNotFound,
        format!("there is no table {name}: create it, or check the name"),
    )
    .with("table", name)
}

/// The error for what can't be done without the coordination store.
pub(crate) fn unavailable(why: impl std::fmt::Display) -> Error {
    Error::new(
        Reason::CoordinationUnavailable,
        "the coordination store can't be reached: try again when it is back",
    )
    .with("detail", why)
}
