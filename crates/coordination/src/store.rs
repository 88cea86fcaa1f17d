//! The interface that every coordination store stands behind.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;
use model::limits::MAX_ZNODE_BYTES;
use tokio::sync::watch;

use crate::{Error, Watch, path};

/// An absolute path, as it is written within our own tree: the chroot of a store never shows.
pub type Path = str;

/// Instead of a version: whatever version the znode has.
///
/// For a [`Operation::Check`] it means "exists", which is harmless. A set or delete with it is **not safe
/// in general**: a write whose answer was lost may land much later, and without a version it then hits
/// whatever stands at its path. Use it only where that can't hurt, because the path is never used again
/// (it contains a random id) or because the same `multi` checks something else.
pub const ANY_VERSION: i32 = -1;

/// Reads in flight at the same time, where each is one of its own.
const PARALLEL_READS: usize = 64;

/// What the store knows about a znode besides its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Counts the sets since the znode was created: 0, 1, 2, … A znode that is deleted and created again
    /// starts at 0.
    pub version: i32,
    /// The write, among all writes to the store, that created the znode.
    pub created_zxid: i64,
    /// The write that last set its data.
    pub modified_zxid: i64,
    /// The session that the znode ends with; 0 for a persistent one.
    pub ephemeral_owner: i64,
}

/// A znode as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Znode {
    /// Its content.
    pub data: Bytes,
    /// What the store knows about it.
    pub stat: Stat,
}

/// How long a znode lasts, and whether the store completes its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateMode {
    /// Until it is deleted.
    Persistent,
    /// Until the session that made it ends.
    Ephemeral,
    /// Persistent; the store appends ten digits to the name, which grow with every znode created under
    /// the same parent.
    PersistentSequential,
    /// Ephemeral, with the same ten digits.
    EphemeralSequential,
}

impl CreateMode {
    /// Ends with its session.
    pub fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }

    /// Gets ten digits appended to its name.
    pub fn is_sequential(self) -> bool {
        matches!(self, Self::PersistentSequential | Self::EphemeralSequential)
    }
}

/// One write or check in a `multi`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A new znode.
    Create {
        /// Where; the parent must exist.
        path: String,
        /// Its content.
        data: Bytes,
        /// How long it lasts.
        mode: CreateMode,
    },
    /// New content.
    Set {
        /// Of an existing znode.
        path: String,
        /// Its content from now on.
        data: Bytes,
        /// Which it must have now, or [`ANY_VERSION`].
        version: i32,
    },
    /// Removal of a znode without children.
    Delete {
        /// Of an existing znode.
        path: String,
        /// Which it must have now, or [`ANY_VERSION`].
        version: i32,
    },
    /// Changes nothing, but fails the whole `multi` if it does not hold.
    Check {
        /// Of an existing znode.
        path: String,
        /// Which it must have now, or [`ANY_VERSION`].
        version: i32,
    },
}

impl Operation {
    /// A create.
    pub fn create(path: impl Into<String>, data: impl Into<Bytes>, mode: CreateMode) -> Self {
        Self::Create {
            path: path.into(),
            data: data.into(),
            mode,
        }
    }

    /// A set.
    pub fn set(path: impl Into<String>, data: impl Into<Bytes>, version: i32) -> Self {
        Self::Set {
            path: path.into(),
            data: data.into(),
            version,
        }
    }

    /// A delete.
    pub fn delete(path: impl Into<String>, version: i32) -> Self {
        Self::Delete {
            path: path.into(),
            version,
        }
    }

    /// A check.
    pub fn check(path: impl Into<String>, version: i32) -> Self {
        Self::Check {
            path: path.into(),
            version,
        }
    }

    /// The znode that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Create { path, .. }
            | Self::Set { path, .. }
            | Self::Delete { path, .. }
            | Self::Check { path, .. } => path,
        }
    }

    fn validate(&self) -> Result<(), Error> {
        match self {
            Self::Create { path, .. } => path::validate_below_root(path),
            Self::Delete { path, version } => {
                path::validate_below_root(path)?;
                validate_version(path, *version)
            }
            Self::Set { path, version, .. } | Self::Check { path, version } => {
                path::validate(path)?;
                validate_version(path, *version)
            }
        }
    }

    /// Bytes that it takes in a request, with more than enough for the frame around path and data.
    pub(crate) fn encoded_bytes(&self) -> usize {
        const FRAME: usize = 64;
        let data = match self {
            Self::Create { data, .. } | Self::Set { data, .. } => data.len(),
            Self::Delete { .. } | Self::Check { .. } => 0,
        };
        FRAME + self.path().len() + data
    }
}

fn validate_version(path: &str, version: i32) -> Result<(), Error> {
    if version < ANY_VERSION {
        return Err(Error::InvalidVersion {
            path: path.to_owned(),
            version,
        });
    }
    Ok(())
}

/// Checks the operations of a `multi` against the rules that hold for every store: paths, versions, size.
/// `root_bytes` is what the store puts before each path.
pub fn validate_multi(operations: &[Operation], root_bytes: usize) -> Result<(), Error> {
    let mut bytes = 0;
    for operation in operations {
        operation.validate()?;
        bytes += operation.encoded_bytes() + root_bytes;
    }
    if bytes > MAX_ZNODE_BYTES {
        return Err(Error::TooLarge {
            bytes,
            max: MAX_ZNODE_BYTES,
        });
    }
    Ok(())
}

/// What an operation of a `multi` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Of a create.
    Created {
        /// Where; with its digits if the mode is sequential.
        path: String,
    },
    /// Of a set: the znode's new stat.
    Set(Stat),
    /// Of a delete.
    Deleted,
    /// Of a check.
    Checked,
}

/// Where the session with the store stands.
///
/// `Disconnected` means **stop acting** on what only a live session may do: a store declares a session
/// dead up to a session timeout after it last heard from it, and this side learns of that later than it
/// happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// In touch with the store.
    Connected {
        /// The session's id, as in [`Stat::ephemeral_owner`].
        session: i64,
    },
    /// Not in touch. The session may live on or may have ended already.
    Disconnected,
    /// The session is over, by expiry or by [`Coordination::close`]. Final.
    Expired,
}

impl SessionState {
    /// The session's id while it is connected.
    pub fn connected(self) -> Option<i64> {
        match self {
            Self::Connected { session } => Some(session),
            Self::Disconnected | Self::Expired => None,
        }
    }
}

/// A session with a coordination store.
///
/// # Contract
///
/// * Writes of all sessions have one order. A confirmed write survives crashes of everything.
/// * Reads see that order from the beginning up to some point, which never moves back for one session,
///   contains the session's own confirmed writes, and may lag behind other sessions' writes until
///   [`sync`](Self::sync).
/// * A write is carried out once or not at all. [`Error::ConnectionLoss`] alone leaves open which, and it
///   may then be carried out at any later moment until the session has ended. So a write must be
///   conditional: expect a version, or create, or check something in the same `multi`.
/// * No call waits longer than the store's request timeout.
/// * All calls may be made from many tasks at once. Dropping a call's future midway leaves its outcome
///   unknown.
#[async_trait]
pub trait Coordination: Send + Sync + 'static {
    /// Reads a znode. `None`: there is none.
    async fn get(&self, path: &Path) -> Result<Option<Znode>, Error>;

    /// Reads many znodes, in this order; each is a state of its own, as with [`get`](Self::get). A store for which that is less
    /// work than asking for one after the other brings its own.
    async fn get_all(&self, paths: &[String]) -> Result<Vec<Option<Znode>>, Error> {
        let mut znodes = Vec::with_capacity(paths.len());
        for some in paths.chunks(PARALLEL_READS) {
            znodes.extend(try_join_all(some.iter().map(|path| self.get(path))).await?);
        }
        Ok(znodes)
    }

    /// The names of a znode's children, sorted. `None`: there is no such znode.
    async fn children(&self, path: &Path) -> Result<Option<Vec<String>>, Error>;

    /// Carries out all operations, in this order and each seeing those before it, or none of them.
    /// A refusal names the first operation that failed.
    async fn multi(&self, operations: Vec<Operation>) -> Result<Vec<Outcome>, Error>;

    /// Reads that begin after it has returned see every write that was confirmed to anyone before it was
    /// called.
    async fn sync(&self, path: &Path) -> Result<(), Error>;

    /// Where the session stands, now and from now on.
    fn session(&self) -> watch::Receiver<SessionState>;

    /// Watches a znode and everything below it, whether it exists or not. See [`Watch`] for what is
    /// promised.
    async fn watch(&self, root: &Path) -> Result<Watch, Error>;

    /// Ends the session: its ephemeral znodes go at once if the store can be reached, else when it has
    /// expired there. Every later call fails with [`Error::SessionExpired`].
    async fn close(&self);

    /// Creates one znode and returns its path, with its digits if the mode is sequential.
    async fn create(&self, path: &Path, data: Bytes, mode: CreateMode) -> Result<String, Error> {
        let operation = Operation::create(path, data, mode);
        match single(self.multi(vec![operation]).await)? {
            Some(Outcome::Created { path }) => Ok(path),
            _ => Ok(path.to_owned()),
        }
    }

    /// Sets one znode's data if it has this version, and returns its new version.
    async fn set(&self, path: &Path, data: Bytes, version: i32) -> Result<i32, Error> {
        let operation = Operation::set(path, data, version);
        match single(self.multi(vec![operation]).await)? {
            Some(Outcome::Set(stat)) => Ok(stat.version),
            _ => Ok(version.saturating_add(1)),
        }
    }

    /// Deletes one znode if it has this version.
    async fn delete(&self, path: &Path, version: i32) -> Result<(), Error> {
        single(self.multi(vec![Operation::delete(path, version)]).await).map(drop)
    }
}

fn single(result: Result<Vec<Outcome>, Error>) -> Result<Option<Outcome>, Error> {
    result
        .map(|outcomes| outcomes.into_iter().next())
        .map_err(Error::of_single)
}

/// A session that several parts of a process share.
pub type SharedCoordination = Arc<dyn Coordination>;
