//! Who belongs to a group, and what a quorum of it is.
//!
//! While a group changes its members it has two sets at a time, the *joint* configuration (§6): everything that needs a
//! majority needs one of each set. All counting in this crate goes through two questions: "how far has a quorum got?"
//! ([`Membership::reached`]) and "are these a quorum?" ([`Membership::is_quorum`]).
//!
//! | voters | outgoing | values | reached |
//! |---|---|---|---|
//! | 1 2 3 | – | 5 7 9 | 7 |
//! | 1 2 3 4 | – | 5 7 9 9 | 7 |
//! | 1 2 3 | 3 4 5 | 9 9 2 4 1 | 2 |

use std::collections::BTreeSet;

use crate::ReplicaId;

/// The members of a group. The id of a removed replica is never used again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Those who vote and are counted.
    pub voters: BTreeSet<ReplicaId>,
    /// While the members change: those who voted before, and are still counted as a set of their own. Else empty.
    pub outgoing: BTreeSet<ReplicaId>,
}

impl Membership {
    /// A group of these voters, not changing.
    #[must_use]
    pub fn new(voters: impl IntoIterator<Item = ReplicaId>) -> Self {
        Self {
            voters: voters.into_iter().collect(),
            outgoing: BTreeSet::new(),
        }
    }

    /// Whether the members are being changed.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether this replica is counted in either set.
    #[must_use]
    pub fn contains(&self, id: ReplicaId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// All members, in order.
    pub fn members(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.voters.union(&self.outgoing).copied()
    }

    /// The greatest value that a quorum has reached, given what each member has.
    pub fn reached(&self, value: impl Fn(ReplicaId) -> u64) -> u64 {
        majority_has(&self.voters, &value).min(majority_has(&self.outgoing, &value))
    }

    /// Whether those of whom `has` is true are a quorum.
    pub fn is_quorum(&self, has: impl Fn(ReplicaId) -> bool) -> bool {
        self.reached(|id| u64::from(has(id))) > 0
    }
}

/// Groups up to this size are counted without allocating.
const FEW: usize = 8;

/// The greatest value that a majority of the set has. An empty set never stands in the way.
fn majority_has(set: &BTreeSet<ReplicaId>, value: impl Fn(ReplicaId) -> u64) -> u64 {
    let mut few = [0; FEW];
    let mut many = Vec::new();
    let values = if set.len() <= FEW {
        &mut few[..set.len()]
    } else {
        many.resize(set.len(), 0);
        &mut many[..]
    };
    for (place, &id) in values.iter_mut().zip(set) {
        *place = value(id);
    }
    values.sort_unstable();
    // Of n values in rising order, the one at (n - 1) / 2 is reached by more than half.
    match values.len() {
        0 => u64::MAX,
        n => values[(n - 1) / 2],
    }
}
