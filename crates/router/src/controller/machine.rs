//! The decisions, as a pure state machine: [`Event`]s and the time in, [`Effect`]s out.
//!
//! Each table that is not `available` has a *drive* of its own:
//!
//! | state | the drive | then |
//! |---|---|---|
//! | `creating` | asks the table's nodes, again and again, who leads | every shard has had a leader: set `available` |
//! | `creating` for too long | | set `deleting` |
//! | `deleting` | see [`deletion`](super::deletion): seals every shard, has every live node destroy its replicas | removes the table, leaving tombstones for those who have not confirmed |
//!
//! Nothing is remembered that a successor would need: it sees the table's state in the store and begins the
//! same drive again, whose every step may be repeated. Version checks keep a deposed controller's late writes
//! from doing harm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::{NodeId, ShardId, TableId, TableState};

use super::deletion::{Deletion, Room};
use crate::directory::{TableEntry, nodes_of};

/// Before a write to the store is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The patience of the controller; see [`crate::Timing`].
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    pub(crate) creating_timeout: Duration,
    pub(crate) creating_poll: (Duration, Duration),
    pub(crate) destroy_timeout: Duration,
}

/// What is known of the data nodes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// Those that are alive.
    pub(crate) live: BTreeSet<NodeId>,
    /// Those that have joined and were not forgotten.
    pub(crate) members: BTreeSet<NodeId>,
}

impl Known {
    /// Whether a node that has once joined will never serve again.
    pub(super) fn is_forgotten(&self, node: NodeId) -> bool {
        !self.members.contains(&node) && !self.live.contains(&node)
    }
}

/// What has happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// These are the tables that are not `available`, and this is known of the nodes.
    Known {
        tables: Vec<Arc<TableEntry>>,
        nodes: Known,
    },
    /// A node has told which shards of a table it leads.
    Polled {
        table: TableId,
        node: NodeId,
        leads: BTreeSet<u32>,
    },
    /// A node did not answer.
    PollFailed { table: TableId, node: NodeId },
    /// A shard is sealed, or that is not known.
    SealEnded { shard: ShardId, sealed: bool },
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
    /// Remove a table, if it still has this version and these nodes are still forgotten, and leave tombstones.
    Remove {
        table: TableId,
        version: i32,
        tombstones: BTreeSet<NodeId>,
        forgotten: BTreeSet<NodeId>,
    },
    /// Tell that a deletion waits for so many shards, and for these nodes.
    Waits {
        table: TableId,
        shards: usize,
        nodes: BTreeSet<NodeId>,
    },
}

/// All tables on their way.
#[derive(Debug)]
pub(crate) struct Machine {
    patience: Patience,
    drives: BTreeMap<TableId, Drive>,
    nodes: Known,
    /// For more seals.
    room: Room,
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
    Deleting(Box<Deletion>),
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
            nodes: Known::default(),
            room: Room::default(),
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
            Event::Known { tables, nodes } => {
                self.nodes = nodes;
                self.know(now, tables);
            }
            Event::Polled { table, node, leads } => self.polled(now, table, node, &leads),
            Event::PollFailed { table, node } => self.polled(now, table, node, &BTreeSet::new()),
            Event::SealEnded { shard, sealed } => {
                if let Some(Stage::Deleting(deletion)) = stage_of(&mut self.drives, shard.table) {
                    deletion.seal_ended(shard.index, sealed, &mut self.room);
                }
            }
            Event::Destroyed { table, node } => {
                if let Some(Stage::Deleting(deletion)) = stage_of(&mut self.drives, table) {
                    deletion.destroyed(node);
                }
            }
            Event::DestroyFailed { table, node } => {
                if let Some(Stage::Deleting(deletion)) = stage_of(&mut self.drives, table) {
                    deletion.destroy_failed(now, node);
                }
            }
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
        match entry.value.state {
            TableState::Creating | TableState::Available => Stage::Creating {
                leaderless: (0..entry.value.shards.len() as u32).collect(),
                asked: BTreeSet::new(),
                poll_at: now,
                interval: self.patience.creating_poll.0,
            },
            TableState::Deleting => Stage::Deleting(Box::new(Deletion::new(now, entry))),
        }
    }

    fn end(&mut self, id: TableId) {
        if let Some(Drive {
            stage: Stage::Deleting(deletion),
            ..
        }) = self.drives.remove(&id)
        {
            deletion.end(&mut self.room);
        }
    }

    fn polled(&mut self, now: Duration, table: TableId, node: NodeId, leads: &BTreeSet<u32>) {
        let most = self.patience.creating_poll.1;
        let Some(Stage::Creating {
            leaderless,
            asked,
            poll_at,
            interval,
        }) = stage_of(&mut self.drives, table)
        else {
            return;
        };
        leaderless.retain(|shard| !leads.contains(shard));
        if asked.remove(&node) && asked.is_empty() {
            *poll_at = now + *interval;
            *interval = (*interval * 3 / 2).min(most);
        }
    }

    fn write_failed(&mut self, now: Duration, table: TableId) {
        match stage_of(&mut self.drives, table) {
            Some(Stage::Writing { retry_at, .. }) => *retry_at = Some(now + RETRY_AFTER),
            Some(Stage::Deleting(deletion)) => deletion.write_failed(now),
            Some(Stage::Creating { .. }) | None => {}
        }
    }

    /// Moves every drive as far as it goes now.
    fn advance(&mut self, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        for drive in self.drives.values_mut() {
            drive.advance(
                now,
                &self.patience,
                &self.nodes,
                &mut self.room,
                &mut effects,
            );
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
            Stage::Deleting(deletion) => deletion.wake_at(patience),
            Stage::Writing { retry_at, .. } => *retry_at,
        }
    }

    /// Moves as far as it goes now.
    fn advance(
        &mut self,
        now: Duration,
        patience: &Patience,
        nodes: &Known,
        room: &mut Room,
        effects: &mut Vec<Effect>,
    ) {
        let table = self.entry.value.id;
        match &mut self.stage {
            Stage::Creating {
                leaderless,
                asked,
                poll_at,
                ..
            } => {
                let next = if leaderless.is_empty() || mutant!(AvailableWithoutLeaders) {
                    TableState::Available
                } else if now >= self.since + patience.creating_timeout {
                    TableState::Deleting
                } else {
                    if asked.is_empty() && now >= *poll_at {
                        *asked = nodes_of(&self.entry.value);
                        effects.extend(asked.iter().map(|&node| Effect::Poll { table, node }));
                    }
                    return;
                };
                let write = set_state(&self.entry, next);
                effects.push(write.clone());
                self.stage = Stage::Writing {
                    write,
                    retry_at: None,
                };
            }
            Stage::Deleting(deletion) => deletion.advance(now, patience, nodes, room, effects),
            Stage::Writing { write, retry_at } => {
                if retry_at.is_some_and(|at| now >= at) {
                    *retry_at = None;
                    effects.push(write.clone());
                }
            }
        }
    }
}

fn stage_of(drives: &mut BTreeMap<TableId, Drive>, table: TableId) -> Option<&mut Stage> {
    drives.get_mut(&table).map(|drive| &mut drive.stage)
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
