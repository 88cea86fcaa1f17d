//! Snapshots on their way between nodes.
//!
//! The storage layer makes and takes them in chunks; here they get a stream of their own, so that no heartbeat waits
//! behind a gigabyte. If either side dies, nothing is left but an unused generation of keys, which the next start
//! removes, and the leader begins again.

mod receive;
mod send;
#[cfg(test)]
mod tests;

pub use receive::Receiver;
pub use send::Sender;
