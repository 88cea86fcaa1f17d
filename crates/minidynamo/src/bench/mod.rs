//! `bench`: load on a cluster, and what it can bear. How the load is made is told by the crate `load`.

mod options;
mod report;

pub use options::Args;

use client::{Client, Consistency};
use load::{Measured, Plan, Table};

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
    let tables = tables(args, connect)?;
    let client = &tables[0].client;
    // A table that isn't there is said once, not with every operation.
    let table = match args.create.as_deref() {
        Some([shards, replicas, ..]) => {
            let created = client.create_table(&args.table, *shards, *replicas);
            created.await?
        }
        _ => client.describe_table(&args.table).await?,
    };
    let plan = args.plan(table.shards.len() as u32);
    if args.load || args.load_only {
        let loaded = fill(&plan, &tables).await?;
        if args.load_only {
            return show(&report::Report::new(args, "load", &loaded), connect.output);
        }
    }
    let measured = load::run(&plan, &tables)
        .await
        .map_err(|error| Failure::new(format!("can't see what the servers use: {error}")))?;
    if measured.operations() == 0 {
        return Err(measured.first_error.map_or_else(
            || Failure::new("no operation was finished within the time: allow more (--duration)"),
            Failure::from,
        ));
    }
    let report = report::Report::new(args, args.workload.name(), &measured);
    show(&report, connect.output)
}

/// Writes all keys, or fails with the first error.
async fn fill(plan: &Plan, tables: &[Table]) -> Result<Measured<client::Error>, Failure> {
    eprintln!("writing {} keys", plan.keys);
    let mut loaded = load::fill(plan, tables)
        .await
        .map_err(|error| Failure::new(format!("loading broke off: {error}")))?;
    match loaded.first_error.take() {
        Some(error) => Err(error.into()),
        None => Ok(loaded),
    }
}

/// The table through one client per router, so that the load is spread over all of them.
fn tables(args: &Args, connect: &ClientArgs) -> Result<Vec<Table>, Failure> {
    let consistent = args.consistent || args.workload.is_consistent();
    let table = |client: Client| Table {
        client,
        name: args.table.clone(),
        consistency: if consistent {
            Consistency::Strong
        } else {
            Consistency::Eventual
        },
    };
    let routers = connect.router.iter().map(std::slice::from_ref);
    routers
        .map(|router| {
            connect.connect_with(
                router,
                args.connections as usize,
                args.send == options::Sending::Stream,
            )
        })
        .map(|client| client.map(table))
        .collect()
}

fn show(report: &report::Report, format: OutputFormat) -> Result<(), Failure> {
    output::print(&match format {
        OutputFormat::Text => report.text(),
        OutputFormat::Json => output::json::render(report),
    })
}
