//! Stands for election, and while elected feeds the [machine](super::machine) and carries its effects out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::Reason;
use api::internal::{DestroyRequest, Seal, operation};
use api::v1::ReplicaState;
use coordination::registry::{self, Election};
use model::{NodeId, ShardId, TableId, TableState};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::machine::{Effect, Event, Known, Machine, Patience};
use crate::attempt::policy::Kind;
use crate::attempt::run::{End, Means, Request, Reread};
use crate::directory::TableEntry;
use crate::options::Timing;
use crate::state::{Session, State};
use crate::transaction::sweep;

/// Questions, destructions and writes on the way at the same time. Seals have a bound of their own.
const MAX_TASKS: usize = 64;
/// Before standing for election again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Takes part in the election until the session ends; the future itself never does.
pub(crate) async fn run(state: &Arc<State>, session: &Arc<Session>) {
    let election = loop {
        match Election::join(Arc::clone(&session.store), session.router).await {
            Ok(election) => break election,
            Err(error) => debug!(%error, "can't stand for controller, trying again"),
        }
        sleep(RETRY_AFTER).await;
    };
    let mut leadership = election.leadership();
    loop {
        let elected = leadership.wait_for(|leadership| leadership.is_leader());
        if elected.await.is_err() {
            // The session is over, which others see as well.
            return std::future::pending().await;
        }
        info!(router = %session.router, "this router is the controller");
        let mut deposed = leadership.clone();
        let fence = leadership.borrow().fence();
        tokio::select! {
            biased;
            _ = deposed.wait_for(|leadership| !leadership.is_leader()) => {
                info!(router = %session.router, "this router is not the controller any more");
            }
            () = lead(state, session) => {}
            () = sweep::run(state, session, fence) => {}
        }
    }
}

/// Drives tables until it is dropped, and everything on the way with it.
async fn lead(state: &Arc<State>, session: &Arc<Session>) {
    let timing = &state.options.timing;
    let mut machine = Machine::new(Patience {
        creating_timeout: timing.creating_timeout,
        creating_poll: timing.creating_poll,
        destroy_timeout: timing.destroy_timeout,
    });
    let hands = Arc::new(Hands {
        state: Arc::clone(state),
        session: Arc::clone(session),
        room: Semaphore::new(MAX_TASKS),
        sealing: Timing {
            // A shard that can't be reached can't be sealed now: the machine tries again later.
            unreachable_patience: Duration::ZERO,
            ..timing.clone()
        },
    });
    let begin = Instant::now();
    let mut changes = state.directory.changes();
    changes.mark_changed();
    let mut tasks: JoinSet<Option<Event>> = JoinSet::new();
    loop {
        let wake_at = machine.wake_at();
        let wake = sleep_until(begin + wake_at.unwrap_or_default());
        let event = tokio::select! {
            biased;
            news = changes.changed() => match news {
                Ok(()) => known(state),
                Err(_) => return,
            },
            Some(done) = tasks.join_next() => match done {
                Ok(event) => event,
                Err(error) => {
                    warn!(%error, "a task of the controller has failed");
                    None
                }
            },
            () = wake, if wake_at.is_some() => Some(Event::Time),
        };
        let Some(event) = event else { continue };
        for effect in machine.step(begin.elapsed(), event) {
            debug!(?effect, "controller");
            tasks.spawn(Arc::clone(&hands).carry_out(effect));
        }
    }
}

/// What the directory knows of tables on their way. `None` before its first full read.
fn known(state: &State) -> Option<Event> {
    let snapshot = state.directory.snapshot();
    let on_their_way = snapshot
        .tables()
        .filter(|entry| entry.value.state != TableState::Available);
    snapshot.complete.then(|| Event::Known {
        tables: on_their_way.cloned().collect(),
        nodes: Known {
            live: snapshot.live.clone(),
            members: snapshot.members.keys().copied().collect(),
        },
    })
}

fn tell_of_waiting(table: TableId, shards: usize, nodes: &BTreeSet<NodeId>) {
    let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    warn!(%table, shards, nodes = nodes.join(", "),
        "a deletion waits for shards that are not sealed and whose nodes could still serve them: start these nodes, \
         or forget those that will never return");
}

/// What carries effects out.
struct Hands {
    state: Arc<State>,
    session: Arc<Session>,
    room: Semaphore,
    sealing: Timing,
}

impl Hands {
    /// Carries one effect out and says what came of it. `None`: it will show in the directory.
    async fn carry_out(self: Arc<Self>, effect: Effect) -> Option<Event> {
        if let Effect::Seal { shard } = effect {
            let sealed = self.seal(shard).await;
            return Some(Event::SealEnded { shard, sealed });
        }
        // Never closed.
        let _room = self.room.acquire().await;
        match effect {
            Effect::Seal { .. } => None,
            Effect::Poll { table, node } => Some(self.poll(table, node).await),
            Effect::Destroy { table, node } => Some(self.destroy(table, node).await),
            Effect::SetState {
                table,
                version,
                state,
            } => {
                let entry = self.entry(table, version);
                let set = match &entry {
                    Some(entry) => self.set_state(entry, state).await,
                    None => false,
                };
                (!set).then_some(Event::WriteFailed { table })
            }
            Effect::Remove {
                table,
                version,
                tombstones,
                forgotten,
            } => {
                let removed = match &self.entry(table, version) {
                    Some(entry) => self.remove(entry, &tombstones, &forgotten).await,
                    None => false,
                };
                (!removed).then_some(Event::WriteFailed { table })
            }
            Effect::Waits {
                table,
                shards,
                nodes,
            } => {
                tell_of_waiting(table, shards, &nodes);
                None
            }
        }
    }

    /// The table as the machine saw it, unless it has changed since.
    fn entry(&self, table: TableId, version: i32) -> Option<Arc<TableEntry>> {
        let snapshot = self.state.directory.snapshot();
        let entry = snapshot.by_id(table).cloned();
        entry.filter(|entry| entry.version == version)
    }

    async fn set_state(&self, entry: &TableEntry, to: TableState) -> bool {
        let name = &entry.value.name;
        match registry::set_table_state(&*self.session.store, entry, to).await {
            Ok(_) if to == TableState::Deleting => {
                warn!(table = %name, id = %entry.value.id, "the table got no leader for each of its shards in time: it is given up");
                true
            }
            Ok(_) => {
                info!(table = %name, id = %entry.value.id, state = %to, "the table has moved on");
                true
            }
            Err(error) => {
                debug!(table = %name, %error, "the table's state was not set");
                false
            }
        }
    }

    async fn remove(
        &self,
        entry: &TableEntry,
        tombstones: &BTreeSet<NodeId>,
        forgotten: &BTreeSet<NodeId>,
    ) -> bool {
        let name = &entry.value.name;
        let store = &*self.session.store;
        match registry::remove_table(store, entry, tombstones, forgotten).await {
            Ok(()) => {
                info!(table = %name, id = %entry.value.id, tombstones = tombstones.len(), "the table is removed");
                true
            }
            Err(error) => {
                debug!(table = %name, %error, "the table was not removed");
                false
            }
        }
    }

    async fn poll(&self, table: TableId, node: NodeId) -> Event {
        match self.state.describe_node(node, Some(table), false).await {
            Ok(answer) => {
                let leads = answer.replicas.iter().filter(|replica| {
                    replica.table == table.0 && replica.state() == ReplicaState::Leader
                });
                Event::Polled {
                    table,
                    node,
                    leads: leads.map(|replica| replica.shard).collect(),
                }
            }
            Err(reason) => {
                debug!(%table, %node, %reason, "a data node does not tell about its replicas");
                Event::PollFailed { table, node }
            }
        }
    }

    /// Seals a shard. False if it is not known to be sealed: nobody could do it, or nobody said so.
    async fn seal(&self, shard: ShardId) -> bool {
        let snapshot = self.state.directory.snapshot();
        let entry = snapshot.by_id(shard.table).cloned();
        drop(snapshot);
        let placed = entry
            .as_ref()
            .and_then(|entry| entry.value.shards.get(shard.index as usize));
        let Some(placed) = placed else {
            return false;
        };
        let means = Means {
            timing: &self.sealing,
            ..self.state.means()
        };
        let request = Request {
            kind: Kind::Write,
            shard,
            replicas: &placed.nodes,
            operation: operation::Kind::Seal(Seal {}),
            deadline: Instant::now() + self.sealing.seal_timeout,
        };
        // One of the nodes has destroyed its replica, so the others may be too few. They are asked again later.
        let destroyed = async || {
            let error = api::Error::new(Reason::ShardNotHosted, "destroyed already");
            Reread::Gone(error)
        };
        match means.run(request, destroyed).await {
            End::Answer(Ok(_)) => true,
            End::Answer(Err(error)) => {
                debug!(%shard, reason = %error, "the shard can't be sealed now");
                false
            }
            End::Restart => false,
        }
    }

    async fn destroy(&self, table: TableId, node: NodeId) -> Event {
        let failed = Event::DestroyFailed { table, node };
        // Another node at the same address would confirm that it holds nothing.
        if let Err(reason) = self.state.describe_node(node, Some(table), true).await {
            debug!(%table, %node, %reason, "a data node can't destroy its replicas now");
            return failed;
        }
        let timeout = self.state.options.timing.destroy_timeout;
        let ask = async |mut client: links::Client| {
            client.destroy(DestroyRequest { table: table.0 }).await
        };
        match self.state.nodes.call(node, timeout, ask).await {
            Ok(answer) if answer.destroyed => Event::Destroyed { table, node },
            Ok(_) => failed,
            Err(status) => {
                debug!(%table, %node, reason = status.message(), "a data node did not destroy its replicas");
                failed
            }
        }
    }
}
