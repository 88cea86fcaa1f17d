//! What must hold at every moment, one property in each file.
//!
//! | property | from | looked at |
//! |---|---|---|
//! | `election_safety` | Raft §5.2 | every turn |
//! | `one_vote` | Raft §5.2, §5.4 | every vote that is sent |
//! | `leader_append_only` | Raft §5.3 | every write to the log |
//! | `log_matching` | Raft §5.3 | every write to the log |
//! | `leader_completeness` | Raft §5.4 | every leader's first turn |
//! | `state_machine_safety` | Raft §5.4.3 | every entry that is applied |
//! | `acknowledged_is_durable` | Raft §5.3, figure 2 | every crash, every start of a node |
//! | `applied_with_data` | etcd 3.5's data inconsistency | every crash, every five seconds |
//! | `replicas_equal` | state machine replication | every crash, every five seconds, at rest |
//! | `replicas_run` | nothing stops without a reason | every turn |
//! | `resting_level` | CockroachDB's quiescence | every turn |
//! | `bounded` | memory and log | every turn; the log's bytes every crash, every five seconds, at rest |
//! | `available_has_led`, `deletion_is_final` | tables T1, T3 | several times in a second |
//! | `no_orphans`, `no_residue` | tables T3 | at rest |
//! | `decided_once` | transactions, ATC 2023 §4 | every entry that is applied |
//! | `no_intents` | transactions X5 | at rest |
//! | `timestamps` | transactions, ATC 2023 §4.2 | every crash, every five seconds |
//! | `placeholders` | transactions X5 | every crash, every five seconds |
//!
//! Confirmed writes, linearizability and the like are properties of the clients' history: crate `history`.

mod acknowledged_is_durable;
mod applied_with_data;
mod available_has_led;
mod bounded;
mod decided_once;
mod deletion_is_final;
mod election_safety;
mod found;
mod leader_append_only;
mod leader_completeness;
mod log_matching;
mod no_intents;
mod no_orphans;
mod no_residue;
mod one_vote;
mod placeholders;
mod replicas_equal;
mod replicas_run;
mod resting_level;
mod state_machine_safety;
mod stored;
mod timestamps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datanode::worker::{Outputs, Worker};
use model::{NodeId, ShardId};
use parking_lot::Mutex;
use storage::disk::SimDisk;
use storage::state::MemoryStore;

pub use self::bounded::Bounds;
pub use self::decided_once::Commits;
pub use self::found::FoundLog;
pub(crate) use self::found::records;
pub(crate) use self::no_intents::{intents, ledger_entries};
use crate::fabric::HostId;

/// A turn of a node's worker, before what it brought forth is carried out.
pub struct Turn<'a> {
    /// The host that the node runs on.
    pub host: HostId,
    /// The node.
    pub node: NodeId,
    /// Which process of that host.
    pub process: u64,
    /// The worker.
    pub worker: &'a Worker,
    /// What it brought forth.
    pub outputs: &'a Outputs,
    /// A fault of the node's disks has hit this process.
    pub disks_failed: bool,
}

/// What a node keeps its data on.
pub struct Disks<'a> {
    /// Its host.
    pub host: HostId,
    /// Its log and identity.
    pub disk: &'a SimDisk,
    /// Its state store.
    pub store: &'a MemoryStore,
}

/// The cluster after all faults are over and all work is done.
pub struct Rest<'a> {
    /// The disks of all nodes, and what is in their logs.
    pub nodes: &'a [(Disks<'a>, FoundLog)],
    /// The replicas that must not run any more, because their node has lost its log.
    pub without_log: &'a BTreeSet<(HostId, ShardId)>,
    /// The coordination store.
    pub tree: &'a BTreeMap<String, coordination::Znode>,
}

/// A property.
pub trait Invariant: Send {
    /// Its name, as it is reported.
    fn name(&self) -> &'static str;

    /// Looks at a turn.
    fn turned(&mut self, _turn: &Turn<'_>) -> Result<(), String> {
        Ok(())
    }

    /// Looks at a node's disks: after a crash, and every now and then.
    fn disks(&mut self, _disks: &Disks<'_>) -> Result<(), String> {
        Ok(())
    }

    /// A node's process has ended, and its disks have lost what was not durable: this is what the next one
    /// will find, before it does anything.
    fn crashed(&mut self, _disks: &Disks<'_>, _log: &FoundLog) -> Result<(), String> {
        Ok(())
    }

    /// A node's process has ended by itself; `disks_failed` as in [`Turn`].
    fn ended(&mut self, _host: HostId, _reason: &str, _disks_failed: bool) -> Result<(), String> {
        Ok(())
    }

    /// A node has lost its log: from now on these replicas must not run.
    fn log_lost(&mut self, _host: HostId, _shards: &BTreeSet<ShardId>) {}

    /// Looks at the coordination store, several times in a second.
    fn tables(&mut self, _tree: &BTreeMap<String, coordination::Znode>) -> Result<(), String> {
        Ok(())
    }

    /// Looks at the cluster at rest.
    fn at_rest(&mut self, _rest: &Rest<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// A property that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its name.
    pub property: &'static str,
    /// What was seen.
    pub detail: String,
}

/// All of them. Clones are the same ones.
#[derive(Clone)]
pub struct Invariants {
    state: Arc<Mutex<State>>,
}

struct State {
    all: Vec<Box<dyn Invariant>>,
    broken: Option<Broken>,
    commits: Commits,
}

impl Invariants {
    /// All of them, for nodes that keep these bounds.
    pub fn new(bounds: Bounds) -> Self {
        let commits = Commits::default();
        let all: Vec<Box<dyn Invariant>> = vec![
            Box::new(election_safety::ElectionSafety::default()),
            Box::new(one_vote::OneVote::default()),
            Box::new(leader_append_only::LeaderAppendOnly::default()),
            Box::new(log_matching::LogMatching::default()),
            Box::new(leader_completeness::LeaderCompleteness::default()),
            Box::new(resting_level::RestingAreLevel),
            Box::new(state_machine_safety::StateMachineSafety::default()),
            Box::new(acknowledged_is_durable::AcknowledgedIsDurable::default()),
            Box::new(applied_with_data::AppliedWithData),
            Box::new(replicas_equal::ReplicasEqual::default()),
            Box::new(replicas_run::ReplicasRun::default()),
            Box::new(bounded::Bounded::new(bounds)),
            Box::new(available_has_led::AvailableHasLed::default()),
            Box::new(deletion_is_final::DeletionIsFinal::default()),
            Box::new(no_orphans::NoOrphans::default()),
            Box::new(no_residue::NoResidue),
            Box::new(decided_once::DecidedOnce::new(commits.clone())),
            Box::new(no_intents::NoIntents),
            Box::new(timestamps::Timestamps::default()),
            Box::new(placeholders::Placeholders),
        ];
        let state = State {
            all,
            broken: None,
            commits,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The first one that was broken.
    pub fn broken(&self) -> Option<Broken> {
        self.state.lock().broken.clone()
    }

    /// Where which transactions were committed, as far as it was seen.
    pub fn commits(&self) -> Commits {
        self.state.lock().commits.clone()
    }

    /// See [`Invariant::turned`].
    pub fn turned(&self, turn: &Turn<'_>) {
        self.each(|invariant| invariant.turned(turn));
    }

    /// See [`Invariant::disks`].
    pub fn disks(&self, disks: &Disks<'_>) {
        self.each(|invariant| invariant.disks(disks));
    }

    /// See [`Invariant::crashed`].
    pub fn crashed(&self, disks: &Disks<'_>, log: &FoundLog) {
        self.each(|invariant| invariant.crashed(disks, log));
    }

    /// See [`Invariant::ended`].
    pub fn ended(&self, host: HostId, reason: &str, disks_failed: bool) {
        self.each(|invariant| invariant.ended(host, reason, disks_failed));
    }

    /// See [`Invariant::log_lost`].
    pub fn log_lost(&self, host: HostId, shards: &BTreeSet<ShardId>) {
        self.each(|invariant| {
            invariant.log_lost(host, shards);
            Ok(())
        });
    }

    /// Something that no single property looks for, and that must not be.
    pub fn complain(&self, property: &'static str, detail: String) {
        let broken = Broken { property, detail };
        self.state.lock().broken.get_or_insert(broken);
    }

    /// See [`Invariant::tables`].
    pub fn tables(&self, tree: &BTreeMap<String, coordination::Znode>) {
        self.each(|invariant| invariant.tables(tree));
    }

    /// See [`Invariant::at_rest`].
    pub fn at_rest(&self, rest: &Rest<'_>) {
        self.each(|invariant| invariant.at_rest(rest));
    }

    fn each(&self, mut look: impl FnMut(&mut dyn Invariant) -> Result<(), String>) {
        let mut state = self.state.lock();
        let State { all, broken, .. } = &mut *state;
        for invariant in all {
            if let Err(detail) = look(&mut **invariant) {
                let property = invariant.name();
                broken.get_or_insert(Broken { property, detail });
            }
        }
    }
}

/// A short name of bytes that are compared.
fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for chunk in part.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            digest = (digest ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            digest ^= digest >> 31;
        }
        digest = (digest ^ part.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    digest
}
