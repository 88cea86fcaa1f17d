//! The identities that a window remembers, in order, in little memory.
//!
//! An ordered map that grows at its end has nodes that are half full, and a busy shard remembers a hundred thousand identities.
//! So only the newest are in one; what lies behind them settles, in blocks without gaps:
//!
//! ```text
//! settled: blocks in order, of one size                    unsettled: a map
//! ┌──────────────┐ ┌──────────────┐ ┌──────────────┐      ┌ ─ ─ ─ ─ ─ ─ ─ ─ ─ ┐
//! │░░░░░ forgotten│ │              │ │              │        new ones, and those that were issued
//! └──────────────┘ └──────────────┘ └──────────────┘      └ ─ before what has settled ─ ┘
//! ```
//!
//! What has settled never moves again. It is forgotten from the front, like everything here.
//!
//! # Caveats
//!
//! * An identity that was issued before the newest that has settled, because its write was late or its issuer's clock is behind the
//!   fastest one, stays in the map until it is forgotten. What is newer than the last three thousand does not settle, so few are late, unless issuers' clocks differ by more
//!   than it takes to write those. Then it is as if all were in the map.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use model::RequestId;
use storage::meta::Remembered;

/// Of a block.
const BLOCK: usize = 1024;
/// This many stay in the map at least, so that what comes a little late finds its place there.
const UNSETTLED: usize = 3 * BLOCK;

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct Identities {
    settled: VecDeque<Block>,
    unsettled: BTreeMap<RequestId, Remembered>,
    len: usize,
    /// With so many in the map it is tried to settle some.
    settle_at: usize,
    block: usize,
    keep: usize,
}

/// Never empty.
#[derive(Debug, Clone)]
struct Block {
    ids: Box<[RequestId]>,
    ended: Box<[Remembered]>,
    /// What lies before this is forgotten. Less than there are.
    begin: usize,
}

impl Block {
    fn known(&self) -> &[RequestId] {
        self.ids.get(self.begin..).unwrap_or_default()
    }

    fn first(&self) -> Option<&RequestId> {
        self.known().first()
    }

    fn last(&self) -> Option<&RequestId> {
        self.ids.last()
    }

    fn get(&self, id: &RequestId) -> Option<&Remembered> {
        let at = self.known().binary_search(id).ok()?;
        self.ended.get(self.begin + at)
    }
}

impl Default for Identities {
    fn default() -> Self {
        Self::with(BLOCK, UNSETTLED)
    }
}

impl Identities {
    fn with(block: usize, keep: usize) -> Self {
        Self {
            settled: VecDeque::new(),
            unsettled: BTreeMap::new(),
            len: 0,
            settle_at: keep + block,
            block,
            keep,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, id: &RequestId) -> Option<&Remembered> {
        self.unsettled.get(id).or_else(|| self.get_settled(id))
    }

    fn get_settled(&self, id: &RequestId) -> Option<&Remembered> {
        // Most that are looked for are newer than all of it.
        if self.settled.back()?.last()? < id {
            return None;
        }
        let before = |block: &Block| block.last().is_some_and(|last| last < id);
        let at = self.settled.partition_point(before);
        self.settled.get(at)?.get(id)
    }

    /// Adds one that is not there.
    pub(super) fn insert(&mut self, id: RequestId, ended: Remembered) {
        let before = self.unsettled.insert(id, ended);
        self.len += usize::from(before.is_none());
        if self.unsettled.len() >= self.settle_at {
            self.settle();
            self.settle_at = self.next_settling();
        }
    }

    fn next_settling(&self) -> usize {
        self.unsettled.len().max(self.keep) + self.block
    }

    /// Moves the oldest in the map that are newer than what has settled into blocks, as long as enough are left.
    fn settle(&mut self) {
        loop {
            let last = self.settled.back().and_then(Block::last).copied();
            let from = last.map_or(Bound::Unbounded, Bound::Excluded);
            let newer = || self.unsettled.range((from, Bound::Unbounded));
            if newer().nth(self.keep + self.block - 1).is_none() {
                return;
            }
            let ids: Box<[_]> = newer().take(self.block).map(|(id, _)| *id).collect();
            let ended = ids.iter().filter_map(|id| self.unsettled.remove(id));
            let ended = ended.collect();
            let begin = 0;
            self.settled.push_back(Block { ids, ended, begin });
        }
    }

    pub(super) fn first(&self) -> Option<&RequestId> {
        let settled = self.settled.front().and_then(Block::first);
        let unsettled = self.unsettled.keys().next();
        match (settled, unsettled) {
            (Some(settled), Some(unsettled)) => Some(settled.min(unsettled)),
            (one, other) => one.or(other),
        }
    }

    /// The last one before this.
    pub(super) fn last_before(&self, id: &RequestId) -> Option<&RequestId> {
        let unsettled = self.unsettled.range(..id).next_back();
        let unsettled = unsettled.map(|(id, _)| id);
        // `None` is less than everything.
        unsettled.max(self.last_settled_before(id))
    }

    fn last_settled_before(&self, id: &RequestId) -> Option<&RequestId> {
        let begins_before = |block: &Block| block.first().is_some_and(|first| first < id);
        let blocks = self.settled.partition_point(begins_before);
        let known = self.settled.get(blocks.checked_sub(1)?)?.known();
        known.get(known.partition_point(|known| known < id).checked_sub(1)?)
    }

    /// Forgets what was issued at this time or before.
    pub(super) fn forget_through(&mut self, issued_millis: u64) {
        let goes = |id: &RequestId| id.issued_millis <= issued_millis;
        // One by one and not by splitting the map, because in a full window one goes with each that comes.
        while let Some(oldest) = self.unsettled.first_entry() {
            if !goes(oldest.key()) {
                break;
            }
            oldest.remove();
            self.len -= 1;
        }
        self.settle_at = self.settle_at.min(self.next_settling());
        while let Some(block) = self.settled.front_mut() {
            let gone = block.known().partition_point(goes);
            self.len -= gone;
            block.begin += gone;
            if block.begin < block.ids.len() {
                break;
            }
            self.settled.pop_front();
        }
    }

    #[cfg(test)]
    fn in_order(&self) -> BTreeMap<RequestId, Remembered> {
        let settled = self.settled.iter();
        let settled =
            settled.flat_map(|block| block.ids.iter().zip(&block.ended).skip(block.begin));
        let all = settled.chain(&self.unsettled);
        all.map(|(id, ended)| (*id, ended.clone())).collect()
    }
}

/// How they are kept does not count.
#[cfg(test)]
impl PartialEq for Identities {
    fn eq(&self, other: &Self) -> bool {
        self.in_order() == other.in_order()
    }
}

#[cfg(test)]
mod tests {
    use model::Lsn;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(RequestId),
        Forget(u64),
    }

    fn id(millis: u64, sequence: u64) -> RequestId {
        RequestId {
            issued_millis: millis,
            client: 1,
            sequence,
        }
    }

    /// Mostly in the order of their times, some late.
    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            20 => (0u64..6).prop_map(|late| (true, late)),
            3 => (0u64..40).prop_map(|late| (true, late)),
            1 => (15u64..60).prop_map(|late| (false, late)),
        ];
        proptest::collection::vec(step, 0..300).prop_map(|steps| {
            let number = |(number, (insert, late)): (u64, (bool, u64))| {
                let millis = (100 + number / 2).saturating_sub(late);
                if insert {
                    Step::Insert(id(millis, number))
                } else {
                    Step::Forget(millis)
                }
            };
            (0..).zip(steps).map(number).collect()
        })
    }

    proptest! {
        #[test]
        fn they_are_like_a_map(steps in steps()) {
            let mut identities = Identities::with(4, 8);
            let mut model = BTreeMap::new();
            for (number, step) in (0..).zip(steps) {
                match step {
                    Step::Insert(id) => {
                        let ended = Remembered::Applied(Lsn(number));
                        identities.insert(id, ended.clone());
                        model.insert(id, ended);
                    }
                    Step::Forget(millis) => {
                        identities.forget_through(millis);
                        model.retain(|id, _| id.issued_millis > millis);
                    }
                }
                prop_assert_eq!(identities.len(), model.len());
                prop_assert_eq!(identities.first(), model.keys().next());
                for millis in (60..260).step_by(7) {
                    let from = id(millis, 0);
                    let before = model.range(..from).next_back().map(|(id, _)| id);
                    prop_assert_eq!(identities.last_before(&from), before);
                }
            }
            prop_assert_eq!(&identities.in_order(), &model);
            for (id, ended) in &model {
                prop_assert_eq!(identities.get(id), Some(ended));
                let other = RequestId { client: 2, ..*id };
                prop_assert_eq!(identities.get(&other), None);
            }
        }
    }

    #[test]
    fn what_is_old_settles_and_few_stay_in_the_map() {
        let mut identities = Identities::with(4, 8);
        for number in 0..100 {
            identities.insert(id(number, 0), Remembered::Committed);
            assert!(identities.unsettled.len() < 12);
        }
        assert_eq!(identities.settled.len(), 23);
    }

    /// An issuer whose clock is behind.
    #[test]
    fn what_comes_late_stays_in_the_map_until_it_is_forgotten() {
        let mut identities = Identities::with(4, 8);
        identities.insert(id(1_000, 0), Remembered::Committed);
        for number in 0..100 {
            identities.insert(id(number + 2_000, 0), Remembered::Committed);
        }
        let blocks = identities.settled.len();
        for number in 0..100 {
            identities.insert(id(number, 0), Remembered::Committed);
            assert!(identities.settle_at > identities.unsettled.len());
        }
        assert_eq!((identities.settled.len(), identities.len()), (blocks, 201));
        identities.forget_through(999);
        assert_eq!(identities.len(), 101);
        assert!(identities.settle_at < 24, "{}", identities.settle_at);
    }
}
