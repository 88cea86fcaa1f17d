//! The leader's side of replication (§5.3) and commit (§5.4.2).
//!
//! Nothing is sent from where something changes: it is noted that there may be something to send, and the next drain looks at each
//! follower once. So everything that one turn of the caller brings goes out in one append.
//!
//! That something is committed is said at once if nothing else is going on. While one entry follows the other it waits for the next append,
//! for a tick at the most: else half of all messages would say nothing else.

use bytes::Bytes;

use super::following::is_well_formed;
use super::{Replica, State, TAIL_BYTES};
use crate::log::Log;
use crate::progress::{Flow, Progress};
use crate::{
    AppendResult, Body, Broken, Entry, EntryKind, Fetch, Fetched, Index, Message, Refusal,
    ReplicaId, Term,
};

impl Replica {
    /// Adds a command to the log. It has happened when an entry of this term *and* index comes out in
    /// [`Effects::apply`](crate::Effects::apply), and has not if another term does at this index.
    ///
    /// # Errors
    /// [`Refusal::NotLeader`], [`Refusal::Transferring`], [`Refusal::TooManyUncommitted`]: it is not in the log.
    pub fn propose(&mut self, payload: Bytes) -> Result<(Term, Index), Refusal> {
        let limit = self.limits.uncommitted_bytes;
        let leader = self.leader_state()?;
        if leader.transfer.is_some() {
            return Err(Refusal::Transferring);
        }
        if leader.uncommitted_bytes > 0 && leader.uncommitted_bytes + payload.len() > limit {
            return Err(Refusal::TooManyUncommitted);
        }
        self.rouse();
        let point = self.add_entry(EntryKind::Commands, payload);
        Ok((point.term, point.index))
    }

    /// Sends each follower what it lacks, as far as its window allows, and news of commits and read rounds.
    pub(super) fn replicate(&mut self) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let last = self.log.last().index;
        let read_sequence = leader.reads.sequence;
        for (&to, follower) in &mut leader.followers {
            let mut send = |body| {
                let message = Message {
                    from: self.id,
                    to,
                    term: self.hard.term,
                    body,
                };
                self.outbox.free.push(message);
            };
            while follower.wants_append(last, self.limits.inflight_appends) {
                let after = follower.next.previous();
                if let Some(previous_term) = self.log.term_at(after) {
                    let entries = self.log.entries_after(after, self.limits.append_bytes);
                    send(append(
                        follower,
                        &self.log,
                        previous_term,
                        entries,
                        read_sequence,
                    ));
                } else if after >= self.log.purged.index {
                    follower.fetching = Some(after);
                    let (up_to, max_bytes) = (self.log.preceding().index, self.limits.append_bytes);
                    self.outbox.fetch.push(Fetch {
                        to,
                        after,
                        up_to,
                        max_bytes,
                    });
                } else {
                    follower.flow = Flow::Snapshot;
                    self.outbox.snapshots.push(to);
                }
            }
            let committed = known_committed(&self.log, follower);
            let news = committed > follower.commit_sent && !leader.is_busy;
            if news || read_sequence > follower.read_sent {
                send(heartbeat(follower, committed, read_sequence));
            }
        }
    }

    pub(super) fn send_heartbeats(&mut self) {
        self.number_heartbeat();
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let read_sequence = leader.reads.sequence;
        for (&to, follower) in &mut leader.followers {
            let committed = known_committed(&self.log, follower);
            let mut send = |body| {
                let message = Message {
                    from: self.id,
                    to,
                    term: self.hard.term,
                    body,
                };
                self.outbox.free.push(message);
            };
            send(heartbeat(follower, committed, read_sequence));
            if follower.stalled_at_heartbeat(self.time.now) && !mutant!(LostAppendNotResent) {
                // An empty append at the end of what was sent shows whether it all arrived.
                let previous_index = follower.next.previous();
                if let Some(previous_term) = self.log.term_at(previous_index) {
                    let (entries, committed) = (Vec::new(), self.log.committed());
                    send(Body::Append {
                        previous_index,
                        previous_term,
                        entries,
                        committed,
                        read_sequence,
                    });
                } else {
                    follower.probe_after(follower.matched);
                }
            }
        }
        if let Some(transfer) = &mut leader.transfer {
            transfer.sent = false;
        }
        self.unsent = true;
    }

    pub(super) fn on_appended(
        &mut self,
        from: ReplicaId,
        result: AppendResult,
        read_sequence: u64,
    ) -> Result<(), Broken> {
        self.on_read_echo(from, read_sequence);
        let State::Leader(leader) = &mut self.state else {
            return Ok(());
        };
        let Some(follower) = leader.followers.get_mut(&from) else {
            return Ok(());
        };
        match result {
            AppendResult::Match(matched) => {
                let last = self.log.last().index;
                if matched > last {
                    return Err(Broken::MatchBeyondLast {
                        follower: from,
                        matched,
                        last,
                    });
                }
                follower.has(matched);
                self.unsent = true;
                self.advance_commit();
                self.trim();
            }
            AppendResult::Reject {
                rejected,
                hint_index,
                hint_term,
            } => {
                if follower.is_current(rejected) {
                    let before = rejected.previous().min(hint_index);
                    follower.probe_after(agreement(&self.log, before, hint_term));
                    self.unsent = true;
                }
            }
        }
        Ok(())
    }

    /// §5.4.2: an entry is committed once it is of this term and a quorum has it durably, the leader like anyone; and with it all before it.
    pub(super) fn advance_commit(&mut self) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let own = if mutant!(LeaderCountsUnsynced) {
            self.log.last().index
        } else {
            self.log.persisted
        };
        let has = |id| {
            leader
                .followers
                .get(&id)
                .map_or(own, |follower| follower.matched)
                .0
        };
        let mut reached = Index(self.membership.reached(has));
        if mutant!(CommitWithoutMajority) {
            reached = own;
        }
        let before = self.log.committed();
        let countable = reached >= leader.first || mutant!(CommitOfEarlierTerm);
        if reached > before && countable {
            let size = self.log.size_of(before, reached);
            leader.uncommitted_bytes = leader.uncommitted_bytes.saturating_sub(size);
            self.log.commit(reached);
            self.unsent = true;
        }
    }

    /// The answer to a [`Fetch`]. One that has become useless meanwhile does no harm.
    pub fn fetched(&mut self, fetch: &Fetch, result: Fetched) {
        let (own, term) = (self.id, self.hard.term);
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let Some(follower) = leader.followers.get_mut(&fetch.to) else {
            return;
        };
        if follower.fetching != Some(fetch.after) {
            return;
        }
        follower.fetching = None;
        self.unsent = true;
        if follower.next.previous() != fetch.after || follower.is_in_snapshot() {
            return;
        }
        match result {
            Fetched::Compacted => {
                follower.flow = Flow::Snapshot;
                self.outbox.snapshots.push(fetch.to);
            }
            Fetched::Entries {
                previous_term,
                mut entries,
            } => {
                entries.retain(|entry| entry.index <= fetch.up_to);
                let previous = (fetch.after, previous_term).into();
                if entries.is_empty() || !is_well_formed(previous, &entries, term) {
                    return follower.probe_later();
                }
                let body = append(
                    follower,
                    &self.log,
                    previous_term,
                    entries,
                    leader.reads.sequence,
                );
                self.outbox.free.push(Message {
                    from: own,
                    to: fetch.to,
                    term,
                    body,
                });
            }
        }
    }

    /// The state machine has applied everything up to `index`.
    pub fn applied(&mut self, index: Index) {
        if self.stopped.is_some() {
            return;
        }
        let handed = self.log.handed();
        if index > handed {
            return self.check(Err(Broken::AppliedBeyondHanded {
                applied: index,
                handed,
            }));
        }
        self.log.applied = self.log.applied.max(index);
        self.trim();
    }

    /// Drops from memory what nobody needs any more. A follower that doesn't answer, or is given a snapshot, is not waited for.
    pub(super) fn trim(&mut self) {
        let mut wanted = Index(u64::MAX);
        if let State::Leader(leader) = &self.state {
            for follower in leader.followers.values() {
                let active = follower.is_active(self.time.now, self.limits.election_ticks);
                if active && !follower.is_in_snapshot() {
                    wanted = wanted.min(follower.matched);
                }
            }
        }
        self.log.trim(wanted, TAIL_BYTES);
    }
}

fn append(
    follower: &mut Progress,
    log: &Log,
    previous_term: Term,
    entries: Vec<Entry>,
    read_sequence: u64,
) -> Body {
    let previous_index = follower.next.previous();
    let end = entries.last().map_or(previous_index, |entry| entry.index);
    let committed = log.committed();
    follower.sent(end);
    follower.commit_sent = committed.min(end);
    follower.read_sent = read_sequence;
    Body::Append {
        previous_index,
        previous_term,
        entries,
        committed,
        read_sequence,
    }
}

/// What of the commit index may be said outside of an append: as far as the follower's log is known to equal this one.
fn known_committed(log: &Log, follower: &Progress) -> Index {
    if mutant!(CommitBeyondMatch) {
        return log.committed();
    }
    log.committed().min(follower.matched)
}

fn heartbeat(follower: &mut Progress, committed: Index, read_sequence: u64) -> Body {
    follower.commit_sent = follower.commit_sent.max(committed);
    follower.read_sent = read_sequence;
    Body::Heartbeat {
        committed,
        read_sequence,
    }
}

/// Where the logs may agree: the leader's last entry up to `before` whose term is not above the follower's there. Of what is
/// no longer in memory only the terms at its two ends are known; between them the follower's hint alone must do.
fn agreement(log: &Log, before: Index, hint_term: Term) -> Index {
    let (purged, preceding) = (log.purged, log.preceding());
    if purged.term > hint_term {
        return before.min(purged.index.previous());
    }
    if preceding.term > hint_term {
        return before.min(preceding.index.previous());
    }
    before.min(
        log.last_of_term(before, hint_term)
            .index
            .max(preceding.index),
    )
}
