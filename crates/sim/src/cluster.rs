//! The whole system on simulated machines, and the hands that break it.
//!
//! | host | process |
//! |---|---|
//! | 1, 2, 3, … | data nodes, each with disks of its own that outlive its processes |
//! | 101, 102, … | routers |
//! | 200 | all clients |
//! | 201 | now and then, an operator who works on the coordination store, or with the commands for operators |

mod commands;
mod disks;
mod operator;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coordination::records::decode_at;
use coordination::simulated::{Ensemble, EnsembleOptions};
use coordination::{Connect, Znode, tree};
use datanode::Tuning;
use environment::Environment;
use model::{NodeId, ShardId, Table, TableState};
use storage::disk::SimDisk;
use storage::log::LogOptions;

pub use self::disks::NodeDisks;
use crate::STEP_MICROS;
use crate::dice::Dice;
use crate::fabric::{Fabric, HostId};
use crate::host::{Exit, Host};
use crate::invariants::{Bounds, Disks, FoundLog, Invariants, Rest};
use crate::probe::{Leaders, Probe, Tamper};
use crate::scenario::Scenario;
use crate::system;
use crate::trace::Trace;

/// Where all clients are.
pub const CLIENTS: HostId = HostId(200);
/// Where the operator is.
const OPERATOR: HostId = HostId(201);
/// The port of every process that listens.
const PORT: u16 = 7000;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It is killed; what it has written stays, synced or not.
    Process,
    /// The machine loses its power: what was not synced is lost, torn or reordered.
    Power,
}

/// What an operator decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A table that is lost is kept.
    Keep,
    /// A table that is lost is dropped.
    Drop,
    /// A node is forgotten, if it is not alive.
    Forget,
}

/// Simulated time as clients see it, for histories. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct TrueTime(Arc<AtomicU64>);

impl TrueTime {
    /// Microseconds since the beginning.
    pub fn micros(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// See the [module](self).
pub struct Cluster {
    seed: u64,
    tuning: Tuning,
    timing: router::Timing,
    now: TrueTime,
    /// The network.
    pub fabric: Fabric,
    /// The coordination store.
    pub ensemble: Ensemble,
    /// What is done to messages between replicas.
    pub tamper: Tamper,
    /// Who was last seen to lead.
    pub leaders: Leaders,
    /// What must hold.
    pub invariants: Invariants,
    /// What happened.
    pub trace: Trace,
    hosts: BTreeMap<HostId, Host>,
    disks: BTreeMap<HostId, NodeDisks>,
    /// The replicas whose node has lost its log, and with it its part in their groups.
    without_log: BTreeSet<(HostId, ShardId)>,
    processes: BTreeMap<HostId, u64>,
    last_process: u64,
    dice: Dice,
    /// Processes that have ended by themselves, with their reasons.
    pub exits: Vec<(u64, HostId, String)>,
}

impl Cluster {
    /// Hosts on which nothing runs yet.
    pub fn new(seed: u64, scenario: &Scenario) -> Self {
        let mut dice = Dice::new(seed, "cluster");
        let trace = Trace::default();
        let node_hosts: Vec<HostId> = (1..=scenario.nodes).map(HostId).collect();
        let others = (101..=100 + scenario.routers)
            .map(HostId)
            .chain([CLIENTS, OPERATOR]);
        let hosts = node_hosts.iter().copied().chain(others);
        let hosts = hosts.map(|id| (id, Host::new(id, dice.split()))).collect();
        let disks = node_hosts
            .iter()
            .map(|&id| (id, NodeDisks::new(id)))
            .collect();
        Self {
            seed,
            tuning: tuning(scenario),
            timing: timing(scenario),
            now: TrueTime::default(),
            fabric: Fabric::new(seed, trace.clone()),
            ensemble: Ensemble::new(seed, EnsembleOptions::default()),
            tamper: Tamper::new(Dice::new(seed, "messages")),
            leaders: Leaders::default(),
            invariants: Invariants::new(bounds(scenario)),
            trace,
            hosts,
            disks,
            without_log: BTreeSet::new(),
            processes: BTreeMap::new(),
            last_process: 0,
            dice,
            exits: Vec::new(),
        }
    }

    /// The clock that histories are written by.
    pub fn time(&self) -> TrueTime {
        self.now.clone()
    }

    /// Simulated time since the beginning.
    pub fn now_micros(&self) -> u64 {
        self.now.micros()
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The data nodes' hosts.
    pub fn nodes(&self) -> Vec<HostId> {
        self.disks.keys().copied().collect()
    }

    /// The routers' hosts.
    pub fn routers(&self) -> Vec<HostId> {
        let hosts = self.hosts.keys().copied();
        hosts
            .filter(|host| ![CLIENTS, OPERATOR].contains(host) && !self.disks.contains_key(host))
            .collect()
    }

    /// The hosts of all nodes and routers.
    pub fn servers(&self) -> Vec<HostId> {
        [self.nodes(), self.routers()].concat()
    }

    /// Where clients find the routers.
    pub fn router_addresses(&self) -> Vec<String> {
        let routers = self.routers().into_iter();
        routers.map(|host| host.at(PORT).to_string()).collect()
    }

    /// Whether a process runs on a host and is not paused.
    pub fn is_running(&self, host: HostId) -> bool {
        let host = self.hosts.get(&host);
        host.is_some_and(|host| host.is_up() && !host.is_paused())
    }

    /// Whether a process runs on a host, paused or not.
    pub fn is_up(&self, host: HostId) -> bool {
        self.hosts.get(&host).is_some_and(Host::is_up)
    }

    /// A host, for its clock and the speed of its disks.
    pub fn host(&mut self, host: HostId) -> Option<&mut Host> {
        self.hosts.get_mut(&host)
    }

    /// A node's disks.
    pub fn disks(&self, host: HostId) -> Option<&NodeDisks> {
        self.disks.get(&host)
    }

    /// Says something in the trace.
    pub fn say(&self, what: impl FnOnce() -> String) {
        self.trace.say(self.now_micros(), what);
    }

    /// Starts the process that belongs on a host, if none runs there.
    pub fn start(&mut self, host: HostId) {
        if self.is_up(host) || host == OPERATOR {
            return;
        }
        if self.disks.contains_key(&host) {
            self.start_node(host);
        } else {
            self.start_router(host);
        }
    }

    fn start_node(&mut self, id: HostId) {
        let process = self.new_process(id);
        let coordination = self.ensemble.client(u64::from(id.0), process);
        let (Some(host), Some(disks)) = (self.hosts.get_mut(&id), self.disks.get(&id)) else {
            return;
        };
        let probe = Probe::new(
            id,
            process,
            disks.clone(),
            self.invariants.clone(),
            self.tamper.clone(),
            self.leaders.clone(),
        );
        let storage = Arc::new(disks.clone());
        let tuning = self.tuning.clone();
        host.start(&self.fabric, move |environment, exit| {
            let mut options = datanode::Options::new(coordination, "/data".into(), id.at(PORT));
            options.tuning = tuning;
            options.log = log_options();
            options.environment = environment;
            options.storage = storage;
            options.probe = Some(Arc::new(probe));
            run_node(options, exit)
        });
    }

    fn start_router(&mut self, id: HostId) {
        let process = self.new_process(id);
        let coordination = self.ensemble.client(u64::from(id.0), process);
        let Some(host) = self.hosts.get_mut(&id) else {
            return;
        };
        let timing = self.timing.clone();
        host.start(&self.fabric, move |environment, exit| {
            let mut options = router::Options::new(coordination, id.at(PORT));
            options.timing = timing;
            options.environment = environment;
            run_router(options, exit)
        });
    }

    /// Starts the clients.
    pub fn start_clients<F>(&mut self, main: impl FnOnce(Environment) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.new_process(CLIENTS);
        if let Some(host) = self.hosts.get_mut(&CLIENTS) {
            host.start(&self.fabric, move |environment, _| main(environment));
        }
    }

    fn new_process(&mut self, host: HostId) -> u64 {
        self.last_process += 1;
        self.processes.insert(host, self.last_process);
        self.last_process
    }

    /// Ends a host's process.
    pub fn kill(&mut self, id: HostId, death: Death) {
        if !self.is_up(id) {
            return;
        }
        self.fabric.kill(id, death == Death::Process);
        if let Some(process) = self.processes.get(&id) {
            self.ensemble.kill(*process);
        }
        if let Some(host) = self.hosts.get_mut(&id) {
            host.kill();
        }
        let Some(disks) = self.disks.get(&id) else {
            return;
        };
        match death {
            Death::Process => disks.keep_all(),
            Death::Power => disks.lose(&mut self.dice),
        }
        self.look_after_crash(id);
    }

    /// Asks a host's process to end, as a service manager does.
    pub fn ask_to_end(&self, id: HostId) {
        if let Some(host) = self.hosts.get(&id) {
            host.ask_to_end();
        }
    }

    /// Loses the log of a node that is down, if it is the first one: a majority must keep its promises.
    pub fn lose_log(&mut self, id: HostId) {
        if self.is_up(id) || !self.without_log.is_empty() {
            return;
        }
        if let Some(disks) = self.disks.get(&id)
            && let Ok(shards) = disks.hosted()
            && disks.lose_log().is_ok()
        {
            let lost = shards.iter().map(|shard| (id, *shard));
            self.without_log.extend(lost);
            self.invariants.log_lost(id, &shards);
        }
    }

    /// Whether a node has lost the log of any replica.
    pub fn has_lost_log(&self, id: HostId) -> bool {
        self.without_log.iter().any(|(host, _)| *host == id)
    }

    /// Whether the log of this node's replica was lost, so that it must not run any more.
    pub fn is_without_log(&self, id: HostId, shard: ShardId) -> bool {
        self.without_log.contains(&(id, shard))
    }

    /// The first table is not listed in the coordination store for a while. One operator at a time: false if there is
    /// no table, or one is at work.
    pub fn hide_table(&mut self, millis: u64) -> bool {
        let hidden = Duration::from_millis(millis);
        self.operate(move |store, table, exit| operator::hide(store, table, hidden, exit))
    }

    /// The first table is as it was when it was being created, its creation is undone, and it is listed again later. As
    /// above.
    pub fn undo_table(&mut self) -> bool {
        self.operate(operator::undo)
    }

    fn operate<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        work: impl FnOnce(Arc<dyn Connect>, Table, Exit) -> F + Send + 'static,
    ) -> bool {
        if self.is_up(OPERATOR) {
            return false;
        }
        let Some(table) = self.first_table() else {
            return false;
        };
        let process = self.new_process(OPERATOR);
        let coordination = self.ensemble.client(u64::from(OPERATOR.0), process);
        if let Some(host) = self.hosts.get_mut(&OPERATOR) {
            host.start(&self.fabric, move |_, exit| work(coordination, table, exit));
        }
        true
    }

    fn first_table(&self) -> Option<Table> {
        let tables = tables_of(&self.ensemble.tree()).unwrap_or_default();
        let available = |table: &Table| table.state == TableState::Available;
        tables.into_iter().find(available)
    }

    /// The operator gives commands, after one another: false if the last ones are not carried out yet, or there is nothing to
    /// do. `chance` decides about what is left open.
    pub fn command(&mut self, command: Command, chance: u64) -> bool {
        let table = self.first_table();
        let members = self.ensemble.tree();
        let members = members
            .keys()
            .filter_map(|path| tree::Node::parse(path).ok());
        let members: Vec<NodeId> = members
            .filter_map(|node| match node {
                tree::Node::Member(id) => Some(id),
                _ => None,
            })
            .collect();
        let node = members.get(chance as usize % members.len().max(1)).copied();
        let (Some(table), Some(node), false) = (table, node, self.is_up(OPERATOR)) else {
            return false;
        };
        let process = self.new_process(OPERATOR);
        let coordination = self.ensemble.client(u64::from(OPERATOR.0), process);
        let (ensemble, invariants) = (self.ensemble.clone(), self.invariants.clone());
        let routers = self.router_addresses();
        if let Some(host) = self.hosts.get_mut(&OPERATOR) {
            host.start(&self.fabric, move |environment, exit| async move {
                let Some(client) = commands::client(routers, environment) else {
                    return;
                };
                let desk = commands::Desk {
                    client,
                    coordination,
                    ensemble,
                    invariants,
                };
                match command {
                    Command::Keep => commands::lose_and_keep(desk, table, exit).await,
                    Command::Drop => commands::lose_and_drop(desk, chance, exit).await,
                    Command::Forget => commands::forget(desk, node, exit).await,
                }
            });
        }
        true
    }

    /// Whether an operator is at work on a table, or makes sure that it is listed again.
    pub fn is_operated(&self) -> bool {
        self.is_up(OPERATOR)
    }

    /// Shows the tables to the invariants, as they are in the coordination store.
    pub fn look_at_tables(&self) {
        self.invariants.tables(&self.ensemble.tree());
    }

    /// Stops and continues a host's process.
    pub fn pause(&mut self, id: HostId, paused: bool) {
        if let Some(process) = self.processes.get(&id) {
            self.ensemble.pause(*process, paused);
        }
        if let Some(host) = self.hosts.get_mut(&id) {
            host.pause(paused);
        }
    }

    /// Shows a node's disks to the invariants.
    pub fn look_at(&self, id: HostId) {
        if let Some(disks) = self.disks.get(&id) {
            let disk = disks.disk();
            self.invariants.disks(&Disks {
                host: id,
                disk: &disk,
                store: disks.store(),
            });
        }
    }

    /// Shows the invariants what the next process of a node will find.
    fn look_after_crash(&self, id: HostId) {
        self.look_at(id);
        if let Some((disk, disks)) = self.disks.get(&id).map(|disks| (disks.disk(), disks))
            && let Some(log) = self.log_of(id, &disk)
        {
            let disks = Disks {
                host: id,
                disk: &disk,
                store: disks.store(),
            };
            self.invariants.crashed(&disks, &log);
        }
    }

    /// What is in a node's log. That it can't be read is a violation: nothing that happens here damages one.
    fn log_of(&self, id: HostId, disk: &SimDisk) -> Option<FoundLog> {
        let opened = FoundLog::open(disk, log_options());
        let complain = |error: String| {
            let detail = format!("host {}: {error}", id.0);
            self.invariants.complain("log-can-be-read", detail);
        };
        opened.map_err(complain).ok()
    }

    /// Shows the cluster at rest to the invariants.
    pub fn look_at_rest(&self) {
        let disks = self.disks.iter();
        let disks: Vec<_> = disks
            .map(|(&id, disks)| (id, disks.disk(), disks))
            .collect();
        let nodes = disks.iter().filter_map(|(id, disk, disks)| {
            let log = self.log_of(*id, disk)?;
            let disks = Disks {
                host: *id,
                disk,
                store: disks.store(),
            };
            Some((disks, log))
        });
        let nodes: Vec<_> = nodes.collect();
        let tree = self.ensemble.tree();
        self.invariants.at_rest(&Rest {
            nodes: &nodes,
            without_log: &self.without_log,
            tree: &tree,
        });
    }

    /// One step of simulated time for everything.
    pub fn step(&mut self) {
        let now = self.now.0.fetch_add(STEP_MICROS, Ordering::Relaxed) + STEP_MICROS;
        system::set_time(now);
        self.fabric.advance(now);
        self.ensemble.advance(now);
        let mut ended = Vec::new();
        for (&id, host) in &mut self.hosts {
            if let Some(reason) = host.step(now) {
                ended.push((id, reason));
            }
        }
        for (id, reason) in ended {
            self.say(|| format!("host {} ends by itself: {reason}", id.0));
            // Clients and operators may end when they are done.
            if id < CLIENTS {
                let failed = self.disks.get(&id).is_some_and(NodeDisks::have_failed);
                self.invariants.ended(id, &reason, failed);
            }
            let death = self.disks.get(&id).map_or(Death::Process, NodeDisks::death);
            self.exits.push((now, id, reason));
            self.kill(id, death);
        }
    }
}

async fn run_node(options: datanode::Options, exit: Exit) {
    let service = match datanode::start(options).await {
        Ok(service) => service,
        Err(error) => return exit.with(error.to_string()),
    };
    tokio::select! {
        biased;
        reason = service.failed() => return exit.with(reason),
        () = exit.asked() => {}
    }
    service.shutdown().await;
    exit.with(STOPPED);
}

async fn run_router(options: router::Options, exit: Exit) {
    match router::start(options).await {
        Ok(service) => {
            exit.asked().await;
            service.shutdown().await;
            exit.with(STOPPED);
        }
        Err(error) => exit.with(error.to_string()),
    }
}

/// Why a process has ended that was asked to.
pub const STOPPED: &str = "it was asked to";

/// Small logs, so that they are compacted and followers need snapshots within seconds; groups that rest, and leaders that go home,
/// after a second or so, so that they do it often.
fn tuning(scenario: &Scenario) -> Tuning {
    Tuning {
        log_budget_bytes: 2 << 20,
        group_log_bytes: scenario.group_log_bytes,
        checkpoint_interval_millis: 2_000,
        rest_ticks: 30,
        store_persist_interval_millis: scenario.persist_millis,
        snapshot_chunk_bytes: 8 << 10,
        home_ticks: 20,
        read_mode: scenario.read_mode,
        ..Tuning::default()
    }
}

/// As in production, but for how soon transactions are taken up.
fn timing(scenario: &Scenario) -> router::Timing {
    let mut timing = router::Timing::default();
    if let Some(millis) = scenario.recovery_millis {
        let after = Duration::from_millis(millis);
        let transactions = &mut timing.transactions;
        transactions.sweep_interval = after / 2;
        transactions.takeover_jitter = after / 2;
        transactions.undecided_after = after;
        transactions.entry_after = after / 2;
        transactions.pending_after = after;
        transactions.decided_after = after;
    }
    timing
}

fn log_options() -> LogOptions {
    LogOptions {
        segment_bytes: 128 << 10,
        spare_segments: 1,
        memory_tail_bytes: 16 << 10,
        ..LogOptions::default()
    }
}

/// What a node's log may take.
///
/// A group is compacted beyond `group_log_bytes`, four times that while a follower is given a snapshot, and in
/// stretches of 64 KiB, of which the first and the last may be needed in part. What is not applied and durable yet is
/// needed as well: a few seconds of writing, if a disk is slow. The log rewrites what pins old segments when
/// the files are three times what is needed of them and three segments more; one is active, one is spare.
fn bounds(scenario: &Scenario) -> Bounds {
    let work = &scenario.workload;
    let tables = work.tables.iter().map(|table| u64::from(table.shards));
    let churned = work.churners * (scenario.churn.names + 1) * u64::from(scenario.churn.shards);
    let groups = tables.sum::<u64>() + churned;
    let live_bytes = groups * (4 * scenario.group_log_bytes + 2 * (64 << 10)) + (1 << 20);
    Bounds {
        live_bytes,
        log_bytes: 3 * live_bytes + 5 * log_options().segment_bytes,
    }
}

/// The tables in the coordination store.
pub fn tables_of(znodes: &BTreeMap<String, Znode>) -> Result<Vec<Table>, String> {
    let mut tables = Vec::new();
    for (path, znode) in znodes {
        let Ok(node @ tree::Node::Table(_)) = tree::Node::parse(path) else {
            continue;
        };
        tables.push(decode_at(&node, &znode.data).map_err(|error| error.to_string())?);
    }
    Ok(tables)
}

/// The shards of all tables and the nodes that they are placed on.
pub fn wanted_shards(
    znodes: &BTreeMap<String, Znode>,
) -> Result<BTreeMap<ShardId, Vec<NodeId>>, String> {
    let tables = tables_of(znodes)?;
    let shards = tables.iter().flat_map(Table::shard_ids);
    Ok(shards
        .map(|(id, shard)| (id, shard.nodes.clone()))
        .collect())
}
