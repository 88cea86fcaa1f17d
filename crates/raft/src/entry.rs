//! An entry of the log.

use bytes::Bytes;
use thiserror::Error;

use crate::{Index, Term};

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EntryKind {
    /// Empty: a leader's first entry, by which it commits those of earlier terms (§8).
    Noop,
    /// Commands for the state machine. The core doesn't look inside.
    Commands,
}

/// A number that stands for no [`EntryKind`]: it was written by a later version, or is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} is no kind of log entry")]
pub struct UnknownEntryKind(pub u8);

/// The numbers are part of the log's format and of the wire's: they never change.
impl From<EntryKind> for u8 {
    fn from(kind: EntryKind) -> u8 {
        match kind {
            EntryKind::Noop => 0,
            EntryKind::Commands => 1,
        }
    }
}

impl TryFrom<u8> for EntryKind {
    type Error = UnknownEntryKind;

    fn try_from(number: u8) -> Result<Self, UnknownEntryKind> {
        match number {
            0 => Ok(EntryKind::Noop),
            1 => Ok(EntryKind::Commands),
            _ => Err(UnknownEntryKind(number)),
        }
    }
}

/// An entry of the log. A clone shares the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that made it. Together with the index it names the entry: no two differ (§5.3).
    pub term: Term,
    /// Its position in the log.
    pub index: Index,
    /// What it is for.
    pub kind: EntryKind,
    /// What is to be applied; empty for a [`EntryKind::Noop`].
    pub payload: Bytes,
}

impl Entry {
    /// About what an entry weighs beside its payload, so that many empty ones are not free.
    const OVERHEAD: usize = 32;

    /// What it counts against limits in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.payload.len() + Self::OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_kinds_are_pinned() {
        for (kind, number) in [(EntryKind::Noop, 0u8), (EntryKind::Commands, 1)] {
            assert_eq!(u8::from(kind), number);
            assert_eq!(EntryKind::try_from(number), Ok(kind));
        }
        assert_eq!(EntryKind::try_from(2), Err(UnknownEntryKind(2)));
    }
}
