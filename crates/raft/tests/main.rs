//! Tests of the core from outside, through its public interface only.
//!
//! | module | what |
//! |---|---|
//! | `paper` | named after the paper's sentences |
//! | `checklist` | bugs that others had, by their number in the project's list |
//! | `lease` | reads by a leader's lease, and the promises that they rest on; groups in time, with clocks that drift |
//! | `scripts` | `tests/scripts/*.txt`: what happens and the trace that it must leave |
//! | `cluster` | whole groups under random faults, from a seed; `invariants` are checked after every step |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

mod checklist;
mod cluster;
mod common;
mod invariants;
mod lease;
mod paper;
mod quorum;
mod scripts;
