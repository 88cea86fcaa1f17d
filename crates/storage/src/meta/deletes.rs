//! Which keys a shard has deleted lately.

use model::{KeyHash, Lsn, limits};
use serde::{Deserialize, Serialize};

/// The latest deletes of a shard, by the hashes of their keys.
///
/// A deleted key leaves nothing behind that has a sequence number. Who has seen a key absent and asks later whether it
/// was absent all the time gets the answer from here: a key that is absent again, after it was there, was deleted
/// meanwhile. Bounded, so the answer is sometimes "perhaps not" where it was; never the other way round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentDeletes {
    /// Key hash and number of the delete; number 0 where the place is empty.
    places: [(u64, Lsn); limits::REMEMBERED_DELETES],
    /// The highest number among the deletes that are not in a place any more.
    forgotten: Lsn,
}

impl RecentDeletes {
    /// Takes in a delete. Its number is above those of all before it.
    pub fn note(&mut self, hash: KeyHash, lsn: Lsn) {
        let same = self
            .places
            .iter()
            .position(|&(h, l)| l > Lsn(0) && h == hash.0);
        let oldest = || {
            let places = self.places.iter().enumerate();
            places.min_by_key(|(_, (_, lsn))| *lsn).map(|(at, _)| at)
        };
        let Some(place) = same.or_else(oldest) else {
            return;
        };
        if same.is_none() {
            self.forgotten = self.forgotten.max(self.places[place].1);
        }
        self.places[place] = (hash.0, lsn);
    }

    /// Whether certainly no key of this hash was deleted by a change after that one.
    pub fn none_since(&self, hash: KeyHash, lsn: Lsn) -> bool {
        let of_hash = |&&(h, l): &&(u64, Lsn)| h == hash.0 && l > lsn;
        self.forgotten <= lsn && self.places.iter().find(of_hash).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MANY: u64 = limits::REMEMBERED_DELETES as u64;

    #[test]
    fn a_delete_shows_to_who_looked_before_it_and_to_nobody_else() {
        let mut deletes = RecentDeletes::default();
        deletes.note(KeyHash(1), Lsn(5));
        assert!(!deletes.none_since(KeyHash(1), Lsn(4)));
        assert!(deletes.none_since(KeyHash(1), Lsn(5)));
        assert!(deletes.none_since(KeyHash(2), Lsn(0)), "another key's");
    }

    #[test]
    fn what_fell_out_may_have_been_of_any_key() {
        let mut deletes = RecentDeletes::default();
        for n in 1..=MANY {
            deletes.note(KeyHash(n), Lsn(n));
        }
        assert!(deletes.none_since(KeyHash(99), Lsn(0)), "nothing fell out");
        deletes.note(KeyHash(MANY), Lsn(MANY + 1));
        assert!(
            deletes.none_since(KeyHash(99), Lsn(0)),
            "one key, one place"
        );
        deletes.note(KeyHash(MANY + 1), Lsn(MANY + 2));
        assert!(!deletes.none_since(KeyHash(99), Lsn(0)));
        assert!(deletes.none_since(KeyHash(99), Lsn(1)), "it was number 1");
        assert!(!deletes.none_since(KeyHash(2), Lsn(1)), "still remembered");
    }

    #[test]
    fn a_hash_of_zero_is_a_hash() {
        let mut deletes = RecentDeletes::default();
        assert!(deletes.none_since(KeyHash(0), Lsn(0)));
        deletes.note(KeyHash(0), Lsn(3));
        assert!(!deletes.none_since(KeyHash(0), Lsn(2)));
    }

    proptest! {
        #[test]
        fn a_delete_is_never_denied(hashes in prop::collection::vec(0..40_u64, 0..80)) {
            let mut deletes = RecentDeletes::default();
            for (hash, lsn) in hashes.iter().zip(1..) {
                deletes.note(KeyHash(*hash), Lsn(lsn));
            }
            for since in 0..=hashes.len() {
                for hash in 0..40 {
                    let deleted = hashes[since..].contains(&hash);
                    let denied = deletes.none_since(KeyHash(hash), Lsn(since as u64));
                    prop_assert!(!(deleted && denied), "hash {hash} since {since}");
                    let few = hashes.len() - since <= MANY as usize;
                    prop_assert!(deleted || denied || !few, "hash {hash} since {since}");
                }
            }
        }
    }
}
