//! What a transaction is made of: conditions, items, and what a shard has against an item.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Key, TableId, Timestamp, TransactionId};

/// What must hold of a key for a write to happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// There is an item.
    Exists,
    /// There is none.
    NotExists,
    /// There is an item, and this is its version.
    VersionIs(u64),
}

impl Condition {
    /// Whether it holds of an item of this version; `None` stands for no item.
    pub fn holds(self, version: Option<u64>) -> bool {
        match self {
            Self::Always => true,
            Self::Exists => version.is_some(),
            Self::NotExists => version.is_none(),
            Self::VersionIs(wanted) => version == Some(wanted),
        }
    }
}

/// One put of a transaction, on the shard of its key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionItem {
    /// The key.
    pub key: Key,
    /// Its new value.
    pub value: Bytes,
    /// Under which the whole transaction may happen.
    pub condition: Condition,
}

impl TransactionItem {
    /// Bytes of key and value.
    pub fn bytes(&self) -> usize {
        self.key.partition.len() + self.key.sort.len() + self.value.len()
    }
}

/// Shows lengths and hashes only: keys and values are users' data and don't go to logs.
impl std::fmt::Debug for TransactionItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            key,
            value,
            condition,
        } = self;
        write!(f, "({key:?}, {} B, {condition:?})", value.len())
    }
}

/// A key that a transaction writes, wherever it lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Participant {
    /// The table.
    pub table: TableId,
    /// The key.
    pub key: Key,
}

/// What a shard has against one item of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Objection {
    /// Its condition does not hold.
    ConditionFailed,
    /// Another transaction is prepared on it.
    TransactionConflict,
    /// It was written or deleted at the transaction's timestamp or after it. The timestamp is what a new
    /// attempt must be above.
    TimestampTooOld(Timestamp),
    /// It can't be part of any transaction as it stands, or of this one from this router: its table is gone, say,
    /// or the router's clock is far ahead.
    Invalid,
}

/// What a shard knows of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionState {
    /// It was not committed here, and nothing is left of it if it was prepared.
    Unknown,
    /// It is prepared and not decided here.
    Prepared,
    /// It was committed and applied here.
    Committed,
    /// It was cancelled here.
    Cancelled,
    /// It is so long ago that it may have been committed here or not.
    Forgotten,
}

/// What becomes of a transaction, decided once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// All of its writes happen.
    Committed,
    /// None of them does.
    Cancelled,
}

/// A transaction that a replica holds prepared and knows no decision of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    /// The transaction.
    pub transaction: TransactionId,
    /// Of all its writes.
    pub timestamp: Timestamp,
    /// Everything that it writes.
    pub participants: Vec<Participant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_as_their_names_say() {
        let rows = [
            (Condition::Always, true, true, true),
            (Condition::Exists, false, true, true),
            (Condition::NotExists, true, false, false),
            (Condition::VersionIs(7), false, true, false),
        ];
        for (condition, absent, seven, eight) in rows {
            assert_eq!(condition.holds(None), absent, "{condition:?}");
            assert_eq!(condition.holds(Some(7)), seven, "{condition:?}");
            assert_eq!(condition.holds(Some(8)), eight, "{condition:?}");
        }
    }
}
