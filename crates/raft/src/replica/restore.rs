//! A replica from what was on disk.
//!
//! The state store may be ahead of the log: a replica applies what a majority has durably, even if its own copy is not. After a
//! crash it may so have applied an entry that its log doesn't have, or has another one in its place (never committed, of an
//! earlier term or, as in the paper's Figure 8, a later one). As what is applied is committed, the state is worth as much
//! as the log would be: the log begins anew after it. For the same reason the term may have to be raised to that of the applied entry.

use std::collections::BTreeMap;

use super::{Limits, Outbox, Persistence, Replica, State, Time, Vow};
use crate::log::{Log, Point};
use crate::progress::Progress;
use crate::random::Random;
use crate::{Broken, Config, HardState, Index, Membership, ReplicaId, Restored, Role, RoleChange};

impl Replica {
    /// A replica that goes on where the restored state ends; with `Restored::default()`, one that begins. It is a
    /// follower without a leader, and everything restored counts as durable.
    ///
    /// # Errors
    /// If the configuration makes no sense, or what was restored contradicts itself.
    pub fn new(config: Config, restored: Restored) -> Result<Replica, Broken> {
        config.validate()?;
        validate(&restored)?;
        let durable = restored.hard_state;
        let mut hard = durable;
        if mutant!(TermForgottenAtStart) {
            let last = restored.entries.last();
            let term = last.map_or(restored.snapshot.1, |entry| entry.term);
            hard = HardState { term, vote: None };
        }
        let applied = Point {
            index: restored.applied,
            term: restored.applied_term,
        };
        let is_behind = applied.index > Index(0) && applied.term > hard.term;
        if is_behind {
            hard = HardState {
                term: applied.term,
                vote: None,
            };
        }
        let (log, reset) = restore_log(restored, applied)?;
        let limits = Limits {
            election_ticks: config.election_ticks,
            heartbeat_ticks: config.heartbeat_ticks,
            append_bytes: config.max_append_bytes,
            inflight_appends: config.max_inflight_appends,
            uncommitted_bytes: config.max_uncommitted_bytes,
        };
        let time = Time {
            now: 0,
            election_elapsed: 0,
            election_timeout: 0,
            leader_heard: 0,
            heard: silent(&config.membership, config.id),
        };
        let mut replica = Replica {
            id: config.id,
            limits,
            membership: config.membership,
            hard,
            state: State::Follower,
            leader: None,
            log,
            time,
            random: Random::new(config.seed),
            persistence: Persistence::new(durable, is_behind, reset),
            read_echoed: 0,
            vow: Vow::new(config.promises),
            lease_reads: 0,
            incoming: None,
            resting: false,
            outbox: Outbox::default(),
            unsent: false,
            reported: RoleChange {
                role: Role::Follower,
                term: hard.term,
                leader: None,
            },
            stopped: None,
        };
        replica.restart_election_timer();
        Ok(replica)
    }

    /// Other members than before: those that stay keep what is known of them.
    pub(super) fn set_membership(&mut self, membership: Membership) {
        let mut heard = silent(&membership, self.id);
        for (id, at) in &mut heard {
            *at = self.time.heard.get(id).copied().unwrap_or(0);
        }
        if let State::Leader(leader) = &mut self.state {
            let last = self.log.last().index;
            leader.followers.retain(|id, _| heard.contains_key(id));
            for &id in heard.keys() {
                let new = || Progress::new(last, self.time.now);
                leader.followers.entry(id).or_insert_with(new);
            }
        }
        self.time.heard = heard;
        self.membership = membership;
    }
}

/// The peers of `own`, none of whom has been heard.
fn silent(membership: &Membership, own: ReplicaId) -> BTreeMap<ReplicaId, u64> {
    membership
        .members()
        .filter(|&id| id != own)
        .map(|id| (id, 0))
        .collect()
}

fn validate(restored: &Restored) -> Result<(), Broken> {
    let mut last = restored.snapshot.1;
    if let Some(first) = restored.entries.first() {
        if first.index <= restored.snapshot.0 {
            return Err(Broken::Restored(
                "there are entries before the point where the log begins",
            ));
        }
        last = last.max(restored.preceding_term);
        for (index, entry) in (first.index.0..).zip(&restored.entries) {
            if entry.index != Index(index) {
                return Err(Broken::Restored("there is a gap between the entries"));
            }
            if entry.term < last {
                return Err(Broken::Restored("the terms of the entries fall"));
            }
            last = entry.term;
        }
    }
    if restored.hard_state.term < last {
        return Err(Broken::Restored(
            "the log has entries of a later term than was ever entered",
        ));
    }
    if restored.applied < restored.snapshot.0 {
        return Err(Broken::Restored(
            "the log was purged beyond the applied index",
        ));
    }
    Ok(())
}

/// The log, and the point after which it must begin anew, if it must.
fn restore_log(restored: Restored, applied: Point) -> Result<(Log, Option<Point>), Broken> {
    let purged = Point::from(restored.snapshot);
    let preceding = match restored.entries.first() {
        Some(first) => Point {
            index: first.index.previous(),
            term: restored.preceding_term,
        },
        None => purged,
    };
    if applied.index < preceding.index {
        return Err(Broken::Restored(
            "the entries after the applied index are missing",
        ));
    }
    let log = Log::restored(purged, preceding, restored.entries, applied.index);
    match log.term_at(applied.index) {
        _ if applied.index == Index(0) => Ok((log, None)),
        Some(term) if term == applied.term => Ok((log, None)),
        Some(_) if applied.index == purged.index => Err(Broken::Restored(
            "the log begins after another entry than the applied one",
        )),
        _ => Ok((Log::starting_at(applied), Some(applied))),
    }
}
