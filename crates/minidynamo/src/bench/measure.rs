//! What is counted while the load runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::Error;
use hdrhistogram::Histogram;

use super::workload::Operation;

/// Latencies and errors of one client, or of all of them added up.
#[derive(Debug)]
pub(super) struct Measured {
    /// Of the operations that succeeded, microseconds, in the order of [`Operation::ALL`].
    pub(super) latencies: [Histogram<u64>; Operation::ALL.len()],
    /// By reason.
    pub(super) errors: BTreeMap<String, u64>,
    /// Gets that found nothing.
    pub(super) misses: u64,
    /// From the first request to the last answer.
    pub(super) elapsed: Duration,
    pub(super) first_error: Option<Error>,
}

/// A latency beyond this counts as this.
const MAX_MICROS: u64 = 3_600_000_000;

impl Measured {
    pub(super) fn new() -> Self {
        Self {
            latencies: std::array::from_fn(|_| histogram()),
            errors: BTreeMap::new(),
            misses: 0,
            elapsed: Duration::ZERO,
            first_error: None,
        }
    }

    pub(super) fn succeeded(&mut self, operation: Operation, latency: Duration) {
        let micros = (latency.as_micros() as u64).clamp(1, MAX_MICROS);
        // An automatically growing histogram takes every value within `MAX_MICROS`.
        let _ = self.latencies[operation as usize].record(micros);
    }

    pub(super) fn failed(&mut self, error: Error) {
        *self.errors.entry(name(&error)).or_default() += 1;
        self.first_error.get_or_insert(error);
    }

    /// Adds what another client measured at the same time.
    pub(super) fn add(&mut self, other: Self) {
        for (sum, part) in self.latencies.iter_mut().zip(&other.latencies) {
            // Both have the same bounds.
            let _ = sum.add(part);
        }
        for (name, count) in other.errors {
            *self.errors.entry(name).or_default() += count;
        }
        self.misses += other.misses;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.first_error = self.first_error.take().or(other.first_error);
    }

    /// Operations that succeeded.
    pub(super) fn operations(&self) -> u64 {
        self.latencies.iter().map(Histogram::len).sum()
    }
}

/// Three digits, growing as needed: most clients never see a long latency.
fn histogram() -> Histogram<u64> {
    #[allow(
        clippy::expect_used,
        reason = "3 digits are within what the crate allows"
    )]
    Histogram::new(3).expect("a valid precision")
}

/// The reason of an error, for counting.
fn name(error: &Error) -> String {
    match error {
        Error::Service(error) => error.reason.as_str().to_owned(),
        Error::Unreachable { .. } => "UNREACHABLE".to_owned(),
        Error::Unanswered { .. } => "UNANSWERED".to_owned(),
        _ => "OTHER".to_owned(),
    }
}

/// What all clients together have done so far, for the progress.
#[derive(Debug, Default)]
pub(super) struct Progress {
    done: AtomicU64,
    failed: AtomicU64,
}

impl Progress {
    pub(super) fn count(&self, failed: bool) {
        let counter = if failed { &self.failed } else { &self.done };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Writes a line to standard error each second, until it is dropped.
    pub(super) async fn show(&self) {
        let mut last = (0, 0);
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.tick().await;
        for second in 1u64.. {
            ticks.tick().await;
            let now = (self.done(), self.failed());
            let errors = match now.1 - last.1 {
                0 => String::new(),
                errors => format!(", {errors} errors"),
            };
            eprintln!("{second:>4} s  {:>8} operations/s{errors}", now.0 - last.0);
            last = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Reason;

    #[test]
    fn what_clients_measured_adds_up() {
        let mut all = Measured::new();
        for micros in [10, 30_000_000] {
            let mut one = Measured::new();
            one.succeeded(Operation::Put, Duration::from_micros(micros));
            one.failed(api::Error::new(Reason::NoLeader, "x").into());
            one.misses = 1;
            one.elapsed = Duration::from_micros(micros);
            all.add(one);
        }
        assert_eq!(all.operations(), 2);
        let latencies = &all.latencies[Operation::Put as usize];
        assert_eq!(latencies.min(), 10);
        let max = latencies.max();
        assert!(max.abs_diff(30_000_000) < 30_000, "{max}");
        assert_eq!(all.errors["NO_LEADER"], 2);
        assert_eq!(all.misses, 2);
        assert_eq!(all.elapsed, Duration::from_secs(30));
    }

    #[test]
    fn a_latency_without_bounds_is_counted_at_the_bound() {
        let mut measured = Measured::new();
        measured.succeeded(Operation::Get, Duration::from_secs(1 << 40));
        measured.succeeded(Operation::Get, Duration::ZERO);
        assert_eq!(measured.operations(), 2);
        let max = measured.latencies[Operation::Get as usize].max();
        assert!(max.abs_diff(MAX_MICROS) < MAX_MICROS / 1000, "{max}");
    }
}
