//! Many operations at a time over one stream, each with exactly one end.
//!
//! A unary gRPC call costs 27 µs of CPU over both ends, an operation in a frame of a stream about one. So operations of many
//! callers travel together: from a client to its router, and from a router to a data node. A [`Lane`] is the sender's half of
//! such a stream, without the stream. What matters most is what it says of an operation that got no answer, because that
//! decides whether a write may be sent again and what its caller is told:
//!
//! | what happened | [`Outcome`] |
//! |---|---|
//! | the connection ended before the operation went out, or there is none | [`NotSent::Unreachable`] |
//! | the bounds on operations or bytes in flight are reached | [`NotSent::Overloaded`] |
//! | its time was up before it could be sent | [`NotSent::TooLate`] |
//! | the frame was handed to the transport, then the connection ended | [`Outcome::Lost`] |
//! | the other side answered | [`Outcome::Answer`] |
//!
//! What an operation, a frame and an answer are is said by a [`Protocol`].

#[macro_use]
#[path = "../../mutants/src/site.rs"]
mod mutant;

mod lane;
mod waiting;

pub use lane::{Bounds, Lane, Outgoing};
pub use waiting::Waiting;

/// What travels over a lane.
pub trait Protocol: 'static {
    /// A question.
    type Operation: Send + 'static;
    /// Questions that travel together, and which earlier ones nobody waits for any more.
    type Frame;
    /// An answer as it comes in, with the id of its question.
    type Result;
    /// What is left of it for the caller.
    type Answer: Send + 'static;

    /// Roughly what an operation takes in a frame, bytes.
    fn bytes(operation: &Self::Operation) -> usize;

    /// Gives an operation its id, which no other one of the lane has, and the time that is left for it.
    fn stamp(operation: &mut Self::Operation, correlation: u64, timeout_millis: u32);

    /// Makes a frame.
    fn frame(operations: Vec<Self::Operation>, cancelled: Vec<u64>) -> Self::Frame;

    /// The id of the operation that this answers.
    fn correlation(result: &Self::Result) -> u64;

    /// What the caller gets.
    fn answer(result: Self::Result) -> Self::Answer;
}

/// The end of one attempt. Every submitted operation gets exactly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<A> {
    /// The other side has answered.
    Answer(A),
    /// The operation was certainly not sent: nobody can have carried it out.
    NotSent(NotSent),
    /// The operation was handed to the transport and its answer will never come. The other side may have
    /// received it.
    Lost,
}

/// Why an operation was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSent {
    /// There is no connection.
    Unreachable,
    /// There is too much in flight already.
    Overloaded,
    /// The operation's time was up before it could be sent.
    TooLate,
}
