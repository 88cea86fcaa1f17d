//! Who rests is level: a replica that waits for no heartbeat has everything committed and applied that it has in its log, for nobody
//! would tell it that there is more.

use super::{Invariant, Turn};

/// See the [module](self).
pub(super) struct RestingAreLevel;

impl Invariant for RestingAreLevel {
    fn name(&self) -> &'static str {
        "resting-are-level"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        for (shard, replica) in turn
            .worker
            .replicas()
            .filter(|(_, replica)| replica.is_resting())
        {
            let (last, committed, applied) = (
                replica.last_index(),
                replica.committed(),
                replica.applied_index(),
            );
            if last != committed || last != applied {
                return Err(format!(
                    "shard {shard} rests on {} with entries up to {last}, {committed} committed, {applied} applied",
                    turn.node
                ));
            }
        }
        Ok(())
    }
}
