//! Leader Completeness: "if a log entry is committed in a given term, then that entry will be present in the logs of the
//! leaders for all higher-numbered terms" (§5.4).

use raft::Role;

use super::{Invariant, Step};

pub struct LeaderCompleteness;

impl Invariant for LeaderCompleteness {
    fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        let node = step.node();
        let replica = &node.replica;
        let stays = step.before.role == Role::Leader && step.before.term == replica.term();
        if replica.role() != Role::Leader || stays {
            return Ok(());
        }
        for (&index, &term) in step.committed.range(node.start.0.0 + 1..) {
            if term >= replica.term() {
                continue;
            }
            if node.log.get(&index).is_none_or(|entry| entry.term != term) {
                return Err(format!(
                    "Leader Completeness: {} leads in term {} without {index} of term {term}",
                    step.id,
                    replica.term()
                ));
            }
        }
        Ok(())
    }
}
