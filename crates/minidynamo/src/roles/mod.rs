//! The processes of a cluster.
//!
//! Each role is started the same way (see `process`): configuration, log, admin HTTP, the service itself,
//! one line on standard output once it can be used, and a clean end on SIGTERM or SIGINT. What differs
//! stands in one file per role.

mod admin;
pub mod datanode;
pub mod dev;
mod health;
mod logging;
mod process;
pub mod router;
mod signals;
mod zookeeper;
