//! Which key comes next.

use bytes::Bytes;
use rand::{Rng, RngExt};

use super::options::Distribution;

/// Draws keys.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    count: u64,
    zipfian: Option<Zipfian>,
}

impl Keys {
    pub(super) fn new(count: u64, distribution: Distribution) -> Self {
        Self {
            count,
            zipfian: (distribution == Distribution::Zipfian).then(|| Zipfian::new(count)),
        }
    }

    pub(super) fn draw(&self, random: &mut impl Rng) -> Bytes {
        let index = match &self.zipfian {
            None => random.random_range(0..self.count),
            Some(zipfian) => {
                // Scrambled, so that the popular keys don't stand side by side.
                let rank = zipfian.rank(random.random());
                model::KeyHash::of(&rank.to_be_bytes()).0 % self.count
            }
        };
        key(index)
    }
}

/// The key of an index.
pub(super) fn key(index: u64) -> Bytes {
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
