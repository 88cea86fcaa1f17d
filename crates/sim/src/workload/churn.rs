//! Tables that come and go. Each churner has names of its own, so that it knows which incarnation of a table
//! it works on, and whether there is one.
//!
//! ```text
//! create ├────┤ confirmed      → every router finds the table
//!               work
//! delete          ├────┤ confirmed     → no router serves the table any more
//! ```
//!
//! What it can't know, because an answer was lost, it finds out by asking. But a request whose answer was lost
//! may still be under way, and do its work late; so the name is given up after that.

use std::collections::BTreeMap;
use std::time::Duration;

use client::{Client, Consistency, Error, Reason, TransactItem};

use super::{Worker, Workload, key_of};

/// Keys of each table.
const KEYS: u64 = 4;

/// What a churner does.
#[derive(Debug, Clone, Copy)]
pub struct Churn {
    /// Shards of each table.
    pub shards: u32,
    /// Names that it uses in turn.
    pub names: u64,
    /// The share of the tables that are deleted while they are being created.
    pub races: f64,
    /// The share of the others that are deleted while transactions write to them, and to the tables that stay.
    pub transactions: f64,
}

/// Creates a table, works on it, deletes it, and again.
pub async fn churn(mut worker: Worker, what: Churn, workload: Workload) {
    let mut given_up = 0;
    for round in 0.. {
        if worker.record.stopped() {
            return;
        }
        let name = format!("churn-{}-{}", worker.number, given_up + round % what.names);
        let incarnation = format!("{name}#{round}");
        worker.incarnations = BTreeMap::from([(name.clone(), incarnation.clone())]);
        let mut certain = true;
        if worker.dice.chance(what.races) {
            certain = race(&mut worker, &name, what.shards).await;
        } else if create(&mut worker, &name, what.shards, &mut certain).await {
            if certain {
                found_everywhere(&worker, &name).await;
            }
            work(&mut worker, &name, &incarnation).await;
            if worker.dice.chance(what.transactions) {
                certain &= delete_under_transactions(&mut worker, &name, &workload).await;
            } else if certain {
                read_all(&mut worker, &name, &incarnation).await;
            }
        } else {
            given_up += what.names;
            continue;
        }
        if delete(&mut worker, &name, &mut certain).await && certain {
            served_nowhere(&mut worker, &name).await;
        }
        if !certain {
            given_up += what.names;
        }
    }
}

async fn work(worker: &mut Worker, name: &str, incarnation: &str) {
    for number in 0..worker.dice.between(1, 12) {
        let key = key_of(number % KEYS);
        if worker.dice.chance(0.6) {
            let _ = worker.put(name, incarnation, key, 200).await;
        } else {
            let _ = worker.get(name, incarnation, key, true).await;
        }
    }
}

/// Deletes the table while transactions are on their way that write to it and to the tables that stay: to these they must
/// happen or not, whatever becomes of it. True: the deletion has ended, with certainty.
async fn delete_under_transactions(worker: &mut Worker, name: &str, workload: &Workload) -> bool {
    let millis = worker.dice.between(0, 300);
    let transactions: Vec<_> = (0..12)
        .map(|_| both_sides(worker, name, workload))
        .collect();
    let worker = &*worker;
    let work = async {
        for items in transactions {
            let _ = worker.transact_put(items, None).await;
        }
    };
    let delete = async {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        worker.client.delete_table(name).await.err()
    };
    let ((), failed) = futures::join!(work, delete);
    !failed.is_some_and(|error| is_doubtful(&error))
}

/// A transaction over a table that goes and one that stays.
fn both_sides(worker: &mut Worker, name: &str, workload: &Workload) -> Vec<TransactItem> {
    let goes = key_of(worker.dice.between(0, KEYS - 1));
    let mut items = vec![TransactItem::new(name, goes, worker.value(200))];
    if let Some(table) = worker.dice.pick(&workload.tables) {
        let table = table.name.clone();
        let stays = worker.any_key(workload);
        items.push(TransactItem::new(table, stays, worker.value(200)));
    }
    items
}

/// Reads every key, before the table goes, and keeps what it found as the last state of all. Nobody else works on
/// the table. An answer that is not to be had before the clients are stopped is missing there.
async fn read_all(worker: &mut Worker, name: &str, incarnation: &str) {
    for key in (0..KEYS).map(key_of) {
        while !worker.record.stopped() {
            if let Ok(found) = worker.get(name, incarnation, key.clone(), true).await {
                worker.keep_last(incarnation, key, found);
                break;
            }
            pause(worker).await;
        }
    }
}

/// Every router finds a table whose creation was confirmed. It need not be able to serve it now.
async fn found_everywhere(worker: &Worker, name: &str) {
    let asked = worker.each_router.iter();
    let asked = asked.map(|client| client.get(name, key_of(0), Consistency::Strong));
    for (router, answer) in futures::future::join_all(asked)
        .await
        .into_iter()
        .enumerate()
    {
        if let Err(error) = answer
            && error.reason() == Some(Reason::TableNotFound)
        {
            let what =
                format!("the creation of {name} was confirmed, and router {router} says: {error}");
            worker.record.complain("tables-as-confirmed", what);
        }
    }
}

/// No router serves a table whose deletion was confirmed.
async fn served_nowhere(worker: &mut Worker, name: &str) {
    let value = worker.value(20);
    let asked = worker
        .each_router
        .iter()
        .map(|client| use_it(client, name, value.clone()));
    for (router, served) in futures::future::join_all(asked)
        .await
        .into_iter()
        .enumerate()
    {
        if served {
            let what = format!(
                "the deletion of {name} was confirmed, and router {router} still serves it"
            );
            worker.record.complain("tables-as-confirmed", what);
        }
    }
}

async fn use_it(client: &Client, name: &str, value: bytes::Bytes) -> bool {
    let (put, got) = futures::join!(
        client.put(name, key_of(0), value),
        client.get(name, key_of(0), Consistency::Strong)
    );
    put.is_ok() || got.is_ok()
}

/// Creates the table, however often that takes. What came of it is not `certain` if an answer was lost.
async fn create(worker: &mut Worker, name: &str, shards: u32, certain: &mut bool) -> bool {
    while !worker.record.stopped() {
        match worker.client.create_table(name, shards, 3).await {
            Ok(_) => return true,
            Err(error) => {
                let now = worker.record.time.micros();
                worker
                    .record
                    .trace
                    .say(now, || format!("{name} is not created: {error}"));
                // It may have come to be, whole or half, when the answer was lost: begin anew.
                if is_doubtful(&error) || error.reason() == Some(Reason::TableAlreadyExists) {
                    *certain = false;
                    delete(worker, name, certain).await;
                }
            }
        }
        pause(worker).await;
    }
    false
}

/// Creates the table and deletes it while that is going on. True: both have ended, with certainty.
async fn race(worker: &mut Worker, name: &str, shards: u32) -> bool {
    let millis = worker.dice.between(0, 2_000);
    let (client, other) = (&worker.client, worker.dice.pick(&worker.each_router));
    let later = async {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        match other {
            Some(other) => other.delete_table(name).await.err(),
            None => None,
        }
    };
    let (created, deleted) = futures::join!(client.create_table(name, shards, 3), later);
    let errors = created.err().into_iter().chain(deleted);
    !errors.into_iter().any(|error| is_doubtful(&error))
}

/// Deletes the table and makes sure that it is gone.
async fn delete(worker: &mut Worker, name: &str, certain: &mut bool) -> bool {
    while !worker.record.stopped() {
        match worker.client.delete_table(name).await {
            Ok(()) => return true,
            Err(error) if error.reason() == Some(Reason::TableNotFound) => return true,
            Err(error) => {
                *certain &= !is_doubtful(&error);
                let now = worker.record.time.micros();
                worker
                    .record
                    .trace
                    .say(now, || format!("{name} is not deleted: {error}"));
            }
        }
        pause(worker).await;
    }
    false
}

/// Whether what was asked for may still happen.
fn is_doubtful(error: &Error) -> bool {
    !error.certainly_not_applied()
}

async fn pause(worker: &mut Worker) {
    let millis = worker.dice.between(100, 1000);
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
