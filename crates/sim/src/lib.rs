//! The deterministic simulation.

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
pub const STEP_MICROS: u64 = 1_000;
