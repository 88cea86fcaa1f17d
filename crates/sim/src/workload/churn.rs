//! Tables that come and go. Each churner has names of its own, so that it knows which incarnation of a table
//! it works on; what it can't know, because an answer was lost, it finds out by asking.

use std::time::Duration;

use client::Reason;

use super::{Worker, key_of};

/// What a churner does.
#[derive(Debug, Clone, Copy)]
pub struct Churn {
    /// Shards of each table.
    pub shards: u32,
    /// Names that it uses in turn.
    pub names: u64,
}

/// Creates a table, works on it, deletes it, and again.
pub async fn churn(mut worker: Worker, what: Churn) {
    for round in 0.. {
        if worker.record.stopped() {
            return;
        }
        let name = format!("churn-{}-{}", worker.number, round % what.names);
        let incarnation = format!("{name}#{round}");
        if !create(&mut worker, &name, what.shards).await {
            continue;
        }
        for number in 0..worker.dice.between(1, 12) {
            let key = key_of(number % 4);
            if worker.dice.chance(0.6) {
                let _ = worker.put(&name, &incarnation, key, 200).await;
            } else {
                let _ = worker.get(&name, &incarnation, key, true).await;
            }
        }
        delete(&mut worker, &name).await;
    }
}

/// Creates the table, however often that takes.
async fn create(worker: &mut Worker, name: &str, shards: u32) -> bool {
    while !worker.record.stopped() {
        match worker.client.create_table(name, shards, 3).await {
            Ok(_) => return true,
            Err(error) => {
                let reason = error.reason();
                let now = worker.record.time.micros();
                worker
                    .record
                    .trace
                    .say(now, || format!("{name} is not created: {error}"));
                // It may have come to be, whole or half, when the answer was lost: begin anew.
                if reason == Some(Reason::TableAlreadyExists)
                    || error.reason().is_some_and(|r| !r.certainly_not_applied())
                {
                    delete(worker, name).await;
                }
            }
        }
        pause(worker).await;
    }
    false
}

/// Deletes the table and makes sure that it is gone.
async fn delete(worker: &mut Worker, name: &str) {
    while !worker.record.stopped() {
        match worker.client.delete_table(name).await {
            Ok(()) => return,
            Err(error) if error.reason() == Some(Reason::TableNotFound) => return,
            Err(error) => {
                let now = worker.record.time.micros();
                worker
                    .record
                    .trace
                    .say(now, || format!("{name} is not deleted: {error}"));
            }
        }
        pause(worker).await;
    }
}

async fn pause(worker: &mut Worker) {
    let millis = worker.dice.between(100, 1000);
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
