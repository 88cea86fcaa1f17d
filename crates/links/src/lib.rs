//! The way to the data nodes: one long-lived stream to each, carrying the operations of all callers.
//!
//! Each node has one `Link` with one `Operate` stream, and a [lane](lanes) of operations that are queued for it or wait for
//! its answer, told apart by correlation ids. What is said of an operation that got no answer stands there.
//!
//! # Caveats
//!
//! * An operation that nobody waits for any more, because its [`Waiting`] was dropped, is cancelled: never sent if it was
//!   not yet, else the data node is told, and lets it be unless it has begun it. A write that was proposed can't be called
//!   back. The operation stays in flight until its answer comes or the connection ends.
//! * A data node of an earlier version pays no attention, and drops it at its deadline.
//! * A node that can't be reached is tried again in the background, with back-off; meanwhile operations for
//!   it are refused at once, so that another replica gets them.

mod connect;
mod link;
#[doc(hidden)]
pub mod measured;
mod nodes;
mod outcome;
mod protocol;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod timing;

pub use connect::{Client, channel, client_of, connect};
pub use lanes::NotSent;
pub use nodes::Nodes;
pub use outcome::{Answer, Content, Outcome, ReadItem, Success};
pub use timing::Timing;

/// An operation that was submitted: a future of its [`Outcome`].
pub type Waiting = lanes::Waiting<protocol::Operate>;
