//! What replicas say to each other. This file is the whole inventory.

use crate::{Entry, Index, ReplicaId, Term};

/// A message from one replica of a group to another of the same group. It may be lost, doubled, delayed
/// and overtaken; whoever carries it needn't care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub from: ReplicaId,
    /// To whom. A replica ignores what is addressed to another.
    pub to: ReplicaId,
    /// The sender's term; for [`Body::RequestPreVote`], and a granted [`Body::PreVote`], the term that the candidate would enter.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// "Would you vote for me?" Changes no one's term.
    RequestPreVote {
        /// Index of the last entry of the asker's log.
        last_index: Index,
        /// Term of that entry.
        last_term: Term,
    },
    /// The answer to [`Body::RequestPreVote`].
    PreVote {
        /// Whether the vote would be given.
        granted: bool,
    },
    /// "Vote for me" (§5.2).
    RequestVote {
        /// Index of the last entry of the candidate's log.
        last_index: Index,
        /// Term of that entry.
        last_term: Term,
        /// The leader itself asked for this election: vote although a live leader is known.
        transfer: bool,
    },
    /// The answer to [`Body::RequestVote`]; sent when term and vote are durable.
    Vote {
        /// Whether the vote is given.
        granted: bool,
    },
    /// "Append these entries" (§5.3). Without entries it finds out where the logs agree.
    Append {
        /// Index of the entry just before `entries`.
        previous_index: Index,
        /// Term of that entry; the receiver's log must have the same.
        previous_term: Term,
        /// Contiguous, from `previous_index + 1` on.
        entries: Vec<Entry>,
        /// The leader's commit index. It may lie beyond these entries.
        committed: Index,
        /// The number of the leader's latest `ReadIndex` round, see [`Body::Heartbeat`].
        read_sequence: u64,
    },
    /// The answer to [`Body::Append`]; a match is sent when the entries are durable.
    Appended {
        /// How it went.
        result: AppendResult,
        /// The `read_sequence` of the append that is answered.
        read_sequence: u64,
    },
    /// "I am still the leader."
    Heartbeat {
        /// The leader's commit index, but no more than what it knows the receiver to have.
        committed: Index,
        /// The number of the leader's latest `ReadIndex` round, 0 before the first. A leader counts its rounds itself, from 1
        /// in each term. An answer of the same term that echoes *n* shows that the follower had not left the term when round *n*
        /// had begun, and so confirms that round and all before it. It can't be the late answer to an earlier round: that would echo less.
        read_sequence: u64,
    },
    /// The answer to [`Body::Heartbeat`]. Also sent to a leader of the past, to tell it the term; with `read_sequence` 0 then.
    HeartbeatAck {
        /// The `read_sequence` of the message that is answered.
        read_sequence: u64,
        /// So many milliseconds from when it got that message the sender votes for nobody, see [`Promises`](crate::Promises); 0: it promises nothing.
        promise_millis: u64,
    },
    /// "Start an election at once": the leader hands over to the receiver.
    TimeoutNow,
    /// "You have everything, and there is nothing to do": the leader sends no more heartbeats.
    Rest {
        /// Index of the last entry of the leader's log. It is committed.
        last_index: Index,
        /// Term of that entry.
        last_term: Term,
    },
    /// The answer to [`Body::Rest`] of a follower that lacks something.
    Wake,
}

/// How an append went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendResult {
    /// The follower's log equals the leader's up to and including this index, durably.
    Match(Index),
    /// The follower's log has another entry, or none, at the `previous_index` of the append.
    Reject {
        /// That `previous_index`: tells a late answer from a current one.
        rejected: Index,
        /// A lower index at which the logs may agree: the follower's last entry before `rejected` whose term
        /// is not above the `previous_term` of the append. It skips a whole term at a time (§5.3, end).
        hint_index: Index,
        /// The term of the follower's entry there. The leader skips its own entries of later terms.
        hint_term: Term,
    },
}
