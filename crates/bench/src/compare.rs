//! The order of a comparison: start everything, fill it, round after round every point, and at each point one system
//! after the other.

use std::path::PathBuf;
use std::time::Duration;

use client::Consistency;
use load::Plan;

use crate::Failure;
use crate::machine::{Machine, Versions, now};
use crate::measurements::{Measurements, Run};
use crate::points::{self, ITEMS, Point, Work};
use crate::press::{fill, press};
use crate::report::{Conditions, Outcome, Setting};
use crate::standing;
use crate::systems::ours::{REPLICAS, SHARDS};
use crate::systems::{Places, System, Systems};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The short form.
    pub quick: bool,
    /// Runs of each system at each point.
    pub rounds: u32,
    /// Of pressing before it is measured.
    pub warmup: Duration,
    /// Of measuring.
    pub duration: Duration,
    /// Connections to each system.
    pub connections: usize,
    /// Different keys.
    pub keys: u64,
    /// Only points whose names contain this.
    pub only: Option<String>,
    /// Below it the servers' data lie, in a directory that is removed afterwards.
    pub directory: PathBuf,
    /// Where the programs are.
    pub places: Places,
}

/// Compares; the servers have ended when this returns, and also when it is dropped.
pub async fn run(options: &Options) -> Result<Outcome, Failure> {
    let points = chosen(options)?;
    let date = now();
    let machine = Machine::read(&options.directory);
    if machine.is_in_memory() {
        eprintln!(
            "warning: {} is in memory, where a sync costs nothing; choose another --directory",
            options.directory.display()
        );
    }
    let directory = tempfile::Builder::new()
        .prefix("minidynamo-compare-")
        .tempdir_in(&options.directory)
        .map_err(Failure::to("make a directory for the data"))?;
    eprintln!("starting the servers");
    let mut systems =
        Systems::start(&options.places, directory.path(), options.connections).await?;
    eprintln!("writing {} keys", options.keys);
    let plan = plan(options, Point::new(Work::Put, 64));
    fill(&plan, &systems.ours.tables(Consistency::Eventual)).await?;
    fill(&plan, &systems.etcd.leader().await?).await?;
    let mut measurements = Measurements::default();
    for round in 1..=options.rounds {
        for (point, taking_part) in &points {
            for &system in taking_part {
                systems.check()?;
                let run = one_run(options, &systems, *point, system).await?;
                show(round, options.rounds, point, system, &run);
                measurements.add(*point, system, run);
            }
        }
    }
    let standing = if options.quick || options.only.is_some() {
        None
    } else {
        Some(standing::measure(&mut systems.ours, plan).await?)
    };
    systems.check()?;
    Ok(Outcome {
        setting: Setting {
            date,
            machine,
            versions: Versions::read(&options.places),
            conditions: conditions(options),
        },
        points,
        measurements,
        standing,
    })
}

fn chosen(options: &Options) -> Result<Vec<(Point, Vec<System>)>, Failure> {
    let mut points = points::all(options.quick);
    if let Some(only) = &options.only {
        points.retain(|(point, _)| point.name().contains(only.as_str()));
    }
    if points.is_empty() {
        let names: Vec<_> = points::all(options.quick)
            .iter()
            .map(|(point, _)| point.name())
            .collect();
        return Err(Failure::new(format!(
            "nothing has such a name; there are:\n{}",
            names.join("\n")
        )));
    }
    Ok(points)
}

fn conditions(options: &Options) -> Conditions {
    Conditions {
        quick: options.quick,
        rounds: options.rounds,
        seconds: options.duration.as_secs_f64(),
        warmup_seconds: options.warmup.as_secs_f64(),
        connections: options.connections,
        keys: options.keys,
        transaction_items: ITEMS,
        shards: SHARDS,
        replicas: REPLICAS,
    }
}

fn plan(options: &Options, point: Point) -> Plan {
    Plan {
        workload: point.work.workload(),
        clients: point.clients,
        keys: options.keys,
        distribution: point.work.distribution(),
        value_size: point.value_size,
        transaction_items: ITEMS,
        placement: point.work.placement(SHARDS),
        warmup: options.warmup,
        duration: options.duration,
        rate: point.rate,
        servers: Vec::new(),
        progress: false,
    }
}

async fn one_run(
    options: &Options,
    systems: &Systems,
    point: Point,
    system: System,
) -> Result<Run, Failure> {
    let plan = plan(options, point);
    match system {
        System::Ours | System::Calls => {
            let consistency = match point.work {
                Work::EventualGet => Consistency::Eventual,
                _ => Consistency::Strong,
            };
            let servers = systems.ours.pids();
            // All but ZooKeeper.
            let charged = servers.len() - 1;
            let tables = match system {
                System::Calls => systems.ours.tables_by_calls(consistency),
                _ => systems.ours.tables(consistency),
            };
            press(plan, servers, charged, &tables).await
        }
        System::Etcd => {
            let members = match point.work {
                Work::EventualGet => systems.etcd.spread(),
                _ => systems.etcd.leader().await?,
            };
            let servers = systems.etcd.pids();
            let charged = servers.len();
            press(plan, servers, charged, &members).await
        }
        System::Ceiling => {
            let servers = systems.ceiling.pids();
            let charged = servers.len();
            let echoes = systems.ceiling.echoes(point.value_size);
            press(plan, servers, charged, &echoes).await
        }
    }
}

fn show(round: u32, rounds: u32, point: &Point, system: System, run: &Run) {
    eprintln!(
        "{round}/{rounds}  {:<42}{:<15}{:>8.0} /s{:>9.2} ms{:>8.0} µs{}",
        point.name(),
        system.name(),
        run.throughput,
        run.latency_micros.p50 as f64 / 1000.0,
        run.cpu_micros,
        match run.errors {
            0 => String::new(),
            errors => format!("  {errors} errors"),
        }
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(only: Option<&str>) -> Options {
        Options {
            quick: true,
            rounds: 1,
            warmup: Duration::ZERO,
            duration: Duration::from_secs(1),
            connections: 6,
            keys: 10,
            only: only.map(str::to_owned),
            directory: PathBuf::new(),
            places: Places {
                minidynamo: PathBuf::new(),
                etcd: PathBuf::new(),
                own: PathBuf::new(),
            },
        }
    }

    #[test]
    fn points_are_chosen_by_a_part_of_their_names() {
        assert_eq!(chosen(&options(None)).unwrap(), points::all(true));
        let puts = chosen(&options(Some("Put, 256"))).unwrap();
        assert_eq!(puts.len(), 2);
        let error = chosen(&options(Some("Delete"))).unwrap_err().to_string();
        assert!(error.contains("consistent Get, 1 client"), "{error}");
    }

    #[test]
    fn a_plan_does_what_its_point_says() {
        let point = Point::new(Work::TransactPut, 7).of_size(99).at(5);
        let plan = plan(&options(None), point);
        assert_eq!((plan.clients, plan.value_size, plan.rate), (7, 99, Some(5)));
        assert_eq!(plan.workload, load::Workload::TransactPut);
        assert_eq!(plan.placement, load::Placement::Apart(SHARDS));
        assert_eq!(plan.keys, 10);
    }
}
