//! Tables come and go while everything dies at random.
//!
//! Each table name has one *owner*, who creates the table, finds it empty, fills it, reads all of it, deletes it, and finds it
//! gone through every router; again and again. What it was answered it remembers and holds the system to:
//!
//! | it was told | so |
//! |---|---|
//! | created | a new table, without any of the old one's data |
//! | a put is confirmed | there until the table is deleted |
//! | deleted | no consistent read finds it, through whichever router |
//! | certainly not (`COORDINATION_UNAVAILABLE`) | the next attempt finds what was there before |
//!
//! An eventual read may find the old table for a moment: through a router and a data node that both slept while it was
//! deleted. It must not stay so.
//!
//! Meanwhile data nodes, routers and ZooKeeper's servers are killed or put to sleep, some for longer than their sessions live;
//! of each kind one at a time. In the end all is well again, and nothing is left but the tables that there are.

use std::pin::pin;
use std::time::Duration;

use coordination::testing::Ensemble;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::{
    ClusterOptions, Expected, Kv, Outcome, Process, Scale, Tables, assert_nothing_left,
    create_until_there, delete_until_gone, eventually, now_and_then,
};

/// No single step may take longer, whoever dies.
const WITHIN: Duration = Duration::from_secs(90);
/// How long an eventual read may find what a consistent one does not find any more.
const LAG: Duration = Duration::from_secs(20);
const OWNERS: usize = 3;
const KEYS: usize = 30;

/// Who creates and deletes one table.
struct Owner {
    name: String,
    tables: Vec<Tables>,
    kv: Vec<Kv>,
    random: StdRng,
    generation: usize,
    /// What the keys of the table may hold; empty while there is none.
    keys: Vec<Expected>,
    seen: Seen,
}

/// What an owner has been through.
#[derive(Debug, Default)]
struct Seen {
    created: usize,
    confirmed: usize,
    refused: usize,
    unknown: usize,
}

impl Owner {
    fn new(name: String, routers: &[String], random: StdRng) -> Self {
        let tables = routers.iter().map(|address| Tables::new(address));
        let kv = routers.iter().map(|address| Kv::new(address));
        Self {
            name,
            tables: tables.map(|tables| tables.within(WITHIN / 3)).collect(),
            kv: kv.map(|kv| kv.within(Duration::from_secs(2))).collect(),
            random,
            generation: 0,
            keys: Vec::new(),
            seen: Seen::default(),
        }
    }

    async fn run(mut self, end: Instant) -> Self {
        while Instant::now() < end {
            self.create().await;
            for _ in 0..=self.random.random_range(0..2) {
                self.fill().await;
                self.check().await;
            }
            // Some tables are there when the end comes.
            if Instant::now() < end || self.random.random() {
                self.delete().await;
            }
        }
        self
    }

    /// The routers, beginning with any of them.
    fn routers(&mut self) -> Vec<Tables> {
        let first = self.random.random_range(0..self.tables.len());
        let mut tables = self.tables.clone();
        tables.rotate_left(first);
        tables
    }

    fn any_kv(&mut self) -> Kv {
        let router = self.random.random_range(0..self.kv.len());
        self.kv[router].clone()
    }

    async fn create(&mut self) {
        let routers = self.routers();
        create_until_there(&routers, &self.name, 4, WITHIN).await;
        self.generation += 1;
        self.seen.created += 1;
        self.keys = (0..KEYS).map(|_| Expected::default()).collect();
        self.check().await;
    }

    async fn fill(&mut self) {
        let mut ticks = now_and_then();
        for n in 0..KEYS {
            let (kv, key) = (self.any_kv(), format!("key{n}"));
            let random: u64 = self.random.random();
            let value = format!("generation{}-{random:x}", self.generation);
            let answer = kv.put(&self.name, key.as_str(), value.as_str()).await;
            let outcome = Outcome::of_put(&answer);
            self.keys[n].note(&value, outcome);
            match outcome {
                Outcome::Confirmed(_) => self.seen.confirmed += 1,
                Outcome::Refused(_) => self.seen.refused += 1,
                Outcome::Unknown => self.seen.unknown += 1,
            }
            if !matches!(outcome, Outcome::Confirmed(_)) {
                ticks.tick().await;
            }
        }
    }

    /// Every key is what it may be: nothing confirmed is lost, and nothing is there that this table never held.
    async fn check(&mut self) {
        for n in 0..KEYS {
            let (name, key) = (self.name.clone(), format!("key{n}"));
            let kv = self.kv.clone();
            let first = self.random.random_range(0..kv.len());
            let mut routers = kv.iter().cycle().skip(first);
            let read = eventually("a consistent read", WITHIN, || {
                routers.next().unwrap().get(&name, key.as_str())
            });
            let read = read.await;
            self.keys[n].check(&name, &key, read.as_deref());

            let current = format!("generation{}-", self.generation);
            let what = format!("eventual reads of {name}/{key} show no earlier table");
            eventually(&what, LAG, || async {
                let read = kv[first].get_eventual(&name, key.as_str()).await;
                match read.ok().flatten() {
                    Some(value) if !value.starts_with(&current) => Err(value),
                    _ => Ok(()),
                }
            })
            .await;
        }
    }

    async fn delete(&mut self) {
        let routers = self.routers();
        delete_until_gone(&routers, &self.name, WITHIN).await;
        self.keys.clear();
        for (router, kv) in self.kv.iter().enumerate() {
            let read = kv.get(&self.name, "key0").await;
            assert!(
                read.is_err(),
                "{} is deleted, and router {router} reads {read:?}",
                self.name
            );
            let what = format!("eventual reads of {} are refused", self.name);
            eventually(&what, LAG, || async {
                let read = kv.get_eventual(&self.name, "key0").await;
                match read {
                    Ok(read) => Err(format!("router {router} reads {read:?}")),
                    Err(_) => Ok(()),
                }
            })
            .await;
        }
    }
}

/// Between these many milliseconds.
fn between(random: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(random.random_range(from..to))
}

/// Kills processes, or puts them to sleep, one at a time. All of them run in the end.
async fn hurt_processes(processes: &mut [Process], mut random: StdRng, end: Instant) {
    while Instant::now() < end {
        sleep(between(&mut random, 300, 3000)).await;
        let victim = random.random_range(0..processes.len());
        let victim = &mut processes[victim];
        match random.random_range(0..5) {
            0..=2 => {
                victim.kill();
                sleep(between(&mut random, 0, 2000)).await;
                victim.start().await;
            }
            how => {
                victim.pause();
                // The longer one outlasts the session.
                let (from, to) = if how == 3 { (100, 1500) } else { (3500, 6000) };
                sleep(between(&mut random, from, to)).await;
                victim.resume();
            }
        }
    }
}

/// The same with ZooKeeper's servers, its leader more often than the others.
async fn hurt_zookeeper(ensemble: &mut Ensemble, mut random: StdRng, end: Instant) {
    while Instant::now() < end {
        sleep(between(&mut random, 1000, 5000)).await;
        let leader = ensemble.leader().await;
        let victim = (leader + random.random_range(0..4) % 3) % 3;
        if random.random() {
            ensemble.kill(victim);
            sleep(between(&mut random, 0, 3000)).await;
            ensemble.start_again().await;
        } else {
            ensemble.stop(victim);
            sleep(between(&mut random, 100, 4000)).await;
            ensemble.resume(victim);
        }
    }
}

fn seed() -> u64 {
    let given = std::env::var("MINIDYNAMO_CHURN_SEED").ok();
    given.map_or_else(rand::random, |seed| seed.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_come_and_go_whole_while_everything_dies_at_random() {
    let seed = seed();
    println!("the same again, as far as processes let it: MINIDYNAMO_CHURN_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut fork = || StdRng::seed_from_u64(random.random());
    let options = ClusterOptions::new(4, 3).ensemble();
    let mut cluster = options.session_timeout("3s").start().await;
    let routers = cluster.router_addresses();
    let end = Instant::now() + Scale::from_environment().seconds(60, 600);
    let mut owners = JoinSet::new();
    for owner in 0..OWNERS {
        owners.spawn(Owner::new(format!("table{owner}"), &routers, fork()).run(end));
    }
    let mut ended = Vec::new();
    {
        let nodes = hurt_processes(&mut cluster.nodes, fork(), end);
        let routers = hurt_processes(&mut cluster.routers, fork(), end);
        let zookeeper = hurt_zookeeper(cluster.zookeeper.ensemble(), fork(), end);
        let mut everything = pin!(async { tokio::join!(nodes, routers, zookeeper) });
        loop {
            tokio::select! {
                _ = &mut everything => break,
                // One that has found something wrong fails the test now.
                Some(owner) = owners.join_next() => ended.push(owner.unwrap()),
            }
        }
    }
    ended.extend(owners.join_all().await);

    let mut there = Vec::new();
    for mut owner in ended {
        println!("{}: {:?}", owner.name, owner.seen);
        assert!(
            owner.seen.created > 1,
            "{} hardly came and went",
            owner.name
        );
        assert!(owner.seen.confirmed > KEYS, "hardly anything was written");
        if !owner.keys.is_empty() {
            owner.check().await;
            cluster.assert_verified(&owner.name).await;
            there.push(owner.name);
        }
    }
    let there: Vec<&str> = there.iter().map(String::as_str).collect();
    assert_nothing_left(&mut cluster, &there).await;
}
