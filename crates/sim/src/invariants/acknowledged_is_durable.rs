//! What was acknowledged is durable (Raft §5.3 and figure 2: "updated on stable storage before responding to
//! RPCs"): a node that starts again has in its log, or in its state, every entry that it acknowledged to a
//! leader and every term in which it promised something.

use std::collections::BTreeMap;

use datanode::wire::PeerMessage;
use model::{NodeId, ShardId};
use raft::{AppendResult, Body, Index, Term};
use storage::log::Record;

use super::{Invariant, Turn};
use crate::fabric::HostId;

/// What each replica has promised.
#[derive(Default)]
pub(super) struct AcknowledgedIsDurable {
    promises: BTreeMap<(NodeId, ShardId), Promise>,
    processes: BTreeMap<HostId, u64>,
}

#[derive(Default, Clone, Copy)]
struct Promise {
    /// Acknowledged, and not overwritten since.
    index: Index,
    term: Term,
    process: u64,
}

impl Invariant for AcknowledgedIsDurable {
    fn name(&self) -> &'static str {
        "acknowledged-is-durable"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        self.processes.insert(turn.host, turn.process);
        for (shard, replica) in turn.worker.replicas() {
            let promise = self.promises.entry((turn.node, shard)).or_default();
            if promise.process != turn.process {
                promise.process = turn.process;
                if replica.last_index() < promise.index || replica.term() < promise.term {
                    return Err(format!(
                        "{} had acknowledged entry {} of shard {shard} in term {}, and starts again with a log up to {} \
                         in term {}",
                        turn.node,
                        promise.index,
                        promise.term,
                        replica.last_index(),
                        replica.term()
                    ));
                }
            }
        }
        self.overwritten(turn);
        self.promised(turn);
        Ok(())
    }
}

impl AcknowledgedIsDurable {
    fn promised(&mut self, turn: &Turn<'_>) {
        for (shard, message) in turn.outputs.send.values().flatten() {
            let PeerMessage::Raft(message) = message else {
                continue;
            };
            let promise = self.promises.entry((turn.node, *shard)).or_default();
            // What promises nothing may be said before it is durable: a question, a refusal.
            match message.body {
                Body::Appended {
                    result: AppendResult::Match(index),
                    ..
                } => promise.index = promise.index.max(index),
                Body::Vote { granted: true } => {}
                _ => continue,
            }
            promise.term = promise.term.max(message.term);
        }
    }

    /// What a leader has told a follower to replace, or what was destroyed, is not promised any more.
    fn overwritten(&mut self, turn: &Turn<'_>) {
        for record in turn.outputs.log.iter().flat_map(|write| &write.records) {
            match record {
                Record::Append { group, entries } => {
                    let promise = self.promises.get_mut(&(turn.node, *group));
                    if let (Some(promise), Some(first)) = (promise, entries.first()) {
                        promise.index = promise.index.min(Index(first.index.saturating_sub(1)));
                    }
                }
                Record::Forget { group } => {
                    self.promises.remove(&(turn.node, *group));
                }
                Record::Reset { group, index, .. } => {
                    if let Some(promise) = self.promises.get_mut(&(turn.node, *group)) {
                        promise.index = promise.index.min(Index(*index));
                    }
                }
                Record::HardState { .. } | Record::Purge { .. } => {}
            }
        }
    }
}
