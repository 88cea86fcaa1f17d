//! Comparing the replicas of a shard by the hashes of their content.
//!
//! At a checkpoint every replica hashes its content at the same index of the log and tells the others. Equal logs make equal
//! content, so hashes that differ mean that a replica has gone wrong: a bug, a bit that flipped, a disk that lied.
//! A replica can't see that by itself; a majority can.
//!
//! | reports of 3 voters at one index, ours first | verdict |
//! |---|---|
//! | `x` | undecided |
//! | `x` `x` | agree |
//! | `x` `y` | disputed: the third will tell |
//! | `x` `x` `y` | the third differs |
//! | `x` `y` `y` | ours differs: this replica must stop |
//! | `x` `y` `z` | no majority |
//!
//! A verdict stands until a later index brings another one. So a shard that had no majority of equals takes
//! writes again once its replicas agree at a later checkpoint, and reports that are still coming in
//! don't make anybody forget what is known.
//!
//! # Caveats
//!
//! * While a dispute lasts, because a voter is away, nobody knows which of the two is right. Whoever must be sure of the
//!   state treats it like no majority.
//! * What is reported for an index that lies behind the standing verdict, or behind the few that are kept, is ignored: a
//!   replica that lags is compared when it has caught up.

use std::collections::BTreeMap;

use model::NodeId;
use storage::meta::ContentHash;

/// Indexes of which reports are kept, at the most; the highest ones.
const KEPT: usize = 4;

/// What is known of the replicas' content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No majority of equals yet, and nothing against one.
    Undecided,
    /// A majority is equal, ours among it, and no report differs.
    Agree,
    /// A majority is equal, ours among it, and these replicas differ: they stop. In the order of their ids.
    OthersDiffer(Vec<NodeId>),
    /// A majority is equal, and ours is not among it: this replica must stop.
    OwnDiffers,
    /// Reports differ, and none has a majority so far. Those that are still out will decide.
    Disputed,
    /// Reports differ, and none can get a majority any more: the shard must refuse writes and consistent reads.
    NoMajority,
}

/// The reports of the last few checkpoints, and what they come to.
#[derive(Debug, Clone)]
pub struct ContentComparison {
    voters: Vec<NodeId>,
    own: NodeId,
    reports: BTreeMap<u64, BTreeMap<NodeId, ContentHash>>,
    /// The verdict that stands, and the index that brought it.
    standing: (u64, Verdict),
}

impl ContentComparison {
    /// A comparison of the replicas on these nodes, as `own` sees it.
    pub fn new(mut voters: Vec<NodeId>, own: NodeId) -> Self {
        voters.sort_unstable();
        voters.dedup();
        Self {
            voters,
            own,
            reports: BTreeMap::new(),
            standing: (0, Verdict::Undecided),
        }
    }

    /// Takes a replica's hash at an index, our own included, and says what is known then.
    ///
    /// A second report of the same replica for the same index replaces the first. Who is no voter is ignored.
    pub fn report(&mut self, node: NodeId, index: u64, hash: ContentHash) -> Verdict {
        let (decided_at, _) = self.standing;
        if self.voters.contains(&node) && index >= decided_at {
            self.reports.entry(index).or_default().insert(node, hash);
            while self.reports.len() > KEPT {
                self.reports.pop_first();
            }
            self.decide(index);
        }
        self.verdict().clone()
    }

    /// The verdict that stands.
    pub fn verdict(&self) -> &Verdict {
        &self.standing.1
    }

    fn decide(&mut self, index: u64) {
        let Some(reports) = self.reports.get(&index) else {
            return;
        };
        match self.judge(reports) {
            Verdict::Undecided => {}
            verdict => {
                self.standing = (index, verdict);
                self.reports = self.reports.split_off(&index);
            }
        }
    }

    fn judge(&self, reports: &BTreeMap<NodeId, ContentHash>) -> Verdict {
        let majority = self.voters.len() / 2 + 1;
        let missing = self.voters.len() - reports.len();
        let count = |hash: &ContentHash| reports.values().filter(|other| *other == hash).count();
        let Some((hash, most)) = reports
            .values()
            .map(|hash| (*hash, count(hash)))
            .max_by_key(|(_, count)| *count)
        else {
            return Verdict::Undecided;
        };
        if most >= majority {
            return self.judge_by(hash, reports);
        }
        match most {
            _ if most + missing < majority => Verdict::NoMajority,
            _ if most < reports.len() => Verdict::Disputed,
            _ => Verdict::Undecided,
        }
    }

    /// The verdict where a majority has `right`.
    fn judge_by(&self, right: ContentHash, reports: &BTreeMap<NodeId, ContentHash>) -> Verdict {
        match reports.get(&self.own) {
            None => return Verdict::Undecided,
            Some(own) if *own != right => return Verdict::OwnDiffers,
            Some(_) => {}
        }
        let differs = reports.iter().filter(|(_, hash)| **hash != right);
        let others: Vec<NodeId> = differs.map(|(node, _)| *node).collect();
        if others.is_empty() {
            Verdict::Agree
        } else {
            Verdict::OthersDiffer(others)
        }
    }
}

#[cfg(test)]
mod tests;
