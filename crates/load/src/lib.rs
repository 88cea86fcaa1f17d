//! The load generator: many clients press on a store, and it is measured how the store bears it.
//!
//! What is pressed on is a [`Target`]: a table of a cluster ([`Table`]), or whatever else has keys and values, so that
//! several systems can be loaded in exactly the same way. There are two ways to press:
//!
//! | | closed loop (default) | fixed rate ([`Plan::rate`]) |
//! |---|---|---|
//! | a client sends its next request | when the last one is answered | when it is due |
//! | tells | what the store can do at most | how it feels at a given load |
//! | latency counts from | sending | when it was **due** |
//!
//! With a fixed rate a request that had to wait, because the store stood still, counts the wait. Measuring
//! from the sending would leave out exactly the requests that a pause delays (*coordinated omission*). What was due and
//! never sent, because the time was up before, is counted too: it has no latency, and says that the rate was too high.
//!
//! # Caveats
//!
//! * The generator runs on this machine and takes its share of it.
//! * At a fixed rate every client is one request at a time, so there must be enough of them: `rate × latency` are in
//!   flight.

mod fill;
mod keys;
mod measure;
pub mod process;
mod run;
mod table;
mod target;
mod workload;

pub use fill::fill;
pub use keys::{Distribution, Placement};
pub use measure::{Latency, Measured};
pub use run::{Plan, run};
pub use table::Table;
pub use target::{Item, Target};
pub use workload::{Operation, Workload};
