//! The checkers against histories that they must pass and histories that they must not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

mod support;

mod durable;
mod eventual;
mod linearizable;
mod performance;
mod random;
mod recording;
mod serializable;
mod versions;
