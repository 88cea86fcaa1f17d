//! Why something isn't done: [`Refusal`] for now, [`Broken`] for good.

use thiserror::Error;

use crate::{Index, PersistToken, ReplicaId, Term};

/// A request is not taken on. Nothing has happened, and nothing of it will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Only the leader does this.
    #[error("this replica is not the leader")]
    NotLeader {
        /// The leader, if one is known.
        leader: Option<ReplicaId>,
    },
    /// The leader hasn't committed an entry of its own term yet, and too many reads wait for that already.
    #[error("too many reads wait for the leader's first commit")]
    NotReady,
    /// The leader is handing over: ask again in a moment.
    #[error("leadership is being transferred")]
    Transferring,
    /// Too many bytes wait to be committed: ask again later.
    #[error("too much waits to be committed")]
    TooManyUncommitted,
    /// It names a term, an index or a replica that is out of date.
    #[error("out of date")]
    Stale,
    /// An invariant was broken, see [`Replica::stopped`](crate::Replica::stopped).
    #[error("this replica has stopped")]
    Stopped,
}

/// Something that must never be, is. The replica has stopped: to go on could lose or falsify what was confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Broken {
    /// The [`Config`](crate::Config) makes no sense.
    #[error("configuration: {0}")]
    Configuration(&'static str),
    /// What was read back from disk contradicts itself.
    #[error("restored state: {0}")]
    Restored(&'static str),
    /// Election safety: at most one leader per term.
    #[error("two leaders in term {term}: {first} and {second}")]
    TwoLeaders {
        /// The term.
        term: Term,
        /// The leader that was known.
        first: ReplicaId,
        /// Who claims to be leader too.
        second: ReplicaId,
    },
    /// Leader completeness: a leader's log has every committed entry.
    #[error(
        "the entry {index} of term {term} conflicts with a committed one (committed up to {committed})"
    )]
    ConflictsWithCommitted {
        /// Index of the entry that came in.
        index: Index,
        /// Its term.
        term: Term,
        /// Commit index of this replica.
        committed: Index,
    },
    /// The leader says that something is committed which it said this replica has, and it hasn't.
    #[error("committed up to {committed}, beyond the last entry {last}")]
    CommittedBeyondLast {
        /// The commit index that came in.
        committed: Index,
        /// The last index of this replica.
        last: Index,
    },
    /// A follower confirms entries that this leader never had.
    #[error("replica {follower} has confirmed {matched}, beyond the leader's last entry {last}")]
    MatchBeyondLast {
        /// Who confirms.
        follower: ReplicaId,
        /// What it confirms.
        matched: Index,
        /// The last index of this leader.
        last: Index,
    },
    /// The caller reports to have applied what was never handed out.
    #[error("applied {applied}, but only entries up to {handed} were handed out")]
    AppliedBeyondHanded {
        /// What was reported.
        applied: Index,
        /// The last entry that came out in `Effects::apply`.
        handed: Index,
    },
    /// The caller has purged entries that may not be applied yet.
    #[error("the log is purged up to {purged}, beyond what is applied ({applied})")]
    PurgedBeyondApplied {
        /// What was reported.
        purged: Index,
        /// The applied index.
        applied: Index,
    },
    /// Two names for one entry: the caller gives another term for an index than the log does.
    #[error("index {index} has term {known} in the log, but {given} was reported")]
    TermDiffers {
        /// The index.
        index: Index,
        /// Its term in the log.
        known: Term,
        /// The term that was reported.
        given: Term,
    },
    /// A snapshot was installed that is older than what was handed out to be applied.
    #[error(
        "a snapshot at {index} was installed over a state that was handed entries up to {handed}"
    )]
    StateWentBack {
        /// The snapshot's index.
        index: Index,
        /// The last entry that came out in `Effects::apply`.
        handed: Index,
    },
    /// The caller reports a token as durable that was never given out.
    #[error("token {0} was never given out")]
    UnknownToken(PersistToken),
}
