//! Groups that rest, and the nodes that they rely on meanwhile.
//!
//! A group with nothing to do sends no heartbeats ([`raft::Replica::rest`]). In their place the nodes tell each other that they are
//! there: one empty frame for all groups, as often as a heartbeat. A replica that rests relies on the node of its leader, or on those of its
//! followers. If one is not heard for an election timeout, or comes back as another process, all that rely on it wake at once, each with an election timer
//! of its own.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, ShardId};

use super::group::{Group, Running};
use super::{Turn, Worker, peers};

/// The nodes that resting replicas rely on.
#[derive(Default)]
pub(super) struct Relied {
    ticks: u64,
    nodes: BTreeMap<NodeId, Neighbour>,
}

/// A node that some rely on.
struct Neighbour {
    /// Of its process; 0 until it has been heard.
    incarnation: u64,
    heard_at: u64,
    /// Who does.
    groups: BTreeSet<ShardId>,
}

impl Relied {
    /// Ticks since the start.
    pub(super) fn ticks(&self) -> u64 {
        self.ticks
    }

    /// From now on a group relies on these nodes, and on no others.
    fn set(&mut self, shard: ShardId, nodes: &[NodeId]) {
        for neighbour in self.nodes.values_mut() {
            neighbour.groups.remove(&shard);
        }
        for &node in nodes {
            let heard_at = self.ticks;
            let neighbour = self.nodes.entry(node).or_insert_with(|| Neighbour {
                incarnation: 0,
                heard_at,
                groups: BTreeSet::new(),
            });
            neighbour.groups.insert(shard);
        }
        self.nodes
            .retain(|_, neighbour| !neighbour.groups.is_empty());
    }

    /// Takes away those nodes that have not been heard for so many ticks; gives the groups that relied on them.
    fn lost(&mut self, ticks: u64) -> BTreeSet<ShardId> {
        let now = self.ticks;
        let lost = self
            .nodes
            .extract_if(.., |_, neighbour| now - neighbour.heard_at >= ticks);
        lost.flat_map(|(_, neighbour)| neighbour.groups).collect()
    }

    /// For how many ticks a node that some rely on has not been heard.
    fn silence(&self, node: NodeId) -> u32 {
        let neighbour = self.nodes.get(&node);
        let ticks = neighbour.map_or(0, |neighbour| self.ticks - neighbour.heard_at);
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    /// A node was heard; gives the groups that relied on an earlier process of it.
    fn heard(&mut self, node: NodeId, incarnation: u64) -> BTreeSet<ShardId> {
        let Some(neighbour) = self.nodes.get_mut(&node) else {
            return BTreeSet::new();
        };
        neighbour.heard_at = self.ticks;
        let before = std::mem::replace(&mut neighbour.incarnation, incarnation);
        if before == 0 || before == incarnation {
            return BTreeSet::new();
        }
        std::mem::take(&mut neighbour.groups)
    }
}

impl Worker {
    /// One tick for those who rest: tells the other nodes that this one is there, and wakes whoever relies on one that is not.
    pub(super) fn tick_for_the_resting(&mut self, turn: &mut Turn) {
        self.relied.ticks += 1;
        if self
            .relied
            .ticks
            .is_multiple_of(u64::from(self.tuning.heartbeat_ticks))
        {
            turn.outputs.signs.extend(self.relied.nodes.keys());
        }
        let lost = self.relied.lost(u64::from(self.tuning.election_ticks));
        self.wake_all(lost, turn);
    }

    pub(super) fn heard(&mut self, node: NodeId, incarnation: u64, turn: &mut Turn) {
        let other_process = self.relied.heard(node, incarnation);
        self.wake_all(other_process, turn);
    }

    fn wake_all(&mut self, shards: BTreeSet<ShardId>, turn: &mut Turn) {
        let election_ticks = self.tuning.election_ticks;
        for shard in shards {
            self.with_running(shard, turn, |group| {
                group.replica.leader_unheard(election_ticks);
                group.replica.wake();
            });
        }
    }

    /// What comes in for a group may wake it, and then it matters since when its leader's node has not been heard.
    pub(super) fn before_it_wakes(&mut self, shard: ShardId) {
        if let Some(Group::Running(group)) = self.groups.get_mut(&shard)
            && group.rests
            && let Some(leader) = group.leader()
        {
            let silence = self.relied.silence(leader);
            group.replica.leader_unheard(silence);
        }
    }

    /// Notes whether a group rests, after it was visited.
    pub(super) fn note_rest(&mut self, shard: ShardId) {
        let relies = match self.groups.get_mut(&shard) {
            Some(Group::Running(group)) => {
                let rests = group.replica.is_resting();
                if rests == group.rests {
                    return;
                }
                group.rests = rests;
                match group.leader() {
                    _ if !rests => Vec::new(),
                    Some(leader) if leader != self.node => vec![leader],
                    _ => peers(group, self.node),
                }
            }
            _ => Vec::new(),
        };
        self.relied.set(shard, &relies);
    }
}

impl Running {
    /// Lets the group rest if nobody has wanted anything of it for so long, and nothing is left to be done about it.
    pub(super) fn rest_if_idle(&mut self, after_ticks: u64) {
        let idle = self
            .replica
            .idle_ticks()
            .is_some_and(|ticks| ticks >= after_ticks);
        let done = !self.changed && self.distrust.is_none() && self.sending.is_empty();
        if idle && done && self.is_at_home() {
            self.replica.rest();
        }
    }
}
