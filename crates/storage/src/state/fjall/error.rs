//! From fjall's errors to ours.

use std::path::Path;

use super::StoreError;

/// An error while a store is opened.
pub(super) fn opening(dir: &Path, error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Locked => StoreError::Locked(dir.to_owned()),
        other => map(&format!("opening {}", dir.display()), other),
    }
}

/// An error of an open store.
pub(super) fn map(doing: &str, error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            StoreError::io(doing, error)
        }
        fjall::Error::Poisoned | fjall::Error::KeyspaceDeleted => StoreError::Failed(format!(
            "{doing}: an earlier write in the background failed"
        )),
        fjall::Error::InvalidVersion(Some(version)) => StoreError::Damaged(format!(
            "{doing}: fjall's format {version:?} is not known to this version"
        )),
        other => StoreError::Damaged(format!("{doing}: {other}")),
    }
}
