//! What goes wrong, when, and for how long.
//!
//! Faults begin at random moments, about one in a second, overlap, and end by themselves. Nothing is spared:
//! all nodes may be dead at once, as long as no disk loses what was synced.

mod begin;
mod behind;
mod coordinators;
mod deletion;
mod end;
mod hunt;
mod kind;
mod ledger;

use std::collections::BTreeMap;

use self::behind::Restart;
use self::coordinators::Coordinators;
use self::deletion::Deletion;
use self::hunt::Hunt;
pub use self::kind::Kind;
use self::ledger::Losses;
use crate::cluster::{CLIENTS, Cluster};
use crate::dice::Dice;
use crate::fabric::{HostId, Quality};

/// See the [module](self).
pub struct Nemesis {
    dice: Dice,
    weights: Vec<(Kind, u64)>,
    mean_micros: u64,
    next: u64,
    running: Vec<(u64, Undo)>,
    hunt: Option<Hunt>,
    coordinators: Option<Coordinators>,
    losses: Option<Losses>,
    deletion: Option<Deletion>,
    counts: BTreeMap<&'static str, u64>,
}

/// How a fault ends.
#[derive(Debug, Clone)]
enum Undo {
    Start(Vec<HostId>),
    Continue(HostId),
    Join(Vec<(HostId, HostId)>),
    Restart(Restart),
    Pause(HostId, u64),
    Hunt,
    Coordinators,
    Losses,
    Deletion,
    Network,
    Far,
    Messages,
    Speed(HostId),
    Space(HostId),
    Kill(HostId),
    Rate(HostId),
    Coordination(HostId),
    Servers,
    Requests,
}

impl Nemesis {
    /// One with these faults, by their weights, and this much time between two of them on average.
    pub fn new(dice: Dice, weights: Vec<(Kind, u64)>, mean_millis: u64) -> Self {
        Self {
            dice,
            weights,
            mean_micros: mean_millis * 1000,
            next: 0,
            running: Vec::new(),
            hunt: None,
            coordinators: None,
            losses: None,
            deletion: None,
            counts: BTreeMap::new(),
        }
    }

    /// How often each kind of fault was begun and had an effect.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// Begins and ends what is due.
    pub fn act(&mut self, cluster: &mut Cluster) {
        let now = cluster.now_micros();
        let due: Vec<_> = self
            .running
            .extract_if(.., |(until, _)| *until <= now)
            .collect();
        for (_, undo) in due {
            self.undo(cluster, undo);
        }
        if let Some(hunt) = &mut self.hunt {
            hunt.go_on(cluster, &mut self.dice);
        }
        if let Some(coordinators) = &mut self.coordinators
            && let Some(host) = coordinators.go_on(cluster, &mut self.dice)
        {
            self.strike(cluster, host);
        }
        let lost = self.losses.as_mut().map(|losses| losses.go_on(cluster));
        for coordinator in lost.unwrap_or_default() {
            if self.dice.chance(0.8) {
                self.strike(cluster, coordinator);
            }
        }
        if let Some(deletion) = &mut self.deletion {
            deletion.go_on(cluster, &mut self.dice);
        }
        if now < self.next {
            return;
        }
        self.next = now + self.dice.around(self.mean_micros);
        if let Some(kind) = self.draw()
            && self.begin(cluster, kind)
        {
            *self.counts.entry(kind.name()).or_default() += 1;
        }
    }

    /// Ends everything, and starts what is down.
    pub fn end(&mut self, cluster: &mut Cluster) {
        for (_, undo) in std::mem::take(&mut self.running) {
            // What would begin only now does not.
            if !matches!(undo, Undo::Pause(..) | Undo::Restart(_)) {
                self.undo(cluster, undo);
            }
        }
        for host in [cluster.servers(), vec![CLIENTS]].concat() {
            if let Some(host) = cluster.host(host) {
                host.clock().set_right();
            }
        }
        cluster.fabric.heal();
        cluster.fabric.bring_near();
        cluster.fabric.set_quality(Quality::default());
        for host in cluster.servers() {
            cluster.start(host);
        }
    }

    fn draw(&mut self) -> Option<Kind> {
        let total: u64 = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut number = self.dice.between(0, total.checked_sub(1)?);
        for (kind, weight) in &self.weights {
            if number < *weight {
                return Some(*kind);
            }
            number -= weight;
        }
        None
    }

    fn until(&mut self, cluster: &Cluster, low_millis: u64, high_millis: u64, undo: Undo) {
        let micros = self.dice.between(low_millis, high_millis) * 1000;
        self.running.push((cluster.now_micros() + micros, undo));
    }

    fn any(&mut self, of: &[HostId]) -> HostId {
        self.dice.pick(of).copied().unwrap_or(CLIENTS)
    }
}

/// A host and each of the others, in both directions.
fn both_ways(host: HostId, others: &[HostId]) -> Vec<(HostId, HostId)> {
    let others = others.iter().filter(|other| **other != host);
    others
        .flat_map(|&other| [(host, other), (other, host)])
        .collect()
}
