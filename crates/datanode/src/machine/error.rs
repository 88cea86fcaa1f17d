//! Why a machine stands still.

use model::ShardId;
use raft::Index;
use storage::state::StoreError;

use super::command::CommandDecodeError;

/// The machine can't go on, and the replica must stop: what is committed is never skipped, and to guess would make
/// the replicas differ.
///
/// Nothing of the call that ended so is in the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Broken {
    /// Entries are missing between what is applied and what came.
    #[error("shard {shard}: entry {expected} was to be applied, entry {found} came")]
    Gap {
        /// The shard.
        shard: ShardId,
        /// The next index.
        expected: Index,
        /// The index that came.
        found: Index,
    },
    /// An entry of a term below that of the entry before it. Terms never fall along a log.
    #[error("shard {shard}: entry {index} is of a lower term than the one before it")]
    TermFell {
        /// The shard.
        shard: ShardId,
        /// Of the entry.
        index: Index,
    },
    /// An entry of a kind that this version does not know.
    #[error("shard {shard}: entry {index} is of an unknown kind")]
    UnknownKind {
        /// The shard.
        shard: ShardId,
        /// Of the entry.
        index: Index,
    },
    /// An entry whose commands can't be read.
    #[error("shard {shard}: entry {index}: {error}")]
    Commands {
        /// The shard.
        shard: ShardId,
        /// Of the entry.
        index: Index,
        /// What is wrong with them.
        error: CommandDecodeError,
    },
    /// The store has no state of the shard.
    #[error("shard {0} is not in the state store")]
    NotThere(ShardId),
    /// The store has a state of a shard that was to be made.
    #[error("shard {0} is in the state store already")]
    AlreadyThere(ShardId),
    /// The state store failed, or what is in it can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Stored bytes of a shard that can't be decoded.
pub(super) fn damaged(shard: ShardId, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("shard {shard}: {error}"))
}
