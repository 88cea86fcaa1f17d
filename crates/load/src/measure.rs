//! What is counted while the load runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{Operation, Target};

/// Latencies and errors of one client, or of all of them added up.
#[derive(Debug)]
pub struct Measured<E> {
    /// Of the operations that succeeded, microseconds, in the order of [`Operation::ALL`].
    latencies: [Histogram<u64>; Operation::ALL.len()],
    /// How many failed, by reason.
    pub errors: BTreeMap<String, u64>,
    /// Gets that found nothing.
    pub misses: u64,
    /// At a fixed rate: operations that were due and never sent, because the time was up before.
    pub unsent: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// The CPU time that each of the processes that the plan names has used meanwhile.
    pub cpu: Vec<Duration>,
    /// The first error, those before the measuring included.
    pub first_error: Option<E>,
}

/// A latency beyond this counts as this.
const MAX_MICROS: u64 = 3_600_000_000;

impl<E> Default for Measured<E> {
    fn default() -> Self {
        Self {
            latencies: std::array::from_fn(|_| histogram()),
            errors: BTreeMap::new(),
            misses: 0,
            unsent: 0,
            elapsed: Duration::ZERO,
            cpu: Vec::new(),
            first_error: None,
        }
    }
}

impl<E> Measured<E> {
    /// Counts an operation.
    pub fn succeeded(&mut self, operation: Operation, latency: Duration) {
        let micros = (latency.as_micros() as u64).clamp(1, MAX_MICROS);
        // An automatically growing histogram takes every value within `MAX_MICROS`.
        let _ = self.latencies[operation as usize].record(micros);
    }

    /// Counts an operation that failed on a target.
    pub fn failed<T: Target<Error = E>>(&mut self, error: E) {
        *self.errors.entry(T::reason(&error)).or_default() += 1;
        self.first_error.get_or_insert(error);
    }

    /// Adds what another client measured at the same time.
    pub(crate) fn add(&mut self, other: Self) {
        for (sum, part) in self.latencies.iter_mut().zip(&other.latencies) {
            // Both have the same bounds.
            let _ = sum.add(part);
        }
        for (name, count) in other.errors {
            *self.errors.entry(name).or_default() += count;
        }
        self.misses += other.misses;
        self.unsent += other.unsent;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.first_error = self.first_error.take().or(other.first_error);
    }

    /// Operations that succeeded.
    pub fn operations(&self) -> u64 {
        self.latencies.iter().map(Histogram::len).sum()
    }

    /// Operations that succeeded, per second.
    pub fn throughput(&self) -> f64 {
        self.operations() as f64 / self.elapsed.as_secs_f64().max(0.001)
    }

    /// Microseconds of CPU time per operation that succeeded, all processes together. None where there was neither.
    pub fn cpu_micros(&self) -> Option<f64> {
        let operations = self.operations();
        let known = operations > 0 && !self.cpu.is_empty();
        let cpu: Duration = self.cpu.iter().sum();
        known.then(|| cpu.as_secs_f64() * 1e6 / operations as f64)
    }

    /// The latencies of the operations of which there were any.
    pub fn latencies(&self) -> impl Iterator<Item = (Operation, Latency)> {
        let measured = Operation::ALL.iter().zip(&self.latencies);
        let measured = measured.filter(|(_, histogram)| !histogram.is_empty());
        measured.map(|(&operation, histogram)| (operation, Latency::of(histogram)))
    }

    /// The latencies of all operations together.
    pub fn latency(&self) -> Latency {
        let mut all = histogram();
        for part in &self.latencies {
            // Both have the same bounds.
            let _ = all.add(part);
        }
        Latency::of(&all)
    }
}

/// Percentiles, microseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latency {
    /// How many operations these are.
    pub count: u64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The median.
    pub p50: u64,
    /// 90 of 100 were not longer.
    pub p90: u64,
    /// 99 of 100 were not longer.
    pub p99: u64,
    /// 999 of 1000 were not longer.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            mean: (histogram.mean() * 10.0).round() / 10.0,
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
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

/// What all clients together have done so far, for the progress.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    done: AtomicU64,
    failed: AtomicU64,
}

impl Progress {
    pub(crate) fn count(&self, failed: bool) {
        let counter = if failed { &self.failed } else { &self.done };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Does something, and if wanted tells meanwhile how it goes.
    pub(crate) async fn show_during<O>(&self, wanted: bool, work: impl Future<Output = O>) -> O {
        if !wanted {
            return work.await;
        }
        let mut work = std::pin::pin!(work);
        tokio::select! {
            output = &mut work => output,
            () = self.show() => work.await,
        }
    }

    /// Writes a line to standard error each second, until it is dropped.
    async fn show(&self) {
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
    use crate::Table;
    use client::{Error, Reason, ServiceError};

    #[test]
    fn what_clients_measured_adds_up() {
        let mut all = Measured::default();
        for micros in [10, 30_000_000] {
            let mut one = Measured::default();
            one.succeeded(Operation::Put, Duration::from_micros(micros));
            let error = Error::from(ServiceError::new(Reason::NoLeader, "x"));
            one.failed::<Table>(error);
            one.misses = 1;
            one.unsent = 2;
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
        assert_eq!(all.unsent, 4);
        assert_eq!(all.elapsed, Duration::from_secs(30));
    }

    #[test]
    fn a_latency_without_bounds_is_counted_at_the_bound() {
        let mut measured = Measured::<Error>::default();
        measured.succeeded(Operation::Get, Duration::from_secs(1 << 40));
        measured.succeeded(Operation::Get, Duration::ZERO);
        assert_eq!(measured.operations(), 2);
        let max = measured.latencies[Operation::Get as usize].max();
        assert!(max.abs_diff(MAX_MICROS) < MAX_MICROS / 1000, "{max}");
    }

    #[test]
    fn cpu_is_told_per_operation_that_succeeded() {
        let mut measured = Measured::<Error> {
            cpu: vec![Duration::from_micros(400), Duration::from_micros(600)],
            elapsed: Duration::from_secs(2),
            ..Measured::default()
        };
        assert_eq!(measured.cpu_micros(), None, "there was none");
        for _ in 0..10 {
            measured.succeeded(Operation::Get, Duration::from_micros(5));
        }
        assert_eq!(measured.cpu_micros(), Some(100.0));
        assert!((measured.throughput() - 5.0).abs() < 1e-9);
        let shown: Vec<_> = measured.latencies().collect();
        assert_eq!(shown.len(), 1, "only what there was");
        assert_eq!((shown[0].0, shown[0].1.p99), (Operation::Get, 5));
        measured.succeeded(Operation::Put, Duration::from_micros(9));
        let all = measured.latency();
        assert_eq!((all.count, all.p50, all.max), (11, 5, 9));
    }
}
