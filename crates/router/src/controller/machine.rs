//! The decisions, as a pure state machine: [`Event`]s and the time in, [`Effect`]s out.
//!
//! Each table that is not `available` has a *drive* of its own:
//!
//! | state | the drive | then |
//! |---|---|---|
//! | `creating` | asks the table's nodes, again and again, who leads | every shard has had a leader: set `available` |
//! | `creating` for too long | | set `deleting` |
//! | `deleting` | seals every shard through its Raft log, as far as shards have a majority | every seal has ended |
//! | `deleting`, sealed | has every live node destroy its replicas | every node has confirmed, or is not alive, or its time is up |
//! | `deleting`, destroyed | removes the table, leaving tombstones for those who have not confirmed | the table is gone |
//!
//! Nothing is remembered that a successor would need: it sees the table's state in the store and begins the
//! same drive again, whose every step may be repeated. Version checks keep a deposed controller's late writes
//! from doing harm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::{NodeId, ShardId, TableId, TableState};

use crate::directory::{TableEntry, nodes_of};

/// Seals on the way at the same time, over all tables.
const MAX_SEALS: usize = 256;
/// Before a node that could not destroy its replicas, or a write to the store, is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The patience of the controller; see [`crate::Timing`].
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    pub(crate) creating_timeout: Duration,
    pub(crate) creating_poll: (Duration, Duration),
    pub(crate) destroy_timeout: Duration,
}

/// What has happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// These are the tables that are not `available`, and the nodes that are alive.
    Known {
        tables: Vec<Arc<TableEntry>>,
        live: BTreeSet<NodeId>,
    },
    /// A node has told which shards of a table it leads.
    Polled {
        table: TableId,
        node: NodeId,
        leads: BTreeSet<u32>,
    },
    /// A node did not answer.
    PollFailed { table: TableId, node: NodeId },
    /// A shard is sealed, or can't be because its majority is down.
    SealEnded { shard: ShardId },
    /// A node holds nothing of a table any more.
    Destroyed { table: TableId, node: NodeId },
    /// A node did not answer, or has not finished.
    DestroyFailed { table: TableId, node: NodeId },
    /// A write for a table has failed. If it was another's turn, a new version of the table follows.
    WriteFailed { table: TableId },
    /// A wake-up is due.
    Time,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Ask a node which of a table's shards it leads.
    Poll { table: TableId, node: NodeId },
    /// Set a table's state, if it still has this version.
    SetState {
        table: TableId,
        version: i32,
        state: TableState,
    },
    /// Seal a shard through its Raft log.
    Seal { shard: ShardId },
    /// Have a node destroy its replicas of a table.
    Destroy { table: TableId, node: NodeId },
    /// Remove a table, if it still has this version, and leave tombstones for these nodes.
    Remove {
        table: TableId,
        version: i32,
        tombstones: BTreeSet<NodeId>,
    },
}

/// All tables on their way.
#[derive(Debug)]
pub(crate) struct Machine {
    patience: Patience,
    drives: BTreeMap<TableId, Drive>,
    live: BTreeSet<NodeId>,
    /// Seals on the way.
    seals: usize,
}

#[derive(Debug)]
struct Drive {
    entry: Arc<TableEntry>,
    /// When this controller first saw the table in this state.
    since: Duration,
    stage: Stage,
}

/// Where a drive is.
#[derive(Debug)]
enum Stage {
    Creating {
        /// Shards that have had no leader yet.
        leaderless: BTreeSet<u32>,
        /// Nodes whose answers are awaited.
        asked: BTreeSet<NodeId>,
        /// The next round of questions.
        poll_at: Duration,
        interval: Duration,
    },
    Sealing {
        /// Not begun.
        waiting: Vec<u32>,
        /// On the way.
        sealing: BTreeSet<u32>,
    },
    Destroying {
        /// Since when.
        since: Duration,
        /// Nodes that have not confirmed, each with when to ask (again). `None`: asked now.
        nodes: BTreeMap<NodeId, Option<Duration>>,
        /// Nodes that will not be waited for.
        given_up: BTreeSet<NodeId>,
    },
    /// A write is on the way, or has failed and is to be tried again then.
    Writing {
        write: Effect,
        retry_at: Option<Duration>,
    },
}

impl Machine {
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            patience,
            drives: BTreeMap::new(),
            live: BTreeSet::new(),
            seals: 0,
        }
    }

    /// When [`Event::Time`] is due next. `None`: nothing is on its way.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        let drives = self.drives.values();
        drives
            .filter_map(|drive| drive.wake_at(&self.patience))
            .min()
    }

    /// Takes note of an event and says what to do.
    pub(crate) fn step(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        match event {
            Event::Known { tables, live } => {
                self.live = live;
                self.know(now, tables);
            }
            Event::Polled { table, node, leads } => self.polled(now, table, node, &leads),
            Event::PollFailed { table, node } => self.polled(now, table, node, &BTreeSet::new()),
            Event::SealEnded { shard } => self.seal_ended(shard),
            Event::Destroyed { table, node } => self.destroyed(table, node),
            Event::DestroyFailed { table, node } => self.destroy_failed(now, table, node),
            Event::WriteFailed { table } => self.write_failed(now, table),
            Event::Time => {}
        }
        self.advance(now)
    }

    /// Begins, restarts and ends drives as the tables' states and versions ask for it.
    fn know(&mut self, now: Duration, tables: Vec<Arc<TableEntry>>) {
        let mut known = BTreeSet::new();
        let on_their_way = |entry: &Arc<TableEntry>| entry.value.state != TableState::Available;
        for entry in tables.into_iter().filter(on_their_way) {
            let id = entry.value.id;
            known.insert(id);
            let unchanged = self.drives.get(&id).is_some_and(|drive| {
                drive.entry.version == entry.version && drive.entry.value.state == entry.value.state
            });
            if !unchanged {
                self.end(id);
                let stage = self.first_stage(now, &entry);
                self.drives.insert(
                    id,
                    Drive {
                        entry,
                        since: now,
                        stage,
                    },
                );
            }
        }
        let gone: Vec<TableId> = self
            .drives
            .keys()
            .filter(|id| !known.contains(id))
            .copied()
            .collect();
        for id in gone {
            self.end(id);
        }
    }

    fn first_stage(&self, now: Duration, entry: &TableEntry) -> Stage {
        let shards = 0..entry.value.shards.len() as u32;
        match entry.value.state {
            TableState::Creating | TableState::Available => Stage::Creating {
                leaderless: shards.collect(),
                asked: BTreeSet::new(),
                poll_at: now,
                interval: self.patience.creating_poll.0,
            },
            TableState::Deleting => Stage::Sealing {
                waiting: shards.rev().filter(|_| !mutant!(SealSkipped)).collect(),
                sealing: BTreeSet::new(),
            },
        }
    }

    fn end(&mut self, id: TableId) {
        if let Some(Drive {
            stage: Stage::Sealing { sealing, .. },
            ..
        }) = self.drives.remove(&id)
        {
            // Their ends will find no drive.
            self.seals = self.seals.saturating_sub(sealing.len());
        }
    }

    fn polled(&mut self, now: Duration, table: TableId, node: NodeId, leads: &BTreeSet<u32>) {
        let most = self.patience.creating_poll.1;
        let Some(Stage::Creating {
            leaderless,
            asked,
            poll_at,
            interval,
        }) = self.stage_of(table)
        else {
            return;
        };
        leaderless.retain(|shard| !leads.contains(shard));
        if asked.remove(&node) && asked.is_empty() {
            *poll_at = now + *interval;
            *interval = (*interval * 3 / 2).min(most);
        }
    }

    fn seal_ended(&mut self, shard: ShardId) {
        if let Some(Stage::Sealing { sealing, .. }) = self.stage_of(shard.table)
            && sealing.remove(&shard.index)
        {
            self.seals = self.seals.saturating_sub(1);
        }
    }

    fn destroyed(&mut self, table: TableId, node: NodeId) {
        if let Some(Stage::Destroying {
            nodes, given_up, ..
        }) = self.stage_of(table)
        {
            nodes.remove(&node);
            given_up.remove(&node);
        }
    }

    fn destroy_failed(&mut self, now: Duration, table: TableId, node: NodeId) {
        if mutant!(FailurePassesForDone) {
            return self.destroyed(table, node);
        }
        if let Some(Stage::Destroying { nodes, .. }) = self.stage_of(table)
            && let Some(ask_at) = nodes.get_mut(&node)
        {
            *ask_at = Some(now + RETRY_AFTER);
        }
    }

    fn write_failed(&mut self, now: Duration, table: TableId) {
        if let Some(Stage::Writing { retry_at, .. }) = self.stage_of(table) {
            *retry_at = Some(now + RETRY_AFTER);
        }
    }

    fn stage_of(&mut self, table: TableId) -> Option<&mut Stage> {
        self.drives.get_mut(&table).map(|drive| &mut drive.stage)
    }

    /// Moves every drive as far as it goes now.
    fn advance(&mut self, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        for drive in self.drives.values_mut() {
            let mut room = MAX_SEALS.saturating_sub(self.seals);
            let before = room;
            while drive.advance(now, &self.patience, &self.live, &mut room, &mut effects) {}
            self.seals += before - room;
        }
        effects
    }
}

impl Drive {
    fn wake_at(&self, patience: &Patience) -> Option<Duration> {
        match &self.stage {
            Stage::Creating { asked, poll_at, .. } => {
                let end = self.since + patience.creating_timeout;
                Some(if asked.is_empty() {
                    end.min(*poll_at)
                } else {
                    end
                })
            }
            // Every seal ends by itself.
            Stage::Sealing { .. } => None,
            Stage::Destroying { since, nodes, .. } => {
                let end = *since + patience.destroy_timeout;
                let ask = nodes.values().flatten().min();
                Some(ask.map_or(end, |ask| end.min(*ask)))
            }
            Stage::Writing { retry_at, .. } => *retry_at,
        }
    }

    /// One move. True: there may be another.
    fn advance(
        &mut self,
        now: Duration,
        patience: &Patience,
        live: &BTreeSet<NodeId>,
        room: &mut usize,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let table = self.entry.value.id;
        let next = match &mut self.stage {
            Stage::Creating {
                leaderless,
                asked,
                poll_at,
                ..
            } => {
                if leaderless.is_empty() || mutant!(AvailableWithoutLeaders) {
                    Some(set_state(&self.entry, TableState::Available))
                } else if now >= self.since + patience.creating_timeout {
                    Some(set_state(&self.entry, TableState::Deleting))
                } else {
                    if asked.is_empty() && now >= *poll_at {
                        *asked = nodes_of(&self.entry.value);
                        effects.extend(asked.iter().map(|&node| Effect::Poll { table, node }));
                    }
                    return false;
                }
            }
            Stage::Sealing { waiting, sealing } => {
                while *room > 0
                    && let Some(index) = waiting.pop()
                {
                    *room -= 1;
                    sealing.insert(index);
                    let shard = ShardId { table, index };
                    effects.push(Effect::Seal { shard });
                }
                if !(waiting.is_empty() && sealing.is_empty()) {
                    return false;
                }
                let nodes = nodes_of(&self.entry.value).into_iter();
                self.stage = Stage::Destroying {
                    since: now,
                    nodes: nodes.map(|node| (node, Some(now))).collect(),
                    given_up: BTreeSet::new(),
                };
                return true;
            }
            Stage::Destroying {
                since,
                nodes,
                given_up,
            } => {
                let too_late = now >= *since + patience.destroy_timeout;
                nodes.retain(|&node, ask_at| {
                    let stays = live.contains(&node) && !too_late;
                    if !stays {
                        given_up.insert(node);
                    } else if ask_at.is_some_and(|at| now >= at) {
                        *ask_at = None;
                        effects.push(Effect::Destroy { table, node });
                    }
                    stays
                });
                if !nodes.is_empty() {
                    return false;
                }
                if mutant!(TombstonesForgotten) {
                    given_up.clear();
                }
                Some(Effect::Remove {
                    table,
                    version: self.entry.version,
                    tombstones: std::mem::take(given_up),
                })
            }
            Stage::Writing { write, retry_at } => {
                if retry_at.is_some_and(|at| now >= at) {
                    *retry_at = None;
                    effects.push(write.clone());
                }
                return false;
            }
        };
        if let Some(write) = next {
            effects.push(write.clone());
            self.stage = Stage::Writing {
                write,
                retry_at: None,
            };
        }
        false
    }
}

fn set_state(entry: &TableEntry, state: TableState) -> Effect {
    Effect::SetState {
        table: entry.value.id,
        version: entry.version,
        state,
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
