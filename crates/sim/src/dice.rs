//! Chance, from a seed.

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// A generator for one purpose. Purposes have generators of their own, so that one more draw for one of
/// them does not change what the others do.
#[derive(Debug)]
pub struct Dice(StdRng);

impl Dice {
    /// The generator of a run for a purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut mixed = seed ^ 0x6d69_6e69_6479_6e61;
        for byte in purpose.bytes() {
            mixed = (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(StdRng::seed_from_u64(mixed))
    }

    /// Another generator, which follows from this one.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self(StdRng::seed_from_u64(self.0.next_u64()))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Between `low` and `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        if low >= high {
            return low;
        }
        self.0.random_range(low..=high)
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.0.random_bool(probability.min(1.0))
    }

    /// One of these; `None` where there are none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() {
            return None;
        }
        from.get(self.0.random_range(0..from.len()))
    }

    /// So long that on average it comes to `mean`, and now and then to much more.
    pub fn around(&mut self, mean: u64) -> u64 {
        let uniform: f64 = self.0.random_range(f64::EPSILON..1.0);
        (-(uniform.ln()) * mean as f64) as u64
    }
}
