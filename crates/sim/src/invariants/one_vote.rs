//! One vote per term (Raft §5.2): a replica votes for at most one candidate in a term, whatever crashed in
//! between, because the vote is durable before it is sent.

use std::collections::BTreeMap;

use datanode::wire::PeerMessage;
use model::{NodeId, ShardId};
use raft::{Body, ReplicaId, Term};

use super::{Invariant, Turn};

/// Who got which vote.
#[derive(Default)]
pub(super) struct OneVote {
    votes: BTreeMap<(ShardId, Term, NodeId), ReplicaId>,
}

impl Invariant for OneVote {
    fn name(&self) -> &'static str {
        "one-vote-per-term"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        for (shard, message) in turn.outputs.send.values().flatten() {
            let PeerMessage::Raft(message) = message else {
                continue;
            };
            let candidate = match message.body {
                Body::Vote { granted: true } => message.to,
                // Who stands for election has voted for itself.
                Body::RequestVote { .. } => message.from,
                _ => continue,
            };
            let key = (*shard, message.term, turn.node);
            let first = *self.votes.entry(key).or_insert(candidate);
            if first != candidate {
                return Err(format!(
                    "{} votes for {first} and for {candidate} in term {} of shard {shard}",
                    turn.node, message.term
                ));
            }
        }
        Ok(())
    }
}
