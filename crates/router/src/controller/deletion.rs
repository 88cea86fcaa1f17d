//! One deletion, from the point of no return to the table's end.
//!
//! The question behind every line: **may a shard still serve a put or a consistent get?** Only a leader that a majority of
//! the shard's replicas follows does. So a shard is *finished* when
//!
//! | | why |
//! |---|---|
//! | it is sealed: the entry is committed | a majority has it, and every leader to come applies it before it answers |
//! | or so many of its replicas are *gone* that the rest is no majority | what is destroyed is never built again, and a node that was forgotten never returns |
//!
//! A replica is gone when its node has confirmed that it holds nothing of the table, or when its node is no member any more.
//! That a shard could not be sealed within some time says nothing: a router that is cut off from the coordination store may
//! reach the nodes that this controller does not. Until every shard is finished, the deletion goes on and is not answered.
//!
//! A table that was never available needs none of this: nobody was ever served.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{NodeId, ShardId, Table, TableId};

use super::machine::{Effect, Known, Patience};
use crate::directory::{TableEntry, nodes_of};

/// Seals on the way at the same time, over all tables: first attempts, and those of shards that could not be sealed before.
/// The latter get less, so that tables that wait for their nodes don't keep the others waiting.
const MAX_SEALS: Room = Room {
    first: 256,
    again: 32,
};
/// Between two rounds of attempts to seal what could not be sealed: at first, and at the most. They double.
const SEAL_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Before a node that could not destroy its replicas is asked again, and a removal that failed is tried again: at first, and
/// at the most. They double.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// How many seals may be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    first: usize,
    again: usize,
}

impl Default for Room {
    fn default() -> Self {
        MAX_SEALS
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Deletion {
    table: TableId,
    version: i32,
    nodes: BTreeSet<NodeId>,
    replicas: BTreeMap<u32, Vec<NodeId>>,
    /// Shards that are not known to be sealed.
    unsealed: BTreeSet<u32>,
    /// Of those, the ones that are not finished either.
    unfinished: BTreeSet<u32>,
    seals: Seals,
    /// Since when nodes are asked to destroy: once every seal was tried.
    destroying_since: Option<Duration>,
    /// Nodes that have not confirmed.
    unconfirmed: BTreeMap<NodeId, Ask>,
    /// Nodes that hold nothing any more, or never return.
    gone: BTreeSet<NodeId>,
    removal: Removal,
    /// How long after a removal that fails.
    remove_again: Duration,
}

/// The attempts to seal.
#[derive(Debug)]
struct Seals {
    /// To be tried in this round, the next one at the end.
    waiting: Vec<u32>,
    /// On the way.
    sealing: BTreeSet<u32>,
    /// Whether the first round is over.
    again: bool,
    /// The next round, and how long after the one after that.
    next_at: Duration,
    pause: Duration,
}

/// Where a node that has not confirmed stands.
#[derive(Debug)]
struct Ask {
    /// When to ask (again). `None`: asked now.
    at: Option<Duration>,
    pause: Duration,
    /// It was alive at the last look.
    live: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Removal {
    /// Not yet, or again, at this time.
    Due(Duration),
    /// On the way.
    Sent,
}

impl Deletion {
    pub(super) fn new(now: Duration, entry: &TableEntry) -> Self {
        let table = &entry.value;
        let replicas: BTreeMap<u32, Vec<NodeId>> = table
            .shard_ids()
            .map(|(id, shard)| (id.index, shard.nodes.clone()))
            .collect();
        let nodes = nodes_of(table);
        let unsealed: BTreeSet<u32> = replicas.keys().copied().filter(|_| seals(table)).collect();
        Self {
            table: table.id,
            version: entry.version,
            seals: Seals {
                waiting: unsealed.iter().rev().copied().collect(),
                sealing: BTreeSet::new(),
                again: false,
                next_at: now,
                pause: SEAL_AGAIN.0,
            },
            unfinished: unsealed.clone(),
            unsealed,
            replicas,
            destroying_since: None,
            unconfirmed: nodes.iter().map(|node| (*node, Ask::new(now))).collect(),
            nodes,
            gone: BTreeSet::new(),
            removal: Removal::Due(now),
            remove_again: AGAIN.0,
        }
    }

    /// An attempt has ended.
    pub(super) fn seal_ended(&mut self, index: u32, sealed: bool, room: &mut Room) {
        if !self.seals.sealing.remove(&index) {
            return;
        }
        *self.seals.room(room) += 1;
        if sealed || mutant!(SealGivenUp) {
            self.unsealed.remove(&index);
            self.unfinished.remove(&index);
        }
    }

    /// A node holds nothing of the table any more.
    pub(super) fn destroyed(&mut self, node: NodeId) {
        if self.destroying_since.is_some() {
            self.unconfirmed.remove(&node);
        }
    }

    /// A node did not answer, or has not finished.
    pub(super) fn destroy_failed(&mut self, now: Duration, node: NodeId) {
        if mutant!(FailurePassesForDone) {
            return self.destroyed(node);
        }
        if let Some(ask) = self.unconfirmed.get_mut(&node).filter(|a| a.at.is_none()) {
            ask.at = Some(now + ask.pause);
            ask.pause = (ask.pause * 2).min(AGAIN.1);
        }
    }

    /// The table was not removed.
    pub(super) fn write_failed(&mut self, now: Duration) {
        if self.removal == Removal::Sent {
            self.removal = Removal::Due(now + self.remove_again);
            self.remove_again = (self.remove_again * 2).min(AGAIN.1);
        }
    }

    /// Gives back the room of the seals on the way: their ends will find nobody.
    pub(super) fn end(self, room: &mut Room) {
        *self.seals.room(room) += self.seals.sealing.len();
    }

    /// When there may be something to do without an event. `None`: never.
    pub(super) fn wake_at(&self, patience: &Patience) -> Option<Duration> {
        let since = self.destroying_since?;
        if let Removal::Due(at) = self.removal
            && self.is_ready(at, patience)
        {
            return Some(at);
        }
        let live = self.unconfirmed.values().filter(|ask| ask.live);
        let ask = live.filter_map(|ask| ask.at).min();
        let waits = self.unconfirmed.values().any(|ask| ask.live);
        let end = (waits && self.unfinished.is_empty()).then_some(since + patience.destroy_timeout);
        let seal = (self.seals.rest() && !self.unfinished.is_empty()).then_some(self.seals.next_at);
        let sent = self.removal == Removal::Sent;
        [ask, end, seal]
            .into_iter()
            .flatten()
            .min()
            .filter(|_| !sent)
    }

    /// Does what can be done now.
    pub(super) fn advance(
        &mut self,
        now: Duration,
        patience: &Patience,
        known: &Known,
        room: &mut Room,
        effects: &mut Vec<Effect>,
    ) {
        self.look_around(now, known);
        self.seal(now, room, effects);
        if !self.seals.again {
            return;
        }
        if self.destroying_since.is_none() {
            self.destroying_since = Some(now);
            self.seals.next_at = now + self.seals.pause;
        }
        self.destroy(now, patience, effects);
        if let Removal::Due(at) = self.removal
            && now >= at
            && self.is_ready(now, patience)
        {
            self.removal = Removal::Sent;
            effects.push(self.remove(known));
        }
    }

    /// Takes in who is alive and who is gone.
    fn look_around(&mut self, now: Duration, known: &Known) {
        let mut returned = false;
        for (node, ask) in &mut self.unconfirmed {
            let live = known.live.contains(node);
            if live && !ask.live {
                *ask = Ask::new(now);
                returned = true;
            }
            ask.live = live;
        }
        if returned && self.seals.again {
            self.seals.next_at = self.seals.next_at.min(now);
            self.seals.pause = SEAL_AGAIN.0;
        }
        let gone =
            |node: &NodeId| !self.unconfirmed.contains_key(node) || known.is_forgotten(*node);
        let gone: BTreeSet<NodeId> = self.nodes.iter().copied().filter(gone).collect();
        if gone != self.gone {
            self.gone = gone;
            let unfinished = self.unsealed.iter().copied();
            self.unfinished = unfinished.filter(|index| self.may_serve(*index)).collect();
        }
    }

    /// Whether those replicas of a shard that are not gone could be a majority.
    fn may_serve(&self, index: u32) -> bool {
        let Some(nodes) = self.replicas.get(&index) else {
            return false;
        };
        let left = nodes.iter().filter(|node| !self.gone.contains(node));
        left.count() > nodes.len() / 2
    }

    fn seal(&mut self, now: Duration, room: &mut Room, effects: &mut Vec<Effect>) {
        if self.seals.rest() && self.seals.again && now >= self.seals.next_at {
            self.seals.waiting = self.unfinished.iter().rev().copied().collect();
            self.seals.pause = (self.seals.pause * 2).min(SEAL_AGAIN.1);
            effects.extend(self.waits());
        }
        let seals = &mut self.seals;
        let room = seals.room(room);
        while *room > 0
            && let Some(index) = seals.waiting.pop()
        {
            // Nodes may have finished it since the round began.
            if self.unfinished.contains(&index) {
                *room -= 1;
                seals.sealing.insert(index);
                let table = self.table;
                let shard = ShardId { table, index };
                effects.push(Effect::Seal { shard });
            }
        }
        if seals.rest() {
            seals.again = true;
        } else {
            // The pause begins when the last of them has ended, of which an event tells.
            seals.next_at = now + seals.pause;
        }
    }

    fn destroy(&mut self, now: Duration, patience: &Patience, effects: &mut Vec<Effect>) {
        let given_up = self.is_too_late(now, patience) && self.unfinished.is_empty();
        for (&node, ask) in &mut self.unconfirmed {
            if ask.live && !given_up && ask.at.is_some_and(|at| now >= at) {
                ask.at = None;
                let table = self.table;
                effects.push(Effect::Destroy { table, node });
            }
        }
    }

    fn is_too_late(&self, now: Duration, patience: &Patience) -> bool {
        let since = self.destroying_since;
        since.is_some_and(|since| now >= since + patience.destroy_timeout)
    }

    /// Whether every shard is finished, and no node is worth waiting for.
    fn is_ready(&self, now: Duration, patience: &Patience) -> bool {
        let waits = self.unconfirmed.values().any(|ask| ask.live);
        self.unfinished.is_empty() && (!waits || self.is_too_late(now, patience))
    }

    fn remove(&self, known: &Known) -> Effect {
        let unconfirmed = self.unconfirmed.keys().copied();
        let forgotten = unconfirmed.clone().filter(|node| known.is_forgotten(*node));
        Effect::Remove {
            table: self.table,
            version: self.version,
            tombstones: unconfirmed
                .filter(|_| !mutant!(TombstonesForgotten))
                .collect(),
            // Only where something was concluded from it.
            forgotten: forgotten.filter(|_| !self.unsealed.is_empty()).collect(),
        }
    }

    /// What the deletion waits for, if it does.
    fn waits(&self) -> Option<Effect> {
        let replicas = self
            .unfinished
            .iter()
            .filter_map(|index| self.replicas.get(index));
        let nodes = replicas.flatten().filter(|node| !self.gone.contains(node));
        (!self.unfinished.is_empty()).then(|| Effect::Waits {
            table: self.table,
            shards: self.unfinished.len(),
            nodes: nodes.copied().collect(),
        })
    }
}

/// Whether a table's shards have to be sealed.
fn seals(table: &Table) -> bool {
    !table.never_available && !mutant!(SealSkipped)
}

impl Seals {
    /// Nothing is to be tried and nothing on the way.
    fn rest(&self) -> bool {
        self.waiting.is_empty() && self.sealing.is_empty()
    }

    fn room<'a>(&self, room: &'a mut Room) -> &'a mut usize {
        if self.again {
            &mut room.again
        } else {
            &mut room.first
        }
    }
}

impl Ask {
    fn new(now: Duration) -> Self {
        Self {
            at: Some(now),
            pause: AGAIN.0,
            live: false,
        }
    }
}
