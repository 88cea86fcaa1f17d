//! Transactions: the router as coordinator, and as one who finishes what other routers have left.
//!
//! The decisions are those of the state machines in [`txn`]; here is what feeds them.
//!
//! | part | does |
//! |---|---|
//! | [`plan`] | from items to the shards that they lie in, with the tables pinned by their ids |
//! | [`one_shard`] | a transaction within one shard: one operation, no ledger |
//! | [`coordinate`] | drives a [`txn::Coordinator`] in a task of its own, which outlives the caller |
//! | [`tokens`] | the same token again: wait, take over, or say that it is done |
//! | [`recover`] | drives a [`txn::Recovery`] |
//! | [`stuck`] | recoveries that can't be finished now stand back behind those that can |
//! | [`takeover`] | when another router's session ends, its transactions are recovered |
//! | [`sweep`] | the controller sees to what nobody owns |
//! | [`group`] | one operation on one group |
//! | [`deleted`] | when the table of a group counts as deleted |
//! | [`counters`] | what `status` shows of it |
//!
//! # Who finds what is left
//!
//! | left behind | found by | after |
//! |---|---|---|
//! | entries of a router that is gone | every other router, by its ephemeral | the session's timeout, and a random moment |
//! | the same, when nobody was there to see it go | the controller, in the ledger | seconds |
//! | an entry whose creation landed late; one of a router that is stuck | the controller | 10 s |
//! | an intent whose entry is gone | the controller, which asks the data nodes what they hold undecided | 5 s, and the next look |
//! | a token whose time is up | the controller | a minute |
//!
//! # Caveats
//!
//! * A transaction stays in this router's hands until every shard has applied its decision. How many there may be is
//!   bounded, and beyond that new ones are `OVERLOADED`.
//! * Recovery by several routers at once is harmless, and costs.

pub(crate) mod coordinate;
pub(crate) mod counters;
pub(crate) mod deleted;
pub(crate) mod group;
pub(crate) mod one_shard;
pub(crate) mod plan;
pub(crate) mod recover;
pub(crate) mod stuck;
pub(crate) mod sweep;
pub(crate) mod takeover;
pub(crate) mod tokens;

use std::collections::BTreeSet;
use std::sync::Arc;

use model::TransactionId;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use txn::Clock;

use counters::Counters;
use stuck::Stuck;
use tokens::TokenCount;

/// Transactions with a ledger entry that this router drives at the same time, those included whose caller has its answer.
const MAX_COORDINATED: usize = 4096;
/// Recoveries at the same time.
const MAX_RECOVERIES: usize = 32;
/// Of those that have failed before.
const MAX_RETRIES: usize = 16;

/// What this router's transactions have in common.
pub(crate) struct Transactions {
    clock: Mutex<Clock>,
    pub(crate) counters: Counters,
    /// For transactions with a ledger entry.
    room: Arc<Semaphore>,
    /// For recoveries.
    recovery_room: Semaphore,
    /// For those of them that have failed before.
    retry_room: Semaphore,
    stuck: Mutex<Stuck>,
    /// Being recovered by this router now: once is enough.
    recovering: Mutex<BTreeSet<TransactionId>>,
    tokens: Mutex<TokenCount>,
}

impl Transactions {
    pub(crate) fn new() -> Self {
        Self {
            clock: Mutex::new(Clock::new()),
            counters: Counters::default(),
            room: Arc::new(Semaphore::new(MAX_COORDINATED)),
            recovery_room: Semaphore::new(MAX_RECOVERIES),
            retry_room: Semaphore::new(MAX_RETRIES),
            stuck: Mutex::default(),
            recovering: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// Resolves when no transaction is in this router's hands.
    pub(crate) async fn drained(&self) {
        // Never closed.
        let _all = self.room.acquire_many(MAX_COORDINATED as u32).await;
    }
}
