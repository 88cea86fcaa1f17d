//! What a replica wants done.

use crate::{Broken, Entry, HardState, Index, Message, PersistToken, ReadToken, ReplicaId, Term};

/// Everything that a replica wants done since it was last asked. Its parts may be carried out in any order and at the same time.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be written and synced; then call [`Replica::persisted`](crate::Replica::persisted). Several may be under way; they are written in the order of their tokens.
    pub persist: Option<Persist>,
    /// To be sent now. Messages that depend on `persist` are not among them: they follow once it is durable.
    pub send: Vec<Message>,
    /// Committed entries, to be applied in order; the no-ops too, so that the applied index is always the log's. Contiguous
    /// with those handed out before, or with the snapshot installed last. About 1 MiB at a time: more may follow in the next drain.
    pub apply: Vec<Entry>,
    /// These reads may be served once the state has applied the index beside them.
    pub reads: Vec<(ReadToken, Index)>,
    /// These reads will not be confirmed: leadership was lost. They may be asked again, of the next leader.
    pub reads_failed: Vec<ReadToken>,
    /// To be read from the durable log, for followers that lag behind what is in memory; then call [`Replica::fetched`](crate::Replica::fetched).
    pub fetch: Vec<Fetch>,
    /// These followers need a snapshot: the log no longer has what they lack. Each is named once until [`Replica::snapshot_sent`](crate::Replica::snapshot_sent).
    pub snapshots: Vec<ReplicaId>,
    /// Role, term or leader have changed; the latest of each.
    pub role: Option<RoleChange>,
    /// An invariant is broken and the replica has stopped. Said once, with all other parts empty but `reads_failed`.
    pub broken: Option<Broken>,
}

/// One durable write. Its parts become durable together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// To be given to [`Replica::persisted`](crate::Replica::persisted) when this and all before it are durable.
    pub token: PersistToken,
    /// The new term and vote, if they have changed.
    pub hard_state: Option<HardState>,
    /// Drop the whole log: it now begins after this point. Comes before `append`.
    pub reset: Option<(Index, Term)>,
    /// Contiguous. Replaces everything from the index of the first on.
    pub append: Vec<Entry>,
}

/// Entries to be read back from the durable log: those of the indexes `after + 1 ..= up_to`, but at most `max_bytes` (and at least one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The follower that lacks them.
    pub to: ReplicaId,
    /// The index before the first one wanted. Its term is wanted too.
    pub after: Index,
    /// The last one wanted: beyond it the core has the entries itself.
    pub up_to: Index,
    /// Stop after so many bytes of entries.
    pub max_bytes: usize,
}

/// The answer to a [`Fetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Here they are.
    Entries {
        /// The term of the entry at [`Fetch::after`], which may be the point after which the log begins.
        previous_term: Term,
        /// Contiguous, from `after + 1` on.
        entries: Vec<Entry>,
    },
    /// The log has been purged beyond [`Fetch::after`].
    Compacted,
}

/// What a replica is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes entries from a leader, or waits for one.
    Follower,
    /// Asks whether it could win an election.
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Takes proposals and replicates them.
    Leader,
}

/// The latest role, term and leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// What this replica is.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Who leads in that term, as far as it knows.
    pub leader: Option<ReplicaId>,
}

/// Whether the group can serve writes and consistent reads, as far as this replica knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// There is a leader: ask it.
    Leader(ReplicaId),
    /// No leader is known, but an election may bring one at any moment.
    NoLeader,
    /// No leader, and no sign of a majority for more than two election timeouts.
    NoQuorum,
}
