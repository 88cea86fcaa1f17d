//! Leaders of a shard that fall one after the other, each when it has hardly begun: the way of figure 8 of the
//! Raft paper, which chance alone hardly ever goes.
//!
//! ```text
//! A leads, is cut off    takes x               joined            leads, copies x, is cut off
//! B                leads, is cut off   takes y                         joined      leads with y instead of x
//! C
//! ```

use model::ShardId;

use super::both_ways;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::fabric::HostId;

/// See the [module](self).
pub(super) struct Hunt {
    shard: ShardId,
    /// How long a leader is let alone at the most, microseconds.
    patience: u64,
    /// The term of the last leader that was found, and when its turn comes.
    term: u64,
    next: Option<(u64, HostId)>,
    cut_off: Vec<(HostId, HostId)>,
}

impl Hunt {
    /// Begins with the leader that there is.
    pub(super) fn new(shard: ShardId, dice: &mut Dice) -> Self {
        // A leader that is let alone for longer compacts its log, and who was cut off before needs a snapshot.
        let patience = if dice.chance(0.5) { 60_000 } else { 2_000_000 };
        Self {
            shard,
            patience,
            term: 0,
            next: None,
            cut_off: Vec::new(),
        }
    }

    /// Looks for a new leader, and cuts it off when its time has come.
    pub(super) fn go_on(&mut self, cluster: &Cluster, dice: &mut Dice) {
        let now = cluster.now_micros();
        if let Some((term, host)) = cluster.leaders.of(self.shard)
            && term > self.term
        {
            self.term = term;
            self.next = Some((now + dice.between(0, self.patience), host));
        }
        if let Some((at, host)) = self.next
            && at <= now
        {
            self.next = None;
            self.end(cluster);
            self.cut_off = both_ways(host, &cluster.nodes());
            cluster.say(|| format!("host {} leads and is cut off", host.0));
            for &(from, to) in &self.cut_off {
                cluster.fabric.cut(from, to, true);
            }
        }
    }

    /// Joins who is cut off.
    pub(super) fn end(&mut self, cluster: &Cluster) {
        for (from, to) in std::mem::take(&mut self.cut_off) {
            cluster.fabric.cut(from, to, false);
        }
    }
}
