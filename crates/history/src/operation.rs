//! One operation of a client: when it was asked, what was asked, how it ended.

use bytes::Bytes;

/// The version of an item, as the store answers it: grows with every change of a key, never used twice for one.
pub type Version = u64;

/// One key of one table. The table stands for one *incarnation* of it where the caller can tell them
/// apart: after a deletion and a new creation under the old name, use another string.
pub type Register = (String, Bytes);

/// What one client asked for, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: u64,
    /// Counts the operations of that client.
    pub sequence: u64,
    /// When it was asked: any monotonic unit of one observer who sees all clients.
    pub invoked: u64,
    /// When the client heard an answer, or gave up; `None` if the history ends before.
    pub returned: Option<u64>,
    /// What was asked.
    pub call: Call,
    /// What is known of its end.
    pub outcome: Outcome,
}

/// What can be asked. A batch is recorded as one operation per item, since its items are independent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Read one key.
    Get {
        /// The table's incarnation.
        table: String,
        /// The key.
        key: Bytes,
        /// Linearizable, or whatever some replica has.
        consistent: bool,
    },
    /// Write one key.
    Put {
        /// The table's incarnation.
        table: String,
        /// The key.
        key: Bytes,
        /// The value. The checkers learn most if no other operation writes the same one.
        value: Bytes,
        /// What must hold of the key before.
        condition: Condition,
    },
    /// Remove one key.
    Delete {
        /// The table's incarnation.
        table: String,
        /// The key.
        key: Bytes,
        /// What must hold of the key before.
        condition: Condition,
    },
    /// Write several keys, all or nothing.
    TransactPut {
        /// The writes, each key once.
        items: Vec<TransactItem>,
    },
    /// Read one state of several keys.
    TransactGet {
        /// The keys.
        keys: Vec<Register>,
    },
}

/// One item of a `TransactPut`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactItem {
    /// The table's incarnation.
    pub table: String,
    /// The key.
    pub key: Bytes,
    /// The value; `None` only checks the condition (DynamoDB's `ConditionCheck`).
    pub value: Option<Bytes>,
    /// What must hold of the key before.
    pub condition: Condition,
}

impl TransactItem {
    /// An unconditional write.
    pub fn put(table: impl Into<String>, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            table: table.into(),
            key: key.into(),
            value: Some(value.into()),
            condition: Condition::None,
        }
    }

    /// The same item under a condition.
    #[must_use]
    pub fn on(self, condition: Condition) -> Self {
        Self { condition, ..self }
    }
}

/// What must hold of a key for a write to happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// The key exists.
    Present,
    /// The key does not exist.
    Absent,
    /// The key exists at exactly this version.
    Version(Version),
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It happened, between its invocation and its return.
    Done(Response),
    /// It certainly did not happen and never will.
    Refused(Refusal),
    /// It may have happened, and may happen at any later time, its return notwithstanding.
    Unknown,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// To a `Get`: the item.
    Got {
        /// Its value.
        value: Bytes,
        /// Its version.
        version: Version,
    },
    /// To a `Get`: there is no such item.
    Missing,
    /// To a `Put`: written.
    Put {
        /// The version that the write made.
        version: Version,
    },
    /// To a `Delete`: gone, or never there.
    Deleted,
    /// To a `TransactPut`: the version that each item got, in the order of the call, where it is told; may be empty.
    TransactPut {
        /// The versions.
        versions: Vec<Option<Version>>,
    },
    /// To a `TransactGet`: what each key held, in the order of the call.
    TransactGet {
        /// Value and version; `None` for a key that does not exist.
        items: Vec<Option<(Bytes, Version)>>,
    },
}

/// Why something certainly did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its condition did not hold. Of a single put or delete this is an observation: at some moment between
    /// invocation and return the key was not as the condition wants it.
    ConditionFailed,
    /// A transaction was cancelled, for whatever reason.
    Cancelled,
    /// Anything else: not sent, no leader, no quorum, an invalid request.
    Other,
}

impl Operation {
    /// Whether this one was over before `other` began. Equal times count as concurrent, which may miss a
    /// violation but never makes one up.
    pub fn precedes(&self, other: &Self) -> bool {
        self.end() < other.invoked
    }

    /// The last moment at which it can have taken effect.
    pub(crate) fn end(&self) -> u64 {
        match self.outcome {
            Outcome::Unknown => u64::MAX,
            Outcome::Done(_) | Outcome::Refused(_) => self.returned.unwrap_or(u64::MAX),
        }
    }
}
