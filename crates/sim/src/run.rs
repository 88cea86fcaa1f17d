//! One run: a seed, a scenario, perhaps a mutant; and what came of it.

mod rest;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use history::{FinalState, History};
use model::limits;
use serde::{Deserialize, Serialize};

use crate::STEP_MICROS;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::nemesis::Nemesis;
use crate::panics;
use crate::scenario::Scenario;
use crate::workload::{Record, Worker, Workload, churn};

/// What a run came to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Simulated time, microseconds.
    pub micros: u64,
    /// Operations of clients, each item of a batch counted.
    pub operations: u64,
    /// Of those, confirmed.
    pub confirmed: u64,
    /// How often each fault was begun, and each thing went wrong by itself.
    pub faults: BTreeMap<String, u64>,
    /// Faults that were begun.
    pub begun: u64,
    /// A number that is the same for the same run, and how many events are in it.
    pub digest: (u64, u64),
    /// From the end of the last fault until every router had served every key, microseconds.
    pub served_after: u64,
    /// From there until the cluster was at rest, as far as its clients let it.
    pub rested_after: u64,
    /// What does not hold.
    pub failure: Option<Failure>,
}

/// A property that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its name.
    pub property: String,
    /// What was seen, with the shortest history that shows it.
    pub detail: String,
    /// When, microseconds of simulated time.
    pub micros: u64,
}

/// The clients have their tables.
const READY: u8 = 1;
/// The last fault is over.
const HEALED: u8 = 2;
/// Every router has served every key since.
const SERVED: u8 = 3;
/// The clients have ended, and read everything.
const DONE: u8 = 4;
/// The cluster is at rest.
const REST: u8 = 5;
/// The clients have compared what eventual reads find at rest.
const COMPARED: u8 = 6;

/// How long the cluster may take to start and to create its tables, microseconds.
const SETUP: u64 = 120_000_000;
/// How long it may take to serve everything again after the last fault.
const SERVES_AGAIN: u64 = 30_000_000;
/// How long it may take to come to rest after the last fault.
const RESTS: u64 = 90_000_000;
/// So much longer where clocks leap: what was issued in a future that shards accept, and is forgotten by a leader whose clock
/// leaps, keeps its shard from writing until that time has come.
const FUTURE: u64 = limits::MAX_CLOCK_AHEAD_MILLIS * 1000;
/// How long the clients may take for what they are at: the longest is a table that is being created.
const CLIENTS_END: u64 = 60_000_000;
/// The disks are looked at so often.
const LOOK: u64 = 5_000_000;
/// The coordination store is looked at so often.
const LOOK_AT_TABLES: u64 = 50_000;

/// Carries out a run. Everything in it follows from the seed, if nothing was drawn on this thread before.
pub fn run(seed: u64, scenario: &Scenario, print: bool) -> Report {
    panics::keep();
    let mut run = Run::new(seed, scenario, print);
    let failure = run.whole().err();
    run.report(failure)
}

struct Run<'a> {
    scenario: &'a Scenario,
    cluster: Cluster,
    nemesis: Nemesis,
    record: Record,
    phase: Arc<AtomicU8>,
    served_after: u64,
    rested_after: u64,
}

impl<'a> Run<'a> {
    fn new(seed: u64, scenario: &'a Scenario, print: bool) -> Self {
        let cluster = Cluster::new(seed, scenario);
        if print {
            cluster.trace.print();
        }
        let record = Record::new(cluster.time(), cluster.trace.clone());
        let nemesis = Nemesis::new(
            Dice::new(seed, "nemesis"),
            scenario.faults.clone(),
            scenario.fault_millis,
        );
        Self {
            scenario,
            cluster,
            nemesis,
            record,
            phase: Arc::default(),
            served_after: 0,
            rested_after: 0,
        }
    }

    fn whole(&mut self) -> Result<(), Failure> {
        for host in self.cluster.servers() {
            self.cluster.start(host);
        }
        self.start_clients();
        self.wait("setup", SETUP, |run| run.phase() >= READY)?;
        let end = self.cluster.now_micros() + self.scenario.seconds * 1_000_000;
        while self.cluster.now_micros() < end {
            self.step(true)?;
        }
        self.nemesis.end(&mut self.cluster);
        self.wait("operators-end", SETUP, |run| !run.cluster.is_operated())?;
        let healed = self.cluster.now_micros();
        self.phase.store(HEALED, Ordering::Relaxed);
        // In one half of the runs the clients write on when all is well again; in the other one nothing comes
        // after what was lost.
        let longer = 5_000_000 * (self.cluster.seed() % 2);
        let clients_go_on = self.cluster.now_micros() + longer;
        if longer == 0 {
            self.record.stop();
        }
        let future = if self.scenario.clocks_leap() {
            FUTURE
        } else {
            0
        };
        let patience = SERVES_AGAIN + future;
        self.wait("serves-again", patience, |run| run.phase() >= SERVED)?;
        self.served_after = self.cluster.now_micros() - healed;
        while self.cluster.now_micros() < clients_go_on {
            self.step(false)?;
        }
        self.record.stop();
        self.wait("clients-end", CLIENTS_END, |run| run.phase() >= DONE)?;
        let at_rest = |run: &mut Self| rest::is_at_rest(&run.cluster);
        let left = (healed + RESTS + future).saturating_sub(self.cluster.now_micros());
        let rested = self.wait("comes-to-rest", left, at_rest);
        self.rested_after = self.cluster.now_micros() - healed;
        if rested.is_err() {
            self.cluster.look_at_rest();
            self.check_broken()?;
            let why = rest::why_not(&self.cluster).unwrap_or_default();
            return Err(self.failure("comes-to-rest", why));
        }
        self.cluster.look_at_rest();
        self.check_broken()?;
        let (history, last) = (self.record.history(), self.record.last_state());
        if let Some(unlike) = rest::unlike_what_was_read(&self.cluster, &last, &history) {
            return Err(self.failure("items-that-exist", unlike));
        }
        if let Some(conflict) = self.record.conflict_without_cause(&history) {
            return Err(self.failure("conflicts-have-a-cause", conflict));
        }
        self.check_history(&history, &last)?;
        self.phase.store(REST, Ordering::Relaxed);
        self.wait("eventual-reads-at-rest", CLIENTS_END, |run| {
            run.phase() >= COMPARED
        })
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    fn step(&mut self, faults: bool) -> Result<(), Failure> {
        if faults {
            self.nemesis.act(&mut self.cluster);
        }
        self.cluster.step();
        self.restart_what_ended();
        let now = self.cluster.now_micros();
        if now % LOOK_AT_TABLES < STEP_MICROS {
            self.cluster.look_at_tables();
        }
        if now % LOOK < STEP_MICROS {
            for node in self.cluster.nodes() {
                self.cluster.look_at(node);
            }
        }
        self.check_broken()
    }

    /// What ended by itself is started again, as a service manager does it.
    fn restart_what_ended(&mut self) {
        let now = self.cluster.now_micros();
        let due = self
            .cluster
            .exits
            .extract_if(.., |(at, ..)| *at + 1_000_000 <= now);
        let due: Vec<_> = due.collect();
        for (_, host, _) in due {
            self.cluster.start(host);
        }
    }

    fn wait(
        &mut self,
        property: &str,
        patience: u64,
        mut until: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), Failure> {
        let end = self.cluster.now_micros() + patience;
        let mut look = 0;
        while self.cluster.now_micros() < end {
            self.step(false)?;
            if self.cluster.now_micros() >= look {
                if until(self) {
                    return Ok(());
                }
                look = self.cluster.now_micros() + 100_000;
            }
        }
        let waited = patience / 1_000_000;
        Err(self.failure(property, format!("not within {waited} s without faults")))
    }

    fn failure(&self, property: &str, detail: String) -> Failure {
        Failure {
            property: property.to_owned(),
            detail,
            micros: self.cluster.now_micros(),
        }
    }

    fn check_broken(&self) -> Result<(), Failure> {
        if let Some(panic) = panics::first() {
            return Err(self.failure("no-panic", panic));
        }
        if let Some((property, complaint)) = self.record.complaint() {
            return Err(self.failure(property, complaint));
        }
        if let Some(broken) = self.cluster.invariants.broken() {
            let events = self.cluster.trace.last();
            let detail = format!("{}\nthe last events:\n{events}", broken.detail);
            return Err(self.failure(broken.property, detail));
        }
        Ok(())
    }

    fn check_history(&self, history: &History, last: &FinalState) -> Result<(), Failure> {
        match history::check_all(history, Some(last)).into_iter().next() {
            Some(violation) => Err(self.failure(violation.property, violation.to_string())),
            None => Ok(()),
        }
    }

    fn start_clients(&mut self) {
        let workload = self.scenario.workload.clone();
        let what = self.scenario.churn;
        let routers = self.cluster.router_addresses();
        let record = self.record.clone();
        let phase = self.phase.clone();
        let mut dice = Dice::new(self.cluster.seed(), "clients");
        let seed = self.cluster.seed();
        self.cluster.start_clients(move |environment| async move {
            let mut worker =
                |number| Worker::new(number, &routers, &environment, record.clone(), dice.split());
            let Some(mut first) = worker(0) else { return };
            first.set_up(&workload).await;
            first.open_accounts(&workload).await;
            phase.store(READY, Ordering::Relaxed);
            let churners = (0..workload.churners).filter_map(|number| worker(1000 + number));
            let churners: Vec<_> = churners
                .map(|worker| churn(worker, what, workload.clone()))
                .collect();
            let workers = (1..=workload.clients).filter_map(&mut worker);
            let workers: Vec<_> = workers
                .map(|worker| worker.work(workload.clone()))
                .collect();
            let tellers = (0..workload.tellers).filter_map(|number| worker(2000 + number));
            let tellers: Vec<_> = tellers
                .map(|teller| teller.tell(workload.clone()))
                .collect();
            let keepers = (0..workload.doors).filter_map(|number| worker(3000 + number));
            let keepers: Vec<_> = (0..)
                .zip(keepers)
                .map(|(door, keeper)| keeper.keep(door, workload.clone()))
                .collect();
            let serve = async {
                until(&phase, HEALED).await;
                first.is_served(&workload, seed % 2 == 1).await;
                phase.store(SERVED, Ordering::Relaxed);
            };
            futures::join!(
                futures::future::join_all(churners),
                futures::future::join_all(workers),
                futures::future::join_all(tellers),
                futures::future::join_all(keepers),
                serve
            );
            first.final_audit(&workload).await;
            first.read_all(&workload).await;
            phase.store(DONE, Ordering::Relaxed);
            until(&phase, REST).await;
            first.compare(&workload).await;
            phase.store(COMPARED, Ordering::Relaxed);
        });
    }

    fn report(&self, failure: Option<Failure>) -> Report {
        let mut faults: BTreeMap<String, u64> = BTreeMap::new();
        let begun = self.nemesis.counts();
        let happened = [
            begun.clone(),
            self.cluster.fabric.counts(),
            self.cluster.tamper.counts(),
            self.cluster.ensemble.counts(),
            self.cluster.leaders.counts(),
        ];
        for (name, count) in happened.into_iter().flatten() {
            *faults.entry(name.to_owned()).or_default() += count;
        }
        Report {
            micros: self.cluster.now_micros(),
            operations: self.record.operations() as u64,
            confirmed: self.record.successes(),
            begun: begun.values().sum(),
            faults,
            digest: self.cluster.trace.digest(),
            served_after: self.served_after,
            rested_after: self.rested_after,
            failure,
        }
    }
}

/// Waits for a phase of the run.
async fn until(phase: &AtomicU8, reached: u8) {
    while phase.load(Ordering::Relaxed) < reached {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Worker {
    /// Creates the tables.
    async fn set_up(&mut self, workload: &Workload) {
        for table in &workload.tables {
            while self.create(table).await.is_err() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// Reads every key through every router, however often that takes; and writes it before, if it `writes`.
    async fn is_served(&mut self, workload: &Workload, writes: bool) {
        for table in &workload.tables {
            let name = &table.name;
            for key in workload.all_keys() {
                // Who has money keeps it.
                let writes = writes && !key.starts_with(b"account");
                while writes && self.put(name, name, key.clone(), 20).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                self.read_everywhere(name, key).await;
            }
        }
    }

    /// All replicas are equal now, so an eventual read of a key finds, through every router, what a consistent one
    /// does. Only a put of unknown outcome may still land, so a key counts that has not changed for a second.
    async fn compare(&mut self, workload: &Workload) {
        for table in &workload.tables {
            let name = &table.name;
            let mut before = Vec::new();
            for key in workload.all_keys() {
                before.push((self.held(name, &key).await, key));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            for (held, key) in before {
                let unlike = self.unlike(name, &key, held.as_ref()).await;
                if let Some(unlike) = unlike
                    && self.held(name, &key).await == held
                {
                    let what = format!("{name}/{key:?} holds {held:?} at rest, and {unlike}");
                    self.complain("eventual-reads-at-rest", what);
                }
            }
        }
    }

    /// Reads every key, however often that takes, and keeps what it found as the last state of all.
    async fn read_all(&mut self, workload: &Workload) {
        for table in &workload.tables {
            for key in workload.all_keys() {
                let name = &table.name;
                let found = loop {
                    if let Ok(found) = self.get(name, name, key.clone(), true).await {
                        break found;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                };
                self.keep_last(name, key, found);
            }
        }
    }
}
