//! Memory and log are bounded, however long a cluster runs and whatever goes wrong.
//!
//! A replica keeps in memory only what somebody still needs: what is applied, durable, and held by every follower is
//! dropped with the next entry that is applied.

use std::collections::BTreeMap;

use model::ShardId;
use raft::{Index, Replica, Role};

use super::{Disks, FoundLog, Invariant, Rest, Turn};
use crate::fabric::HostId;

/// What a node may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The files of its log together, bytes.
    pub log_bytes: u64,
    /// What its log needs of them, bytes.
    pub live_bytes: u64,
}

/// See the [module](self).
pub(super) struct Bounded {
    bounds: Bounds,
    /// Of each replica, in its last turn: applied, and needed by nobody up to here.
    seen: BTreeMap<(HostId, ShardId), (u64, Index, Index)>,
}

impl Bounded {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            seen: BTreeMap::new(),
        }
    }
}

impl Invariant for Bounded {
    fn name(&self) -> &'static str {
        "bounded"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        for (shard, replica) in turn.worker.replicas() {
            let (applied, unneeded) = (replica.applied_index(), unneeded(replica));
            let now = (turn.process, applied, unneeded);
            let Some(before) = self.seen.insert((turn.host, shard), now) else {
                continue;
            };
            // As it was before the turn and still is after it, so that the order of things within it doesn't matter.
            let unneeded = unneeded.min(before.2);
            let advances = before.0 == turn.process && before.1 < applied;
            if advances && replica.first_in_memory() <= unneeded {
                return Err(format!(
                    "{} applies entry {applied} of shard {shard} and has those from {} on in memory, which nobody \
                     needs up to {unneeded}",
                    turn.node,
                    replica.first_in_memory()
                ));
            }
        }
        Ok(())
    }

    fn disks(&mut self, disks: &Disks<'_>) -> Result<(), String> {
        let (bytes, most) = (disks.disk.named_bytes(), self.bounds.log_bytes);
        if bytes > most {
            let host = disks.host.0;
            return Err(format!(
                "the log of host {host} takes {bytes} bytes, more than {most}"
            ));
        }
        Ok(())
    }

    fn crashed(&mut self, disks: &Disks<'_>, log: &FoundLog) -> Result<(), String> {
        let (bytes, most) = (log.stats.live_bytes, self.bounds.live_bytes);
        if bytes > most {
            let host = disks.host.0;
            return Err(format!(
                "the log of host {host} needs {bytes} bytes, more than {most}"
            ));
        }
        Ok(())
    }

    fn at_rest(&mut self, rest: &Rest<'_>) -> Result<(), String> {
        let mut nodes = rest.nodes.iter();
        nodes.try_for_each(|(disks, log)| self.crashed(disks, log))
    }
}

/// Up to where neither the replica nor any of its followers needs an entry in memory.
fn unneeded(replica: &Replica) -> Index {
    let own = replica.applied_index().min(replica.persisted_index());
    if replica.role() != Role::Leader {
        return own;
    }
    let followers = replica.progress();
    let matched = followers.iter().map(|follower| follower.matched);
    matched.fold(own, Index::min)
}
