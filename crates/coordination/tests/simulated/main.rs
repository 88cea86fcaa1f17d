//! The simulated ensemble, on simulated time: it conforms, every fault happens and is counted, and none breaks
//! the contract.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod conformance;
mod contract;
mod driver;
mod faults;
mod obstacles;
