//! Histories of what clients asked and were answered, and checkers that say whether a store may answer so.
//!
//! A test, simulated or with real processes, lets clients write and read while things break, and
//! [records](Recorder) every [`Operation`]: who asked what, when, and when which answer came. Afterwards the
//! checkers read the [`History`]. They know nothing of the store, only what it promises:
//!
//! | checker | property | says |
//! |---|---|---|
//! | [`linearizable`] | `linearizability` | each key alone behaves as if every operation happened at one moment |
//! | [`versions`] | `versions` | the versions answered are those of one rising order of writes |
//! | [`eventual`] | `eventual-reads` | every value read was really written there |
//! | [`durable`] | `confirmed-writes` | no confirmed write is missing at rest |
//! | [`serializable`] | `strict-serializability` | all writes and transactions have one order that agrees with real time |
//!
//! A property that doesn't hold is a [`Violation`]: what is wrong in sentences, and the few operations that show it as
//! a table:
//!
//! ```text
//! linearizability violated: key t/k: no order of these operations explains every answer; …
//! invoked  returned  client  call          outcome
//!      10        25  c1 #1   put t/k = v1  version 4
//!      30        35  c2 #1   get! t/k      missing
//! ```
//!
//! # The three outcomes
//!
//! *Done* happened between invocation and return. *Refused* never happens. *Unknown* may have happened, or may happen at
//! any later time: a client that gave up doesn't know whether its request is still on its way. Calling an unknown outcome
//! refused makes a checker cry wolf; calling a refused one unknown makes it deaf.
//!
//! # What a good history has
//!
//! * One observer's clock. Times of several machines don't compare; record where all clients are, or not at all.
//! * Unique values: then a read names the write that it saw.
//! * Reads among the writes, and every key read at the end: what nobody looks at can't be wrong.
//!
//! # Caveats
//!
//! Passing proves nothing beyond the history at hand. Every key begins absent: a history of a table starts with its
//! creation. Everything here is deterministic: the same history gives the same answer, word for word.

pub mod durable;
pub mod eventual;
pub mod linearizable;
pub mod serializable;
pub mod versions;

mod operation;
mod recorder;
mod render;
mod touch;
mod violation;

pub use durable::FinalState;
pub use operation::{
    Call, Condition, Operation, Outcome, Refusal, Register, Response, TransactItem, Version,
};
pub use recorder::{History, Recorder, Token};
pub use render::render;
pub use violation::{Checked, Kind, Violation};

/// Every violation that the checkers find, at most one of each; none if the history is all right.
///
/// `at_rest` is what the keys hold when all is quiet, if somebody looked.
pub fn check_all(history: &History, at_rest: Option<&FinalState>) -> Vec<Violation> {
    let durable = at_rest.map_or(Ok(Checked::default()), |state| {
        durable::check(history, state)
    });
    // The clearest messages first.
    [
        eventual::check(history),
        durable,
        versions::check(history),
        linearizable::check(history),
        serializable::check(history),
    ]
    .into_iter()
    .filter_map(Result::err)
    .collect()
}
