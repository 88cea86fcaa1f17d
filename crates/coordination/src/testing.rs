//! Support for tests that need a real ZooKeeper, here and in other crates (feature `testing`).
//!
//! ```no_run
//! # async fn example() {
//! use coordination::testing::{Ensemble, ZooKeeperServer};
//! use coordination::zookeeper::{ConnectOptions, ZooKeeper};
//!
//! let mut server = ZooKeeperServer::start().await;
//! let session = ZooKeeper::connect(ConnectOptions::new(server.hosts())).await;
//! server.kill();
//! server.start_again().await; // the same port, the same data
//!
//! let mut ensemble = Ensemble::start(3).await;
//! let who = ensemble.kill_leader().await;
//! # }
//! ```
//!
//! The servers are plain `java` processes on free ports of the loopback interface, with directories of their
//! own, from the class files of Debian's package `zookeeper`. They are killed when their values are
//! dropped. Everything here panics with a message that says what is missing, for only tests use it.

// A test that can't have its server has failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod authority;
mod ensemble;
mod ports;
mod process;
mod proxy;
mod server;

use std::future::Future;
use std::time::Duration;

pub use authority::Authority;
pub use ensemble::Ensemble;
pub use process::Served;
pub use proxy::Proxy;
pub use server::ZooKeeperServer;

/// Waits until a condition holds, looking every few milliseconds. Panics after the deadline with what was
/// waited for.
pub async fn eventually<F>(what: &str, deadline: Duration, mut condition: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(deadline, holds).await.is_ok(),
        "not within {deadline:?}: {what}"
    );
}
