//! What becomes of an entry and of each command in it.
//!
//! An outcome is the same on every replica, because it follows from the log alone. Only the replica that has a caller
//! waiting does anything with it.

use model::{Lsn, Objection, TransactionId, TransactionState};
use raft::{Index, Term};
use storage::meta::ContentHash;

/// An entry that is applied: its changes are in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Where the entry stands in the log.
    pub index: Index,
    /// Its term. Who proposed something else at this index sees by the term that it was overwritten.
    pub term: Term,
    /// One for each command, in order. None for a no-op.
    pub outcomes: Vec<Outcome>,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The key has the value. If the write had been applied before, nothing has changed.
    Written {
        /// The version that the write got, the first time if there were several.
        version: u64,
    },
    /// The key is not there, because of this delete or before it.
    Deleted,
    /// No write is taken from here on.
    Sealed,
    /// The state behind the entry.
    Checkpoint {
        /// From the command.
        verify_id: u64,
        /// The entry's index.
        index: Index,
        /// The hash of all items after the whole entry, so that replicas compare the same thing at the same index
        /// however many commands stand around the checkpoint.
        content: ContentHash,
    },
    /// All of a transaction in one shard is applied, by this command or by an earlier one.
    Committed,
    /// Every item of the transaction has its intent, by this command or by an earlier one.
    Prepared,
    /// The transaction's decision is applied, by this command or by an earlier one.
    Decided,
    /// A transaction, or the prepare of one, was refused, and nothing of it is there: for each item, in order, what there is
    /// against it. Never without any objection.
    Rejected(Vec<Option<Objection>>),
    /// What is known of a transaction.
    State(TransactionState),
    /// Nothing has changed.
    Refused(Refusal),
}

/// Why a command changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The write is older than what the shard remembers: it may have been applied before. The outcome is unknown.
    Expired,
    /// The table is being deleted.
    Sealed,
    /// This transaction is prepared on the key. Not remembered: when it is decided, the same write can be applied.
    TransactionConflict(TransactionId),
    /// The condition did not hold, at this attempt or at an earlier one: no attempt will be applied.
    ConditionFailed(
        /// The version of the item then; `None` if there was none.
        Option<Lsn>,
    ),
}
