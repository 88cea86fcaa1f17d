//! Everything that a shard worker wants done. This file is the whole inventory.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, ShardId};
use raft::{Entry, Fetch, Index, Term};
use storage::log::Record;

use super::input::Answer;
use crate::machine::Machine;
use crate::operation::{Question, Reply, Request};
use crate::wire::PeerMessage;

/// What one turn brought forth. Its parts may be done in any order and at the same time; each part in its own order.
#[derive(Default)]
pub struct Outputs {
    /// To be written to the log in one batch and synced.
    pub log: Option<LogWrite>,
    /// To be sent, one frame per node. May be lost.
    pub send: BTreeMap<NodeId, Vec<(ShardId, PeerMessage)>>,
    /// Nodes that are to be told that this one is there, by an empty frame, whatever else is sent to them. May be lost.
    pub signs: BTreeSet<NodeId>,
    /// For the applier, in this order.
    pub apply: Vec<ApplyJob>,
    /// To be read back from the log.
    pub fetch: Vec<(ShardId, Fetch)>,
    /// To be handed on to the node that leads the shard.
    pub forward: Vec<(NodeId, Request)>,
    /// Followers that need a snapshot.
    pub snapshots: Vec<SendSnapshot>,
    /// The state store is to be made durable; then these indexes are.
    pub persist_store: Option<Vec<(ShardId, Index)>>,
    /// Groups that have stopped, with the reason, for the operator.
    pub stopped: Vec<(ShardId, String)>,
}

/// One batch for the log.
#[derive(Debug)]
pub struct LogWrite {
    /// Named by [`super::Input::LogDurable`]. Counts up.
    pub ticket: u64,
    /// In the order in which they take effect.
    pub records: Vec<Record>,
}

/// Work for the applier.
pub enum ApplyJob {
    /// Take charge of a group's state. Comes from outside, before the worker knows of the group.
    Open {
        /// The state, as the store has it.
        machine: Box<Machine>,
    },
    /// Apply entries and answer those who wait for them.
    Entries {
        /// The group.
        shard: ShardId,
        /// Contiguous, in order.
        entries: Vec<Entry>,
        /// By index, who waits for the commands of that entry, in their order; nobody where the deadline has passed.
        replies: Vec<(Index, Vec<Option<Reply>>)>,
        /// Who leads, for the answers.
        leader: Option<NodeId>,
    },
    /// Serve reads that were confirmed at or before what is applied when this comes up.
    Reads {
        /// The group.
        shard: ShardId,
        /// Who asks for what.
        reads: Vec<(Question, Reply)>,
        /// Who leads, for the answers.
        leader: Option<NodeId>,
    },
    /// Put a received snapshot in the place of the state.
    Install {
        /// The group.
        shard: ShardId,
        /// The generation that it was received into.
        generation: u32,
        /// Handed on.
        answer: Answer<Option<Index>>,
    },
    /// Let readers have the group's state, or not.
    Serve {
        /// The group.
        shard: ShardId,
        /// Whether to.
        serving: bool,
    },
    /// Let go of the group's state.
    Close {
        /// The group.
        shard: ShardId,
        /// Told when it is done.
        answer: Answer<()>,
    },
}

impl ApplyJob {
    /// The group.
    pub fn shard(&self) -> ShardId {
        match self {
            Self::Open { machine } => machine.shard(),
            Self::Entries { shard, .. }
            | Self::Reads { shard, .. }
            | Self::Install { shard, .. }
            | Self::Serve { shard, .. }
            | Self::Close { shard, .. } => *shard,
        }
    }
}

/// A follower needs the whole state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendSnapshot {
    /// The group.
    pub shard: ShardId,
    /// The follower.
    pub to: NodeId,
    /// The leader's term.
    pub term: Term,
}
