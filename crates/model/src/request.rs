//! Identities of writes, by which a repeated write is recognised.

use serde::{Deserialize, Serialize};

/// Names one put or delete, however often it is sent.
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
