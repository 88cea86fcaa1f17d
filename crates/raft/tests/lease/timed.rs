//! Groups in time: every node has a clock of its own, which runs a little too fast or too slowly, and ticks by it as a worker does:
//! one tick a turn at the most, and those that a pause has swallowed are not made up for.
//!
//! Each millisecond everybody takes a turn who isn't paused or down. Messages take some time, and now and then much.
//! `RAFT_SEED`, `RAFT_SEEDS` and `RAFT_TRACE` as for `cluster`.

use std::collections::{BTreeMap, BTreeSet};

use raft::{Effects, Message, Promises, ReadToken, ReplicaId, Role};

use super::PROMISE;
use crate::cluster::Chance;
use crate::common::{Node, config, group, id};
use crate::invariants::{Before, Invariants};

const TICK: u64 = 50;

/// What is not of the replica itself.
#[derive(Default)]
struct Machine {
    /// Of the clock, millionths of a millisecond.
    nanos: u64,
    /// Millionths of true time.
    rate: u64,
    next_tick: u64,
    paused_until: u64,
    down_until: Option<u64>,
}

impl Machine {
    fn millis(&self) -> u64 {
        self.nanos / 1_000_000
    }
}

/// What a replica knows of its promises when it starts again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Bound,
    /// Nothing, against the rules: to show that the runs see it.
    Forgetful,
}

struct Timed {
    start: Start,
    now: u64,
    nodes: BTreeMap<ReplicaId, Node>,
    machines: BTreeMap<ReplicaId, Machine>,
    /// With the time of arrival.
    under_way: Vec<(u64, Message)>,
    cuts: BTreeMap<(ReplicaId, ReplicaId), u64>,
    /// That are still to come.
    crashes: Vec<(u64, ReplicaId)>,
    chance: Chance,
    invariants: Invariants,
    next_read: u64,
}

impl Timed {
    fn new(size: u64, seed: u64, start: Start) -> Self {
        let mut chance = Chance::new(seed);
        let node = |number| {
            let mut config = config(number, group(size));
            config.seed = chance.below(u64::MAX);
            config.promises = Promises {
                promise_millis: PROMISE,
                earlier_millis: 0,
            };
            (id(number), Node::new(config))
        };
        let machine = |number| {
            let machine = Machine {
                rate: 1_000_000,
                ..Machine::default()
            };
            (id(number), machine)
        };
        Self {
            start,
            now: 0,
            nodes: (1..=size).map(node).collect(),
            machines: (1..=size).map(machine).collect(),
            under_way: Vec::new(),
            cuts: BTreeMap::new(),
            crashes: Vec::new(),
            chance,
            invariants: Invariants::new(),
            next_read: 0,
        }
    }

    fn ids(&self) -> Vec<ReplicaId> {
        self.nodes.keys().copied().collect()
    }

    fn any(&mut self) -> ReplicaId {
        id(1 + self.chance.below(self.nodes.len() as u64))
    }

    fn millisecond(&mut self) -> Result<(), String> {
        self.now += 1;
        self.fault();
        for machine in self.machines.values_mut() {
            machine.nanos += machine.rate;
        }
        let now = self.now;
        let due: Vec<_> = self.crashes.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, id) in due {
            self.crash(id, 50);
        }
        self.cuts.retain(|_, until| *until > now);
        for id in self.ids() {
            let machine = &self.machines[&id];
            if machine.down_until.is_some_and(|until| until <= now) {
                self.start(id)?;
            } else if machine.down_until.is_none() && machine.paused_until <= now {
                self.turn(id)?;
            }
        }
        Ok(())
    }

    fn fault(&mut self) {
        let (node, other) = (self.any(), self.any());
        let until = self.now + 100 + self.chance.below(1500);
        match self.chance.below(6000) {
            0..2 => self.machine(node).paused_until = until,
            2..4 => self.crash(node, 300),
            4..6 => _ = self.cuts.insert((node, other), until),
            6..8 => {
                self.cuts.insert((node, other), until);
                self.cuts.insert((other, node), until);
            }
            8..10 => self.machine(node).rate = 955_000 + self.chance.below(90_001),
            10..14 => {
                // The leader does not always hear what comes of it.
                if self.chance.one_in(2) {
                    self.cuts.insert((other, node), until);
                }
                if let Some(node) = self.nodes.get_mut(&node).filter(|node| node.up) {
                    let _ = node.replica.transfer_leadership(other);
                }
            }
            14..18 => {
                // Two don't hear each other, and then whom both hear starts again.
                self.cuts.insert((node, other), until + 1500);
                self.cuts.insert((other, node), until + 1500);
                let third = self.nodes.keys().find(|&&id| id != node && id != other);
                self.crashes.extend(third.map(|&id| (until, id)));
            }
            _ => {}
        }
    }

    fn machine(&mut self, id: ReplicaId) -> &mut Machine {
        self.machines.entry(id).or_default()
    }

    fn crash(&mut self, id: ReplicaId, at_most: u64) {
        let until = self.now + 1 + self.chance.below(at_most);
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| node.up) {
            node.crash();
            if self.start == Start::Bound {
                node.config.promises.earlier_millis = PROMISE;
            }
            self.machine(id).down_until = Some(until);
            self.under_way.retain(|(_, message)| message.to != id);
        }
    }

    fn start(&mut self, id: ReplicaId) -> Result<(), String> {
        let machine = self.machine(id);
        machine.down_until = None;
        machine.next_tick = machine.millis() + TICK;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.restart(0);
        }
        self.turn(id)
    }

    /// What has arrived, a tick if it is time, and what clients want: then the effects.
    fn turn(&mut self, id: ReplicaId) -> Result<(), String> {
        let (now, clock) = (self.now, self.machines[&id].millis());
        let cuts: BTreeSet<_> = self.cuts.keys().copied().collect();
        let arrived = self.under_way.extract_if(.., |(at, message)| {
            *at <= now && message.to == id && !cuts.contains(&(message.from, id))
        });
        let arrived: Vec<_> = arrived.map(|(_, message)| message).collect();
        let ticks = clock >= self.machines[&id].next_tick;
        if ticks {
            self.machine(id).next_tick = clock + TICK;
        }
        let leads = self.nodes[&id].replica.role() == Role::Leader;
        // Rarely: whoever is cut off from writes is not electable for what it lacks.
        let writes = leads && self.chance.one_in(400);
        let read = (leads && self.chance.one_in(4)).then(|| {
            self.next_read += 1;
            ReadToken(self.next_read)
        });
        self.step(id, |node| {
            node.replica.set_time(clock);
            for message in arrived {
                node.replica.step(message);
            }
            if ticks {
                node.replica.tick();
            }
            if writes {
                let _ = node.replica.propose("x".into());
            }
        })?;
        if let Some(token) = read {
            self.invariants.read_asked(token);
            self.step(id, |node| _ = node.replica.read_index(token))?;
        }
        while self.nodes[&id].replica.has_effects() || !self.nodes[&id].writes.is_empty() {
            self.step(id, |node| node.sync(usize::MAX))?;
            self.step(id, |node| node.apply(usize::MAX))?;
        }
        Ok(())
    }

    fn step(&mut self, id: ReplicaId, act: impl FnOnce(&mut Node)) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(());
        };
        let before = Before::of(node);
        act(node);
        let effects = node.drain();
        if std::env::var("RAFT_TRACE").is_ok() {
            println!("{} {id}: {effects:?}", self.now);
        }
        self.invariants.check(&self.nodes, id, before, &effects)?;
        self.send(effects);
        Ok(())
    }

    fn send(&mut self, effects: Effects) {
        for message in effects.send {
            let millis = match self.chance.below(100) {
                0..3 => continue,
                3..6 => 50 + self.chance.below(400),
                6..20 => 5 + self.chance.below(40),
                _ => 1 + self.chance.below(2),
            };
            self.under_way.push((self.now + millis, message));
        }
    }

    fn lease_reads(&self) -> u64 {
        let counts = self.nodes.values().map(|node| node.replica.lease_reads());
        counts.sum()
    }
}

/// Runs a group for so many milliseconds; gives the reads that were served, and how often by a lease.
pub(super) fn run(size: u64, seed: u64, millis: u64, start: Start) -> Result<(usize, u64), String> {
    let mut timed = Timed::new(size, seed, start);
    for _ in 0..millis {
        timed.millisecond()?;
    }
    Ok((timed.invariants.reads_served(), timed.lease_reads()))
}

fn run_all(size: u64, usual: u64) {
    let (mut served, mut by_lease) = (0, 0);
    for seed in crate::cluster::seeds(usual) {
        let one = run(size, seed, 30_000, Start::Bound)
            .unwrap_or_else(|reason| panic!("seed {seed}, {size} replicas: {reason}"));
        served += one.0;
        by_lease += one.1;
    }
    println!("{size} replicas: {served} reads, {by_lease} by leases of the last processes");
    assert!(served > 1000 && by_lease > 100);
}

#[test]
fn reads_by_leases_of_3_replicas_are_linearizable() {
    run_all(3, 20);
}

#[test]
fn reads_by_leases_of_5_replicas_are_linearizable() {
    run_all(5, 12);
}

#[test]
fn a_replica_that_forgets_its_promises_at_the_start_is_caught() {
    let caught = (0..60).find_map(|seed| run(3, seed, 60_000, Start::Forgetful).err());
    let reason = caught.expect("nothing was noticed in 60 runs");
    assert!(reason.contains("Linearizable reads"), "{reason}");
}
