//! The result as JSON and as text.

use std::fmt::Write;

use serde::Serialize;

use crate::goals::{Row, rows};
use crate::machine::{Machine, Versions};
use crate::measurements::{Measurements, Run, Spread};
use crate::points::Point;
use crate::standing::Standing;
use crate::systems::System;

/// How it was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Conditions {
    /// The short form.
    pub quick: bool,
    /// Runs of each system at each point.
    pub rounds: u32,
    /// Seconds that each run is measured.
    pub seconds: f64,
    /// Seconds of pressing before.
    pub warmup_seconds: f64,
    /// Connections of the generator to each system.
    pub connections: usize,
    /// Different keys.
    pub keys: u64,
    /// Items of a transaction.
    pub transaction_items: usize,
    /// Shards of our table.
    pub shards: u32,
    /// Replicas of each shard.
    pub replicas: u32,
}

/// What has to be known of a comparison to read its numbers.
#[derive(Debug, Clone, Serialize)]
pub struct Setting {
    /// When it began.
    pub date: String,
    /// On what.
    pub machine: Machine,
    /// What.
    pub versions: Versions,
    /// How.
    pub conditions: Conditions,
}

/// Everything that is to be kept of a comparison. Its JSON form is this struct.
#[derive(Debug, Clone, Serialize)]
pub struct Document {
    /// What has to be known to read the rest.
    #[serde(flatten)]
    pub setting: Setting,
    /// The largest share of the machine that others used during a run.
    pub foreign_max: f64,
    /// The goals.
    pub goals: Vec<Row>,
    /// What is no question of load, where it was measured.
    pub standing: Option<Standing>,
    /// The points, in the order of the runs.
    pub points: Vec<PointResult>,
}

/// All systems at one point.
#[derive(Debug, Clone, Serialize)]
pub struct PointResult {
    /// For people.
    pub name: String,
    /// The same in parts.
    #[serde(flatten)]
    pub point: Point,
    /// The systems that took part.
    pub systems: Vec<SystemResult>,
}

/// One system at one point.
#[derive(Debug, Clone, Serialize)]
pub struct SystemResult {
    /// Which one.
    pub system: System,
    /// Operations per second.
    pub throughput: Spread,
    /// Median latency, milliseconds.
    pub p50_millis: Spread,
    /// 99 of 100 were not longer.
    pub p99_millis: Spread,
    /// CPU time per operation, all processes of the system together.
    pub cpu_micros: Spread,
    /// … of ZooKeeper apart.
    pub coordination_cpu_micros: Spread,
    /// Operations that failed, in all runs.
    pub errors: u64,
    /// The runs, in their order.
    pub runs: Vec<Run>,
}

impl SystemResult {
    fn of(measurements: &Measurements, point: Point, system: System) -> Option<Self> {
        let runs = measurements.runs(point, system);
        let spread = |what| measurements.spread(point, system, what);
        Some(Self {
            system,
            throughput: spread(|run| run.throughput)?,
            p50_millis: spread(|run| run.latency_micros.p50 as f64 / 1000.0)?,
            p99_millis: spread(|run| run.latency_micros.p99 as f64 / 1000.0)?,
            cpu_micros: spread(|run| run.cpu_micros)?,
            coordination_cpu_micros: spread(|run| run.coordination_cpu_micros)?,
            errors: runs.iter().map(|run| run.errors).sum(),
            runs: runs.to_vec(),
        })
    }
}

/// What a comparison has come to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What has to be known to read the rest.
    pub setting: Setting,
    /// Which points, in their order.
    pub points: Vec<(Point, Vec<System>)>,
    /// All runs.
    pub measurements: Measurements,
    /// What is no question of load, where it was measured.
    pub standing: Option<Standing>,
}

impl Outcome {
    /// The document of it.
    pub fn document(&self) -> Document {
        let points = self.points.iter().map(|(point, systems)| PointResult {
            name: point.name(),
            point: *point,
            systems: systems
                .iter()
                .filter_map(|&system| SystemResult::of(&self.measurements, *point, system))
                .collect(),
        });
        Document {
            setting: self.setting.clone(),
            foreign_max: self
                .measurements
                .all()
                .map(|run| run.foreign)
                .fold(0.0, f64::max),
            goals: rows(&self.measurements, self.standing.as_ref()),
            standing: self.standing.clone(),
            points: points.collect(),
        }
    }
}

/// The document for people: what was measured at each point, and the goals last.
pub fn text(document: &Document) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ = writeln!(
        text,
        "{:<42}{:<15}{:>26}{:>9}{:>9}{:>9}{:>8}",
        "MEDIAN (MIN–MAX)", "", "per second", "p50 ms", "p99 ms", "CPU µs", "errors"
    );
    for point in &document.points {
        for (index, result) in point.systems.iter().enumerate() {
            let name = if index == 0 { &*point.name } else { "" };
            let _ = writeln!(
                text,
                "{name:<42}{:<15}{:>26}{:>9.2}{:>9.2}{:>9}{:>8}",
                result.system.name(),
                result.throughput.text(0),
                result.p50_millis.median,
                result.p99_millis.median,
                cpu(result),
                result.errors,
            );
        }
    }
    let _ = writeln!(
        text,
        "\nCPU: microseconds per operation, all server processes together; + ZooKeeper's."
    );
    let _ = writeln!(
        text,
        "Up to {:.0} % of the machine was used by others during a run.\n",
        100.0 * document.foreign_max
    );
    text + &goals(document)
}

/// From this share of the system's own time on ZooKeeper's is mentioned: idle it uses a little, too.
const MENTIONED: f64 = 0.05;

fn cpu(result: &SystemResult) -> String {
    let own = result.cpu_micros.median;
    match result.coordination_cpu_micros.median {
        coordination if coordination >= MENTIONED * own => format!("{own:.0}+{coordination:.0}"),
        _ => format!("{own:.0}"),
    }
}

fn goals(document: &Document) -> String {
    let width = document
        .goals
        .iter()
        .map(|row| row.name.chars().count())
        .max();
    let width = width.unwrap_or_default() + 2;
    let mut text = String::new();
    for row in &document.goals {
        let digits = match (row.unit, row.measured.max) {
            ("×" | "s", _) => 2,
            (_, max) if max < 10.0 => 1,
            _ => 0,
        };
        let _ = writeln!(
            text,
            "{:<width$}{:>20} {:<3}goal {:<8}{}",
            row.name,
            row.measured.text(digits),
            row.unit,
            row.goal.text(digits),
            if row.met { "met" } else { "not met" }
        );
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::measurements::tests::run;
    use crate::points::Work;

    /// Two systems and the ceiling at one point, two rounds.
    pub(crate) fn outcome() -> Outcome {
        let point = Point::new(Work::EventualGet, 256);
        let systems = vec![System::Ours, System::Etcd, System::Ceiling];
        let mut measurements = Measurements::default();
        for factor in [1.0, 2.0] {
            measurements.add(point, System::Ours, run(20_000.0 * factor, 4, 30.0));
            measurements.add(point, System::Etcd, run(5_000.0 * factor, 9, 100.0));
            measurements.add(point, System::Ceiling, run(25_000.0 * factor, 3, 20.0));
        }
        Outcome {
            setting: Setting {
                date: "2026-11-22T15:06:42Z".to_owned(),
                machine: Machine {
                    cores: 2,
                    processor: "P".to_owned(),
                    memory_mib: 1024,
                    kernel: "6".to_owned(),
                    filesystem: "ext4".to_owned(),
                    load_before: 0.5,
                },
                versions: Versions {
                    minidynamo: "minidynamo 0.1.0".to_owned(),
                    commit: "abc".to_owned(),
                    etcd: "etcd Version: 3.4".to_owned(),
                    zookeeper: "zookeeper-3.8".to_owned(),
                },
                conditions: Conditions {
                    quick: true,
                    rounds: 2,
                    seconds: 1.0,
                    warmup_seconds: 0.5,
                    connections: 6,
                    keys: 100,
                    transaction_items: 3,
                    shards: 12,
                    replicas: 3,
                },
            },
            points: vec![(point, systems)],
            measurements,
            standing: None,
        }
    }

    #[test]
    fn the_text_ends_with_the_goals() {
        let text = text(&outcome().document());
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[1].starts_with("eventual Get, 256 clients, 128 B"),
            "{text}"
        );
        assert!(lines[1].contains("30000 (20000–40000)"), "{text}");
        assert!(
            lines[2].contains("etcd") && lines[2].contains("9.01"),
            "{text}"
        );
        let last = lines[lines.len() - 1];
        assert!(last.contains("80 (80–80) %  goal ≥ 85"), "{text}");
        assert!(last.ends_with("not met"), "{text}");
        let before = lines[lines.len() - 2];
        assert!(before.contains("4.00 (4.00–4.00) ×  goal ≥ 4.00"), "{text}");
        assert!(before.ends_with(" met"), "{text}");
    }

    #[test]
    fn the_json_has_goals_points_and_runs() {
        let json = serde_json::to_value(outcome().document()).unwrap();
        assert_eq!(json["conditions"]["rounds"], 2);
        assert_eq!(json["goals"][0]["goal"]["at_least"], 4.0);
        assert_eq!(json["goals"][0]["met"], true);
        let point = &json["points"][0];
        assert_eq!(point["work"], "eventual_get");
        assert_eq!(point["clients"], 256);
        let ours = &point["systems"][0];
        assert_eq!(ours["system"], "ours");
        assert_eq!(ours["throughput"]["median"], 30_000.0);
        assert_eq!(ours["runs"].as_array().unwrap().len(), 2);
    }
}
