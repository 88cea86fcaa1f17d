//! Everything that can happen to a shard worker. This file is the whole inventory.

use model::{NodeId, ShardId, TableId};
use raft::{Body, Fetch, Fetched, Index, Membership, Replica, Term};

use crate::operation::Request;
use crate::wire::PeerMessage;

/// Something that happened.
pub enum Input {
    /// One tick of Raft's clock has passed.
    Tick,
    /// Operations came in, from routers or forwarded by other nodes.
    Requests(Vec<Request>),
    /// A frame came in from another node.
    Frame {
        /// Its sender.
        from: NodeId,
        /// What it holds for the groups of this worker.
        messages: Vec<(ShardId, PeerMessage)>,
    },
    /// Another node is there, says a frame that says nothing else.
    Heard {
        /// Which.
        from: NodeId,
        /// Of its process.
        incarnation: u64,
    },
    /// The log has made everything durable up to and including this ticket.
    LogDurable {
        /// See [`super::LogWrite`].
        ticket: u64,
    },
    /// The applier has applied entries of these groups.
    Applied(Vec<Applied>),
    /// The applier can't go on with a group: what it read or was told makes no sense.
    ApplyFailed {
        /// The group.
        shard: ShardId,
        /// Why.
        detail: String,
    },
    /// Entries for a lagging follower were read back from the log.
    Fetched {
        /// The group.
        shard: ShardId,
        /// What was asked for.
        fetch: Fetch,
        /// What was found; a damaged log stops the group.
        result: Result<Fetched, String>,
    },
    /// The state store has made the groups' states durable, at least up to these applied indexes.
    StoreDurable {
        /// Which, and up to where.
        points: Vec<(ShardId, Index)>,
    },
    /// A snapshot was sent to a follower, or not.
    SnapshotSent {
        /// The group.
        shard: ShardId,
        /// The follower.
        to: NodeId,
        /// The index that the follower is at now; `None` where the transfer failed.
        installed: Option<Index>,
    },
    /// A leader offers a snapshot.
    SnapshotOffered {
        /// The group.
        shard: ShardId,
        /// The leader.
        from: NodeId,
        /// The leader's term.
        term: Term,
        /// The index of the state that it would send.
        index: Index,
        /// Whether to send it.
        answer: Answer<bool>,
    },
    /// A snapshot has arrived whole and lies in the store as a generation of its own, durable, not in use.
    SnapshotReceived {
        /// The group.
        shard: ShardId,
        /// The generation.
        generation: u32,
        /// Its index, once it is installed and nothing of the old log is left; `None` where it was not needed any more.
        answer: Answer<Option<Index>>,
    },
    /// A snapshot that was wanted will not arrive: its transfer has broken off.
    SnapshotAbandoned {
        /// The group.
        shard: ShardId,
    },
    /// The applier has put a snapshot in the place of a group's state, durably.
    SnapshotInstalled {
        /// The group.
        shard: ShardId,
        /// What is applied now.
        index: Index,
        /// That entry's term.
        term: Term,
        /// The members as the snapshot knows them.
        membership: Membership,
        /// Handed on from [`Input::SnapshotReceived`].
        answer: Answer<Option<Index>>,
    },
    /// A replica joins this worker.
    Add {
        /// Its group.
        shard: ShardId,
        /// The consensus core, restored or new.
        replica: Box<Replica>,
        /// The voter that is to lead it where it can; `None` if any of them is as good.
        home: Option<NodeId>,
        /// What it holds.
        held: Held,
    },
    /// A replica that can't run is shown with its reason.
    AddStopped {
        /// Its group.
        shard: ShardId,
        /// Why it does not run.
        detail: String,
    },
    /// A replica is put into quarantine, or let out of it: it serves nothing and says nothing, and loses nothing.
    Quarantine {
        /// Its group.
        shard: ShardId,
        /// In or out.
        quarantined: bool,
    },
    /// A replica leaves, because it is to be destroyed.
    Remove {
        /// Its group.
        shard: ShardId,
        /// Told when the worker has nothing more to do with it.
        answer: Answer<()>,
    },
    /// Somebody wants to know how the replicas are.
    Describe {
        /// Only this table's.
        table: Option<TableId>,
        /// Gets one status per replica.
        answer: Answer<Vec<super::ReplicaStatus>>,
    },
    /// The node goes down: hand every leadership to another replica, now and as often as one comes.
    HandOver,
}

/// What a replica holds when it joins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Items in its state.
    pub items: u64,
    /// Bytes of keys and values in its state.
    pub bytes: u64,
    /// Bytes of its log, roughly, those that are applied included: what earlier processes wrote is compacted like
    /// everything else.
    pub log_bytes: u64,
}

/// Where the answer to a question goes.
pub type Answer<T> = Box<dyn FnOnce(T) + Send>;

/// What the applier reports of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The group.
    pub shard: ShardId,
    /// The last index applied.
    pub index: Index,
    /// Items in the state now.
    pub items: u64,
    /// Bytes of keys and values in the state now.
    pub bytes: u64,
    /// Checkpoints that were passed: index and content hash.
    pub checkpoints: Vec<(u64, u128)>,
    /// Something other than a checkpoint was applied.
    pub changed: bool,
}

impl Input {
    /// Whether something for the log comes of it, as a rule.
    pub fn brings_entries(&self) -> bool {
        match self {
            Self::Requests(requests) => requests.iter().any(|one| one.operation.is_write()),
            Self::Frame { messages, .. } => messages.iter().any(|(_, message)| {
                let PeerMessage::Raft(message) = message else {
                    return false;
                };
                matches!(&message.body, Body::Append { entries, .. } if !entries.is_empty())
            }),
            _ => false,
        }
    }
}
