//! Which key comes next.

use bytes::Bytes;
use clap::ValueEnum;
use model::HashRange;
use rand::{Rng, RngExt};

/// How keys are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Distribution {
    /// All alike
    Uniform,
    /// Some far more often than others (YCSB's scrambled zipfian, theta 0.99)
    Zipfian,
}

/// How the keys of a transaction lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// As they come.
    Anywhere,
    /// All in one of so many shards.
    Together(u32),
    /// Each in another one of so many shards, as long as there are enough.
    Apart(u32),
}

/// Draws keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    count: u64,
    zipfian: Option<Zipfian>,
}

impl Keys {
    pub(crate) fn new(count: u64, distribution: Distribution) -> Self {
        Self {
            count,
            zipfian: (distribution == Distribution::Zipfian).then(|| Zipfian::new(count)),
        }
    }

    pub(crate) fn draw(&self, random: &mut impl Rng) -> Bytes {
        key(self.index(random))
    }

    fn index(&self, random: &mut impl Rng) -> u64 {
        match &self.zipfian {
            None => random.random_range(0..self.count),
            Some(zipfian) => {
                // Scrambled, so that the popular keys don't stand side by side.
                let rank = zipfian.rank(random.random());
                model::KeyHash::of(&rank.to_be_bytes()).0 % self.count
            }
        }
    }

    /// Different keys for one transaction, fewer if there are not so many that lie as they should. The first one is
    /// drawn, the others are the next ones that fit.
    pub(crate) fn draw_several(
        &self,
        count: usize,
        shards: &Shards,
        random: &mut impl Rng,
    ) -> Vec<Bytes> {
        let first = self.index(random);
        let mut taken = Vec::with_capacity(count);
        let mut keys = Vec::with_capacity(count);
        for step in 0..self.count {
            if keys.len() == count {
                break;
            }
            let key = key((first + step) % self.count);
            if shards.admit(&mut taken, &key) {
                keys.push(key);
            }
        }
        keys
    }
}

/// Which shard a key lies in, and whether a transaction wants a key there.
#[derive(Debug, Clone)]
pub(crate) struct Shards {
    placement: Placement,
    ranges: Vec<HashRange>,
}

impl Shards {
    pub(crate) fn new(placement: Placement) -> Self {
        let ranges = match placement {
            Placement::Anywhere => Vec::new(),
            Placement::Together(count) | Placement::Apart(count) => HashRange::divide(count),
        };
        Self { placement, ranges }
    }

    /// Whether a key fits to those that lie in the shards `taken`; if so its own shard is added to them.
    fn admit(&self, taken: &mut Vec<usize>, key: &[u8]) -> bool {
        let shard = || {
            let hash = model::KeyHash::of(key);
            self.ranges.partition_point(|range| range.last < hash.0)
        };
        let (fits, shard) = match self.placement {
            Placement::Anywhere => (true, 0),
            Placement::Together(_) => {
                let shard = shard();
                (taken.first().is_none_or(|&first| first == shard), shard)
            }
            Placement::Apart(_) => {
                let shard = shard();
                let full = taken.len() >= self.ranges.len();
                (full || !taken.contains(&shard), shard)
            }
        };
        if fits {
            taken.push(shard);
        }
        fits
    }
}

/// The key of an index.
pub(crate) fn key(index: u64) -> Bytes {
    Bytes::from(format!("user{index:010}"))
}

/// Ranks from 0, rank `i` with a probability proportional to `1 / (i + 1)^THETA`.
///
/// Gray et al., *Quickly Generating Billion-Record Synthetic Databases*, SIGMOD 1994.
#[derive(Debug, Clone)]
struct Zipfian {
    count: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

const THETA: f64 = 0.99;
/// Up to here the sum is exact, beyond it an integral continues it.
const EXACT_TERMS: u64 = 1_000_000;

impl Zipfian {
    fn new(count: u64) -> Self {
        let n = count as f64;
        let zeta = zeta(count);
        Self {
            count: n,
            zeta,
            alpha: 1.0 / (1.0 - THETA),
            eta: (1.0 - (2.0 / n).powf(1.0 - THETA)) / (1.0 - zeta_of_two() / zeta),
        }
    }

    /// The rank that a number between 0 and 1 stands for.
    fn rank(&self, uniform: f64) -> u64 {
        let scaled = uniform * self.zeta;
        if scaled < 1.0 || self.count < 2.0 {
            return 0;
        }
        if scaled < zeta_of_two() || self.count < 3.0 {
            return 1;
        }
        let rank = self.count * (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count as u64 - 1)
    }
}

fn zeta_of_two() -> f64 {
    1.0 + 0.5f64.powf(THETA)
}

/// The sum of `1 / i^THETA` for `i` from 1 to `count`.
fn zeta(count: u64) -> f64 {
    let exact: f64 = (1..=count.min(EXACT_TERMS))
        .map(|i| (i as f64).powf(-THETA))
        .sum();
    if count <= EXACT_TERMS {
        return exact;
    }
    let integral = |x: u64| (x as f64 + 0.5).powf(1.0 - THETA) / (1.0 - THETA);
    exact + integral(count) - integral(EXACT_TERMS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use std::collections::HashMap;

    #[test]
    fn uniform_keys_are_all_drawn_and_no_others() {
        let mut random = SmallRng::seed_from_u64(1);
        let keys = Keys::new(10, Distribution::Uniform);
        let drawn: std::collections::BTreeSet<_> =
            (0..1000).map(|_| keys.draw(&mut random)).collect();
        assert_eq!(drawn.len(), 10);
        assert!(drawn.contains(&key(0)) && drawn.contains(&key(9)));
    }

    /// The shards of the keys of many transactions.
    fn shards_of(placement: Placement, keys: u64, items: usize) -> Vec<Vec<usize>> {
        let mut random = SmallRng::seed_from_u64(1);
        let ranges = HashRange::divide(12);
        let shard = |key: &Bytes| {
            let hash = model::KeyHash::of(key);
            ranges
                .iter()
                .position(|range| range.contains(hash))
                .unwrap()
        };
        let drawn = Keys::new(keys, Distribution::Uniform);
        let shards = Shards::new(placement);
        (0..200)
            .map(|_| {
                let keys = drawn.draw_several(items, &shards, &mut random);
                let different: std::collections::BTreeSet<_> = keys.iter().collect();
                assert_eq!(different.len(), keys.len());
                keys.iter().map(shard).collect()
            })
            .collect()
    }

    #[test]
    fn keys_of_a_transaction_lie_as_they_are_asked_to() {
        for shards in shards_of(Placement::Anywhere, 1000, 3) {
            assert_eq!(shards.len(), 3);
        }
        for shards in shards_of(Placement::Together(12), 1000, 3) {
            assert_eq!(shards.len(), 3);
            assert!(shards.iter().all(|&shard| shard == shards[0]), "{shards:?}");
        }
        for shards in shards_of(Placement::Apart(12), 1000, 3) {
            let different: std::collections::BTreeSet<_> = shards.iter().collect();
            assert_eq!(different.len(), 3, "{shards:?}");
        }
    }

    #[test]
    fn where_keys_do_not_suffice_there_are_fewer_and_it_ends() {
        for shards in shards_of(Placement::Anywhere, 2, 3) {
            assert_eq!(shards.len(), 2);
        }
        for shards in shards_of(Placement::Together(12), 3, 3) {
            assert!((1..=3).contains(&shards.len()));
        }
        // More items than shards: each shard has one first, and then they go on.
        for shards in shards_of(Placement::Apart(12), 1000, 20) {
            assert_eq!(shards.len(), 20);
            let different: std::collections::BTreeSet<_> = shards[..12].iter().collect();
            assert_eq!(different.len(), 12);
        }
    }

    #[test]
    fn the_most_popular_zipfian_key_is_as_popular_as_the_formula_says() {
        let mut random = SmallRng::seed_from_u64(1);
        let keys = Keys::new(1000, Distribution::Zipfian);
        let mut drawn: HashMap<_, u32> = HashMap::new();
        for _ in 0..100_000 {
            *drawn.entry(keys.draw(&mut random)).or_default() += 1;
        }
        let most = f64::from(*drawn.values().max().unwrap()) / 100_000.0;
        assert!((most - 1.0 / zeta(1000)).abs() < 0.02, "{most}");
    }

    #[test]
    fn ranks_stay_within_bounds_for_every_count() {
        for count in [1, 2, 3, 10, 1_000_000] {
            let zipfian = Zipfian::new(count);
            for uniform in [0.0, 0.3, 0.5, 0.9, 0.999_999_999_999] {
                assert!(zipfian.rank(uniform) < count, "{count} {uniform}");
            }
        }
    }

    #[test]
    fn the_sum_continues_smoothly_where_it_is_no_longer_exact() {
        let step = zeta(EXACT_TERMS + 1) - zeta(EXACT_TERMS);
        let exact = (EXACT_TERMS as f64 + 1.0).powf(-THETA);
        assert!((step - exact).abs() < 1e-9);
    }
}
