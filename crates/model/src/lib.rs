//! The nouns of the domain.
//!
//! Everything that the other crates talk about stands here once: names and [ids], [keys](key) and
//! the [hash ranges](shard_map) they fall into, [items](item) as they are stored, [timestamps](timestamp),
//! [tables](table) with their placement, what [transactions](transaction) are made of, [request identities](request) and every [limit](limits).
//!
//! Nothing here does I/O, reads a clock or draws a random number, and nothing enters only because two
//! crates happen to need it.

pub mod ids;
pub mod item;
pub mod key;
pub mod limits;
pub mod request;
pub mod shard_map;
pub mod table;
pub mod timestamp;
pub mod transaction;

pub use ids::{ClusterId, NodeId, RouterId, ShardId, TableId, TransactionId};
pub use item::{Intent, Item, Lsn};
pub use key::{Key, KeyHash};
pub use request::RequestId;
pub use shard_map::HashRange;
pub use table::{Shard, Table, TableName, TableState};
pub use timestamp::Timestamp;
pub use transaction::{
    Condition, Decision, Objection, Participant, TransactionItem, TransactionState, Undecided,
};
