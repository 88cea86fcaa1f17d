//! No replica stops without a reason: where no fault was put into a node's disks, none of its replicas may
//! find itself broken.

use std::collections::BTreeSet;

use super::{Invariant, Turn};
use crate::fabric::HostId;

/// The hosts whose disks have failed since their process started.
#[derive(Default)]
pub(super) struct ReplicasRun {
    excused: BTreeSet<HostId>,
    /// Those that have lost their log: what was in it must not run.
    without_log: BTreeSet<HostId>,
}

impl Invariant for ReplicasRun {
    fn name(&self) -> &'static str {
        "replicas-run"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        if self.excused.contains(&turn.host) || self.without_log.contains(&turn.host) {
            return Ok(());
        }
        match turn.outputs.stopped.first() {
            Some((shard, detail)) => Err(format!(
                "{} stops its replica of shard {shard}: {detail}",
                turn.node
            )),
            None => Ok(()),
        }
    }

    fn ended(&mut self, host: HostId, reason: &str) -> Result<(), String> {
        if reason == crate::cluster::STOPPED || self.excused.contains(&host) {
            return Ok(());
        }
        Err(format!("the process of host {} ends: {reason}", host.0))
    }

    fn disturbed(&mut self, host: HostId) {
        self.excused.insert(host);
    }

    fn log_lost(&mut self, host: HostId) {
        self.without_log.insert(host);
    }

    fn crashed(&mut self, host: HostId) {
        self.excused.remove(&host);
    }
}
