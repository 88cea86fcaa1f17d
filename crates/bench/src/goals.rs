//! The goals, and whether they are met.
//!
//! A goal is a ratio wherever it can be one. Each run of ours is divided by that run of the other that stood next to it
//! in time, so that what disturbs the machine for longer than a round disturbs both alike; of the quotients the median
//! counts.

use serde::Serialize;

use crate::measurements::{Measurements, Run, Spread, ratios};
use crate::points::{CLIENTS, ITEMS, LARGE, OVERLOAD, Point, TOGETHER, Work};
use crate::standing::Standing;
use crate::systems::System::{self, Calls, Ceiling, Etcd, Ours};

/// What a measured value must be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// Less than this.
    Below(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::Below(bound) => value < bound,
        }
    }

    /// A sign and the number.
    pub fn text(self, digits: usize) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {bound:.digits$}"),
            Self::AtMost(bound) => format!("≤ {bound:.digits$}"),
            Self::Below(bound) => format!("< {bound:.digits$}"),
        }
    }
}

/// One goal beside what was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Of what.
    pub name: String,
    /// In which unit.
    pub unit: &'static str,
    /// Median and spread of the runs.
    pub measured: Spread,
    /// What it must be.
    pub goal: Bound,
    /// Whether the median is.
    pub met: bool,
}

const TIMES: &str = "×";
const PERCENT: &str = "%";

/// All goals of which everything was measured.
pub fn rows(measurements: &Measurements, standing: Option<&Standing>) -> Vec<Row> {
    let mut rows = Rows {
        measurements,
        rows: Vec::new(),
    };
    rows.throughput();
    rows.overload();
    rows.latency();
    rows.transactions();
    if let Some(standing) = standing {
        rows.memory(standing);
        rows.idle(standing);
        rows.death(standing);
    }
    rows.rows
}

struct Rows<'a> {
    measurements: &'a Measurements,
    rows: Vec<Row>,
}

impl Rows<'_> {
    fn throughput(&mut self) {
        let points = [
            (Point::new(Work::EventualGet, CLIENTS), 4.0, Some(85.0)),
            (Point::new(Work::ConsistentGet, CLIENTS), 3.5, Some(70.0)),
            (Point::new(Work::Put, CLIENTS), 2.5, Some(50.0)),
            (Point::new(Work::Put, CLIENTS).of_size(LARGE), 2.5, None),
        ];
        for (ours, way) in [(Ours, ""), (Calls, ", by calls")] {
            for (point, times, percent) in points {
                let against = |other| {
                    let values = |system| self.values(point, system, |run| run.throughput);
                    ratios(&values(ours), &values(other))
                };
                let (etcd, ceiling) = (against(Etcd), against(Ceiling));
                let name = format!("{}{way}: throughput against", point.name());
                self.row(format!("{name} etcd's"), TIMES, etcd, Bound::AtLeast(times));
                if let Some(percent) = percent {
                    let ceiling = ceiling.into_iter().map(|ratio| 100.0 * ratio).collect();
                    let bound = Bound::AtLeast(percent);
                    self.row(format!("{name} the ceiling"), PERCENT, ceiling, bound);
                }
            }
        }
    }

    fn overload(&mut self) {
        for work in [Work::ConsistentGet, Work::Put] {
            let name = format!(
                "{}, {OVERLOAD} clients: throughput against {CLIENTS}",
                work.name()
            );
            let [over, peak] = [OVERLOAD, CLIENTS]
                .map(|clients| self.values(Point::new(work, clients), Ours, |run| run.throughput));
            let percent = ratios(&over, &peak).into_iter().map(|ratio| 100.0 * ratio);
            self.row(name, PERCENT, percent.collect(), Bound::AtLeast(80.0));
        }
    }

    fn latency(&mut self) {
        for (work, bound) in [(Work::Put, 0.8), (Work::ConsistentGet, 1.0)] {
            let point = Point::new(work, 1);
            let name = format!("{}: p50 against etcd's", point.name());
            let values = self.against(point, Etcd, |run| run.latency_micros.p50 as f64);
            self.row(name, TIMES, values, Bound::AtMost(bound));
        }
        for work in [Work::EventualGet, Work::ConsistentGet, Work::Put] {
            let point = Point::new(work, 64);
            let name = format!("{}: p99 against etcd's", point.name());
            let values = self.against(point, Etcd, |run| run.latency_micros.p99 as f64);
            self.row(name, TIMES, values, Bound::Below(1.0));
        }
    }

    fn transactions(&mut self) {
        let put = Point::new(Work::Put, 64);
        let one_put = put.of_size(TOGETHER);
        let several = Point::new(Work::TransactPut, 64);
        let cost: [(Work, Point, usize, f64); 3] = [
            (
                Work::TransactGet,
                Point::new(Work::ConsistentGet, 64),
                ITEMS,
                2.0,
            ),
            (Work::TransactPut, put, ITEMS, 4.0),
            (Work::TransactPutOneShard, one_put, 1, 1.3),
        ];
        for (work, single, count, bound) in cost {
            let others = match count {
                1 => format!("one {}", single.name()),
                count => format!("{count} × {}", single.name()),
            };
            let name = format!("{} of {ITEMS}: CPU against {others}", work.name());
            let transactions = self.values(Point::new(work, 64), Ours, |run| run.cpu_micros);
            let singles = self.values(single, Ours, |run| run.cpu_micros);
            let singles: Vec<_> = singles.iter().map(|cpu| cpu * count as f64).collect();
            self.row(
                name,
                TIMES,
                ratios(&transactions, &singles),
                Bound::AtMost(bound),
            );
        }
        let name = format!("{} of {ITEMS}: throughput", several.work.name());
        let values = self.values(several, Ours, |run| run.throughput);
        self.row(name, "/s", values, Bound::AtLeast(2000.0));
    }

    fn memory(&mut self, standing: &Standing) {
        let held = format!("with {} items of {} B", standing.items, standing.value_size);
        let name = format!("memory of the router {held}");
        let router = megabytes(&[standing.router_bytes]);
        self.row(name, "MB", router, Bound::Below(50.0));
        let name = format!("memory of a data node {held}");
        let nodes = megabytes(&standing.node_bytes);
        self.row(name, "MB", nodes, Bound::Below(250.0));
    }

    fn idle(&mut self, standing: &Standing) {
        let idle = format!("{} idle replicas on a data node", standing.idle_replicas);
        let percent = standing.idle_percent.clone();
        self.row(
            format!("{idle}: share of a core"),
            PERCENT,
            percent,
            Bound::Below(2.0),
        );
        let bytes = megabytes(&standing.idle_bytes);
        self.row(format!("{idle}: memory"), "MB", bytes, Bound::Below(20.0));
    }

    fn death(&mut self, standing: &Standing) {
        let name = "data node killed: every shard accepts a write after".to_owned();
        self.row(
            name,
            "s",
            standing.failover_seconds.clone(),
            Bound::Below(1.0),
        );
        let name = format!(
            "data node with {} items started: serves after",
            standing.items
        );
        self.row(
            name,
            "s",
            standing.restart_seconds.clone(),
            Bound::Below(5.0),
        );
    }

    fn values(&self, point: Point, system: System, what: fn(&Run) -> f64) -> Vec<f64> {
        self.measurements.values(point, system, what)
    }

    fn against(&self, point: Point, other: System, what: fn(&Run) -> f64) -> Vec<f64> {
        ratios(
            &self.values(point, Ours, what),
            &self.values(point, other, what),
        )
    }

    /// Nothing measured, no row.
    fn row(&mut self, name: String, unit: &'static str, values: Vec<f64>, goal: Bound) {
        if let Some(measured) = Spread::of(values) {
            self.rows.push(Row {
                name,
                unit,
                measured,
                goal,
                met: goal.holds(measured.median),
            });
        }
    }
}

fn megabytes(bytes: &[u64]) -> Vec<f64> {
    bytes.iter().map(|&bytes| bytes as f64 / 1e6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurements::tests::run;

    fn row<'a>(rows: &'a [Row], name: &str) -> &'a Row {
        let found: Vec<_> = rows.iter().filter(|row| row.name.contains(name)).collect();
        assert_eq!(found.len(), 1, "{name}: {rows:?}");
        found[0]
    }

    #[test]
    fn bounds_hold_on_their_side() {
        for (bound, below, exactly, above) in [
            (Bound::AtLeast(2.0), false, true, true),
            (Bound::AtMost(2.0), true, true, false),
            (Bound::Below(2.0), true, false, false),
        ] {
            assert_eq!(bound.holds(1.9), below, "{bound:?}");
            assert_eq!(bound.holds(2.0), exactly, "{bound:?}");
            assert_eq!(bound.holds(2.1), above, "{bound:?}");
        }
    }

    #[test]
    fn throughput_is_judged_by_the_median_of_neighbours() {
        let mut measurements = Measurements::default();
        let point = Point::new(Work::EventualGet, 256);
        // The machine is half as fast in the second round.
        for (ours, etcd, ceiling) in [(45.0, 10.0, 50.0), (20.0, 5.0, 25.0), (30.0, 10.0, 50.0)] {
            measurements.add(point, Ours, run(ours, 1, 1.0));
            measurements.add(point, Etcd, run(etcd, 1, 1.0));
            measurements.add(point, Ceiling, run(ceiling, 1, 1.0));
        }
        let rows = rows(&measurements, None);
        assert_eq!(rows.len(), 2, "nothing else was measured");
        let etcd = row(&rows, "against etcd's");
        assert_eq!(
            etcd.measured,
            Spread {
                median: 4.0,
                min: 3.0,
                max: 4.5
            }
        );
        assert!(etcd.met);
        let ceiling = row(&rows, "against the ceiling");
        assert!((ceiling.measured.median - 80.0).abs() < 1e-9 && !ceiling.met);
    }

    #[test]
    fn four_times_the_clients_may_cost_a_fifth_of_the_throughput() {
        let mut measurements = Measurements::default();
        for (clients, throughput) in [(CLIENTS, 1000.0), (OVERLOAD, 790.0)] {
            let point = Point::new(Work::Put, clients);
            measurements.add(point, Ours, run(throughput, 1, 1.0));
        }
        let rows = rows(&measurements, None);
        let put = row(&rows, "Put, 1024 clients");
        assert!((put.measured.median - 79.0).abs() < 1e-9 && !put.met);
    }

    #[test]
    fn latency_may_not_be_longer() {
        let mut measurements = Measurements::default();
        let point = Point::new(Work::Put, 1);
        measurements.add(point, Ours, run(1.0, 9, 1.0));
        measurements.add(point, Etcd, run(1.0, 10, 1.0));
        let rows = rows(&measurements, None);
        let put = row(&rows, "Put, 1 client, 128 B: p50");
        assert!((put.measured.median - 0.9).abs() < 0.01 && !put.met);
    }

    #[test]
    fn a_transaction_is_held_against_as_many_single_operations() {
        let mut measurements = Measurements::default();
        for (work, size, cpu) in [
            (Work::Put, 128, 50.0),
            (Work::Put, TOGETHER, 60.0),
            (Work::TransactPut, 128, 450.0),
            (Work::TransactPutOneShard, 128, 90.0),
        ] {
            measurements.add(
                Point::new(work, 64).of_size(size),
                Ours,
                run(3000.0, 1, cpu),
            );
        }
        let rows = rows(&measurements, None);
        let apart = row(&rows, "TransactPut of 3: CPU");
        assert!((apart.measured.median - 3.0).abs() < 1e-9 && apart.met);
        let together = row(&rows, "one shard of 3: CPU");
        assert!((together.measured.median - 1.5).abs() < 1e-9 && !together.met);
        assert!(row(&rows, "TransactPut of 3: throughput").met);
    }

    #[test]
    fn what_is_no_question_of_load_is_judged_where_it_was_measured() {
        let standing = Standing {
            items: 1_000_000,
            value_size: 256,
            router_bytes: 20_000_000,
            node_bytes: vec![240_000_000, 300_000_000, 310_000_000],
            idle_replicas: 1000,
            idle_percent: vec![1.0, 1.5, 2.5],
            idle_bytes: vec![30_000_000; 3],
            failover_seconds: vec![0.9, 0.8, 1.2],
            restart_seconds: vec![6.0, 1.0, 1.0],
        };
        let rows = rows(&Measurements::default(), Some(&standing));
        assert!(row(&rows, "router").met);
        assert!(!row(&rows, "memory of a data node").met);
        assert!(row(&rows, "share of a core").met);
        assert!(!row(&rows, "data node: memory").met);
        let failover = row(&rows, "killed");
        assert!(failover.met && (failover.measured.max - 1.2).abs() < 1e-9);
        assert!(row(&rows, "started").met);
    }
}
