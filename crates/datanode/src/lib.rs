//! A data node: replicas of many shards, of many tables, each with its own Raft group.
//!
//! # Life of a put
//!
//! ```text
//! stream ─▶ service/operate ─▶ worker (leader?) ─▶ Raft entry ─▶ log writer: one sync for all shards
//!                               │ no: forward         └───────▶ followers, in parallel
//!                               ▼                                        │ majority
//!                            other node                                  ▼
//! stream ◀──────────────────────────── answer ◀── applier ◀── committed
//! ```
//!
//! | where | what |
//! |---|---|
//! | [`worker`] | everything that decides, without I/O: one state machine for many groups |
//! | [`machine`] | the replicated state of one shard |
//! | [`applier`], [`log_writer`] | what the worker has done by others: state and log |
//! | [`shell`] | the stages: who has a thread |
//! | [`node`] | the directory, the registration, replicas that come and go |
//! | [`service`], [`peers`], `senders`, [`forward`], [`snapshot`] | the network |
//!
//! All of it runs on a machine's threads in production and on one thread in a simulation: time, network and threads come
//! from an [`Environment`](environment::Environment), disk and store from a [`Storage`].

#[macro_use]
#[path = "../../mutants/src/site.rs"]
mod mutant;

pub mod admission;
pub mod applier;
pub mod device;
pub mod forward;
pub mod health;
pub mod hosted;
pub mod log_writer;
pub mod machine;
pub mod node;
pub mod operation;
pub mod options;
pub mod peers;
mod senders;
pub mod service;
pub mod shell;
pub mod snapshot;
pub mod wire;
pub mod worker;

pub use device::{Lock, Place, RealStorage, Storage};
pub use health::Health;
pub use node::{DataDirError, DataNodeService, StartError, start};
pub use options::{Options, Probe, ReadMode, Tuning};
