//! The request router: stateless, in front of the data nodes, as many side by side as one likes.
//!
//! A request comes in over gRPC, its key's hash decides the shard, and one of the shard's replicas carries it
//! out. Everything the router knows it has from the coordination store ([`directory`]), or from the answers of
//! data nodes (who leads which shard), and it can lose all of it at any moment.
//!
//! | part | does |
//! |---|---|
//! | [`service`] | the gRPC calls, one file per verb |
//! | [`directory`] | keeps a copy of tables, members and live nodes in step |
//! | [`attempt`] | decides which replica to ask, and what may be said of the outcome |
//! | [`links`] | carries operations to the nodes in batches, and knows what became of each |
//! | [`transaction`] | coordinates transactions, and finishes those that others have left |
//! | [`placement`] | draws where a new table's shards go |
//! | [`controller`] | the one elected router that drives tables to their goal |
//! | [`session`] | always has, or seeks, a session with the coordination store |
//!
//! # What a router is not
//!
//! It holds no data, no locks, and nothing on disk. It never decides whether a write happened: the shard's Raft
//! group does, and a router that can't find out says so (`OUTCOME_UNKNOWN`).
//!
//! # Caveats
//!
//! Without the coordination store a router goes on serving the tables that it knows. Administration, and
//! tables that it does not know, get `COORDINATION_UNAVAILABLE` until it is back; so do transactions over several shards.

// The modules are private; their documentation is for those who read the code.
#![allow(rustdoc::private_intra_doc_links)]

#[macro_use]
#[path = "../../mutants/src/site.rs"]
mod mutant;

mod attempt;
mod controller;
mod data;
mod directory;
mod health;
#[doc(hidden)]
pub mod measured;
mod options;
pub mod placement;
mod router;
mod service;
mod session;
mod state;
mod survey;
mod transaction;

pub use health::Health;
pub use options::{Options, StartError, Timing, TransactionTiming};
pub use router::{RouterService, Stopped, start};
