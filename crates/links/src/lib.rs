//! The way to the data nodes: one long-lived stream to each, carrying the operations of all callers.
//!
//! A unary gRPC call costs 27 µs of CPU over both ends, an operation in a batched stream under 1 µs. So
//! each node has one `Link` with one `Operate` stream, and a `Lane` of operations that are
//! queued for it or wait for its answer, told apart by correlation ids. What matters most is what is said of
//! an operation that got no answer, because it decides whether a write may be sent again and what its caller
//! is told:
//!
//! | what happened | [`Outcome`] |
//! |---|---|
//! | no connection could be made, or it ended before the operation went out | [`NotSent::Unreachable`] |
//! | the bounds on operations or bytes in flight are reached | [`NotSent::Overloaded`] |
//! | the frame was handed to the transport, then the connection ended | [`Outcome::Lost`] |
//! | the node answered | [`Outcome::Answer`] |
//!
//! # Caveats
//!
//! * An operation that nobody waits for any more, because its [`Waiting`] was dropped, is cancelled: never sent if it was
//!   not yet, else the data node is told, and lets it be unless it has begun it. A write that was proposed can't be called
//!   back. The operation stays in flight until its answer comes or the connection ends.
//! * A data node of an earlier version pays no attention, and drops it at its deadline.
//! * A node that can't be reached is tried again in the background, with back-off; meanwhile operations for
//!   it are refused at once, so that another replica gets them.

#[macro_use]
#[path = "../../mutants/src/site.rs"]
mod mutant;

mod connect;
mod lane;
mod link;
#[doc(hidden)]
pub mod measured;
mod nodes;
mod outcome;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod timing;
mod waiting;

pub use connect::{Client, channel, client_of, connect};
pub use nodes::Nodes;
pub use outcome::{Answer, Content, NotSent, Outcome, ReadItem, Success};
pub use timing::Timing;
pub use waiting::Waiting;
