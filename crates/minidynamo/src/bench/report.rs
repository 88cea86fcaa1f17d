//! The result of a benchmark.

use std::collections::BTreeMap;
use std::fmt::Write;

use load::{Latency, Measured};
use serde::Serialize;

use super::options::Args;

/// What was asked, and what was measured. Its JSON form is this struct.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    workload: &'static str,
    table: String,
    clients: u32,
    connections: u32,
    keys: u64,
    value_size: u32,
    rate: Option<u32>,
    seconds: f64,
    operations: u64,
    operations_per_second: f64,
    not_found: u64,
    errors: BTreeMap<String, u64>,
    /// By operation, microseconds.
    latency_micros: BTreeMap<&'static str, Latency>,
    /// Were due and never sent.
    unsent: u64,
    /// Of all servers that were named, per operation.
    cpu_micros_per_operation: Option<f64>,
}

impl Report {
    pub(super) fn new<E>(args: &Args, workload: &'static str, measured: &Measured<E>) -> Self {
        let latencies = measured.latencies();
        Self {
            workload,
            table: args.table.clone(),
            clients: args.clients,
            connections: args.connections,
            keys: args.keys,
            value_size: args.value_size,
            rate: args.rate,
            seconds: (measured.elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
            operations: measured.operations(),
            operations_per_second: measured.throughput().round(),
            not_found: measured.misses,
            errors: measured.errors.clone(),
            latency_micros: latencies
                .map(|(operation, latency)| (operation.name(), latency))
                .collect(),
            unsent: measured.unsent,
            cpu_micros_per_operation: measured
                .cpu_micros()
                .map(|micros| (micros * 10.0).round() / 10.0),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = writeln!(
            text,
            "{}: {} operations in {:.1} s = {} per second ({} clients, {} connections, values of {} B)",
            self.workload,
            self.operations,
            self.seconds,
            self.operations_per_second,
            self.clients,
            self.connections,
            self.value_size,
        );
        let _ = writeln!(
            text,
            "\n{:<18}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "LATENCY (ms)", "mean", "p50", "p90", "p99", "p99.9", "max"
        );
        for (name, latency) in &self.latency_micros {
            let _ = write!(text, "{name:<18}{:>10.3}", latency.mean / 1000.0);
            for micros in [
                latency.p50,
                latency.p90,
                latency.p99,
                latency.p999,
                latency.max,
            ] {
                let _ = write!(text, "{:>10.3}", micros as f64 / 1000.0);
            }
            text.push('\n');
        }
        if let Some(micros) = self.cpu_micros_per_operation {
            let _ = writeln!(text, "\n{micros} µs of the servers' CPU time per operation");
        }
        if self.unsent > 0 {
            let _ = writeln!(
                text,
                "\n{} operations were due and not sent in time: too high a --rate, or too few --clients",
                self.unsent
            );
        }
        if self.not_found > 0 {
            let _ = writeln!(
                text,
                "\n{} gets found nothing: --load writes every key first",
                self.not_found
            );
        }
        if !self.errors.is_empty() {
            text.push_str("\nERRORS\n");
            for (reason, count) in &self.errors {
                let _ = writeln!(text, "{reason:<28}{count:>10}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use api::Reason;
    use clap::Parser;
    use load::{Operation, Table};
    use std::time::Duration;

    fn report() -> Report {
        let cli = Cli::try_parse_from(["minidynamo", "bench", "--table", "people"]).unwrap();
        let Command::Bench(args) = cli.command else {
            panic!("not a benchmark");
        };
        let mut measured = Measured::default();
        for micros in 1..=1000 {
            measured.succeeded(Operation::Put, Duration::from_micros(micros));
        }
        measured.failed::<Table>(api::Error::new(Reason::NoLeader, "x").into());
        measured.elapsed = Duration::from_secs(2);
        measured.cpu = vec![Duration::from_millis(50), Duration::from_millis(4)];
        measured.unsent = 7;
        Report::new(&args, "put", &measured)
    }

    #[test]
    fn the_text_has_throughput_percentiles_and_errors() {
        assert_eq!(
            report().text(),
            "\
put: 1000 operations in 2.0 s = 500 per second (64 clients, 4 connections, values of 128 B)

LATENCY (ms)            mean       p50       p90       p99     p99.9       max
put                    0.500     0.500     0.900     0.990     0.999     1.000

54 µs of the servers' CPU time per operation

7 operations were due and not sent in time: too high a --rate, or too few --clients

ERRORS
NO_LEADER                            1
"
        );
    }

    #[test]
    fn the_json_is_one_document_with_fixed_keys() {
        assert_eq!(
            crate::output::json::render(&report()),
            concat!(
                r#"{"workload":"put","table":"people","clients":64,"connections":4,"keys":100000,"#,
                r#""value_size":128,"rate":null,"seconds":2.0,"operations":1000,"#,
                r#""operations_per_second":500.0,"not_found":0,"errors":{"NO_LEADER":1},"#,
                r#""latency_micros":{"put":{"count":1000,"mean":500.5,"p50":500,"p90":900,"#,
                r#""p99":990,"p999":999,"max":1000}},"unsent":7,"cpu_micros_per_operation":54.0}"#
            )
        );
    }
}
