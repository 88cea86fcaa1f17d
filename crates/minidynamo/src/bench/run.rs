//! The clients that make the load.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{Client, Consistency, Error};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::keys::Keys;
use super::measure::{Measured, Progress};
use super::options::Args;
use super::workload::{Operation, Workload};

/// What all clients share.
struct Plan {
    table: String,
    workload: Workload,
    consistency: Consistency,
    keys: Keys,
    value_size: usize,
    transaction_items: usize,
    /// From when on and until when it is measured.
    start: Instant,
    end: Instant,
    /// Between two requests of one client, with a fixed rate.
    interval: Option<Duration>,
    progress: Progress,
}

/// Runs the load for as long as the arguments say.
pub(super) async fn run(args: &Args, clients: &[Client]) -> Measured {
    let begin = Instant::now();
    let consistent = args.consistent || args.workload.is_consistent();
    let plan = Arc::new(Plan {
        table: args.table.clone(),
        workload: args.workload,
        consistency: if consistent {
            Consistency::Strong
        } else {
            Consistency::Eventual
        },
        keys: Keys::new(args.keys, args.distribution),
        value_size: args.value_size as usize,
        transaction_items: (args.transaction_items as usize).min(args.keys as usize),
        start: begin + args.warmup,
        end: begin + args.warmup + args.duration,
        interval: args
            .rate
            .map(|rate| Duration::from_secs_f64(f64::from(args.clients) / f64::from(rate))),
        progress: Progress::default(),
    });
    let mut tasks = JoinSet::new();
    for number in 0..args.clients {
        let client = clients[number as usize % clients.len()].clone();
        // With a fixed rate the clients are due one after the other, evenly over an interval.
        let share = f64::from(number) / f64::from(args.clients);
        let first = begin + plan.interval.unwrap_or_default().mul_f64(share);
        tasks.spawn(one_client(Arc::clone(&plan), client, first));
    }
    let mut all = Measured::new();
    let joined = async {
        while let Some(result) = tasks.join_next().await {
            if let Ok(measured) = result {
                all.add(measured);
            }
        }
    };
    tokio::select! {
        () = joined => {}
        () = plan.progress.show() => {}
    }
    all
}

async fn one_client(plan: Arc<Plan>, client: Client, first: Instant) -> Measured {
    let mut measured = Measured::new();
    let mut random = SmallRng::seed_from_u64(rand::random());
    let mut value = vec![0; plan.value_size];
    random.fill_bytes(&mut value);
    let value = Bytes::from(value);
    let mut due = first;
    loop {
        if plan.interval.is_some() {
            if due >= plan.end {
                break;
            }
            sleep_until(due).await;
        }
        let sent = Instant::now();
        if sent >= plan.end {
            break;
        }
        // With a fixed rate a late request counts from when it should have been sent.
        let counted_from = if plan.interval.is_some() { due } else { sent };
        let operation = plan.workload.draw(&mut random);
        let keys = draw(&plan, operation, &mut random);
        let result = carry_out(&plan, &client, operation, keys, value.clone()).await;
        let now = Instant::now();
        plan.progress.count(result.is_err());
        if counted_from >= plan.start {
            match result {
                Ok(found) => {
                    measured.succeeded(operation, now - counted_from);
                    measured.misses += u64::from(!found);
                }
                Err(error) => measured.failed(error),
            }
            measured.elapsed = now - plan.start;
        } else if let Err(error) = result {
            measured.first_error.get_or_insert(error);
        }
        due += plan.interval.unwrap_or_default();
    }
    measured
}

/// The keys of an operation, all different.
fn draw(plan: &Plan, operation: Operation, random: &mut impl Rng) -> BTreeSet<Bytes> {
    let count = match operation {
        Operation::Get | Operation::Put | Operation::ReadModifyWrite => 1,
        Operation::TransactPut | Operation::TransactGet => plan.transaction_items,
    };
    let mut keys = BTreeSet::new();
    while keys.len() < count {
        keys.insert(plan.keys.draw(random));
    }
    keys
}

/// Returns whether a read found everything.
async fn carry_out(
    plan: &Plan,
    client: &Client,
    operation: Operation,
    keys: BTreeSet<Bytes>,
    value: Bytes,
) -> Result<bool, Error> {
    let table = &*plan.table;
    match operation {
        Operation::TransactPut => {
            let items = keys.into_iter().map(|key| (table, key, value.clone()));
            client.transact_put(items, None).await?;
            return Ok(true);
        }
        Operation::TransactGet => {
            let found = client.transact_get(keys.into_iter().map(|key| (table, key)));
            return Ok(found.await?.iter().all(Option::is_some));
        }
        Operation::Get | Operation::Put | Operation::ReadModifyWrite => {}
    }
    let mut found = true;
    for key in keys {
        if operation != Operation::Put {
            let item = client.get(table, key.clone(), plan.consistency).await?;
            found = item.is_some();
        }
        if operation != Operation::Get {
            client.put(table, key, value.clone()).await?;
        }
    }
    Ok(found)
}
