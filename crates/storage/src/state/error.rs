//! What can go wrong in a state store, by what the caller must do.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a state store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused. Look at the disk, its space and its permissions. If it was a write or a persist, the
    /// store is out of service until it is opened again.
    #[error("state store: {doing}: {error}")]
    Io {
        /// What was being done, with the path where one is known.
        doing: String,
        /// What the operating system said.
        error: Arc<io::Error>,
    },
    /// What is on disk is not what was written there, or is of a version not known here. The replicas in it
    /// must be made anew from other nodes.
    #[error("state store: damaged: {0}")]
    Damaged(String),
    /// Another process has the directory open.
    #[error("state store: {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// Out of service since an earlier failure, which is final.
    #[error("state store: out of service since an earlier failure: {0}")]
    Failed(String),
}

impl StoreError {
    pub(crate) fn io(doing: impl Into<String>, error: io::Error) -> Self {
        match error.kind() {
            // A file that is shorter than what points into it, or holds what it can't.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                Self::Damaged(format!("{}: {error}", doing.into()))
            }
            _ => Self::Io {
                doing: doing.into(),
                error: Arc::new(error),
            },
        }
    }
}
