//! What the clients do while everything breaks: operations on tables that exist, and tables that come and go.
//!
//! Every value that is written is unique. Every operation goes into the history with the moment it was asked,
//! the moment it ended, and what the client library says of its outcome.

mod bank;
mod churn;
mod conflicts;
mod doors;
mod transact;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use client::{Client, Consistency, Error, Item, Reason};
use environment::Environment;
use history::durable::FinalState;
use history::{Call, Condition, History, Outcome, Recorder, Refusal, Response, Token};
use parking_lot::Mutex;

pub use self::bank::account;
pub use self::churn::{Churn, churn};
use self::conflicts::Conflict;
pub use self::transact::Transactions;
use crate::cluster::TrueTime;
use crate::dice::Dice;
use crate::trace::Trace;

/// A table that the clients work on.
#[derive(Debug, Clone)]
pub struct WorkTable {
    /// Its name.
    pub name: String,
    /// Its shards.
    pub shards: u32,
    /// Replicas of each.
    pub replicas: u32,
}

/// What the clients do.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The tables.
    pub tables: Vec<WorkTable>,
    /// Clients.
    pub clients: u64,
    /// Keys of each table.
    pub keys: u64,
    /// Each client has keys of its own, so that nobody is in its way.
    pub apart: bool,
    /// Between two operations of a client, milliseconds on average.
    pub think_millis: u64,
    /// Bytes of a value, at the most.
    pub value_bytes: u64,
    /// Of all operations, the share of deletes, puts and batches of puts; the rest are reads.
    pub deletes: f64,
    /// See [`Workload::deletes`].
    pub puts: f64,
    /// See [`Workload::deletes`].
    pub batches: f64,
    /// Of the reads, the share of eventual ones.
    pub eventual: f64,
    /// Clients that create and delete tables of their own.
    pub churners: u64,
    /// What the clients do in transactions.
    pub transactions: Transactions,
    /// Clients that transfer between accounts.
    pub tellers: u64,
    /// Accounts in each table.
    pub accounts: u64,
    /// Doors that are opened and closed, each by a keeper of its own.
    pub doors: u64,
    /// How long one is open, and how long closed, milliseconds on average.
    pub door_millis: u64,
}

/// A key in a table.
type Place = (String, Bytes);

impl Workload {
    /// Every key of each table that clients may have written.
    pub fn all_keys(&self) -> impl Iterator<Item = Bytes> {
        let keys = (0..self.keys).map(key_of);
        let accounts = (0..self.accounts).map(account);
        keys.chain(accounts).chain(self.door_keys())
    }
}

/// What all clients share.
#[derive(Clone)]
pub struct Record {
    time: TrueTime,
    recorder: Arc<Mutex<Recorder>>,
    trace: Trace,
    stop: Arc<AtomicBool>,
    successes: Arc<AtomicU64>,
    last: Arc<Mutex<FinalState>>,
    complaint: Arc<Mutex<Option<(&'static str, String)>>>,
    conflicts: Arc<Mutex<Vec<Conflict>>>,
}

impl Record {
    /// Nothing was done yet.
    pub fn new(time: TrueTime, trace: Trace) -> Self {
        Self {
            time,
            recorder: Arc::default(),
            trace,
            stop: Arc::default(),
            successes: Arc::default(),
            last: Arc::default(),
            complaint: Arc::default(),
            conflicts: Arc::default(),
        }
    }

    /// The first conflict of a transaction for which there is no cause in the history.
    pub fn conflict_without_cause(&self, history: &History) -> Option<String> {
        let conflicts = self.conflicts.lock();
        conflicts
            .iter()
            .find_map(|conflict| conflict.without_cause(history))
    }

    /// What a client has seen that must not be, and the history doesn't show, and the property that it violates.
    pub fn complaint(&self) -> Option<(&'static str, String)> {
        self.complaint.lock().clone()
    }

    /// A client has seen what must not be.
    pub fn complain(&self, property: &'static str, what: String) {
        self.complaint.lock().get_or_insert((property, what));
    }

    /// The clients end after what they are at.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Operations that were confirmed so far.
    pub fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    /// Operations so far.
    pub fn operations(&self) -> usize {
        self.recorder.lock().len()
    }

    /// What the keys held after everything.
    pub fn last_state(&self) -> FinalState {
        self.last.lock().clone()
    }

    /// All that was done.
    pub fn history(&self) -> History {
        self.recorder.lock().history()
    }

    fn begin(&self, client: u64, call: Call) -> Token {
        let now = self.time.micros();
        self.trace
            .say(now, || format!("client {client} asks {call:#}"));
        self.recorder.lock().begin(client, now, call)
    }

    fn end(&self, client: u64, token: Token, outcome: Outcome) {
        let now = self.time.micros();
        self.trace
            .say(now, || format!("client {client} hears {outcome:#}"));
        if matches!(outcome, Outcome::Done(_)) {
            self.successes.fetch_add(1, Ordering::Relaxed);
        }
        self.recorder.lock().end(token, now, outcome);
    }
}

/// A client of its own: its connections, its identity, its place in the history.
pub struct Worker {
    number: u64,
    client: Client,
    /// One for each router, which asks that one only.
    each_router: Vec<Client>,
    record: Record,
    dice: Dice,
    values: u64,
    /// The version of each key when it was last seen.
    seen: BTreeMap<(String, Bytes), u64>,
    /// The tables of its own, and what they are called in the history.
    incarnations: BTreeMap<String, String>,
}

impl Worker {
    /// The client of this number.
    pub fn new(
        number: u64,
        routers: &[String],
        environment: &Environment,
        record: Record,
        dice: Dice,
    ) -> Option<Self> {
        let options = client::Options {
            data_timeout: Duration::from_secs(3),
            admin_timeout: Duration::from_secs(30),
            environment: environment.clone(),
            ..client::Options::default()
        };
        let others = routers.iter().filter_map(|router| {
            let options = client::Options {
                data_timeout: Duration::from_secs(1),
                ..options.clone()
            };
            Client::with_options(vec![router.clone()], &options).ok()
        });
        let each_router = others.collect();
        let mut routers = routers.to_vec();
        let first = number as usize % routers.len().max(1);
        routers.rotate_left(first);
        let client = Client::with_options(routers, &options).ok()?;
        Some(Self {
            number,
            client,
            each_router,
            record,
            dice,
            values: 0,
            seen: BTreeMap::new(),
            incarnations: BTreeMap::new(),
        })
    }

    /// Works until it is told to stop.
    pub async fn work(mut self, workload: Workload) {
        while !self.record.stopped() {
            let think = self.dice.around(workload.think_millis);
            tokio::time::sleep(Duration::from_millis(think)).await;
            self.operate(&workload).await;
        }
    }

    async fn operate(&mut self, workload: &Workload) {
        let Some(table) = self.dice.pick(&workload.tables).cloned() else {
            return;
        };
        let key = self.any_key(workload);
        let bytes = workload.value_bytes;
        let choice = self.dice.between(0, 999) as f64 / 1000.0;
        let table = &table.name;
        let mut shares = [
            workload.deletes,
            workload.puts,
            workload.batches,
            workload.transactions.puts,
            workload.transactions.gets,
        ];
        for share in 1..shares.len() {
            shares[share] += shares[share - 1];
        }
        if choice < shares[0] {
            let condition = self.condition(workload, table, &key);
            self.delete_if(table, table, key, condition).await;
        } else if choice < shares[1] {
            let condition = self.condition(workload, table, &key);
            let _ = self.put_if(table, table, key, bytes, condition).await;
        } else if choice < shares[2] {
            let from = self.dice.between(0, workload.keys.saturating_sub(1));
            let keys = (from..(from + 3).min(workload.keys)).map(key_of).collect();
            self.batch_put(table, keys, bytes).await;
        } else if choice < shares[3] {
            self.transact_put_some(workload).await;
        } else if choice < shares[4] {
            self.transact_get_some(workload).await;
        } else {
            let eventual = self.dice.chance(workload.eventual);
            let _ = self.get(table, table, key, !eventual).await;
        }
    }

    /// A key that this client may use.
    fn any_key(&mut self, workload: &Workload) -> Bytes {
        let (keys, clients) = (workload.keys, workload.clients.max(1));
        if !workload.apart {
            return key_of(self.dice.between(0, keys.saturating_sub(1)));
        }
        let own = self.dice.between(0, (keys / clients).saturating_sub(1));
        key_of(own * clients + self.number % clients)
    }

    /// What a write asks of its key: mostly nothing, else that it is there, or not, or as it was last seen.
    fn condition(&mut self, workload: &Workload, table: &str, key: &Bytes) -> client::Condition {
        if !self.dice.chance(workload.transactions.conditions) {
            return client::Condition::Always;
        }
        let seen = self.seen.get(&(table.to_owned(), key.clone())).copied();
        match (self.dice.between(0, 2), seen) {
            (0, _) => client::Condition::Exists,
            (1, _) | (_, None) => client::Condition::NotExists,
            (_, Some(version)) => client::Condition::VersionIs(version),
        }
    }

    fn value(&mut self, most: u64) -> Bytes {
        self.values += 1;
        let mut value = format!("{}-{}", self.number, self.values).into_bytes();
        let length = self.dice.between(0, most) as usize;
        if value.len() < length {
            value.push(b' ');
            value.resize(length, b'x');
        }
        value.into()
    }

    /// Creates a table.
    pub async fn create(&self, table: &WorkTable) -> Result<(), Error> {
        let WorkTable {
            name,
            shards,
            replicas,
        } = table;
        let created = self.client.create_table(name, *shards, *replicas);
        created.await.map(drop)
    }

    /// Puts a value of its own. `incarnation` names the table in the history.
    pub async fn put(
        &mut self,
        table: &str,
        incarnation: &str,
        key: Bytes,
        most: u64,
    ) -> Result<(), Error> {
        let condition = client::Condition::Always;
        self.put_if(table, incarnation, key, most, condition).await
    }

    async fn put_if(
        &mut self,
        table: &str,
        incarnation: &str,
        key: Bytes,
        most: u64,
        condition: client::Condition,
    ) -> Result<(), Error> {
        let value = self.value(most);
        let call = Call::Put {
            table: incarnation.to_owned(),
            key: key.clone(),
            value: value.clone(),
            condition: asked_of(condition),
        };
        let token = self.record.begin(self.number, call);
        let answer = self
            .client
            .put_if(table, key.clone(), value, condition)
            .await;
        if let Ok(version) = answer {
            self.seen.insert((table.to_owned(), key), version);
        }
        let ended = answer.as_ref().map(drop).map_err(Clone::clone);
        self.wrote(token, answer.map(|version| Response::Put { version }));
        ended
    }

    /// Writes down what the client library promises of a write.
    fn wrote(&self, token: Token, answer: Result<Response, Error>) {
        if let Err(error) = &answer {
            let now = self.record.time.micros();
            self.record.trace.say(now, || error.to_string());
        }
        let outcome = match answer {
            Ok(response) => Outcome::Done(response),
            Err(error) if error.certainly_not_applied() => Outcome::Refused(match error.reason() {
                Some(Reason::ConditionFailed) => Refusal::ConditionFailed,
                Some(Reason::TransactionCancelled) => Refusal::Cancelled,
                _ => Refusal::Other,
            }),
            Err(_) => Outcome::Unknown,
        };
        self.record.end(self.number, token, outcome);
    }

    async fn batch_put(&mut self, table: &str, keys: Vec<Bytes>, most: u64) {
        let items: Vec<_> = keys
            .into_iter()
            .map(|key| (table.to_owned(), key, self.value(most)))
            .collect();
        let tokens: Vec<Token> = items
            .iter()
            .map(|(_, key, value)| {
                let call = put_call(table, key, value);
                self.record.begin(self.number, call)
            })
            .collect();
        let answers = match self.client.batch_put(items).await {
            Ok(answers) => answers,
            Err(error) => vec![Err(error); tokens.len()],
        };
        for (token, answer) in tokens.into_iter().zip(answers) {
            self.wrote(token, answer.map(|version| Response::Put { version }));
        }
    }

    async fn delete_if(
        &mut self,
        table: &str,
        incarnation: &str,
        key: Bytes,
        condition: client::Condition,
    ) {
        let call = Call::Delete {
            table: incarnation.to_owned(),
            key: key.clone(),
            condition: asked_of(condition),
        };
        let token = self.record.begin(self.number, call);
        let answer = self.client.delete_if(table, key, condition).await;
        self.wrote(token, answer.map(|()| Response::Deleted));
    }

    /// Reads a key.
    pub async fn get(
        &mut self,
        table: &str,
        incarnation: &str,
        key: Bytes,
        consistent: bool,
    ) -> Result<Option<(Bytes, u64)>, Error> {
        let call = Call::Get {
            table: incarnation.to_owned(),
            key: key.clone(),
            consistent,
        };
        let token = self.record.begin(self.number, call);
        let consistency = if consistent {
            Consistency::Strong
        } else {
            Consistency::Eventual
        };
        let seen = key.clone();
        let answer = self.client.get(table, key, consistency).await;
        let found = answer
            .as_ref()
            .map(|item| item.as_ref().map(|item| (item.value.clone(), item.version)))
            .map_err(Clone::clone);
        let outcome = match answer {
            Ok(Some(item)) => {
                self.seen.insert((table.to_owned(), seen), item.version);
                Outcome::Done(Response::Got {
                    value: item.value,
                    version: item.version,
                })
            }
            Ok(None) => Outcome::Done(Response::Missing),
            Err(_) => Outcome::Refused(Refusal::Other),
        };
        self.record.end(self.number, token, outcome);
        found
    }

    /// Reads a key through every router, however often that takes.
    pub async fn read_everywhere(&self, table: &str, key: Bytes) {
        for router in &self.each_router {
            while router
                .get(table, key.clone(), Consistency::Strong)
                .await
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// What eventual reads of a key find at rest that is not what it holds; `None` if there is no answer to be had.
    /// Each router is asked often enough that it hardly leaves a replica out.
    pub async fn unlike(&self, table: &str, key: &Bytes, held: Option<&Item>) -> Option<String> {
        for (number, router) in self.each_router.iter().enumerate() {
            for _ in 0..6 {
                let read = router.get(table, key.clone(), Consistency::Eventual);
                if let Ok(found) = read.await
                    && found.as_ref() != held
                {
                    return Some(format!(
                        "an eventual read through router {number} finds {found:?}"
                    ));
                }
            }
        }
        None
    }

    /// Reads a key, however often that takes. Not for the history.
    pub async fn held(&self, table: &str, key: &Bytes) -> Option<Item> {
        loop {
            match self
                .client
                .get(table, key.clone(), Consistency::Strong)
                .await
            {
                Ok(found) => return found,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// A client has seen what must not be.
    pub fn complain(&self, property: &'static str, what: String) {
        self.record.complain(property, what);
    }

    /// Keeps what a key held after everything.
    pub fn keep_last(&self, table: &str, key: Bytes, found: Option<(Bytes, u64)>) {
        let mut last = self.record.last.lock();
        last.insert((table.to_owned(), key), found);
    }
}

/// The key of a number.
pub fn key_of(number: u64) -> Bytes {
    Bytes::from(format!("key-{number}"))
}

fn put_call(table: &str, key: &Bytes, value: &Bytes) -> Call {
    Call::Put {
        table: table.to_owned(),
        key: key.clone(),
        value: value.clone(),
        condition: Condition::None,
    }
}

/// A condition as the history knows it.
fn asked_of(condition: client::Condition) -> Condition {
    match condition {
        client::Condition::Always => Condition::None,
        client::Condition::Exists => Condition::Present,
        client::Condition::NotExists => Condition::Absent,
        client::Condition::VersionIs(version) => Condition::Version(version),
    }
}
