//! End-to-end tests: real processes, a real ZooKeeper, the promises of the README and ARCHITECTURE.md.
//!
//! One module per promise; [`support`] has what they are made of.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod balance;
mod churn;
mod deletion;
mod failover;
mod leases;
mod lifecycle;
mod lost_answers;
mod many;
mod operators;
mod processes;
mod quorum;
mod races;
mod readme;
mod replicas;
mod requests;
mod routers;
mod sessions;
mod snapshot;
mod startup;
mod streams;
mod support;
mod tables;
mod transaction_edges;
mod transactions;
mod zookeeper_lost;
mod zookeeper_security;
