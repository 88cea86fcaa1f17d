//! What can go wrong, classed by what the caller has to do.

/// Why a call to the coordination store failed.
///
/// | class | variants | the write | what to do |
/// |---|---|---|---|
/// | refused | `NoNode` … `Refused` | has not happened and will not | read again, decide again |
/// | not sent | `Unavailable`, `SessionExpired` | has not happened and will not | wait, or start with a new session |
/// | **unknown** | `ConnectionLoss` | may have happened, **may still happen later** | `sync`, read, and rely on versions |
/// | broken | `Damaged` | – | give up and say so |
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such znode; for a create: no parent.
    #[error("no znode at {path}, or no parent to create it under")]
    NoNode {
        /// Of the operation that failed.
        path: String,
        /// Its position in a `multi`.
        operation: Option<usize>,
    },
    /// There is one already.
    #[error("a znode exists at {path}")]
    NodeExists {
        /// Of the operation that failed.
        path: String,
        /// Its position in a `multi`.
        operation: Option<usize>,
    },
    /// The znode has another version than the write expects.
    #[error("the znode at {path} has another version than expected")]
    BadVersion {
        /// Of the operation that failed.
        path: String,
        /// Its position in a `multi`.
        operation: Option<usize>,
    },
    /// A znode with children can't be deleted.
    #[error("the znode at {path} has children")]
    NotEmpty {
        /// Of the operation that failed.
        path: String,
        /// Its position in a `multi`.
        operation: Option<usize>,
    },
    /// An ephemeral znode can't have children.
    #[error("the parent of {path} is ephemeral")]
    NoChildrenForEphemerals {
        /// Of the operation that failed.
        path: String,
        /// Its position in a `multi`.
        operation: Option<usize>,
    },
    /// The path breaks the rules of [`crate::path`], or the operation makes no sense on it.
    #[error("`{path}` can't be used as a path: {reason}")]
    InvalidPath {
        /// As given.
        path: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// Neither a version that a znode can have nor [`crate::ANY_VERSION`].
    #[error("{version} can't be the version of the znode at {path}")]
    InvalidVersion {
        /// Of the operation.
        path: String,
        /// As given.
        version: i32,
    },
    /// Options that can't be used to connect.
    #[error("can't connect with these options: {reason}")]
    InvalidOptions {
        /// In words.
        reason: String,
    },
    /// More bytes than one request may have.
    #[error("a request has at most {max} bytes, this one has {bytes}")]
    TooLarge {
        /// Of this request.
        bytes: usize,
        /// [`model::limits::MAX_ZNODE_BYTES`].
        max: usize,
    },
    /// Refused by the store for a reason that has no variant of its own: authorisation, quota.
    #[error("the coordination store refuses: {reason}")]
    Refused {
        /// In words.
        reason: String,
    },
    /// The outcome of a write is not known: it may have happened, and it may still happen, as long as
    /// the session that sent it lives.
    #[error(
        "the connection to the coordination store was lost; the write may have happened or may still happen"
    )]
    ConnectionLoss,
    /// The session is over, and its ephemeral znodes with it. This request was not carried out.
    #[error("the session with the coordination store has ended")]
    SessionExpired,
    /// The store can't be reached. This request was not sent.
    #[error("the coordination store is unavailable: {reason}")]
    Unavailable {
        /// In words, with the names of hosts or files.
        reason: String,
    },
    /// A file of the embedded store was changed or lost by something other than a crash.
    #[error("{file} is damaged at byte {offset}: {reason}")]
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
}

impl Error {
    /// Whether the write may have happened or may still happen.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::ConnectionLoss)
    }

    /// Whether trying again in a while, on the same session, can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::ConnectionLoss | Self::Unavailable { .. })
    }

    /// The position of the operation that made a `multi` fail.
    pub fn operation(&self) -> Option<usize> {
        match self {
            Self::NoNode { operation, .. }
            | Self::NodeExists { operation, .. }
            | Self::BadVersion { operation, .. }
            | Self::NotEmpty { operation, .. }
            | Self::NoChildrenForEphemerals { operation, .. } => *operation,
            _ => None,
        }
    }

    /// The same error of a call that has one operation only, so that its position says nothing.
    #[must_use]
    pub fn of_single(mut self) -> Self {
        if let Self::NoNode { operation, .. }
        | Self::NodeExists { operation, .. }
        | Self::BadVersion { operation, .. }
        | Self::NotEmpty { operation, .. }
        | Self::NoChildrenForEphemerals { operation, .. } = &mut self
        {
            *operation = None;
        }
        self
    }
}
