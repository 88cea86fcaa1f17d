//! What a write has to know of the item that it replaces, kept in memory.
//!
//! Applying a put begins with the old item: its version for the condition, its timestamp, what it counts in the shard's
//! meta. The value is not needed, nor is the tree that holds it: some forty bytes do. They are kept of what was written last, so that a put to
//! one of a hundred thousand items searches no tree.
//!
//! | kept | by whom |
//! |---|---|
//! | when it is written: an item with a value and without an intent | the one place through which every change of an item goes |
//! | no more: when anything else takes its place | the same |
//! | never: what was looked up, absent keys, items with intents | |
//!
//! The shards of an applier share the memory. What a machine has put there nobody else finds, and it itself does not when its state is
//! exchanged for a snapshot's: each **life** of a machine has a number, which is part of what is looked up. So the law of the
//! [machine](super) holds: what is kept follows from the log since its life began, and whether something is kept shows nowhere.
//!
//! # Caveats
//!
//! * A key is kept as 128 bits of a hash with a secret of the process (two of SipHash). Nobody who chooses keys can make two of them meet, and by
//!   chance two of 2^17 do so with a probability of 2^-95.
//! * What is in a batch that could not be written is known here all the same. Its machine applies nothing more in that life.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use model::{Item, Lsn, Timestamp, TransactionId};
use parking_lot::{Mutex, MutexGuard};
use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter};
use storage::keys;
use storage::meta::{ContentHash, ItemCount};

/// Items of which all machines of an applier may know. Some 80 bytes each, so 10 MiB for each worker of a node.
const ITEMS_OF_AN_APPLIER: usize = 1 << 17;
/// Of a machine that shares with nobody yet. So few that tests see what it is to know nothing.
const ITEMS_OF_ONE: usize = 8;

/// What is under a key, as far as a write that does not keep it has to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Old {
    /// Of the item as readers see it: none if this is the placeholder of a prepared transaction.
    pub(super) version: Option<Lsn>,
    pub(super) timestamp: Timestamp,
    /// The transaction that is prepared on it.
    pub(super) prepared: Option<TransactionId>,
    pub(super) count: ItemCount,
}

impl Old {
    /// The item under a stored key, as it is encoded.
    pub(super) fn of(at: &[u8], item: &Item, encoded: &[u8]) -> Self {
        Self {
            version: item.value.as_ref().map(|_| item.lsn),
            timestamp: item.timestamp,
            prepared: item.intent.as_ref().map(|intent| intent.transaction),
            count: ItemCount::of(keys::item_part(at), encoded),
        }
    }
}

impl AsRef<Self> for Old {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// An [`Old`] with a version and without a prepared transaction, in 40 bytes.
#[derive(Clone, Copy)]
#[repr(Rust, packed(8))]
struct Summary {
    lsn: Lsn,
    timestamp: Timestamp,
    bytes: u64,
    content: ContentHash,
}

impl Summary {
    fn of(old: Old) -> Option<Self> {
        let lsn = old.version.filter(|_| old.prepared.is_none())?;
        Some(Self {
            lsn,
            timestamp: old.timestamp,
            bytes: old.count.bytes,
            content: old.count.content,
        })
    }

    fn old(self) -> Old {
        Old {
            version: Some(self.lsn),
            timestamp: self.timestamp,
            prepared: None,
            count: ItemCount {
                bytes: self.bytes,
                content: self.content,
            },
        }
    }
}

/// Identifies the item of a key in a life.
type Id = [u64; 2];
type Kept = Cache<Id, Summary>;

/// Memory for the machines of one applier. See the [module](self).
#[derive(Clone)]
pub struct Summaries(Arc<Mutex<Shared>>);

struct Shared {
    kept: Kept,
    secrets: [RandomState; 2],
    lives: u64,
}

impl Default for Summaries {
    fn default() -> Self {
        Self::with_capacity(ITEMS_OF_AN_APPLIER)
    }
}

impl Summaries {
    /// For a machine that shares with nobody.
    pub(super) fn of_one() -> Self {
        Self::with_capacity(ITEMS_OF_ONE)
    }

    fn with_capacity(items: usize) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            kept: cache(items),
            secrets: [RandomState::new(), RandomState::new()],
            lives: 0,
        })))
    }

    /// Begins a life.
    pub(super) fn begin_life(&self) -> Life {
        let mut shared = self.0.lock();
        shared.lives += 1;
        Life {
            summaries: self.clone(),
            number: shared.lives,
        }
    }
}

fn cache(items: usize) -> Kept {
    let options = OptionsBuilder::new()
        .estimated_items_capacity(items)
        .weight_capacity(items as u64)
        // What was thrown out is not remembered: that would take half as much memory again.
        .ghost_allocation(0.0)
        .build();
    match options {
        Ok(options) => Cache::with_options(
            options,
            UnitWeighter,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ),
        // Can't be: it has both capacities.
        Err(_) => Cache::new(items),
    }
}

/// One machine's share.
pub(super) struct Life {
    summaries: Summaries,
    number: u64,
}

impl Life {
    /// Another one: nothing is known.
    pub(super) fn begin_anew(&mut self) {
        *self = self.summaries.begin_life();
    }

    /// For what is applied in one go.
    pub(super) fn lock(&self) -> Known<'_> {
        Known {
            shared: self.summaries.0.lock(),
            life: self.number,
        }
    }
}

/// What a machine knows without its store.
pub(super) struct Known<'a> {
    shared: MutexGuard<'a, Shared>,
    life: u64,
}

impl Known<'_> {
    fn id(&self, at: &[u8]) -> Id {
        let secrets = &self.shared.secrets;
        [0, 1].map(|half: usize| secrets[half].hash_one((self.life, at)))
    }

    /// What is under a key, if that is known.
    pub(super) fn get(&self, at: &[u8]) -> Option<Old> {
        let summary = self.shared.kept.get(&self.id(at));
        summary.copied().map(Summary::old)
    }

    /// This is under a key now, or nothing is.
    pub(super) fn replace(&mut self, at: &[u8], new: Option<Old>) {
        let id = self.id(at);
        match new.and_then(Summary::of) {
            Some(summary) => self.shared.kept.insert(id, summary),
            None => {
                self.shared.kept.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(number: u64) -> Old {
        Old {
            version: Some(Lsn(number)),
            timestamp: Timestamp(number + 1),
            prepared: None,
            count: ItemCount {
                bytes: number + 2,
                content: ContentHash(u128::from(number) << 70),
            },
        }
    }

    #[test]
    fn what_was_written_is_known_until_something_else_is_there() {
        let life = Summaries::of_one().begin_life();
        let mut known = life.lock();
        assert_eq!(known.get(b"key"), None);
        known.replace(b"key", Some(old(1)));
        known.replace(b"key", Some(old(2)));
        assert_eq!(known.get(b"key"), Some(old(2)));
        let others = [
            None,
            Some(Old {
                version: None,
                ..old(3)
            }),
            Some(Old {
                prepared: Some(TransactionId(7)),
                ..old(3)
            }),
        ];
        for other in others {
            known.replace(b"key", Some(old(2)));
            known.replace(b"key", other);
            assert_eq!(known.get(b"key"), None, "{other:?}");
        }
    }

    #[test]
    fn a_life_knows_nothing_of_another() {
        let summaries = Summaries::default();
        let (mut one, other) = (summaries.begin_life(), summaries.begin_life());
        one.lock().replace(b"key", Some(old(1)));
        assert_eq!(other.lock().get(b"key"), None);
        assert_eq!(one.lock().get(b"key"), Some(old(1)));
        one.begin_anew();
        assert_eq!(one.lock().get(b"key"), None);
    }

    #[test]
    fn no_more_is_kept_than_was_allowed() {
        let summaries = Summaries::with_capacity(100);
        let life = summaries.begin_life();
        let mut known = life.lock();
        for number in 0..10_000u64 {
            known.replace(&number.to_be_bytes(), Some(old(number)));
        }
        let kept = (0..10_000u64).filter(|number| known.get(&number.to_be_bytes()).is_some());
        assert!((50..=100).contains(&kept.count()));
        assert!(size_of::<(Id, Summary)>() <= 56);
    }
}
