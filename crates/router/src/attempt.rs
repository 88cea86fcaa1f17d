//! Getting one operation carried out by one of a shard's replicas, exactly once and within its deadline.
//!
//! [`policy`] decides, as a pure state machine: outcomes and time go in, the next step comes out. [`run`]
//! carries its steps out over the [links]. [`leaders`] remembers who led each shard.
//!
//! The question behind every line: **may this be sent again, and what may the caller be told?**
//!
//! | an attempt ended with | the write has | sent again |
//! |---|---|---|
//! | `NO_LEADER`, `NO_QUORUM`, `SHARD_NOT_HOSTED`, `OVERLOADED`, not sent | certainly not been applied by it | yes |
//! | `OUTCOME_UNKNOWN`, a lost connection, no answer yet | perhaps been applied, or yet will be | yes: it carries its identity, so it takes effect once |
//! | success | been applied | – |
//!
//! "Certainly not applied" is said to the caller only if *every* attempt ended in the first row. One that did
//! not makes the answer `OUTCOME_UNKNOWN`, unless a later attempt succeeds: with the same identity that success
//! is the write's own. Reads change nothing, so they have no unknown outcome.
//!
//! # Caveats
//!
//! An attempt that is silent for too long is not given up: the next replica is asked beside it, and whichever
//! answers first counts. Under overload that can double the load, which is why the patience doubles too.

pub(crate) mod leaders;
pub(crate) mod policy;
pub(crate) mod run;
