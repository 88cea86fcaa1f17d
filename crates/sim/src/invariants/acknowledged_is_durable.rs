//! What was acknowledged is durable (Raft §5.3 and figure 2: "updated on stable storage before responding to
//! RPCs"): a node that starts again has in its log, or in its state, every entry that it acknowledged to a
//! leader, with the term that it had, every vote that it gave, and every term in which it promised something.
//! A leader acknowledges its own entries to itself.
//!
//! ```text
//! acknowledged        found after a crash
//! entry 7 of term 3   log 5..=8, entry 7 of term 3    kept
//!                     log 5..=8, entry 7 of term 2    lost: another one stands in its place
//!                     log 5..=6                       lost
//!                     purged or reset up to 9         in the state
//! ```
//!
//! It is looked at twice: on the disks, after a crash and before the next process, and in the first turn of the
//! replica, which must make the same of it.

use std::collections::{BTreeMap, BTreeSet};

use datanode::wire::PeerMessage;
use model::ShardId;
use raft::{AppendResult, Body, Index, ReplicaId, Role, Term};
use storage::log::Record;
use storage::meta::ReplicaState;
use storage::state::StateStore as _;

use super::found::records;
use super::{Disks, FoundLog, Invariant, Turn};
use crate::fabric::HostId;

/// What each replica has promised.
#[derive(Default)]
pub(super) struct AcknowledgedIsDurable {
    promises: BTreeMap<HostId, BTreeMap<ShardId, Promise>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Promise {
    /// Acknowledged, and not overwritten since.
    index: Index,
    /// The term of that entry, as far as it is known.
    of: Option<Term>,
    /// The last term in which anything was promised.
    term: Term,
    /// The last vote.
    vote: Option<(Term, ReplicaId)>,
    process: u64,
}

impl Invariant for AcknowledgedIsDurable {
    fn name(&self) -> &'static str {
        "acknowledged-is-durable"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        // First of all: what this turn itself replaces is not missed.
        self.overwritten(turn);
        let promises = self.promises.entry(turn.host).or_default();
        for (shard, replica) in turn.worker.replicas() {
            let promise = promises.entry(shard).or_default();
            if promise.process != turn.process {
                promise.process = turn.process;
                let has = replica.term_at(promise.index);
                let another = has.zip(promise.of).is_some_and(|(has, of)| has != of);
                if replica.last_index() < promise.index || replica.term() < promise.term || another
                {
                    return Err(format!(
                        "{} starts shard {shard} with a log up to {} in term {}, and {has:?} at entry {}; it had \
                         promised {promise:?}",
                        turn.node,
                        replica.last_index(),
                        replica.term(),
                        promise.index,
                    ));
                }
            }
            if replica.role() == Role::Leader {
                promise.acknowledged(replica.persisted_index(), replica);
            }
        }
        self.promised(turn);
        Ok(())
    }

    fn crashed(&mut self, disks: &Disks<'_>, log: &FoundLog) -> Result<(), String> {
        let states = records(&*disks.store.view())?;
        let promises = self.promises.entry(disks.host).or_default();
        for (&shard, promise) in promises {
            match states.get(&shard) {
                // Its log goes before its state does.
                Some(ReplicaState::Destroying | ReplicaState::Destroyed) => {
                    *promise = Promise::default();
                }
                _ => promise.is_kept(shard, log).map_err(|lost| {
                    format!(
                        "host {}, shard {shard}: promised {promise:?}, found {lost}",
                        disks.host.0
                    )
                })?,
            }
        }
        Ok(())
    }

    fn log_lost(&mut self, host: HostId, _: &BTreeSet<ShardId>) {
        self.promises.remove(&host);
    }
}

impl Promise {
    fn acknowledged(&mut self, index: Index, replica: &raft::Replica) {
        if index > self.index {
            self.index = index;
            self.of = replica.term_at(index);
        }
    }

    /// What lies from `first` on was replaced.
    fn shorten(&mut self, first: Index) {
        if first <= self.index {
            self.index = first.previous();
            self.of = None;
        }
    }

    /// A snapshot is to take the place of the log: once that is durable it ends there, with whatever entry.
    fn reset(&mut self, last: Index) {
        if last <= self.index {
            self.index = last;
            self.of = None;
        }
    }

    /// Compares with what is there after a crash.
    fn is_kept(&self, shard: ShardId, log: &FoundLog) -> Result<(), String> {
        let Some(group) = log.groups.get(&shard) else {
            let nothing = self.index == Index(0) && self.term == Term(0);
            return nothing.then_some(()).ok_or("no such group".into());
        };
        if group.last_index < self.index.0 || group.term < self.term.0 {
            let (last, term) = (group.last_index, group.term);
            return Err(format!("a log up to {last} in term {term}"));
        }
        let found = log.term_at(shard, self.index.0)?;
        if let (Some(found), Some(of)) = (found, self.of)
            && found != of.0
        {
            return Err(format!("an entry of term {found} at that index"));
        }
        if found.is_none() && group.point.0 < self.index.0 {
            return Err("no entry at that index".into());
        }
        match self.vote {
            Some((term, vote)) if term.0 == group.term && group.vote != Some(vote.0) => {
                Err(format!("a vote for {:?} in term {term}", group.vote))
            }
            _ => Ok(()),
        }
    }
}

impl AcknowledgedIsDurable {
    fn promised(&mut self, turn: &Turn<'_>) {
        let promises = self.promises.entry(turn.host).or_default();
        for (shard, message) in turn.outputs.send.values().flatten() {
            let PeerMessage::Raft(message) = message else {
                continue;
            };
            let promise = promises.entry(*shard).or_default();
            // What promises nothing may be said before it is durable: a question, a refusal.
            match message.body {
                Body::Appended {
                    result: AppendResult::Match(index),
                    ..
                } => {
                    let mut replicas = turn.worker.replicas();
                    if let Some((_, replica)) = replicas.find(|(of, _)| of == shard) {
                        // Said to one leader, and a later one has replaced it in the same turn.
                        let earlier = message.term < replica.term();
                        let replaced = earlier.then(|| first_replaced(turn, *shard)).flatten();
                        let kept = replaced.map_or(index, |first| index.min(first.previous()));
                        promise.acknowledged(kept, replica);
                    }
                }
                Body::Vote { granted: true } => promise.vote = Some((message.term, message.to)),
                _ => continue,
            }
            promise.term = promise.term.max(message.term);
        }
    }

    /// What a leader has told a follower to replace, or what was destroyed, is not promised any more.
    fn overwritten(&mut self, turn: &Turn<'_>) {
        let promises = self.promises.entry(turn.host).or_default();
        for record in turn.outputs.log.iter().flat_map(|write| &write.records) {
            let Some(promise) = promises.get_mut(&record.group()) else {
                continue;
            };
            match record {
                Record::Append { entries, .. } => {
                    if let Some(first) = entries.first() {
                        promise.shorten(Index(first.index));
                    }
                }
                Record::Forget { .. } => *promise = Promise::default(),
                Record::Reset { index, .. } => {
                    promise.reset(Index(*index));
                }
                Record::HardState { .. } | Record::Purge { .. } => {}
            }
        }
    }
}

/// The first entry of a group that a turn writes anew, or takes to be in the state from now on.
fn first_replaced(turn: &Turn<'_>, shard: ShardId) -> Option<Index> {
    let records = turn.outputs.log.iter().flat_map(|write| &write.records);
    let ours = records.filter(|record| record.group() == shard);
    let firsts = ours.filter_map(|record| match record {
        Record::Append { entries, .. } => entries.first().map(|entry| Index(entry.index)),
        Record::Reset { index, .. } => Some(Index(*index).next()),
        Record::HardState { .. } | Record::Purge { .. } | Record::Forget { .. } => None,
    });
    firsts.min()
}
