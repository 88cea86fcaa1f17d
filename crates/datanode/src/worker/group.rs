//! What a worker keeps of one group.

use std::collections::{BTreeMap, VecDeque};

use api::{Error, Reason};
use model::{NodeId, limits};
use raft::{Availability, FollowerProgress, Index, ReadToken, Replica, Role, Term};

use super::home::Home;
use super::input::{Applied, Held};
use super::log_size::LogSize;
use crate::machine::{Command, ContentComparison};
use crate::operation::{Question, Reply};
use crate::wire;

/// A group on this node.
pub(super) enum Group {
    /// Takes part.
    Running(Box<Running>),
    /// Something that must hold does not; it serves nothing any more.
    Stopped(String),
}

/// A group that takes part.
pub(super) struct Running {
    pub(super) replica: Replica,
    /// Whether the replica rested when it was visited last.
    pub(super) rests: bool,
    /// Takes no part until the coordination store knows of it again.
    pub(super) quarantined: bool,
    /// Gathered in this turn, to be proposed.
    pub(super) proposals: Vec<Proposal>,
    /// Who waits for the commands of an entry that was proposed and is not on its way to the applier yet. By index *and*
    /// term: what this leader proposes may stand where it proposed something else in an earlier term of its own, and
    /// which of the two is committed shows only when the entry of that index is.
    pub(super) waiting: BTreeMap<(Index, Term), Vec<Option<Waiter>>>,
    /// Gathered in this turn, to be confirmed.
    pub(super) reads: Vec<Read>,
    /// In a ReadIndex round.
    pub(super) reading: BTreeMap<ReadToken, Vec<Read>>,
    /// Confirmed, and waiting until the entries up to this index are on their way to the applier.
    pub(super) confirmed: VecDeque<(Index, Vec<Read>)>,
    /// The last entry that is on its way to the applier, or in the state already.
    pub(super) handed: Index,
    /// What the state store has certainly made durable.
    pub(super) durable: Index,
    pub(super) log_size: LogSize,
    /// Followers that a snapshot is being sent to, and the index from which on the log must stay for them.
    pub(super) sending: BTreeMap<NodeId, Index>,
    /// A snapshot that is arriving or being installed.
    pub(super) installing: Option<Installing>,
    pub(super) content: ContentComparison,
    /// Why writes and consistent reads are refused although there is a leader.
    pub(super) distrust: Option<String>,
    pub(super) home: Home,
    /// Something was applied since the last checkpoint.
    pub(super) changed: bool,
    pub(super) next_checkpoint_millis: u64,
    pub(super) items: u64,
    pub(super) bytes: u64,
    /// Operations that wait for something here, counted at the last visit, and those that came since.
    in_flight: usize,
}

/// A command to be proposed, and who waits for it. Nobody waits for the node's own.
pub(super) struct Proposal {
    pub(super) command: Command,
    pub(super) waiter: Option<Waiter>,
}

/// Somebody who waits for an answer.
pub(super) struct Waiter {
    pub(super) reply: Reply,
    pub(super) deadline_millis: u64,
}

impl Waiter {
    /// Whether nobody waits for a read any more.
    fn is_over(&self, now_millis: u64) -> bool {
        self.deadline_millis <= now_millis || self.reply.is_cancelled()
    }
}

/// A consistent read.
pub(super) struct Read {
    pub(super) question: Question,
    pub(super) waiter: Waiter,
}

/// A snapshot on its way in, and the leader that it comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Installing {
    pub(super) from: NodeId,
    pub(super) term: Term,
    pub(super) index: Index,
}

impl Group {
    /// Whether it wants no ticks.
    pub(super) fn rests(&self) -> bool {
        matches!(self, Self::Running(group) if group.rests)
    }
}

impl Running {
    pub(super) fn new(node: NodeId, replica: Replica, home: Option<NodeId>, held: Held) -> Self {
        let voters = replica.membership().members().map(wire::node_id).collect();
        let applied = replica.applied_index();
        let log_size = LogSize::of(&replica, held.log_bytes);
        Self {
            replica,
            rests: false,
            quarantined: false,
            proposals: Vec::new(),
            waiting: BTreeMap::new(),
            reads: Vec::new(),
            reading: BTreeMap::new(),
            confirmed: VecDeque::new(),
            handed: applied,
            durable: Index(0),
            log_size,
            sending: BTreeMap::new(),
            installing: None,
            content: ContentComparison::new(voters, node),
            distrust: None,
            home: Home::new(home),
            // What a replica brings along has not been compared since it started.
            changed: applied > Index(0),
            next_checkpoint_millis: 0,
            items: held.items,
            bytes: held.bytes,
            in_flight: 0,
        }
    }

    pub(super) fn is_leader(&self) -> bool {
        self.replica.role() == Role::Leader
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        self.replica.leader().map(wire::node_id)
    }

    /// Whether one more operation may come in; if so, it is counted.
    pub(super) fn make_room(&mut self) -> bool {
        let room = self.in_flight < limits::MAX_SHARD_OPERATIONS;
        self.in_flight += usize::from(room);
        room
    }

    /// Counts anew what waits.
    pub(super) fn count_in_flight(&mut self) {
        let reads = self
            .reading
            .values()
            .chain(self.confirmed.iter().map(|(_, reads)| reads));
        self.in_flight =
            self.waiting.values().map(Vec::len).sum::<usize>() + reads.map(Vec::len).sum::<usize>();
    }

    /// Why there is no leader to ask.
    pub(super) fn unavailable(&self) -> Error {
        match self.replica.availability() {
            Availability::NoQuorum => Error::new(
                Reason::NoQuorum,
                "a majority of the shard's replicas can't be reached; retry when they are back",
            ),
            Availability::NoLeader | Availability::Leader(_) => no_leader(),
        }
    }

    /// Answers those whose deadline has passed, and reads whose callers have gone. A write that was proposed can't be called
    /// back: whether its caller has gone or not, it takes room until it is known what became of it, or nobody may ask any more.
    pub(super) fn expire(&mut self, now_millis: u64) {
        let leader = self.leader();
        for waiter in self.waiting.values_mut().flatten() {
            if let Some(late) = waiter.take_if(|w| w.deadline_millis <= now_millis) {
                let error =
                    Error::outcome_unknown("the deadline passed while the write was in the log");
                late.reply.fail(leader, error);
            }
        }
        let unavailable = self.unavailable();
        let reads = self
            .reading
            .values_mut()
            .chain(self.confirmed.iter_mut().map(|(_, reads)| reads));
        for reads in reads {
            for late in reads.extract_if(.., |read| read.waiter.is_over(now_millis)) {
                late.waiter.reply.fail(leader, unavailable.clone());
            }
        }
    }

    /// Notes what the applier reports.
    pub(super) fn applied(&mut self, applied: &Applied) {
        self.replica.applied(applied.index);
        self.items = applied.items;
        self.bytes = applied.bytes;
        self.changed |= applied.changed;
    }

    /// Hands leadership to the follower that is furthest on.
    pub(super) fn hand_over(&mut self) {
        if !self.is_leader() {
            return;
        }
        let best = self
            .replica
            .progress()
            .into_iter()
            .filter(|follower| follower.active);
        if let Some(best) = best.max_by_key(|follower: &FollowerProgress| follower.matched) {
            // Refused only if a transfer is under way already.
            let _ = self.replica.transfer_leadership(best.id);
        }
    }
}

/// There is no leader at the moment.
pub(crate) fn no_leader() -> Error {
    Error::new(
        Reason::NoLeader,
        "the shard has no leader at the moment; retry",
    )
}
