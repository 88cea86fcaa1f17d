//! No replica stops without a reason, and none runs that must not: where no fault has hit a node's disks, none of
//! its replicas may find itself broken, and its process does not end by itself. A node that has lost its log stops
//! the replicas that it had then, each time it starts, and no others.

use std::collections::BTreeSet;

use model::ShardId;

use super::{Invariant, Turn};
use crate::fabric::HostId;

/// See the [module](self).
#[derive(Default)]
pub(super) struct ReplicasRun {
    /// What has lost its log: it could vote again where it has voted, so nobody may run it.
    without_log: BTreeSet<(HostId, ShardId)>,
}

impl Invariant for ReplicasRun {
    fn name(&self) -> &'static str {
        "replicas-run"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        let is_lost = |shard: ShardId| self.without_log.contains(&(turn.host, shard));
        if !self.without_log.is_empty()
            && let Some((shard, _)) = turn.worker.replicas().find(|(shard, _)| is_lost(*shard))
        {
            return Err(format!(
                "{} runs its replica of shard {shard}, whose log was lost",
                turn.node
            ));
        }
        let mut stopped = turn.outputs.stopped.iter();
        match stopped.find(|(shard, _)| !is_lost(*shard)) {
            Some((shard, detail)) if !turn.disks_failed => Err(format!(
                "{} stops its replica of shard {shard}: {detail}",
                turn.node
            )),
            _ => Ok(()),
        }
    }

    fn ended(&mut self, host: HostId, reason: &str, disks_failed: bool) -> Result<(), String> {
        if reason == crate::cluster::STOPPED || disks_failed {
            return Ok(());
        }
        Err(format!("the process of host {} ends: {reason}", host.0))
    }

    fn log_lost(&mut self, host: HostId, shards: &BTreeSet<ShardId>) {
        let lost = shards.iter().map(|shard| (host, *shard));
        self.without_log.extend(lost);
    }
}
