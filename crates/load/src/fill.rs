//! Writes every key once, many at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rand::Rng;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::keys::key;
use crate::measure::Progress;
use crate::{Measured, Operation, Plan, Target};

/// Items that are written together, as long as they fit.
const BATCH_ITEMS: u64 = 50;
const BATCH_BYTES: u64 = 1 << 20;
/// More batches than this in flight help nobody.
const MAX_TASKS: u32 = 32;

struct Work {
    value: Bytes,
    keys: u64,
    batch: u64,
    next: AtomicU64,
    start: Instant,
    progress: Progress,
}

/// Writes all keys of a plan. With the first error it ends, and says so in what was measured; the outer error is
/// that of a task that broke off.
pub async fn fill<T: Target>(plan: &Plan, targets: &[T]) -> Result<Measured<T::Error>, JoinError> {
    let mut value = vec![0; plan.value_size];
    rand::rng().fill_bytes(&mut value);
    let work = Arc::new(Work {
        value: Bytes::from(value),
        keys: plan.keys,
        batch: (BATCH_BYTES / (plan.value_size as u64).max(1)).clamp(1, BATCH_ITEMS),
        next: AtomicU64::new(0),
        start: Instant::now(),
        progress: Progress::default(),
    });
    let mut tasks = JoinSet::new();
    let clients = 0..plan.clients.min(MAX_TASKS) as usize;
    for target in clients
        .zip(targets.iter().cycle())
        .map(|(_, target)| target)
    {
        tasks.spawn(write(Arc::clone(&work), target.clone()));
    }
    let mut all = Measured::default();
    let joined = async {
        while let Some(result) = tasks.join_next().await {
            all.add(result?);
            if all.first_error.is_some() {
                break;
            }
        }
        Ok(())
    };
    work.progress.show_during(plan.progress, joined).await?;
    Ok(all)
}

async fn write<T: Target>(work: Arc<Work>, target: T) -> Measured<T::Error> {
    let mut measured = Measured::default();
    loop {
        let first = work.next.fetch_add(work.batch, Ordering::Relaxed);
        if first >= work.keys {
            return measured;
        }
        let indexes = first..work.keys.min(first + work.batch);
        let items = indexes
            .clone()
            .map(|index| (key(index), work.value.clone()));
        let sent = Instant::now();
        if let Err(error) = target.put_many(items.collect()).await {
            measured.failed::<T>(error);
            return measured;
        }
        for _ in indexes {
            work.progress.count(false);
            measured.succeeded(Operation::Put, sent.elapsed());
        }
        measured.elapsed = work.start.elapsed();
    }
}
