//! `bench`: load on a cluster, and what it can bear.
//!
//! Two ways to press:
//!
//! | | closed loop (default) | fixed rate (`--rate`) |
//! |---|---|---|
//! | a client sends its next request | when the last one is answered | when it is due |
//! | tells | what the cluster can do at most | how it feels at a given load |
//! | latency counts from | sending | when it was **due** |
//!
//! With a fixed rate a request that had to wait, because the cluster stood still, counts the wait. Measuring
//! from the sending would leave out exactly the requests that a pause delays (*coordinated omission*).
//!
//! # Caveats
//!
//! The generator runs on this machine and takes its share of it. At a fixed rate every client is one
//! request at a time, so there must be enough of them: `rate × latency` are in flight.

mod keys;
mod load;
mod measure;
mod options;
mod report;
mod run;
mod workload;

pub use options::Args;

use client::Client;

use crate::cli::{ClientArgs, Failure, OutputFormat};
use crate::output;

/// Runs the benchmark and prints its result.
pub fn run(args: &Args, connect: &ClientArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("can't start: {error}")))?;
    runtime.block_on(run_async(args, connect))
}

async fn run_async(args: &Args, connect: &ClientArgs) -> Result<(), Failure> {
    let clients = clients(args, connect)?;
    if let Some(create) = &args.create {
        clients[0]
            .create_table(&args.table, create[0], create[1])
            .await?;
    } else {
        // A table that isn't there is said once, not with every operation.
        clients[0].describe_table(&args.table).await?;
    }
    if args.load || args.load_only {
        let loaded = load::load(args, &clients).await?;
        if args.load_only {
            return show(&report::Report::new(args, "load", &loaded), connect.output);
        }
    }
    let measured = run::run(args, &clients).await;
    if measured.operations() == 0 {
        return Err(measured.first_error.map_or_else(
            || Failure::new("no operation was finished within the time: allow more (--duration)"),
            Failure::from,
        ));
    }
    let report = report::Report::new(args, args.workload.name(), &measured);
    show(&report, connect.output)
}

/// One client per router, so that the load is spread over all of them.
fn clients(args: &Args, connect: &ClientArgs) -> Result<Vec<Client>, Failure> {
    connect
        .router
        .iter()
        .map(|router| connect.connect_with(std::slice::from_ref(router), args.connections as usize))
        .collect()
}

fn show(report: &report::Report, format: OutputFormat) -> Result<(), Failure> {
    output::print(&match format {
        OutputFormat::Text => report.text(),
        OutputFormat::Json => output::json::render(report),
    })
}
