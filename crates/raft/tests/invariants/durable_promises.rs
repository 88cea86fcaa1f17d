//! What a message promises is durable when it goes out: a vote, and a match. ("Updated on stable storage before
//! responding to RPCs", Figure 2.) And nobody votes for two candidates in a term.

use std::collections::BTreeMap;

use raft::{AppendResult, Body, ReplicaId, Term};

use super::{Invariant, Step};

#[derive(Default)]
pub struct DurablePromises {
    votes: BTreeMap<(Term, ReplicaId), ReplicaId>,
}

impl Invariant for DurablePromises {
    fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        let node = step.node();
        for message in &step.effects.send {
            let kept = match &message.body {
                Body::Vote { granted: true } => {
                    let first = *self
                        .votes
                        .entry((message.term, step.id))
                        .or_insert(message.to);
                    let durable = (node.disk.hard.term, node.disk.hard.vote);
                    first == message.to && durable == (message.term, Some(message.to))
                }
                Body::RequestVote { .. } => {
                    (node.disk.hard.term, node.disk.hard.vote) == (message.term, Some(step.id))
                }
                Body::Appended {
                    result: AppendResult::Match(index),
                    ..
                } => node.disk.last() >= index.0 || node.durable_store.index >= *index,
                _ => true,
            };
            if !kept {
                return Err(format!(
                    "Durable promises: {message:?}, but on disk is {:?}",
                    node.disk
                ));
            }
        }
        Ok(())
    }
}
