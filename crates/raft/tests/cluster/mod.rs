//! Whole groups under random faults.
//!
//! Each run draws everything from its seed: which message arrives when, twice or never; who is cut off, crashes with what
//! part of its unsynced writes on disk, comes back with how much of its log in memory; when a disk syncs and a state applies; proposals, reads,
//! transfers, purges and snapshots. After every step all [`invariants`](crate::invariants) are checked. At last everything is
//! mended, and the group must converge.
//!
//! * `RAFT_SEED=17 cargo test -p raft --test raft cluster` runs one seed of each kind, `RAFT_TRACE=1` prints what happens.
//! * `RAFT_SEEDS=1000` runs so many instead of the usual few.

mod faults;
#[cfg(feature = "mutants")]
mod mutants;
mod network;
mod runs;

pub use runs::seeds;

use std::collections::BTreeMap;

use raft::{Effects, Fetch, Index, ReadToken, ReplicaId, Role, Term};

use crate::common::{Node, Store, config, group, id};
use crate::invariants::{Before, Invariants};
use network::Network;

/// SplitMix64.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    pub fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// A snapshot on its way.
pub struct Transfer {
    from: ReplicaId,
    to: ReplicaId,
    term: Term,
    snapshot: Store,
    /// Chunks that are still to come.
    left: u64,
}

/// What went on in a run, so that a run that does nothing is noticed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub elections: usize,
    pub proposals: usize,
    pub snapshots: usize,
    pub fetches: usize,
    pub crashes: usize,
    pub resets: usize,
    pub transfers: usize,
    pub reads: usize,
}

/// How a run departs from the rules, to show that the invariants see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Disks report as durable what isn't.
    LyingDisk,
    /// Answers to read rounds are taken for those of the latest round.
    ConfusedReads,
}

pub struct Cluster {
    pub nodes: BTreeMap<ReplicaId, Node>,
    network: Network,
    chance: Chance,
    invariants: Invariants,
    fetches: Vec<(ReplicaId, Fetch)>,
    transfers: Vec<Transfer>,
    /// Whose disk hardly syncs.
    slow: Option<ReplicaId>,
    next_command: u64,
    next_read: u64,
    fault: Fault,
    tracing: bool,
    pub tally: Tally,
    /// A hash of all that was sent, for comparing runs.
    pub trace: u64,
}

impl Cluster {
    pub fn new(size: u64, seed: u64, fault: Fault) -> Self {
        let mut chance = Chance(seed);
        let nodes = (1..=size).map(|number| {
            let mut config = config(number, group(size));
            config.seed = chance.below(u64::MAX);
            config.max_append_bytes = 200;
            config.max_inflight_appends = 4;
            config.max_uncommitted_bytes = 2000;
            (id(number), Node::new(config))
        });
        Self {
            nodes: nodes.collect(),
            network: Network::default(),
            chance,
            invariants: Invariants::new(),
            fetches: Vec::new(),
            transfers: Vec::new(),
            slow: None,
            next_command: 0,
            next_read: 0,
            fault,
            tracing: std::env::var("RAFT_TRACE").is_ok(),
            tally: Tally::default(),
            trace: 0,
        }
    }

    fn note(&self, what: impl FnOnce() -> String) {
        if self.tracing {
            println!("{}", what());
        }
    }

    /// Lets a node do something, takes its effects and checks everything.
    fn step(&mut self, id: ReplicaId, act: impl FnOnce(&mut Node)) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.up) else {
            return Ok(());
        };
        let before = Before::of(node);
        act(node);
        let effects = node.drain();
        self.after(id, before, effects)
    }

    fn after(&mut self, id: ReplicaId, before: Before, effects: Effects) -> Result<(), String> {
        if self.tracing && !is_empty(&effects) {
            println!("  {id}: {effects:?}");
        }
        self.invariants.check(&self.nodes, id, before, &effects)?;
        self.tally.reads = self.invariants.reads_served();
        let elected = effects
            .role
            .is_some_and(|change| change.role == Role::Leader);
        self.tally.elections += usize::from(elected);
        self.tally.resets += usize::from(
            effects
                .persist
                .is_some_and(|persist| persist.reset.is_some()),
        );
        self.fetches
            .extend(effects.fetch.into_iter().map(|fetch| (id, fetch)));
        for to in effects.snapshots {
            let node = &self.nodes[&id];
            let (term, snapshot) = (node.replica.term(), node.durable_store.clone());
            self.transfers.push(Transfer {
                from: id,
                to,
                term,
                snapshot,
                left: self.chance.below(4),
            });
        }
        for message in effects.send {
            self.trace = self.trace.rotate_left(5) ^ message.term.0 ^ message.to.0;
            self.network.send(message);
        }
        Ok(())
    }

    fn propose(&mut self, id: ReplicaId) -> Result<(), String> {
        self.next_command += 1;
        let size = 8 + self.chance.below(60) as usize;
        let mut payload = format!("command {}", self.next_command);
        payload.extend(std::iter::repeat_n('.', size));
        let mut taken = false;
        self.step(id, |node| {
            taken = node.replica.propose(payload.into()).is_ok();
        })?;
        self.tally.proposals += usize::from(taken);
        Ok(())
    }

    fn read(&mut self, id: ReplicaId) -> Result<(), String> {
        self.next_read += 1;
        let token = ReadToken(self.next_read);
        self.invariants.read_asked(token);
        self.step(id, |node| _ = node.replica.read_index(token))
    }

    fn crash(&mut self, id: ReplicaId) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.up) else {
            return;
        };
        self.tally.crashes += 1;
        // Some of what was under way may have reached the disk, without anybody knowing.
        let reached = self.chance.below(node.writes.len() as u64 + 1) as usize;
        if self.fault != Fault::LyingDisk {
            for persist in node.writes.drain(..reached) {
                node.disk.write(&persist);
            }
        }
        node.crash();
        self.fetches.retain(|(of, _)| *of != id);
        self.transfers.retain(|transfer| transfer.from != id);
        self.note(|| format!("{id} crashes"));
    }

    fn restart(&mut self, id: ReplicaId) -> Result<(), String> {
        let tail = self.chance.below(6);
        let Some(node) = self.nodes.get_mut(&id).filter(|node| !node.up) else {
            return Ok(());
        };
        node.restart(tail);
        self.step(id, |_| {})
    }

    fn answer_fetch(&mut self, at: usize) -> Result<(), String> {
        let (id, fetch) = self.fetches.swap_remove(at);
        self.tally.fetches += 1;
        self.step(id, |node| {
            let result = node.disk.read(&fetch);
            node.replica.fetched(&fetch, result);
        })
    }

    /// A chunk of a snapshot arrives, the last one installs it, or the transfer fails.
    fn advance_snapshot(&mut self, at: usize, may_fail: bool) -> Result<(), String> {
        let transfer = &mut self.transfers[at];
        let (from, to, term) = (transfer.from, transfer.to, transfer.term);
        let snapshot = transfer.snapshot.clone();
        let is_last = transfer.left == 0;
        transfer.left = transfer.left.saturating_sub(1);
        let lost = may_fail && self.chance.one_in(8) || !self.nodes[&to].up;
        let mut accepted = false;
        if !lost {
            self.step(to, |node| {
                accepted = node
                    .replica
                    .accept_snapshot(from, term, snapshot.index)
                    .is_ok();
                if accepted && is_last {
                    node.install(&snapshot);
                }
            })?;
        }
        if accepted && !is_last {
            return Ok(());
        }
        self.transfers.swap_remove(at);
        self.tally.snapshots += usize::from(accepted);
        let result = if accepted {
            Ok(snapshot.index)
        } else {
            Err(())
        };
        self.step(from, |node| node.replica.snapshot_sent(to, result))
    }

    fn leaders(&self) -> Vec<ReplicaId> {
        let leads = |node: &&Node| node.up && node.replica.role() == Role::Leader;
        self.nodes.values().filter(leads).map(Node::id).collect()
    }

    fn last_applied(&self) -> Vec<(Index, u64)> {
        self.nodes
            .values()
            .map(|node| (node.store.index, node.store.hash))
            .collect()
    }
}

fn is_empty(effects: &Effects) -> bool {
    effects.persist.is_none()
        && effects.send.is_empty()
        && effects.apply.is_empty()
        && effects.reads.is_empty()
        && effects.role.is_none()
}
