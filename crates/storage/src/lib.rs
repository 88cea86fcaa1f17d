//! Bytes on one node.
//!
//! A data node keeps two things, and they fail differently. The **log** is the truth: what is in it and synced was
//! promised to somebody. The **state store** is where the log has led so far: it could be computed again from
//! the log, or fetched from another replica, and so it may lag behind the log on disk.
//!
//! | | log | [state store](state) |
//! |---|---|---|
//! | holds | Raft entries, terms and votes of all shards | items, applied indexes, request identities of all shards |
//! | is written | at its end | anywhere |
//! | is synced | before anything is answered | now and then, for the log to be purged |
//! | after a crash | has everything that was synced | has a prefix of what was written |
//! | a damaged byte | is refused, and named | is refused, and the replica is made anew |
//!
//! One order ties the two together, per shard:
//!
//! ```text
//! purged from the log ≤ persisted in the state store ≤ applied ≤ committed ≤ last in the log
//! ```
//!
//! On top of the state store lie the two things that make it a replica's state: [`keys`] has the layout of every key on
//! disk, [`meta`] the records beside the items, among them the applied index, which is written in one atomic batch with the
//! items it stands for. A replica that has fallen behind what the log still has gets a [`snapshot`].
//!
//! Nothing here knows Raft, the network or the coordination store. Everything blocks; nothing is `async`.
//!
//! # Caveats
//!
//! * The state store may also come back *ahead* of the log, when its files survived and the end of the log did not. Applied
//!   index **and term** are stored so that the node can see it.
//! * All on-disk numbers (tags, format bytes, hashes) are pinned by tests. Changing one means a migration.

#[macro_use]
#[path = "../../mutants/src/site.rs"]
mod mutant;

pub mod disk;
pub mod keys;
pub mod log;
pub mod meta;
pub mod snapshot;
pub mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
