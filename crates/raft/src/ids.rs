//! The numbers that Raft counts with, each a type of its own, so that a term is never taken for an index.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }
    };
}

number! {
    /// A member of a group: the id of the data node that holds the replica.
    ReplicaId
}
number! {
    /// A term (§5.1): the time of at most one leader. Grows, across restarts too.
    Term
}
number! {
    /// A position in the log. The first entry has index 1; 0 stands for "before the log".
    Index
}
number! {
    /// The caller's name for a read. The core hands it back and never looks at it.
    ReadToken
}
number! {
    /// The number of a [`Persist`](crate::Persist). Grows by one with each; starts again with each start of the replica.
    PersistToken
}

impl Term {
    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Index {
    /// The index after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The index before this one; 0 stays 0.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}
