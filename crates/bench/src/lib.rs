//! How Mini-DynamoDB compares with etcd, and with what gRPC allows at all.
//!
//! `bench/compare` starts three systems on this machine, each of separate processes, and presses on them in turn with
//! the same load generator (crate `load`), several times:
//!
//! | system | processes | [`Target`](load::Target) |
//! |---|---|---|
//! | ours | 3 data nodes, 1 router, 1 ZooKeeper server | [`load::Table`] |
//! | etcd | 3 members | [`etcd::Member`] |
//! | the ceiling: two hops of gRPC and nothing else | 1 proxy, 1 node | [`ceiling::Echo`] |
//!
//! What counts are ratios of runs that stood next to each other, and CPU time per operation: both are steadier than
//! throughput on a machine that others use, too. docs/performance.md tells how to read the result.

pub mod ceiling;
pub mod compare;
mod connection;
pub mod etcd;
pub mod goals;
pub mod machine;
pub mod measurements;
pub mod plot;
pub mod points;
mod press;
pub mod report;
mod server;
pub mod standing;
mod systems;

pub use systems::{Places, System};

/// Why a comparison can't go on, in words for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    /// With these words.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// Turns an error into a failure that says what could not be done.
    fn to<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("can't {what}: {error}"))
    }
}
