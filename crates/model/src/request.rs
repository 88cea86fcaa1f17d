//! Identities of writes, by which a repeated write is recognised.

use serde::{Deserialize, Serialize};

use crate::TransactionId;

/// Names one put, delete or transaction, however often it is sent.
///
/// A shard remembers the identities of recent writes in its replicated state ([`crate::limits`] bounds how
/// many and how long), so that a write that is sent again, because its answer was lost or its leader
/// died, takes effect once. `issued_millis` lets it refuse what is older than its memory instead of
/// guessing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// When the write was first issued, in milliseconds since the Unix epoch by the issuer's clock.
    pub issued_millis: u64,
    /// Random, drawn once by the process that issues the writes.
    pub client: u64,
    /// Counts that process's writes.
    pub sequence: u64,
}

impl RequestId {
    /// The identity of a transaction that was issued then: what a shard remembers its end under. Its id alone makes
    /// it unique.
    pub fn of_transaction(issued_millis: u64, transaction: TransactionId) -> Self {
        Self {
            issued_millis,
            client: (transaction.0 >> 64) as u64,
            sequence: transaction.0 as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transactions_identity_has_all_of_its_id() {
        let of = |id| RequestId::of_transaction(5, TransactionId(id));
        let id = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;
        let expected = RequestId {
            issued_millis: 5,
            client: 0x0102_0304_0506_0708,
            sequence: 0x090a_0b0c_0d0e_0f10,
        };
        assert_eq!(of(id), expected);
        assert_ne!(of(id), of(id ^ 1));
        assert_ne!(of(id), of(id ^ (1 << 127)));
    }
}
