//! The Raft core: one replica of one group as a pure state machine.
//!
//! A [`Replica`] has no threads, no clock, no disk and no network. Events go in, [`Effects`] come out as
//! plain values, and the caller carries them out in its own time:
//!
//! | in | out |
//! |---|---|
//! | [`step`](Replica::step): a message from a peer | [`send`](Effects::send): messages that may go now |
//! | [`tick`](Replica::tick): time has passed | [`persist`](Effects::persist): what must become durable, with a token |
//! | [`propose`](Replica::propose): a command | [`apply`](Effects::apply): committed entries, in order |
//! | [`read_index`](Replica::read_index): a linearizable read | [`reads`](Effects::reads): reads that may be served, and from which index on |
//! | [`set_time`](Replica::set_time): what the clock reads, for leases | |
//! | [`persisted`](Replica::persisted): a token is durable | more of `send`: answers that had to wait for the disk |
//! | [`applied`](Replica::applied): the state has moved on | |
//! | [`fetched`](Replica::fetched), [`snapshot_sent`](Replica::snapshot_sent) | [`fetch`](Effects::fetch), [`snapshots`](Effects::snapshots): what a lagging follower needs |
//!
//! The same inputs in the same order give the same effects: chance comes from a seed, and nothing depends
//! on the order of a hash map.
//!
//! # The pointers into the log
//!
//! ```text
//! purged ≤ snapshot ≤ applied ≤ handed ≤ committed ≤ last
//!                             persisted ≤ emitted ≤ last
//! preceding ≤ min(applied, persisted)       (what lies at or below `preceding` is no longer in memory)
//! ```
//!
//! *Purged* is where the durable log begins, *snapshot* the index of the state that would be sent to a
//! follower who needs what was purged. *Handed* is what has come out in [`Effects::apply`], *emitted* what
//! has come out in [`Effects::persist`]. There is no order between *committed* and *persisted*: a majority may
//! have an entry durably before this replica has.
//!
//! # What waits for the disk
//!
//! | message | waits for |
//! |---|---|
//! | `RequestVote`, `Vote` | term and vote |
//! | `Appended` that reports a match | the entries (and the term) |
//! | `Append` | nothing: the leader's own copy counts once it is durable, like anyone's |
//! | heartbeats, PreVote, rejections | nothing |
//!
//! The core itself holds messages back and hands them out after [`Replica::persisted`]. Whatever has
//! come out in `send` may go at once.
//!
//! # Where it goes beyond the paper's main text
//!
//! * **PreVote** (Ongaro's thesis, 9.6): a replica first asks whether it could win, without touching its term, so
//!   that one that was cut off doesn't disturb the others when it comes back.
//! * **CheckQuorum**: a leader that has had no answer of a majority for an election timeout steps down, and
//!   nobody votes against a leader from whom it has just heard, unless that leader hands over.
//! * **`ReadIndex`** (6.4) with numbers of the leader's own making, see [`Body::Heartbeat`].
//! * **Leases** (6.4.1), if they are wanted: reads without a round while a majority of [`Promises`] binds its makers.
//! * **Pipelining**: appends go out without waiting for the answers to earlier ones, within a window.
//! * **Leadership transfer** (3.10).
//! * Quorums are counted for joint configurations (4.3), although membership doesn't change yet.
//!
//! # Caveats
//!
//! * A replica applies what is committed even if its own copy isn't durable yet. After a crash the state may
//!   therefore be ahead of the log; [`Replica::new`] deals with it, given that the state remembers its index *and* term.
//! * A follower does not answer reads: whoever wants a consistent read asks the leader.
//! * A broken invariant ([`Broken`]) stops the replica for good: it says why and ignores everything after it.

#[macro_use]
#[path = "../../mutants/src/site.rs"]
mod mutant;

mod config;
mod effects;
mod entry;
mod error;
mod ids;
mod log;
mod membership;
mod message;
mod progress;
mod random;
mod replica;

pub use config::{Config, HardState, Promises, Restored};
pub use effects::{Availability, Effects, Fetch, Fetched, Persist, Role, RoleChange};
pub use entry::{Entry, EntryKind, UnknownEntryKind};
pub use error::{Broken, Refusal};
pub use ids::{Index, PersistToken, ReadToken, ReplicaId, Term};
pub use membership::Membership;
pub use message::{AppendResult, Body, Message};
pub use progress::{FollowerProgress, FollowerState};
pub use replica::Replica;
