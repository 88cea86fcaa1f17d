//! The protocol on a small model of shards and ledger, one script for each anomaly.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod anomalies;
mod late;
mod model;
