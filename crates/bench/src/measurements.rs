//! What was measured, run by run, and what can be said of several runs.

use std::collections::BTreeMap;
use std::time::Duration;

use load::{Latency, Measured};
use serde::Serialize;

use crate::points::Point;
use crate::systems::System;

/// One run of one system.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Operations per second.
    pub throughput: f64,
    /// Of all kinds of operations together, microseconds.
    pub latency_micros: Latency,
    /// CPU time per operation, summed over the system's processes.
    pub cpu_micros: f64,
    /// … of ZooKeeper, which is not in that sum.
    pub coordination_cpu_micros: f64,
    /// Operations that failed.
    pub errors: u64,
    /// The share of the machine that others used meanwhile: neither the system's servers nor the generator.
    pub foreign: f64,
}

impl Run {
    /// Of what was measured. The first `charged` processes count as the system's own, the others as its coordination.
    pub(crate) fn of<E>(measured: &Measured<E>, charged: usize) -> Self {
        let operations = measured.operations().max(1) as f64;
        let micros = |cpu: &[Duration]| {
            let cpu: Duration = cpu.iter().sum();
            cpu.as_secs_f64() * 1e6 / operations
        };
        let (own, coordination) = measured.cpu.split_at(charged.min(measured.cpu.len()));
        Self {
            throughput: measured.throughput(),
            latency_micros: measured.latency(),
            cpu_micros: micros(own),
            coordination_cpu_micros: micros(coordination),
            errors: measured.errors.values().sum(),
            foreign: 0.0,
        }
    }
}

/// Median and spread of several values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of values; none of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<_> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self {
            median: f64::midpoint(below, above),
            min,
            max,
        })
    }

    /// `median (min–max)` with so many digits behind the point.
    pub fn text(&self, digits: usize) -> String {
        format!(
            "{:.digits$} ({:.digits$}–{:.digits$})",
            self.median, self.min, self.max
        )
    }
}

/// All runs.
#[derive(Debug, Clone, Default)]
pub struct Measurements {
    runs: BTreeMap<(Point, System), Vec<Run>>,
}

impl Measurements {
    /// Adds the next run of a system at a point.
    pub fn add(&mut self, point: Point, system: System, run: Run) {
        self.runs.entry((point, system)).or_default().push(run);
    }

    /// The runs of a system at a point, in their order.
    pub fn runs(&self, point: Point, system: System) -> &[Run] {
        self.runs.get(&(point, system)).map_or(&[], Vec::as_slice)
    }

    /// Something of each run.
    pub fn values(&self, point: Point, system: System, what: fn(&Run) -> f64) -> Vec<f64> {
        self.runs(point, system).iter().map(what).collect()
    }

    /// Median and spread of something.
    pub fn spread(&self, point: Point, system: System, what: fn(&Run) -> f64) -> Option<Spread> {
        Spread::of(self.values(point, system, what))
    }

    /// Every run there is.
    pub fn all(&self) -> impl Iterator<Item = &Run> {
        self.runs.values().flatten()
    }
}

/// The quotients of values that stood next to each other. Without a value on either side there is none.
pub fn ratios(numerators: &[f64], denominators: &[f64]) -> Vec<f64> {
    let pairs = numerators.iter().zip(denominators);
    let pairs = pairs.filter(|(_, denominator)| **denominator > 0.0);
    pairs.map(|(above, below)| above / below).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::points::Work;
    use load::Operation;

    /// A run in which all operations took the same.
    pub(crate) fn run(throughput: f64, millis: u64, cpu_micros: f64) -> Run {
        let mut measured = Measured::<()>::default();
        measured.succeeded(Operation::Get, Duration::from_millis(millis));
        Run {
            throughput,
            cpu_micros,
            ..Run::of(&measured, 0)
        }
    }

    #[test]
    fn the_median_is_in_the_middle_however_many_there_are() {
        assert_eq!(Spread::of([]), None);
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        let even = Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap();
        assert!((even.median - 2.5).abs() < 1e-9);
        assert_eq!(Spread::of([7.0]).unwrap().text(1), "7.0 (7.0–7.0)");
    }

    #[test]
    fn ratios_are_those_of_neighbours() {
        assert_eq!(ratios(&[10.0, 30.0], &[5.0, 10.0]), [2.0, 3.0]);
        assert!(ratios(&[10.0, 30.0], &[0.0]).is_empty());
    }

    #[test]
    fn an_operation_is_charged_with_the_servers_and_the_coordination_apart() {
        let mut measured = Measured::<()>::default();
        measured.elapsed = Duration::from_secs(1);
        measured.cpu = [10, 20, 5].map(Duration::from_micros).to_vec();
        for _ in 0..10 {
            measured.succeeded(Operation::Put, Duration::from_micros(8));
        }
        let run = Run::of(&measured, 2);
        assert!((run.throughput - 10.0).abs() < 1e-9);
        assert!((run.cpu_micros - 3.0).abs() < 1e-9);
        assert!((run.coordination_cpu_micros - 0.5).abs() < 1e-9);
        assert_eq!(run.latency_micros.p50, 8);
    }

    #[test]
    fn runs_are_kept_apart_and_in_order() {
        let mut measurements = Measurements::default();
        let point = Point::new(Work::Put, 1);
        measurements.add(point, System::Ours, run(1.0, 1, 1.0));
        measurements.add(point, System::Etcd, run(9.0, 1, 1.0));
        measurements.add(point, System::Ours, run(2.0, 1, 1.0));
        let values = measurements.values(point, System::Ours, |run| run.throughput);
        assert_eq!(values, [1.0, 2.0]);
        let other = Point::new(Work::Put, 2);
        assert_eq!(
            measurements.spread(other, System::Ours, |run| run.throughput),
            None
        );
        assert_eq!(measurements.all().count(), 3);
    }
}
