//! The controller: the one elected router that drives tables to their goal.
//!
//! Callers only write what they want into the coordination store: a table in state `creating`, or `deleting`.
//! The controller does the rest, whoever the caller was and whether it still lives. [`machine`] decides, as a
//! pure state machine; [`driver`] stands for election, feeds it and carries its effects out.
//!
//! It also sweeps what transactions have left behind, see [`crate::transaction::sweep`].
//!
//! # Caveats
//!
//! A deposed controller may not know yet that it is. Nothing that it does can hurt: its writes expect versions,
//! and sealing and destroying concern tables whose deletion is beyond the point of no return.

mod deletion;
pub(crate) mod driver;
pub(crate) mod machine;
