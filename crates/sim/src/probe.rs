//! What stands between a node's worker and the rest of the node: it shows every turn to the invariants, and
//! loses, doubles and reorders the messages between the replicas one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use datanode::wire::PeerMessage;
use datanode::worker::{Outputs, Worker};
use model::{NodeId, ShardId};
use parking_lot::Mutex;

use crate::cluster::NodeDisks;
use crate::dice::Dice;
use crate::fabric::HostId;
use crate::invariants::{Invariants, Turn};

/// What happens to messages between replicas, probabilities for each.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tampering {
    /// Lost.
    pub lose: f64,
    /// Sent, and sent again in a later turn.
    pub double: f64,
    /// Kept back for some turns, so that later ones overtake it.
    pub delay: f64,
}

/// What is done to the messages of all nodes. Clones are the same.
#[derive(Clone)]
pub struct Tamper {
    state: Arc<Mutex<State>>,
}

struct State {
    dice: Dice,
    now: Tampering,
    counts: BTreeMap<&'static str, u64>,
}

impl Tamper {
    /// Nothing is done to them at first.
    pub fn new(dice: Dice) -> Self {
        let state = State {
            dice,
            now: Tampering::default(),
            counts: BTreeMap::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// From now on.
    pub fn set(&self, tampering: Tampering) {
        self.state.lock().now = tampering;
    }

    /// How many messages were lost, doubled and delayed so far.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.state.lock().counts.clone()
    }
}

/// Who was last seen to be elected, by shard, and how often leaders have read by a lease. Clones are the same.
#[derive(Clone, Default)]
pub struct Leaders(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    elected: BTreeMap<ShardId, (u64, HostId)>,
    lease_reads: BTreeMap<(HostId, ShardId), u64>,
    lease_reads_in_all: u64,
}

impl Seen {
    fn note_lease_reads(&mut self, place: (HostId, ShardId), count: u64) {
        let before = self.lease_reads.insert(place, count).unwrap_or(0);
        // A new process counts from the beginning.
        self.lease_reads_in_all += count.checked_sub(before).unwrap_or(count);
    }
}

impl Leaders {
    /// The shards that have had a leader.
    pub fn shards(&self) -> Vec<ShardId> {
        self.0.lock().elected.keys().copied().collect()
    }

    /// The newest leader of a shard and its term.
    pub fn of(&self, shard: ShardId) -> Option<(u64, HostId)> {
        self.0.lock().elected.get(&shard).copied()
    }

    /// How often a leader has let the reads of a turn go because of its lease; nothing where there are no leases.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let count = self.0.lock().lease_reads_in_all;
        let counted = (count > 0).then_some(("reads by a lease", count));
        counted.into_iter().collect()
    }

    fn look(&self, host: HostId, worker: &Worker) {
        let mut seen = self.0.lock();
        for (shard, replica) in worker.replicas() {
            let (term, known) = (replica.term().0, seen.elected.get(&shard));
            if replica.role() == raft::Role::Leader && known.is_none_or(|known| known.0 < term) {
                seen.elected.insert(shard, (term, host));
            }
            if replica.lease_reads() > 0 {
                seen.note_lease_reads((host, shard), replica.lease_reads());
            }
        }
    }
}

/// See the [module](self). One for each process.
pub struct Probe {
    host: HostId,
    process: u64,
    disks: NodeDisks,
    invariants: Invariants,
    tamper: Tamper,
    leaders: Leaders,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    turn: u64,
    messages: Vec<(u64, NodeId, ShardId, PeerMessage)>,
}

impl Probe {
    /// For the worker of a process.
    pub fn new(
        host: HostId,
        process: u64,
        disks: NodeDisks,
        invariants: Invariants,
        tamper: Tamper,
        leaders: Leaders,
    ) -> Self {
        Self {
            host,
            process,
            disks,
            invariants,
            tamper,
            leaders,
            held: Mutex::default(),
        }
    }

    fn tamper(&self, outputs: &mut Outputs) {
        let mut held = self.held.lock();
        held.turn += 1;
        let turn = held.turn;
        let mut state = self.tamper.state.lock();
        let State { dice, now, counts } = &mut *state;
        let mut count = |what| *counts.entry(what).or_default() += 1;
        if now.lose + now.double + now.delay > 0.0 {
            for (&to, messages) in &mut outputs.send {
                messages.retain(|(shard, message)| {
                    let later = turn + dice.between(1, 40);
                    if dice.chance(now.lose) {
                        count("message lost");
                        return false;
                    }
                    if dice.chance(now.delay) {
                        count("message delayed");
                        held.messages.push((later, to, *shard, message.clone()));
                        return false;
                    }
                    if dice.chance(now.double) {
                        count("message doubled");
                        held.messages.push((later, to, *shard, message.clone()));
                    }
                    true
                });
            }
        }
        let due = held.messages.extract_if(.., |(later, ..)| *later <= turn);
        for (_, to, shard, message) in due {
            outputs.send.entry(to).or_default().push((shard, message));
        }
        outputs.send.retain(|_, messages| !messages.is_empty());
    }
}

impl datanode::Probe for Probe {
    fn turned(&self, worker: &Worker, outputs: &mut Outputs) {
        let turn = Turn {
            host: self.host,
            node: worker.node(),
            process: self.process,
            worker,
            outputs,
            disks_failed: self.disks.have_failed(),
        };
        self.invariants.turned(&turn);
        self.leaders.look(self.host, worker);
        self.tamper(outputs);
    }
}
