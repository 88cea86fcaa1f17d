//! The coordination store: what the cluster agrees on, kept outside of the data path.
//!
//! Tables and where their shards lie, which nodes exist and which are alive, which router drives tables to
//! their goal, the ledger of transactions: small, precious, rarely written. It is a tree of *znodes*, as
//! ZooKeeper has it (Hunt et al., USENIX ATC 2010), behind one trait, [`Coordination`], with two stores:
//!
//! | store | for | where |
//! |---|---|---|
//! | [`zookeeper`] | a cluster | a ZooKeeper ensemble |
//! | [`embedded`] | the one-process default | files of this process |
//!
//! A role gets its sessions through [`Connect`], one after the other as they end. [`tree`] has every path
//! of ours, [`records`] what stands at them, [`registry`] what all roles do with them: start on an empty
//! store, register, create and remove tables, elect the controller. Behind the feature `testing`, tests of
//! other crates find real ZooKeeper servers in `testing` and a faulty ensemble on simulated time in
//! `simulated`, and new stores are held against the cases in `conformance`.
//!
//! # How a lost answer is survived
//!
//! The hard case of every store is a write whose answer is lost. It may have happened, and it may **still**
//! happen: held up in a queue, it can land seconds later. So there are three rules, and [`registry`] shows
//! them at work:
//!
//! 1. Every write is conditional: it expects a version, or it creates, or its `multi` checks something.
//! 2. After [`Error::ConnectionLoss`] the writer syncs, reads, and concludes only what it sees.
//! 3. Ids are random and never used again, because a znode that is deleted and created again starts at
//!    version 0, and a late write that expects 0 would hit the new one.
//!
//! | attempt | answer | `sync`, read | so |
//! |---|---|---|---|
//! | set `/tables/a`, expects 3 | lost | version 4, our data | it happened |
//! | set `/tables/a`, expects 3 | lost | version 3 | try again: if the first lands later, one of the two fails |
//! | set `/tables/a`, expects 3 | lost | version 4, other data | somebody else was first |
//!
//! # Caveats
//!
//! A session that is [`SessionState::Disconnected`] may be dead for the store already: who may act only
//! while its session lives stops then, and is fenced by versions besides.

#[macro_use]
#[path = "../../mutants/src/site.rs"]
mod mutant;

#[cfg(feature = "testing")]
pub mod conformance;
pub mod connect;
pub mod embedded;
pub mod error;
pub mod joined;
pub mod path;
pub mod records;
pub mod registry;
#[cfg(feature = "testing")]
pub mod simulated;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tree;
mod tree_state;
pub mod watch;
pub mod zookeeper;

pub use connect::Connect;
pub use error::Error;
pub use joined::Joined;
pub use store::{
    ANY_VERSION, Coordination, CreateMode, Operation, Outcome, Path, SessionState,
    SharedCoordination, Stat, Znode,
};
pub use watch::{Change, Watch, WatchSender};
