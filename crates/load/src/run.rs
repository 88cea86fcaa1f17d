//! The clients that make the load.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::keys::{Keys, Shards};
use crate::measure::Progress;
use crate::{Distribution, Measured, Operation, Placement, Target, Workload, process};

/// What load to make.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which operations.
    pub workload: Workload,
    /// Requests in flight.
    pub clients: u32,
    /// Number of different keys; at least 1.
    pub keys: u64,
    /// How they are drawn.
    pub distribution: Distribution,
    /// Bytes of a value.
    pub value_size: usize,
    /// Items of a transaction.
    pub transaction_items: usize,
    /// How its keys lie.
    pub placement: Placement,
    /// How long to press before measuring.
    pub warmup: Duration,
    /// How long to measure.
    pub duration: Duration,
    /// Operations per second over all clients; without it as many as possible.
    pub rate: Option<u32>,
    /// Ids of the processes whose CPU time is measured.
    pub servers: Vec<u32>,
    /// Whether each second a line on standard error tells how it goes.
    pub progress: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            workload: Workload::Put,
            clients: 64,
            keys: 100_000,
            distribution: Distribution::Uniform,
            value_size: 128,
            transaction_items: 3,
            placement: Placement::Anywhere,
            warmup: Duration::ZERO,
            duration: Duration::from_secs(10),
            rate: None,
            servers: Vec::new(),
            progress: false,
        }
    }
}

/// What all clients share.
struct Work {
    workload: Workload,
    keys: Keys,
    shards: Shards,
    value_size: usize,
    transaction_items: usize,
    /// From when on and until when it is measured.
    start: Instant,
    end: Instant,
    /// Between two requests of one client, with a fixed rate.
    interval: Option<Duration>,
    progress: Progress,
}

/// Runs the load for as long as the plan says, the clients spread over the targets. An error means that a process whose
/// CPU time was to be measured can't be looked at.
pub async fn run<T: Target>(plan: &Plan, targets: &[T]) -> io::Result<Measured<T::Error>> {
    let begin = Instant::now();
    let work = Arc::new(Work {
        workload: plan.workload,
        keys: Keys::new(plan.keys.max(1), plan.distribution),
        shards: Shards::new(plan.placement),
        value_size: plan.value_size,
        transaction_items: plan.transaction_items,
        start: begin + plan.warmup,
        end: begin + plan.warmup + plan.duration,
        interval: plan
            .rate
            .map(|rate| Duration::from_secs_f64(f64::from(plan.clients) / f64::from(rate))),
        progress: Progress::default(),
    });
    let mut tasks = JoinSet::new();
    for (number, target) in (0..plan.clients).zip(targets.iter().cycle()) {
        // With a fixed rate the clients are due one after the other, evenly over an interval.
        let share = f64::from(number) / f64::from(plan.clients);
        let first = begin + work.interval.unwrap_or_default().mul_f64(share);
        tasks.spawn(one_client(Arc::clone(&work), target.clone(), first));
    }
    let joined = async {
        let mut all = Measured::default();
        sleep_until(work.start).await;
        let before = process::cpu(&plan.servers)?;
        while let Some(result) = tasks.join_next().await {
            if let Ok(measured) = result {
                all.add(measured);
            }
        }
        let after = process::cpu(&plan.servers)?;
        let used = after.iter().zip(before);
        all.cpu = used
            .map(|(after, before)| after.saturating_sub(before))
            .collect();
        Ok(all)
    };
    work.progress.show_during(plan.progress, joined).await
}

async fn one_client<T: Target>(work: Arc<Work>, target: T, first: Instant) -> Measured<T::Error> {
    let mut measured = Measured::default();
    let mut random = SmallRng::seed_from_u64(rand::random());
    let mut value = vec![0; work.value_size];
    random.fill_bytes(&mut value);
    let value = Bytes::from(value);
    let mut due = first;
    loop {
        if work.interval.is_some() {
            if due >= work.end {
                break;
            }
            sleep_until(due).await;
        }
        let sent = Instant::now();
        if sent >= work.end {
            measured.unsent = work.unsent_from(due);
            break;
        }
        // With a fixed rate a late request counts from when it should have been sent.
        let counted_from = if work.interval.is_some() { due } else { sent };
        let operation = work.workload.draw(&mut random);
        let result = carry_out(&work, &target, operation, value.clone(), &mut random).await;
        let now = Instant::now();
        work.progress.count(result.is_err());
        if counted_from >= work.start {
            match result {
                Ok(found) => {
                    measured.succeeded(operation, now - counted_from);
                    measured.misses += u64::from(!found);
                }
                Err(error) => measured.failed::<T>(error),
            }
            measured.elapsed = now - work.start;
        } else if let Err(error) = result {
            measured.first_error.get_or_insert(error);
        }
        due += work.interval.unwrap_or_default();
    }
    measured
}

impl Work {
    /// With a fixed rate: how many requests of one client were due from `due` until the end.
    fn unsent_from(&self, due: Instant) -> u64 {
        let Some(interval) = self.interval else {
            return 0;
        };
        let left = self.end.saturating_duration_since(due);
        (left.as_secs_f64() / interval.as_secs_f64()).ceil() as u64
    }
}

/// Returns whether a read found everything.
async fn carry_out<T: Target>(
    work: &Work,
    target: &T,
    operation: Operation,
    value: Bytes,
    random: &mut SmallRng,
) -> Result<bool, T::Error> {
    let mut several = || {
        let items = work.transaction_items;
        work.keys.draw_several(items, &work.shards, random)
    };
    match operation {
        Operation::TransactPut => {
            let items = several().into_iter().map(|key| (key, value.clone()));
            target.transact_put(items.collect()).await.map(|()| true)
        }
        Operation::TransactGet => target.transact_get(several()).await,
        Operation::Get => target.get(work.keys.draw(random)).await,
        Operation::Put => {
            let item = (work.keys.draw(random), value);
            target.put(item).await.map(|()| true)
        }
        Operation::ReadModifyWrite => {
            let key = work.keys.draw(random);
            let found = target.get(key.clone()).await?;
            target.put((key, value)).await.map(|()| found)
        }
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
