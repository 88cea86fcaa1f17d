//! The one source of chance: a small generator (SplitMix64: Steele, Lea and Flood, OOPSLA 2014), so that a
//! seed means the same whatever version of whatever crate is built.

use std::ops::RangeInclusive;

/// Numbers that follow from a seed and from how many were drawn.
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of the range; its lower end if the range is empty.
    pub(super) fn within(&mut self, range: &RangeInclusive<u64>) -> u64 {
        let (low, high) = (*range.start(), *range.end());
        let width = high.saturating_sub(low);
        match width.checked_add(1) {
            Some(count) => low + self.next() % count,
            None => self.next(),
        }
    }

    /// Whether something of this probability happens. What can't happen draws nothing.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        const STEPS: u64 = 1 << 53;
        probability > 0.0 && ((self.next() % STEPS) as f64) < probability * STEPS as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_are_pinned() {
        let mut random = Random::new(0);
        let first = [random.next(), random.next()];
        assert_eq!(first, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn ranges_and_probabilities_hold_at_their_ends() {
        let mut random = Random::new(1);
        let drawn: Vec<_> = (0..100).map(|_| random.within(&(3..=5))).collect();
        assert!((3..=5).all(|number| drawn.contains(&number)));
        assert!(drawn.iter().all(|number| (3..=5).contains(number)));
        assert_eq!(random.within(&(7..=7)), 7);
        assert!((0..100).all(|_| random.chance(1.0) && !random.chance(0.0)));
        let heads = (0..1000).filter(|_| random.chance(0.25)).count();
        assert!((150..350).contains(&heads), "{heads}");
    }
}
