//! What goes wrong with a leader, or by way of it, while it does not hear of it: what leases are about.
//!
//! A leader that hears of a later term leads no more, so chance alone hardly ever shows what it would have gone on to believe.

use super::{Nemesis, Undo, both_ways};
use crate::cluster::{Cluster, Death};
use crate::fabric::HostId;

/// A node that is to start again without this leader's hearing of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Restart {
    node: HostId,
    leader: HostId,
}

impl Nemesis {
    /// What was on its way to the node when it was paused it finds when it goes on, from one of the others; what they say to each other
    /// meanwhile it hears later.
    pub(super) fn pause_behind_cut(&mut self, cluster: &Cluster, node: HostId) -> bool {
        let before = self.dice.between(0, 200);
        let pause = self.dice.between(400, 1_600);
        let after = self.dice.between(100, 1_500);
        let mut others = cluster.nodes();
        others.retain(|other| *other != node);
        let heard = self.any(&others);
        for &other in &others {
            cluster.fabric.cut(other, node, true);
            let millis = if other == heard {
                before + self.dice.between(0, pause)
            } else {
                before + pause + after
            };
            self.until(cluster, millis, millis, Undo::Join(vec![(other, node)]));
        }
        self.until(cluster, before, before, Undo::Pause(node, pause));
        cluster.is_running(node)
    }

    pub(super) fn stop_behind_cut(&mut self, cluster: &mut Cluster, node: HostId) -> bool {
        let millis = self.dice.between(100, 1_000);
        self.deafen(cluster, node, millis);
        cluster.ask_to_end(node);
        cluster.is_running(node)
    }

    /// First the other one must have missed the leader for so long that it wants to be elected.
    pub(super) fn restart_behind_cut(&mut self, cluster: &Cluster) -> bool {
        let shards = cluster.leaders.shards();
        let leader = self.dice.pick(&shards).copied();
        let leader = leader.and_then(|shard| cluster.leaders.of(shard));
        let Some((_, leader)) = leader else {
            return false;
        };
        let mut others = cluster.nodes();
        others.retain(|other| *other != leader);
        let other = self.any(&others);
        others.retain(|third| *third != other);
        let node = self.any(&others);
        let millis = self.dice.between(400, 1_200);
        let pairs = both_ways(leader, &[other]);
        for &(from, to) in &pairs {
            cluster.fabric.cut(from, to, true);
        }
        self.until(
            cluster,
            millis,
            millis,
            Undo::Restart(Restart { node, leader }),
        );
        self.until(cluster, millis + 1_000, millis + 1_000, Undo::Join(pairs));
        true
    }

    pub(super) fn restart_now(&mut self, cluster: &mut Cluster, Restart { node, leader }: Restart) {
        self.deafen(cluster, leader, 1_000);
        self.down(cluster, &[node], Death::Process, 4, 40);
    }

    /// A node hears no other one for so long, but is heard.
    fn deafen(&mut self, cluster: &Cluster, node: HostId, millis: u64) {
        let mut pairs = both_ways(node, &cluster.nodes());
        pairs.retain(|(_, to)| *to == node);
        for &(from, to) in &pairs {
            cluster.fabric.cut(from, to, true);
        }
        self.until(cluster, millis, millis, Undo::Join(pairs));
    }
}
