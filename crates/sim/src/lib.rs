//! The deterministic simulation: whole clusters, from a seed, in one thread, with everything going wrong.
//!
//! The product's own routers, data nodes and clients run here, every line of them but the leaves: what they
//! get from their machines comes from simulated ones. A seed decides all of it, so that what was found once
//! is found again.
//!
//! ```text
//!   clients ──▶ routers ──▶ data nodes        the product: gRPC, routing, Raft, log, state machines
//!  ════════════════════════════════════════   environment, storage::disk, storage::state, coordination
//!   fabric   host   disks   ensemble          the simulation: one thread, one clock
//!      ▲       ▲      ▲        ▲
//!      └───────┴ nemesis ──────┘     invariants look at every turn, a recorder writes every operation down
//! ```
//!
//! | what | where |
//! |---|---|
//! | time, runtimes, clocks that drift, killing and pausing | [`host`] |
//! | connections that delay, stall and break | [`fabric`] |
//! | messages between replicas lost, doubled, reordered | [`probe`] |
//! | disks that lose and tear what was not synced | `storage::disk::SimDisk`, `storage::state::MemoryStore` |
//! | a coordination store that lags, loses and lands late | `coordination::simulated` |
//! | all of it together | [`cluster`] |
//! | what goes wrong, when | [`nemesis`], [`scenario`] |
//! | what clients do, and what became of it | [`workload`], crate `history` |
//! | what must hold | [`invariants`], crate `history` |
//! | one run from the beginning to rest | [`run`] |
//!
//! # Time
//!
//! True time moves in steps of two milliseconds. In each, what is due on the network and in the coordination
//! store arrives, then every host lives for as much time as its own clock says has passed. Nothing that
//! happens on one host in a step is seen by another in the same step, so the order of the hosts decides
//! nothing.
//!
//! # How a run ends
//!
//! ```text
//! set up ─▶ faults and load ─▶ faults end ─▶ every key is read ─▶ at rest ─▶ the history is checked
//! ```
//!
//! That the cluster serves again, and comes to rest, is a property like the others, with a deadline in
//! simulated time.
//!
//! # Caveats
//!
//! * Instructions take no time. What a real machine does while it is slow is imitated by slow disks, slow
//!   stages and pauses, not by a slow processor.
//! * fjall and the ZooKeeper client have threads of their own and are not here. Models stand in for them,
//!   which pass the same conformance suites as the originals.
//! * One process does one run: some libraries count in statics ([`system`]).

pub mod cluster;
pub mod dice;
pub mod fabric;
pub mod host;
pub mod invariants;
pub mod nemesis;
pub mod panics;
pub mod probe;
pub mod run;
pub mod scenario;
pub mod system;
pub mod trace;
pub mod workload;

/// Simulated time moves in steps of so many microseconds.
pub const STEP_MICROS: u64 = 2_000;
