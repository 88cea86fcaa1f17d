//! The log on a disk that loses, tears, reorders and damages.
//!
//! | file | what |
//! |---|---|
//! | `model` | what a log should hold, as plain maps |
//! | `harness` | a log and its model driven together, by scripts or at random |
//! | `basics` | what each record does; what is refused |
//! | `crashes` | power cuts at every change of the disk, at random, and while starting |
//! | `damage` | flipped bits, missing files, newer formats |
//! | `failures` | failed writes and syncs, a full disk |
//! | `noticed` | the deliberate faults that these tests notice |
//! | `space` | reuse of segments, and what an idle group may cost |
//! | `reading` | reading while the log is written |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod basics;
mod crashes;
mod damage;
mod failures;
mod harness;
mod model;
#[cfg(feature = "mutants")]
mod noticed;
mod reading;
mod space;
