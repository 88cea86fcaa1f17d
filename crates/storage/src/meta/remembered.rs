//! What a shard remembers of a write or of a transaction, under its identity.

use model::{Lsn, Objection, limits};
use serde::{Deserialize, Serialize};

/// How a write or a transaction ended on a shard. It is remembered so that a repetition ends in the same way.
///
/// A shard holds up to [`limits::REQUEST_WINDOW_ENTRIES`] of these in memory, so the common ones are small and the
/// large one is behind a pointer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remembered {
    /// A put or delete was applied; the version that it got.
    Applied(Lsn),
    /// A put or delete was refused, because its condition did not hold; the version of the item then, if there was one.
    ConditionFailed(Option<Lsn>),
    /// A transaction was committed here.
    Committed,
    /// A transaction was cancelled here.
    Cancelled,
    /// A transaction of this shard alone was refused.
    Rejected(Box<Rejection>),
}

const _: () = assert!(size_of::<Remembered>() <= 16);

/// Which items of a transaction were objected to, and why: one bit for each item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    items: u8,
    condition_failed: u128,
    conflicts: u128,
}

impl Rejection {
    /// Of the objections to up to [`limits::MAX_BATCH_ITEMS`] items. Only [`Objection::ConditionFailed`] and
    /// [`Objection::TransactionConflict`] have a place.
    pub fn of(objections: &[Option<Objection>]) -> Self {
        let bits = |wanted| {
            let items = objections.iter().take(limits::MAX_BATCH_ITEMS).enumerate();
            let found = items.filter(|(_, objection)| **objection == Some(wanted));
            found.fold(0, |bits, (at, _)| bits | 1 << at)
        };
        Self {
            items: objections.len().min(limits::MAX_BATCH_ITEMS) as u8,
            condition_failed: bits(Objection::ConditionFailed),
            conflicts: bits(Objection::TransactionConflict),
        }
    }

    /// The inverse of [`Rejection::of`].
    pub fn objections(&self) -> Vec<Option<Objection>> {
        let has = |bits: u128, at: u8| bits.checked_shr(at.into()).unwrap_or(0) & 1 == 1;
        let objection = |at| {
            if has(self.condition_failed, at) {
                Some(Objection::ConditionFailed)
            } else {
                has(self.conflicts, at).then_some(Objection::TransactionConflict)
            }
        };
        (0..self.items).map(objection).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn objections_survive(objections in prop::collection::vec(
            prop::option::of(prop::sample::select(vec![
                Objection::ConditionFailed,
                Objection::TransactionConflict,
            ])),
            0..=limits::MAX_BATCH_ITEMS,
        )) {
            prop_assert_eq!(Rejection::of(&objections).objections(), objections);
        }

        #[test]
        fn any_rejection_can_be_shown(items: u8, condition_failed: u128, conflicts: u128) {
            let rejection = Rejection { items, condition_failed, conflicts };
            prop_assert_eq!(rejection.objections().len(), usize::from(items));
        }
    }
}
