//! Transactions over several keys, in any shards: all of their writes or none, and reads of several keys that
//! show one state of the system.
//!
//! The protocol follows Idziorek et al., *Distributed Transactions at Scale in Amazon DynamoDB* (USENIX ATC 2023):
//! two phases, ordered by timestamps, with a *ledger* in the coordination store that holds each transaction's state.
//! Everything here decides and nothing acts: events go in, effects come out, and whoever drives a machine carries
//! them out.
//!
//! | part | decides |
//! |---|---|
//! | [`Coordinator`] | one `TransactPut`, from the ledger's entry to the answer and the end of the entry |
//! | [`Recovery`] | what becomes of somebody else's transaction |
//! | [`Rounds`] | whether the rounds of a `TransactGet` have shown one state |
//! | [`Clock`] | timestamps |
//!
//! # The decision is one compare-and-set
//!
//! A ledger entry is made once per transaction id, `pending`, at version 0. Whoever sets it (coordinator or recovery)
//! expects version 0 and leaves version 1, so exactly one of them decides, and a set that lands late finds another
//! version or no entry. Nobody tells a shard a decision that is not in the ledger.
//!
//! | who | finds | does |
//! |---|---|---|
//! | coordinator, every prepare accepted | `pending` | sets `committed` |
//! | coordinator, anything else | `pending` | sets `cancelled` |
//! | recovery | `pending` | sets `cancelled` |
//! | anybody | `committed`, `cancelled` | drives it to all participants, then removes the entry |
//! | recovery, with an intent in hand | no entry | asks all participants; one that has committed decides. Else makes the entry and cancels it in one step, so that it never has version 0, and goes on as above |
//!
//! # Who conflicts with whom
//!
//! What an operation on a key meets, while a transaction T with timestamp *t* is prepared on it (*locked*) and when
//! it is not:
//!
//! | operation | on a locked key | otherwise |
//! |---|---|---|
//! | `Get`, consistent or eventual | shows the last applied value | the same |
//! | `Put`, `Delete` | refused with `TRANSACTION_CONFLICT`, tried again within the caller's deadline | takes `max(clock, the item's timestamp + 1)` |
//! | prepare of another transaction | refused: `TRANSACTION_CONFLICT` | refused if the item's timestamp (of an absent one: the highest of any delete) is not below its own: `TIMESTAMP_TOO_OLD` |
//! | prepare of T again | accepted, nothing changes | after T's commit: refused, because the item's timestamp is *t* |
//! | a transaction within one shard | refused: `TRANSACTION_CONFLICT` | checks, decides and applies in one step, like a `Put` |
//! | round of a `TransactGet` | fails the round | shows the item's lsn, to be compared with that of the next round |
//!
//! # What can go wrong, and why it does not
//!
//! Each has a script of its name in `tests/`.
//!
//! | anomaly | prevented by |
//! |---|---|
//! | dirty write | an intent locks its item; no write gets over it |
//! | lost update | conditions are checked where the intent is set, which holds them until the decision |
//! | read skew, fractured read | two rounds with equal lsns and without locks: nothing was half applied between them |
//! | write skew | there are no reads to skew: conditions are on keys that are written, and locked |
//! | long fork | one state per `TransactGet`, in real time |
//! | late prepare | timestamps of a key never fall, a deletion included |
//! | late decision | versions of the ledger's entry; the intent's id |
//! | the entry is gone | the coordinator says that it does not know; recovery asks before it cancels |
//!
//! # Caveats
//!
//! * Two plain `Get`s of different keys may see a transaction on one and not yet on the other. Who needs one state of
//!   several keys uses `TransactGet`.
//! * While an entry can't be reached, its keys stay locked: nothing decides a transaction but its entry.

// The modules are private; their documentation is for those who read the code.
#![allow(rustdoc::private_intra_doc_links)]

#[macro_use]
#[path = "../../mutants/src/site.rs"]
mod mutant;

mod clock;
pub mod coordinator;
pub mod recovery;
mod rounds;

pub use clock::Clock;
pub use coordinator::Coordinator;
pub use model::Decision;
pub use recovery::Recovery;
pub use rounds::{Rounds, Seen, Verdict};

/// What the ledger says of a transaction. `None` stands for no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Not decided.
    Pending,
    /// Decided.
    Decided(Decision),
}
