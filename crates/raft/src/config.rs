//! What a replica starts from.

use crate::{Broken, Entry, Index, Membership, ReplicaId, Term};

/// How a replica behaves. All times are in ticks, whose length is the caller's.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this replica is.
    pub id: ReplicaId,
    /// The members of the group.
    pub membership: Membership,
    /// A follower waits at least so long for its leader, at most twice as long (drawn anew each time).
    pub election_ticks: u32,
    /// A leader sends heartbeats so often. Below `election_ticks`, best a fifth of it.
    pub heartbeat_ticks: u32,
    /// An append carries at most so many bytes of entries (but always one entry).
    pub max_append_bytes: usize,
    /// So many appends may be on their way to a follower at a time.
    pub max_inflight_appends: usize,
    /// A leader takes no more proposals while so many bytes wait to be committed (but always one).
    pub max_uncommitted_bytes: usize,
    /// Where chance comes from. Different for each replica, or elections take longer.
    pub seed: u64,
    /// For leaders' leases. None by default.
    pub promises: Promises,
}

/// What a replica promises to leaders, so that they may read without a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promises {
    /// To vote for nobody for so long after a leader was heard, milliseconds; the lowest election timeout of this replica at the most, or elections
    /// take longer. With 0 it promises nothing, and reads in rounds when it leads.
    pub promise_millis: u64,
    /// What an earlier process of this replica may have promised, milliseconds: for so long after its start it votes for nobody. 0 if there
    /// was none.
    pub earlier_millis: u64,
}

impl Config {
    pub(crate) fn validate(&self) -> Result<(), Broken> {
        let complaint = if self.membership.voters.is_empty() {
            "a group needs at least one voter"
        } else if self.heartbeat_ticks == 0 {
            "heartbeat_ticks must be at least 1"
        } else if self.election_ticks <= self.heartbeat_ticks {
            "election_ticks must be greater than heartbeat_ticks"
        } else if self.max_inflight_appends == 0 {
            "max_inflight_appends must be at least 1"
        } else {
            return Ok(());
        };
        Err(Broken::Configuration(complaint))
    }
}

/// What a replica must know again after a crash, besides its log (Figure 2, "persistent state").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term it has seen.
    pub term: Term,
    /// For whom it has voted in that term.
    pub vote: Option<ReplicaId>,
}

/// What was read back from the durable log and from the state store. `Restored::default()` is a replica that never was.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The last durable term and vote.
    pub hard_state: HardState,
    /// The durable log begins after this point; (0, 0) if nothing was ever purged.
    pub snapshot: (Index, Term),
    /// The end of the durable log: contiguous, up to its last entry, and reaching back at least to the
    /// entry after `applied`. Empty only if the log is. What lies further back is fetched when someone needs it.
    pub entries: Vec<Entry>,
    /// Term of the entry just before `entries[0]` (which may be the snapshot point). Not looked at if `entries` is empty.
    pub preceding_term: Term,
    /// The index that the state store has applied. It may lie beyond the end of the log (see the crate's caveats);
    /// the log then begins anew after it, which the first [`Persist`](crate::Persist) says.
    pub applied: Index,
    /// The term of the entry at `applied`, as the state store remembers it.
    pub applied_term: Term,
}
