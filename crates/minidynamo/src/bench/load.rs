//! Writes every key once, in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use client::{Client, Error};
use rand::Rng;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::keys::key;
use super::measure::{Measured, Progress};
use super::options::Args;
use super::workload::Operation;
use crate::cli::Failure;

/// Items of one batch, as long as they fit.
const BATCH_ITEMS: u64 = 50;
const BATCH_BYTES: u64 = 1 << 20;
/// More batches than this in flight help nobody.
const MAX_TASKS: u32 = 32;

struct Plan {
    table: String,
    value: Bytes,
    keys: u64,
    batch: u64,
    next: AtomicU64,
    start: Instant,
    progress: Progress,
}

/// Writes all keys, or fails with the first error.
pub(super) async fn load(args: &Args, clients: &[Client]) -> Result<Measured, Failure> {
    let mut value = vec![0; args.value_size as usize];
    rand::rng().fill_bytes(&mut value);
    let plan = Arc::new(Plan {
        table: args.table.clone(),
        value: Bytes::from(value),
        keys: args.keys,
        batch: (BATCH_BYTES / u64::from(args.value_size.max(1))).clamp(1, BATCH_ITEMS),
        next: AtomicU64::new(0),
        start: Instant::now(),
        progress: Progress::default(),
    });
    eprintln!("writing {} keys", args.keys);
    let mut tasks = JoinSet::new();
    for number in 0..args.clients.min(MAX_TASKS) {
        let client = clients[number as usize % clients.len()].clone();
        tasks.spawn(write(Arc::clone(&plan), client));
    }
    let mut all = Measured::new();
    let joined = async {
        while let Some(result) = tasks.join_next().await {
            match result {
                Ok(measured) => all.add(measured?),
                Err(error) => return Err(Failure::new(format!("loading broke off: {error}"))),
            }
        }
        Ok(())
    };
    tokio::select! {
        result = joined => result?,
        () = plan.progress.show() => {}
    }
    Ok(all)
}

async fn write(plan: Arc<Plan>, client: Client) -> Result<Measured, Error> {
    let mut measured = Measured::new();
    loop {
        let first = plan.next.fetch_add(plan.batch, Ordering::Relaxed);
        if first >= plan.keys {
            return Ok(measured);
        }
        let items = (first..plan.keys.min(first + plan.batch))
            .map(|index| (plan.table.as_str(), key(index), plan.value.clone()));
        let sent = Instant::now();
        for result in client.batch_put(items).await? {
            result?;
            plan.progress.count(false);
            measured.succeeded(Operation::Put, sent.elapsed());
        }
        measured.elapsed = plan.start.elapsed();
    }
}
