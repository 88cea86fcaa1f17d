//! A cluster in one process: a coordination store, data nodes that only pretend, real routers between them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    dead_code
)]

pub mod cluster;
pub mod flaky;

use std::time::Duration;

use api::{Error, Reason};
use tokio::time::Instant;
use tonic::Status;

/// Waits until a condition holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Our own error in a status.
pub fn error(status: &Status) -> Error {
    Error::try_from(status).unwrap_or_else(|foreign| panic!("not one of ours: {foreign}"))
}

/// The reason of a failed call.
pub fn reason<T: std::fmt::Debug>(result: Result<T, Status>) -> Reason {
    error(&result.unwrap_err()).reason
}

/// A request with a deadline.
pub fn within<T>(time: Duration, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(time);
    request
}
