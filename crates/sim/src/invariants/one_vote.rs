//! One vote per term (Raft §5.2): a replica votes for at most one candidate in a term, whatever crashed in
//! between, because the vote is durable before it is sent.

use std::collections::BTreeMap;

use datanode::wire::PeerMessage;
use model::{NodeId, ShardId};
use raft::{Body, ReplicaId, Role, Term};

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
            if let PeerMessage::Raft(message) = message
                && message.body == (Body::Vote { granted: true })
            {
                self.voted(turn.node, *shard, message.term, message.to)?;
            }
        }
        for (shard, replica) in turn.worker.replicas() {
            // A candidate may ask for votes before its own is durable; it counts its own before it leads.
            if replica.role() == Role::Leader {
                self.voted(turn.node, shard, replica.term(), replica.id())?;
            }
        }
        Ok(())
    }
}

impl OneVote {
    fn voted(
        &mut self,
        node: NodeId,
        shard: ShardId,
        term: Term,
        candidate: ReplicaId,
    ) -> Result<(), String> {
        let first = *self.votes.entry((shard, term, node)).or_insert(candidate);
        if first == candidate {
            return Ok(());
        }
        Err(format!(
            "{node} votes for {first} and for {candidate} in term {term} of shard {shard}"
        ))
    }
}
