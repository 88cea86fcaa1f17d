//! Memory and log are bounded, however long a cluster runs and whatever goes wrong.

use super::{Disks, Invariant, Turn};
use crate::cluster::LOG_BOUND_BYTES;

/// Entries of one replica in memory, at the most.
const ENTRIES: u64 = 50_000;

/// See the [module](self).
pub(super) struct Bounded;

impl Invariant for Bounded {
    fn name(&self) -> &'static str {
        "bounded"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        for (shard, replica) in turn.worker.replicas() {
            let held = replica.last_index().0 + 1 - replica.first_in_memory().0;
            if held > ENTRIES {
                return Err(format!(
                    "{} has {held} entries of shard {shard} in memory",
                    turn.node
                ));
            }
        }
        Ok(())
    }

    fn disks(&mut self, disks: &Disks<'_>) -> Result<(), String> {
        let bytes = disks.disk.named_bytes();
        if bytes > LOG_BOUND_BYTES {
            return Err(format!(
                "the log of host {} takes {bytes} bytes, more than {LOG_BOUND_BYTES}",
                disks.host.0
            ));
        }
        Ok(())
    }
}
