//! The replicas of a node: made, started, kept out, destroyed.
//!
//! Each step is durable before the next one, so that whatever crashes, the records say what is to be done:
//!
//! | making | destroying |
//! |---|---|
//! | record: building | record: destroying |
//! | log: an empty group | leaves its worker and its applier |
//! | state: empty | log: forgotten |
//! | record: hosted | state: removed |
//! | joins its worker | record: destroyed, for ever |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use environment::{Clock, Offload};
use model::{NodeId, ShardId, Table, TableId, TableState};
use raft::{Replica, Restored};
use storage::keys::Key;
use storage::log::Record;
use storage::meta::{ReplicaRecord, ReplicaState};
use storage::snapshot::{destroy_shard, load_meta};
use storage::state::{Batch, StateStore};
use tokio::sync::oneshot;

use super::plan::{Plan, Standing};
use super::quarantine::{KeptOut, Quarantine};
use super::recovery::{Found, Ready, config};
use crate::machine::Machine;
use crate::options::Tuning;
use crate::shell::{Shell, Workers};
use crate::worker::{ApplyJob, Held as HeldState, Input, has_seal_to_apply};

/// What is wrong with a replica that is still [`ReplicaState::Building`].
const HALF_MADE: &str = "it was never made to the end, and holds nothing";

/// See the [module](self).
pub(super) struct Replicas {
    hands: Hands,
    held: BTreeMap<ShardId, Held>,
}

struct Held {
    standing: Standing,
    record: ReplicaRecord,
    /// A dormant replica, or why it can't run.
    dormant: Option<Result<Ready, String>>,
}

impl Held {
    /// Kept out, or not let in since the start.
    fn is_kept_out(&self) -> bool {
        matches!(self.standing, Standing::Dormant | Standing::Quarantined)
    }
}

/// Who may make and destroy: the parts that do it.
pub(super) struct Hands {
    pub(super) node: NodeId,
    pub(super) tuning: Tuning,
    pub(super) store: Arc<dyn StateStore>,
    pub(super) shell: Arc<Shell>,
    pub(super) workers: Workers,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) offload: Offload,
    pub(super) quarantined: Arc<Quarantine>,
}

impl Replicas {
    pub(super) fn new(hands: Hands, found: BTreeMap<ShardId, Found>) -> Self {
        let held = found.into_iter().map(|(shard, found)| {
            let standing = match found.record.state {
                ReplicaState::Building => Standing::HalfMade,
                ReplicaState::Hosted => Standing::Dormant,
                ReplicaState::Destroying => Standing::HalfDestroyed,
                ReplicaState::Destroyed => Standing::Destroyed,
            };
            let Found { record, replica } = found;
            let held = Held {
                standing,
                record,
                dormant: replica,
            };
            (shard, held)
        });
        let held = held.collect();
        Self { hands, held }
    }

    /// How the node stands to the shards that it knows.
    pub(super) fn standings(&self) -> BTreeMap<ShardId, Standing> {
        self.held
            .iter()
            .map(|(&shard, held)| (shard, held.standing))
            .collect()
    }

    /// The shards of a table of which there is anything here.
    pub(super) fn of_table(&self, table: TableId) -> BTreeSet<ShardId> {
        let held = self.held.iter().filter(|(shard, _)| shard.table == table);
        held.filter(|(_, held)| held.standing != Standing::Destroyed)
            .map(|(s, _)| *s)
            .collect()
    }

    /// Those of them that don't take part in anything.
    pub(super) fn kept_out_of(&self, table: TableId) -> BTreeSet<ShardId> {
        let held = self.held.iter().filter(|(shard, _)| shard.table == table);
        held.filter(|(_, held)| held.is_kept_out())
            .map(|(s, _)| *s)
            .collect()
    }

    /// Those of the tables that clients may have used, as the replicas here show: the node has seen the table available, or a
    /// write was applied. What can't be read may have been written.
    pub(super) async fn used(
        &self,
        tables: BTreeSet<TableId>,
    ) -> Result<BTreeSet<TableId>, String> {
        let mut used = BTreeSet::new();
        let mut unclear = Vec::new();
        for (&shard, held) in &self.held {
            if !tables.contains(&shard.table) || mutant!(UndoDestroysData) {
                continue;
            }
            match held.standing {
                Standing::HalfMade | Standing::HalfDestroyed | Standing::Destroyed => {}
                _ if held.record.was_available => {
                    used.insert(shard.table);
                }
                _ => unclear.push(shard),
            }
        }
        if !unclear.is_empty() {
            let written = self.blocking(move |store| {
                let view = store.view();
                let written = |shard: &ShardId| match load_meta(&*view, *shard) {
                    Ok(Some((_, meta))) => meta.was_written(),
                    Ok(None) => false,
                    Err(_) => true,
                };
                Ok(unclear.into_iter().filter(written).collect::<Vec<_>>())
            });
            used.extend(written.await?.into_iter().map(|shard| shard.table));
        }
        Ok(used)
    }

    /// Remembers which tables have been available while their replicas were here.
    async fn note_available(&mut self, tables: &BTreeMap<TableId, Table>) -> Result<(), String> {
        let available = |shard: &ShardId| {
            let table = tables.get(&shard.table);
            table.is_some_and(|table| table.state == TableState::Available)
        };
        let new = |held: &Held| held.standing == Standing::Running && !held.record.was_available;
        let held = self.held.iter();
        let records: BTreeMap<ShardId, ReplicaRecord> = held
            .filter(|(shard, held)| new(held) && available(shard))
            .map(|(&shard, held)| {
                let mut record = held.record.clone();
                record.was_available = true;
                (shard, record)
            })
            .collect();
        if records.is_empty() {
            return Ok(());
        }
        self.save(&records).await?;
        for (shard, record) in records {
            if let Some(held) = self.held.get_mut(&shard) {
                held.record = record;
            }
        }
        Ok(())
    }

    /// Does what a plan says. On an error some of it is done; the next plan has the rest.
    pub(super) async fn carry_out(
        &mut self,
        plan: &Plan,
        tables: &BTreeMap<TableId, Table>,
    ) -> Result<(), String> {
        self.destroy(&plan.destroy).await?;
        self.create(&plan.create, tables).await?;
        for &shard in &plan.start {
            self.start(shard);
        }
        for &shard in &plan.quarantine {
            self.keep_out(shard);
        }
        self.hands.quarantined.set(self.kept_out(&plan.half_made));
        self.note_available(tables).await
    }

    /// The replicas that are kept out, or were not let in since the start, and these that were never made to the end.
    fn kept_out(&self, half_made: &BTreeSet<ShardId>) -> BTreeMap<ShardId, KeptOut> {
        let held = self.held.iter().filter(|(shard, held)| {
            let reported = held.standing == Standing::HalfMade && half_made.contains(shard);
            held.is_kept_out() || reported
        });
        let kept_out = held.map(|(&shard, held)| {
            let fault = match &held.dormant {
                Some(Err(broken)) => broken.clone(),
                _ if held.standing == Standing::HalfMade => HALF_MADE.to_owned(),
                _ => String::new(),
            };
            let ready = held.dormant.as_ref().and_then(|d| d.as_ref().ok());
            let kept_out = KeptOut {
                record: held.record.clone(),
                fault,
                seal_in_log: ready.is_some_and(|ready| has_seal_to_apply(&ready.replica)),
            };
            (shard, kept_out)
        });
        kept_out.collect()
    }

    fn start(&mut self, shard: ShardId) {
        let Some(held) = self.held.get_mut(&shard) else {
            return;
        };
        match held.dormant.take() {
            Some(Ok(ready)) => join_worker(&self.hands.workers, shard, ready),
            Some(Err(detail)) => self
                .hands
                .workers
                .send(shard, Input::AddStopped { shard, detail }),
            None => self.hands.workers.send(
                shard,
                Input::Quarantine {
                    shard,
                    quarantined: false,
                },
            ),
        }
        held.standing = Standing::Running;
    }

    fn keep_out(&mut self, shard: ShardId) {
        let Some(held) = self.held.get_mut(&shard) else {
            return;
        };
        tracing::warn!(%shard, table = %held.record.table_name,
            "a replica is quarantined: its table is not listed, or its creation was undone");
        self.hands.workers.send(
            shard,
            Input::Quarantine {
                shard,
                quarantined: true,
            },
        );
        held.standing = Standing::Quarantined;
    }

    async fn create(
        &mut self,
        shards: &BTreeMap<ShardId, Vec<NodeId>>,
        tables: &BTreeMap<TableId, Table>,
    ) -> Result<(), String> {
        let created_millis = self.hands.clock.now().wall_millis;
        let named = shards.iter().filter_map(|(&shard, voters)| {
            let table = tables.get(&shard.table)?;
            let range = table.shards.get(shard.index as usize)?.range;
            let record = ReplicaRecord {
                state: ReplicaState::Building,
                voters: voters.clone(),
                table_name: table.name.clone(),
                table_shards: table.shards.len() as u32,
                hashes: (range.first, range.last),
                created_millis,
                was_available: false,
            };
            Some((shard, record))
        });
        let mut records: BTreeMap<ShardId, ReplicaRecord> = named.collect();
        if records.is_empty() {
            return Ok(());
        }
        // Before they are saved: records that could not be made durable may still be there after the next start, so a
        // table of which they tell must not be confirmed as destroyed until then.
        for (&shard, record) in &records {
            let held = Held {
                standing: Standing::HalfMade,
                record: record.clone(),
                dormant: None,
            };
            self.held.insert(shard, held);
        }
        self.save(&records).await?;
        let empty_groups = records.keys().flat_map(|&group| {
            // What an earlier attempt may have left was never used.
            [
                Record::Forget { group },
                Record::HardState {
                    group,
                    term: 0,
                    vote: None,
                },
            ]
        });
        self.hands.shell.write_log(empty_groups.collect()).await?;
        let machines = self.make_states(&records).await?;
        for record in records.values_mut() {
            record.state = ReplicaState::Hosted;
        }
        self.save(&records).await?;
        for (machine, (shard, record)) in machines.into_iter().zip(records) {
            let config = config(self.hands.node, shard, &record.voters, &self.hands.tuning);
            let replica = Replica::new(config, Restored::default());
            let replica = Box::new(replica.map_err(|broken| broken.to_string())?);
            let ready = Ready {
                replica,
                machine: Box::new(machine),
                log_bytes: 0,
            };
            join_worker(&self.hands.workers, shard, ready);
            let held = Held {
                standing: Standing::Running,
                record,
                dormant: None,
            };
            self.held.insert(shard, held);
        }
        Ok(())
    }

    async fn make_states(
        &self,
        records: &BTreeMap<ShardId, ReplicaRecord>,
    ) -> Result<Vec<Machine>, String> {
        let shards: Vec<_> = records
            .iter()
            .map(|(s, record)| (*s, record.voters.clone()))
            .collect();
        self.blocking(move |store| {
            let make = |(shard, voters)| {
                destroy_shard(&*store, shard).map_err(|error| error.to_string())?;
                Machine::create(store.clone(), shard, voters).map_err(|error| error.to_string())
            };
            shards.into_iter().map(make).collect()
        })
        .await
    }

    /// Destroys replicas, with their logs and their state. Done again after a crash until it is done.
    pub(super) async fn destroy(&mut self, shards: &BTreeSet<ShardId>) -> Result<(), String> {
        let held = shards.iter().filter_map(|shard| {
            let mut record = self.held.get(shard)?.record.clone();
            record.state = ReplicaState::Destroying;
            Some((*shard, record))
        });
        let mut records: BTreeMap<ShardId, ReplicaRecord> = held.collect();
        if records.is_empty() {
            return Ok(());
        }
        self.save(&records).await?;
        for &shard in records.keys() {
            self.leave_worker(shard).await;
        }
        let forgotten = records.keys().map(|&group| Record::Forget { group });
        if !mutant!(LogNotForgotten) {
            self.hands.shell.write_log(forgotten.collect()).await?;
        }
        let gone: Vec<_> = records.keys().copied().collect();
        self.blocking(move |store| {
            for shard in gone {
                destroy_shard(&*store, shard).map_err(|error| error.to_string())?;
            }
            Ok(())
        })
        .await?;
        for record in records.values_mut() {
            record.state = ReplicaState::Destroyed;
        }
        self.save(&records).await?;
        for (shard, record) in records {
            tracing::info!(%shard, table = %record.table_name, "a replica was destroyed");
            let held = Held {
                standing: Standing::Destroyed,
                record,
                dormant: None,
            };
            self.held.insert(shard, held);
        }
        Ok(())
    }

    async fn leave_worker(&mut self, shard: ShardId) {
        if let Some(held) = self.held.get_mut(&shard) {
            held.dormant = None;
            held.standing = Standing::HalfDestroyed;
        }
        let (answer, wait) = oneshot::channel();
        let answer = Box::new(move |()| answer.send(()).unwrap_or_default());
        self.hands
            .workers
            .send(shard, Input::Remove { shard, answer });
        // A worker that has ended has let go of it.
        let _ = wait.await;
    }

    async fn save(&self, records: &BTreeMap<ShardId, ReplicaRecord>) -> Result<(), String> {
        let mut batch = Batch::new();
        for (&shard, record) in records {
            batch.put(Key::Replica(shard).encode(), record.encode());
        }
        self.blocking(move |store| {
            store
                .write(batch)
                .and_then(|()| store.persist())
                .map_err(|error| error.to_string())
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Arc<dyn StateStore>) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let store = self.hands.store.clone();
        let done = self.hands.offload.run(move || work(store));
        done.await.map_err(|error| error.to_string())?
    }
}

fn join_worker(workers: &Workers, shard: ShardId, ready: Ready) {
    let Ready {
        replica,
        machine,
        log_bytes,
    } = ready;
    let meta = machine.meta();
    let held = HeldState {
        items: meta.items,
        bytes: meta.bytes,
        log_bytes,
    };
    // Placement has put it there. Every replica has them in the same order.
    let home = meta.voters.first().copied();
    workers.apply(shard, ApplyJob::Open { machine });
    workers.send(
        shard,
        Input::Add {
            shard,
            replica,
            home,
            held,
        },
    );
}

#[cfg(test)]
mod tests;
