//! What goes wrong, when, and for how long.
//!
//! Faults begin at random moments, about one in a second, overlap, and end by themselves. Nothing is spared:
//! all nodes may be dead at once, as long as no disk loses what was synced.

mod hunt;
mod kind;

use std::collections::BTreeMap;
use std::time::Duration;

use coordination::simulated::Faults;

use self::hunt::Hunt;
pub use self::kind::Kind;
use crate::cluster::{CLIENTS, Cluster, Death};
use crate::dice::Dice;
use crate::fabric::{HostId, Quality};
use crate::host::Speed;
use crate::probe::Tampering;

/// See the [module](self).
pub struct Nemesis {
    dice: Dice,
    weights: Vec<(Kind, u64)>,
    mean_micros: u64,
    next: u64,
    running: Vec<(u64, Undo)>,
    hunt: Option<Hunt>,
    counts: BTreeMap<&'static str, u64>,
}

/// How a fault ends.
#[derive(Debug, Clone)]
enum Undo {
    Start(Vec<HostId>),
    Continue(HostId),
    Join(Vec<(HostId, HostId)>),
    Hunt,
    Network,
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
            counts: BTreeMap::new(),
        }
    }

    /// How often each kind of fault was begun.
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
        if now < self.next {
            return;
        }
        self.next = now + self.dice.around(self.mean_micros);
        if let Some(kind) = self.draw() {
            self.begin(cluster, kind);
        }
    }

    /// Ends everything, and starts what is down.
    pub fn end(&mut self, cluster: &mut Cluster) {
        for (_, undo) in std::mem::take(&mut self.running) {
            self.undo(cluster, undo);
        }
        for host in [cluster.servers(), vec![CLIENTS]].concat() {
            if let Some(host) = cluster.host(host) {
                host.clock().set_right();
            }
        }
        cluster.fabric.heal();
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

    fn begin(&mut self, cluster: &mut Cluster, kind: Kind) {
        let nodes = cluster.nodes();
        let routers = cluster.routers();
        let servers = cluster.servers();
        let all = [servers.clone(), vec![CLIENTS]].concat();
        let node = self.any(&nodes);
        let router = self.any(&routers);
        let any = self.any(&all);
        let other = self.any(&all);
        let server = self.any(&servers);
        *self.counts.entry(kind.name()).or_default() += 1;
        cluster.say(|| format!("fault: {} ({} {} {})", kind.name(), node.0, server.0, any.0));
        match kind {
            Kind::KillNode => {
                cluster.kill(node, Death::Process);
                self.until(cluster, 10, 6_000, Undo::Start(vec![node]));
            }
            // What ends by itself is started again a second later.
            Kind::StopNode => cluster.ask_to_end(node),
            Kind::StopRouter => cluster.ask_to_end(router),
            Kind::PowerNode => {
                cluster.kill(node, Death::Power);
                self.until(cluster, 100, 8_000, Undo::Start(vec![node]));
            }
            Kind::LoseLog => {
                cluster.kill(node, Death::Power);
                cluster.lose_log(node);
                self.until(cluster, 100, 3_000, Undo::Start(vec![node]));
            }
            Kind::HuntLeaders => {
                let shards = cluster.leaders.shards();
                // One at a time: what a hunt has cut off is joined by its own end.
                if self.hunt.is_none()
                    && let Some(&shard) = self.dice.pick(&shards)
                {
                    self.hunt = Some(Hunt::new(shard, &mut self.dice));
                    self.until(cluster, 3_000, 15_000, Undo::Hunt);
                }
            }
            Kind::PowerAll => {
                for &node in &nodes {
                    cluster.kill(node, Death::Power);
                }
                self.until(cluster, 100, 3_000, Undo::Start(nodes));
            }
            Kind::KillAll => {
                for &host in &servers {
                    cluster.kill(host, Death::Process);
                }
                self.until(cluster, 10, 2_000, Undo::Start(servers));
            }
            Kind::DoomDisk => {
                let changes = self.dice.between(1, 40);
                if let Some(disks) = cluster.disks(node).filter(|_| cluster.is_up(node)) {
                    disks.doom(changes);
                }
                cluster.invariants.disturbed(node);
                self.until(cluster, 4_000, 8_000, Undo::Kill(node));
            }
            Kind::PauseNode => {
                cluster.pause(node, true);
                // Mostly about as long as an election takes, sometimes much longer.
                let millis = 50 + self.dice.around(1_500);
                self.until(cluster, millis, millis, Undo::Continue(node));
            }
            Kind::KillRouter => {
                cluster.kill(router, Death::Process);
                self.until(cluster, 10, 4_000, Undo::Start(vec![router]));
            }
            Kind::PauseRouter => {
                cluster.pause(router, true);
                self.until(cluster, 50, 9_000, Undo::Continue(router));
            }
            Kind::CutOneWay => self.cut(cluster, vec![(any, other)]),
            Kind::CutBothWays => self.cut(cluster, vec![(any, other), (other, any)]),
            Kind::CutOffNode => self.cut(cluster, both_ways(node, &all)),
            Kind::CutNodeFromNodes => self.cut(cluster, both_ways(node, &nodes)),
            Kind::CutMajority => {
                let pairs = nodes
                    .iter()
                    .flat_map(|&a| nodes.iter().map(move |&b| (a, b)));
                self.cut(cluster, pairs.filter(|(a, b)| a != b).collect());
            }
            Kind::LossyNetwork => {
                let loss = 0.01 * self.dice.between(1, 15) as f64;
                let quality = Quality {
                    loss,
                    ..Quality::default()
                };
                self.network(cluster, quality);
            }
            Kind::StallingNetwork => {
                let stall = 0.001 * self.dice.between(1, 30) as f64;
                let quality = Quality {
                    stall,
                    ..Quality::default()
                };
                self.network(cluster, quality);
            }
            Kind::SlowNetwork => {
                let quality = Quality {
                    least_micros: self.dice.between(1_000, 50_000),
                    jitter_micros: self.dice.between(1_000, 100_000),
                    ..Quality::default()
                };
                self.network(cluster, quality);
            }
            Kind::ResetConnections => {
                for &host in &all {
                    cluster.fabric.reset(server, host, 0.7);
                }
            }
            Kind::LoseMessages => self.tamper(cluster, |tampering, rate| tampering.lose = rate),
            Kind::DoubleMessages => self.tamper(cluster, |tampering, rate| tampering.double = rate),
            Kind::DelayMessages => self.tamper(cluster, |tampering, rate| tampering.delay = rate),
            Kind::SlowDisk => {
                let slower = self.dice.between(10, 400);
                if let Some(host) = cluster.host(node) {
                    host.speed.log *= slower;
                    host.speed.store *= 20;
                }
                self.until(cluster, 500, 5_000, Undo::Speed(node));
                // What waits to be synced is lost if the machine goes down meanwhile.
                if self.dice.chance(0.4) {
                    self.until(cluster, 100, 2_000, Undo::Kill(node));
                }
            }
            Kind::SlowApply => {
                if let Some(host) = cluster.host(node) {
                    host.speed.apply = self.dice.between(10_000, 400_000);
                }
                self.until(cluster, 500, 5_000, Undo::Speed(node));
            }
            Kind::DiskError => {
                let later = self.dice.between(1, 30);
                if let Some(disks) = cluster.disks(node) {
                    let disk = disks.disk();
                    disk.fail_at(disk.changes() + later);
                }
                cluster.invariants.disturbed(node);
                self.until(cluster, 4_000, 8_000, Undo::Kill(node));
            }
            Kind::DiskFull => {
                if let Some(disks) = cluster.disks(node) {
                    let disk = disks.disk();
                    disk.set_capacity(Some(disk.named_bytes() + self.dice.between(0, 100_000)));
                }
                cluster.invariants.disturbed(node);
                self.until(cluster, 1_000, 5_000, Undo::Space(node));
            }
            Kind::StoreError => {
                if let Some(disks) = cluster.disks(node) {
                    disks.store().fail_next_persist("injected");
                }
                cluster.invariants.disturbed(node);
                self.until(cluster, 2_000, 6_000, Undo::Kill(node));
            }
            Kind::ClockJump => {
                let millis = self.dice.between(0, 90_000).cast_signed() - 45_000;
                if let Some(host) = cluster.host(any) {
                    host.clock().set_right();
                    host.clock().jump(millis);
                }
            }
            Kind::ClockDrift => {
                let rate = self.dice.between(700_000, 1_400_000);
                if let Some(host) = cluster.host(any) {
                    host.clock().set_rate(rate);
                }
                self.until(cluster, 2_000, 10_000, Undo::Rate(any));
            }
            Kind::CutCoordination => {
                cluster.ensemble.cut(u64::from(server.0), true);
                self.until(cluster, 100, 10_000, Undo::Coordination(server));
            }
            Kind::CutCoordinationWidely => {
                let spared = self.dice.between(0, nodes.len() as u64 - 1) as usize;
                let few = nodes.iter().enumerate().filter(|(at, _)| *at != spared);
                let few = few.take(nodes.len() / 2 + 1).map(|(_, node)| *node);
                for host in few.chain([router]) {
                    cluster.ensemble.cut(u64::from(host.0), true);
                    self.until(cluster, 8_000, 20_000, Undo::Coordination(host));
                }
            }
            Kind::HideTable => {
                let millis = self.dice.between(200, 6_000);
                cluster.hide_table(millis);
            }
            Kind::StopCoordination => {
                cluster.ensemble.outage(true);
                self.until(cluster, 500, 8_000, Undo::Servers);
            }
            Kind::FlakyCoordination => {
                let mut rate = |most: u64| 0.01 * self.dice.between(0, most) as f64;
                let faults = Faults {
                    lose_request: rate(15),
                    lose_answer: rate(15),
                    late_write: rate(15),
                    expire_session: rate(2),
                    server_change: rate(5),
                    server_lag: Duration::from_millis(self.dice.between(0, 2_000)),
                };
                cluster.ensemble.set_faults(faults);
                self.until(cluster, 2_000, 10_000, Undo::Requests);
            }
        }
    }

    fn cut(&mut self, cluster: &Cluster, pairs: Vec<(HostId, HostId)>) {
        for &(from, to) in &pairs {
            cluster.fabric.cut(from, to, true);
        }
        self.until(cluster, 50, 8_000, Undo::Join(pairs));
    }

    fn network(&mut self, cluster: &Cluster, quality: Quality) {
        cluster.fabric.set_quality(quality);
        self.until(cluster, 500, 6_000, Undo::Network);
    }

    fn tamper(&mut self, cluster: &Cluster, set: impl FnOnce(&mut Tampering, f64)) {
        let mut tampering = Tampering::default();
        set(&mut tampering, 0.01 * self.dice.between(5, 50) as f64);
        cluster.tamper.set(tampering);
        self.until(cluster, 500, 6_000, Undo::Messages);
    }

    fn undo(&mut self, cluster: &mut Cluster, undo: Undo) {
        cluster.say(|| format!("fault ends: {undo:?}"));
        match undo {
            Undo::Start(hosts) => hosts.into_iter().for_each(|host| cluster.start(host)),
            Undo::Continue(host) => cluster.pause(host, false),
            Undo::Join(pairs) => {
                for (from, to) in pairs {
                    cluster.fabric.cut(from, to, false);
                }
            }
            Undo::Hunt => {
                if let Some(mut hunt) = self.hunt.take() {
                    hunt.end(cluster);
                }
            }
            Undo::Network => cluster.fabric.set_quality(Quality::default()),
            Undo::Messages => cluster.tamper.set(Tampering::default()),
            Undo::Speed(host) => {
                if let Some(host) = cluster.host(host) {
                    host.speed = Speed::default();
                }
            }
            Undo::Space(host) => {
                if let Some(disks) = cluster.disks(host) {
                    disks.disk().set_capacity(None);
                }
                // What has stopped for lack of space goes on when the node is started again.
                cluster.kill(host, Death::Process);
                cluster.start(host);
            }
            Undo::Kill(host) => {
                cluster.kill(host, Death::Power);
                self.until(cluster, 100, 3_000, Undo::Start(vec![host]));
            }
            Undo::Rate(host) => {
                if let Some(host) = cluster.host(host) {
                    host.clock().set_right();
                }
            }
            Undo::Coordination(host) => cluster.ensemble.cut(u64::from(host.0), false),
            Undo::Servers => cluster.ensemble.outage(false),
            Undo::Requests => cluster.ensemble.set_faults(Faults::default()),
        }
    }
}

/// A host and each of the others, in both directions.
fn both_ways(host: HostId, others: &[HostId]) -> Vec<(HostId, HostId)> {
    let others = others.iter().filter(|other| **other != host);
    others
        .flat_map(|&other| [(host, other), (other, host)])
        .collect()
}
