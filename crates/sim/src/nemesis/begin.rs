//! How faults begin.

use std::time::Duration;

use coordination::simulated::Faults;

use super::coordinators::Coordinators;
use super::deletion::Deletion;
use super::hunt::Hunt;
use super::ledger::Losses;
use super::{Kind, Nemesis, Undo, both_ways};
use crate::cluster::{CLIENTS, Cluster, Command, Death};
use crate::fabric::{HostId, Quality};
use crate::host::Speed;
use crate::probe::Tampering;

/// Milliseconds.
const HOUR: i64 = 3_600_000;

/// Where a fault may strike.
struct Targets {
    nodes: Vec<HostId>,
    all: Vec<HostId>,
    node: HostId,
    router: HostId,
    server: HostId,
    any: HostId,
    /// Another one than `any`.
    other: HostId,
}

impl Nemesis {
    /// Begins a fault. False: it had no effect, because who should suffer it was down already or the like.
    pub(super) fn begin(&mut self, cluster: &mut Cluster, kind: Kind) -> bool {
        let at = self.targets(cluster);
        cluster.say(|| {
            let (node, server, any) = (at.node.0, at.server.0, at.any.0);
            format!("fault: {} ({node} {server} {any})", kind.name())
        });
        match kind {
            Kind::KillNode => self.down(cluster, &[at.node], Death::Process, 10, 6_000),
            Kind::PowerNode => self.down(cluster, &[at.node], Death::Power, 100, 8_000),
            Kind::PowerAll => self.down(cluster, &at.nodes, Death::Power, 100, 3_000),
            Kind::KillAll => {
                let servers = cluster.servers();
                self.down(cluster, &servers, Death::Process, 10, 2_000)
            }
            Kind::KillRouter => self.down(cluster, &[at.router], Death::Process, 10, 4_000),
            // What ends by itself is started again a second later.
            Kind::StopNode => ask_to_end(cluster, at.node),
            Kind::StopRouter => ask_to_end(cluster, at.router),
            Kind::LoseLog => self.lose_log(cluster, at.node),
            Kind::HuntLeaders => self.hunt_leaders(cluster),
            Kind::HuntCoordinators => self.hunt_coordinators(cluster),
            Kind::LoseEntries => self.lose_entries(cluster),
            Kind::DeleteBehindCut => self.delete_behind_cut(cluster),
            Kind::PauseNode => {
                // Mostly about as long as an election takes, sometimes much longer.
                let millis = 50 + self.dice.around(1_500);
                self.pause(cluster, at.node, millis)
            }
            Kind::PauseBehindCut => self.pause_behind_cut(cluster, at.node),
            Kind::RestartBehindCut => self.restart_behind_cut(cluster),
            Kind::StopBehindCut => self.stop_behind_cut(cluster, at.node),
            Kind::PauseRouter => {
                let millis = self.dice.between(50, 9_000);
                self.pause(cluster, at.router, millis)
            }
            Kind::CutOneWay => self.cut(cluster, vec![(at.any, at.other)]),
            Kind::CutBothWays => self.cut(cluster, vec![(at.any, at.other), (at.other, at.any)]),
            Kind::CutOffNode => self.cut_off(cluster, at.node, both_ways(at.node, &at.all)),
            Kind::CutNodeFromNodes => self.cut(cluster, both_ways(at.node, &at.nodes)),
            Kind::CutMajority => {
                let of = |&node| both_ways(node, &at.nodes);
                self.cut(cluster, at.nodes.iter().flat_map(of).collect())
            }
            Kind::LossyNetwork | Kind::StallingNetwork | Kind::SlowNetwork => {
                self.network(cluster, kind)
            }
            Kind::FarRouter => self.far(cluster, at.router),
            Kind::ResetConnections => {
                let reset = |&host| cluster.fabric.reset(at.server, host, 0.7);
                at.all.iter().map(reset).sum::<usize>() > 0
            }
            Kind::LoseMessages => self.tamper(cluster, |tampering, rate| tampering.lose = rate),
            Kind::DoubleMessages => self.tamper(cluster, |tampering, rate| tampering.double = rate),
            Kind::DelayMessages => self.tamper(cluster, |tampering, rate| tampering.delay = rate),
            Kind::SlowDisk | Kind::SlowApply => self.slow(cluster, kind, at.node),
            Kind::DoomDisk
            | Kind::DiskError
            | Kind::DiskFull
            | Kind::StoreError
            | Kind::StoreWriteError
            | Kind::StoreFull => self.disk(cluster, kind, at.node),
            Kind::ClockJump | Kind::ClockDrift | Kind::SlightDrift => {
                self.clock(cluster, kind, at.any)
            }
            Kind::ClockLeap | Kind::NodeHour => self.clock(cluster, kind, at.node),
            Kind::RouterHour => self.clock(cluster, kind, at.router),
            Kind::CutCoordination => self.cut_coordination(cluster, at.server, 100, 10_000),
            Kind::CutCoordinationWidely => {
                let spared = self.dice.between(0, at.nodes.len() as u64 - 1) as usize;
                let few = at.nodes.iter().enumerate();
                let few = few.filter(|(place, _)| *place != spared);
                let few = few.take(at.nodes.len() / 2 + 1).map(|(_, node)| *node);
                let cut = |host| self.cut_coordination(cluster, host, 8_000, 20_000);
                few.chain([at.router]).map(cut).filter(|cut| *cut).count() > 0
            }
            Kind::HideTable => {
                let millis = self.dice.between(200, 6_000);
                cluster.hide_table(millis)
            }
            Kind::UndoTable => cluster.undo_table(),
            Kind::KeepTable => cluster.command(Command::Keep, self.dice.number()),
            Kind::DropTable => cluster.command(Command::Drop, self.dice.number()),
            Kind::ForgetNode => cluster.command(Command::Forget, self.dice.number()),
            Kind::StopCoordination => {
                let begun = changes(cluster, "outage", |cluster| cluster.ensemble.outage(true));
                self.until(cluster, 500, 8_000, Undo::Servers);
                begun
            }
            Kind::FlakyCoordination => self.flaky_coordination(cluster),
            Kind::LateWrites => self.late_writes(cluster),
        }
    }

    fn targets(&mut self, cluster: &Cluster) -> Targets {
        let nodes = cluster.nodes();
        let servers = cluster.servers();
        let all = [servers.clone(), vec![CLIENTS]].concat();
        let any = self.any(&all);
        let others: Vec<_> = all.iter().copied().filter(|host| *host != any).collect();
        Targets {
            node: self.any(&nodes),
            router: self.any(&cluster.routers()),
            server: self.any(&servers),
            any,
            other: self.any(&others),
            nodes,
            all,
        }
    }

    pub(super) fn down(
        &mut self,
        cluster: &mut Cluster,
        hosts: &[HostId],
        death: Death,
        least_millis: u64,
        most_millis: u64,
    ) -> bool {
        let up = hosts.iter().filter(|host| cluster.is_up(**host)).count();
        for &host in hosts {
            cluster.kill(host, death);
        }
        self.until(
            cluster,
            least_millis,
            most_millis,
            Undo::Start(hosts.to_vec()),
        );
        up > 0
    }

    fn lose_log(&mut self, cluster: &mut Cluster, node: HostId) -> bool {
        let lost = cluster.has_lost_log(node);
        cluster.kill(node, Death::Power);
        cluster.lose_log(node);
        self.until(cluster, 100, 3_000, Undo::Start(vec![node]));
        !lost && cluster.has_lost_log(node)
    }

    fn hunt_leaders(&mut self, cluster: &Cluster) -> bool {
        let shards = cluster.leaders.shards();
        // One at a time: what a hunt has cut off is joined by its own end.
        if self.hunt.is_some() {
            return false;
        }
        let Some(&shard) = self.dice.pick(&shards) else {
            return false;
        };
        self.hunt = Some(Hunt::new(shard, &mut self.dice));
        self.until(cluster, 3_000, 15_000, Undo::Hunt);
        true
    }

    fn hunt_coordinators(&mut self, cluster: &Cluster) -> bool {
        if self.coordinators.is_some() {
            return false;
        }
        self.coordinators = Some(Coordinators::default());
        self.until(cluster, 2_000, 8_000, Undo::Coordinators);
        true
    }

    fn lose_entries(&mut self, cluster: &Cluster) -> bool {
        if self.losses.is_some() {
            return false;
        }
        self.losses = Some(Losses::new(cluster));
        self.until(cluster, 1_000, 6_000, Undo::Losses);
        true
    }

    /// Kills or pauses a coordinator.
    pub(super) fn strike(&mut self, cluster: &mut Cluster, host: HostId) {
        if self.dice.chance(0.6) {
            self.down(cluster, &[host], Death::Process, 10, 3_000);
        } else {
            let millis = self.dice.between(20, 9_000);
            self.pause(cluster, host, millis);
        }
    }

    fn delete_behind_cut(&mut self, cluster: &Cluster) -> bool {
        if self.deletion.is_some() {
            return false;
        }
        self.deletion = Some(Deletion::new(cluster));
        self.until(cluster, 12_000, 30_000, Undo::Deletion);
        true
    }

    pub(super) fn pause(&mut self, cluster: &mut Cluster, host: HostId, millis: u64) -> bool {
        let ran = cluster.is_running(host);
        cluster.pause(host, true);
        self.until(cluster, millis, millis, Undo::Continue(host));
        ran
    }

    pub(super) fn cut(&mut self, cluster: &Cluster, pairs: Vec<(HostId, HostId)>) -> bool {
        let new = pairs
            .iter()
            .filter(|(a, b)| cluster.fabric.cut(*a, *b, true));
        let new = new.count();
        self.until(cluster, 50, 8_000, Undo::Join(pairs));
        new > 0
    }

    fn cut_off(&mut self, cluster: &Cluster, node: HostId, pairs: Vec<(HostId, HostId)>) -> bool {
        let millis = self.dice.between(50, 8_000);
        let new = pairs
            .iter()
            .filter(|(a, b)| cluster.fabric.cut(*a, *b, true));
        let new = new.count();
        self.until(cluster, millis, millis, Undo::Join(pairs));
        self.cut_coordination(cluster, node, millis, millis) || new > 0
    }

    fn cut_coordination(
        &mut self,
        cluster: &Cluster,
        host: HostId,
        least_millis: u64,
        most_millis: u64,
    ) -> bool {
        let cut = |cluster: &Cluster| cluster.ensemble.cut(u64::from(host.0), true);
        let new = changes(cluster, "cut", cut);
        self.until(cluster, least_millis, most_millis, Undo::Coordination(host));
        new && cluster.is_up(host)
    }

    fn network(&mut self, cluster: &Cluster, kind: Kind) -> bool {
        let mut quality = Quality::default();
        match kind {
            Kind::LossyNetwork => quality.loss = 0.01 * self.dice.between(1, 15) as f64,
            Kind::StallingNetwork => quality.stall = 0.001 * self.dice.between(1, 30) as f64,
            _ => {
                quality.least_micros = self.dice.between(1_000, 50_000);
                quality.jitter_micros = self.dice.between(1_000, 100_000);
            }
        }
        cluster.fabric.set_quality(quality);
        self.until(cluster, 500, 6_000, Undo::Network);
        true
    }

    fn far(&mut self, cluster: &Cluster, router: HostId) -> bool {
        let quality = Quality {
            least_micros: self.dice.between(1_000, 8_000),
            jitter_micros: self.dice.between(15_000, 60_000),
            ..Quality::default()
        };
        let far = cluster.fabric.set_far(router, quality);
        if far {
            self.until(cluster, 4_000, 12_000, Undo::Far);
        }
        far
    }

    fn tamper(&mut self, cluster: &Cluster, set: impl FnOnce(&mut Tampering, f64)) -> bool {
        let mut tampering = Tampering::default();
        set(&mut tampering, 0.01 * self.dice.between(5, 50) as f64);
        cluster.tamper.set(tampering);
        self.until(cluster, 500, 6_000, Undo::Messages);
        true
    }

    fn slow(&mut self, cluster: &mut Cluster, kind: Kind, node: HostId) -> bool {
        let usual = Speed::default();
        let Some(host) = cluster.host(node) else {
            return false;
        };
        if kind == Kind::SlowApply {
            host.speed.apply = self.dice.between(10_000, 400_000);
        } else {
            host.speed.log = usual.log * self.dice.between(10, 400);
            host.speed.store = usual.store * 20;
        }
        let up = host.is_up();
        self.until(cluster, 500, 5_000, Undo::Speed(node));
        // What waits to be synced is lost if the machine goes down meanwhile.
        if kind == Kind::SlowDisk && self.dice.chance(0.4) {
            self.until(cluster, 100, 2_000, Undo::Kill(node));
        }
        up
    }

    /// Faults that a process is excused for that ends of them, if one runs.
    fn disk(&mut self, cluster: &Cluster, kind: Kind, node: HostId) -> bool {
        let Some(disks) = cluster.disks(node).filter(|_| cluster.is_up(node)) else {
            return false;
        };
        let disk = disks.disk();
        match kind {
            Kind::DoomDisk => disks.doom(self.dice.between(1, 40)),
            Kind::DiskError => disk.fail_at(disk.changes() + self.dice.between(1, 30)),
            Kind::DiskFull => disks.fill(self.dice.between(0, 100_000)),
            Kind::StoreFull => disks.fill_store(),
            Kind::StoreWriteError => disks.store().fail_next_write("injected"),
            _ => disks.store().fail_next_persist("injected"),
        }
        match kind {
            Kind::DiskFull | Kind::StoreFull => {
                self.until(cluster, 1_000, 6_000, Undo::Space(node));
                // It is started again and again meanwhile, as far as it goes.
                if self.dice.chance(0.3) {
                    self.until(cluster, 100, 3_000, Undo::Kill(node));
                }
            }
            _ => self.until(cluster, 2_000, 8_000, Undo::Kill(node)),
        }
        true
    }

    fn clock(&mut self, cluster: &mut Cluster, kind: Kind, host: HostId) -> bool {
        let up = cluster.is_up(host);
        let Some(machine) = cluster.host(host) else {
            return false;
        };
        let clock = machine.clock();
        match kind {
            Kind::ClockJump => {
                clock.set_right();
                clock.jump(self.dice.between(0, 90_000).cast_signed() - 45_000);
            }
            Kind::ClockLeap => {
                clock.set_right();
                clock.jump(self.dice.between(125_000, 300_000).cast_signed());
                self.until(cluster, 500, 6_000, Undo::Rate(host));
            }
            Kind::NodeHour | Kind::RouterHour => {
                clock.set_right();
                clock.jump(if self.dice.chance(0.5) { HOUR } else { -HOUR });
                self.until(cluster, 500, 6_000, Undo::Rate(host));
            }
            Kind::SlightDrift => {
                clock.set_rate(self.dice.between(955_000, 1_045_000));
                self.until(cluster, 2_000, 20_000, Undo::Rate(host));
            }
            _ => {
                clock.set_rate(self.dice.between(700_000, 1_400_000));
                self.until(cluster, 2_000, 10_000, Undo::Rate(host));
            }
        }
        up
    }

    fn flaky_coordination(&mut self, cluster: &Cluster) -> bool {
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
        true
    }

    fn late_writes(&mut self, cluster: &Cluster) -> bool {
        cluster.ensemble.set_faults(Faults {
            late_write: 0.01 * self.dice.between(20, 50) as f64,
            ..Faults::default()
        });
        self.until(cluster, 2_000, 10_000, Undo::Requests);
        true
    }
}

fn ask_to_end(cluster: &Cluster, host: HostId) -> bool {
    cluster.ask_to_end(host);
    cluster.is_running(host)
}

/// Whether something that the ensemble counts has changed it.
fn changes(cluster: &Cluster, what: &str, act: impl FnOnce(&Cluster)) -> bool {
    let count = || cluster.ensemble.counts().get(what).copied();
    let before = count();
    act(cluster);
    count() != before
}
