//! What must be so after every step of every run. Five of these are the paper's (Figure 3), one file each.

mod durable_promises;
mod election_safety;
mod leader_append_only;
mod leader_completeness;
mod linearizable_reads;
mod log_matching;
mod pointers;
mod state_machine_safety;

use std::collections::BTreeMap;

use raft::{Effects, Index, ReadToken, ReplicaId, Role, Term};

use crate::common::Node;
pub use linearizable_reads::LinearizableReads;

/// One node has done something, and its effects were drained.
pub struct Step<'a> {
    pub nodes: &'a BTreeMap<ReplicaId, Node>,
    pub id: ReplicaId,
    pub before: Before,
    pub effects: &'a Effects,
    /// The term of every entry that any replica has known to be committed.
    pub committed: &'a BTreeMap<u64, Term>,
}

/// What the node was before the step.
#[derive(Clone, Copy)]
pub struct Before {
    pub role: Role,
    pub term: Term,
    pub last: Index,
    pub committed: Index,
}

impl Before {
    pub fn of(node: &Node) -> Self {
        let replica = &node.replica;
        Self {
            role: replica.role(),
            term: replica.term(),
            last: replica.last_index(),
            committed: replica.committed(),
        }
    }
}

impl Step<'_> {
    pub fn node(&self) -> &Node {
        &self.nodes[&self.id]
    }
}

pub trait Invariant {
    fn check(&mut self, step: &Step<'_>) -> Result<(), String>;
}

/// All of them, and what is known to be committed.
pub struct Invariants {
    all: Vec<Box<dyn Invariant>>,
    reads: LinearizableReads,
    /// The term of every committed entry.
    committed: BTreeMap<u64, Term>,
}

impl Invariants {
    pub fn new() -> Self {
        Self {
            all: vec![
                Box::new(election_safety::ElectionSafety::default()),
                Box::new(leader_append_only::LeaderAppendOnly),
                Box::new(log_matching::LogMatching::default()),
                Box::new(leader_completeness::LeaderCompleteness),
                Box::new(state_machine_safety::StateMachineSafety::default()),
                Box::new(durable_promises::DurablePromises::default()),
                Box::new(pointers::Pointers),
            ],
            reads: LinearizableReads::default(),
            committed: BTreeMap::new(),
        }
    }

    pub fn read_asked(&mut self, read: ReadToken) {
        let committed = self
            .committed
            .last_key_value()
            .map_or(0, |(&index, _)| index);
        self.reads.asked(read, Index(committed));
    }

    pub fn reads_served(&self) -> usize {
        self.reads.served
    }

    pub fn check(
        &mut self,
        nodes: &BTreeMap<ReplicaId, Node>,
        id: ReplicaId,
        before: Before,
        effects: &Effects,
    ) -> Result<(), String> {
        let node = &nodes[&id];
        if let Some(broken) = node.replica.stopped() {
            return Err(format!("replica {id} has stopped: {broken}"));
        }
        for index in before.committed.0 + 1..=node.replica.committed().0 {
            // What a snapshot brought was noted when it was committed elsewhere.
            let Some(entry) = node.log.get(&index) else {
                continue;
            };
            let term = *self.committed.entry(index).or_insert(entry.term);
            if term != entry.term {
                return Err(format!(
                    "{index} was committed in terms {term} and {}",
                    entry.term
                ));
            }
        }
        let step = Step {
            nodes,
            id,
            before,
            effects,
            committed: &self.committed,
        };
        self.reads.check(&step)?;
        self.all
            .iter_mut()
            .try_for_each(|invariant| invariant.check(&step))
    }
}
