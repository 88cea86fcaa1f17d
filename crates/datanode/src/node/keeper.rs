//! The keeper of a node: its registration with the coordination store, and the convergence towards what that wants.
//!
//! It lives outside of the data path. When the coordination store is away, the keeper waits and everything that serves goes on
//! serving; when a session is lost, it starts another one and compares everything anew.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use coordination::records::{LiveNodeRecord, MemberRecord, Tenure};
use coordination::registry;
use coordination::tree::Node;
use coordination::{Change, Connect, Coordination, SharedCoordination, Watch};
use environment::Network;
use model::{ClusterId, NodeId, TableId, TableState};
use tokio::sync::{mpsc, oneshot, watch};

use super::claim::Claim;
use super::data_dir::{DataDir, DataDirError};
use super::original::other_process;
use super::plan::{Wanted, plan};
use super::replicas::Replicas;
use super::tenure::{self, Refusal};
use crate::forward::Forwarder;
use crate::health::Health;
use crate::peers::Peers;

/// After a failure, before the next attempt.
const RETRY: Duration = Duration::from_millis(500);
/// What takes longer is remarked upon.
const REMARK: Duration = Duration::from_secs(1);
/// What is held is compared with what is wanted at least so often.
const COMPARE: Duration = Duration::from_mins(1);
/// How long a live node of the same id at another place is waited for: longer than any session lives on.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a node that can't be registered says of itself.
const CLAIMING: &str = "it is not registered yet: the coordination store does not answer, or another process is \
                        registered as this node and is waited for until its session ends";

/// A question to the keeper: destroy what there is of a table, if its deletion was decided.
pub(super) type DestroyRequest = (TableId, oneshot::Sender<bool>);

/// See the [module](self).
pub(super) struct Keeper {
    pub(super) coordination: Arc<dyn Connect>,
    pub(super) data_dir: DataDir,
    /// With the tenure of this process, once that has begun.
    pub(super) member: MemberRecord,
    pub(super) live: LiveNodeRecord,
    pub(super) replicas: Replicas,
    pub(super) network: Arc<dyn Network>,
    pub(super) peers: Arc<Peers>,
    pub(super) forwarder: Forwarder,
    pub(super) health: watch::Sender<Health>,
    pub(super) destroy: mpsc::Receiver<DestroyRequest>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) wanted: Wanted,
    /// Those of the tombstones that are of tables that were never available, as far as the store knew.
    pub(super) undone: BTreeSet<TableId>,
    /// Where the nodes are.
    pub(super) members: BTreeMap<NodeId, String>,
    /// This process has begun its tenure: it was registered as alive in some session, and is the node until it is told
    /// otherwise.
    pub(super) was_registered: bool,
}

/// Why a session has ended.
enum End {
    /// The node is to stop.
    Stopped,
    /// It goes on with another session.
    Lost(String),
    /// The node can't go on.
    Fatal(String),
}

impl From<coordination::Error> for End {
    fn from(error: coordination::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

impl From<registry::Error> for End {
    fn from(error: registry::Error) -> Self {
        match error {
            registry::Error::NodeAlive { .. } => Self::Fatal(error.to_string()),
            other => Self::Lost(other.to_string()),
        }
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Fatal(refusal.to_string())
    }
}

impl From<DataDirError> for End {
    fn from(error: DataDirError) -> Self {
        Self::Fatal(error.to_string())
    }
}

impl Keeper {
    /// Keeps the node until it is to stop. An error is why it can't go on.
    pub(super) async fn run(mut self) -> Result<(), String> {
        loop {
            let end = match self.connect().await {
                Ok(session) => {
                    let end = self.hold(&session).await;
                    session.close().await;
                    end
                }
                Err(end) => end,
            };
            match end {
                End::Stopped => return Ok(()),
                End::Fatal(reason) => return Err(reason),
                End::Lost(reason) => {
                    remark(
                        &self.health,
                        &format!("no session with the coordination store: {reason}"),
                    );
                }
            }
            if self.pause().await {
                return Ok(());
            }
        }
    }

    async fn connect(&mut self) -> Result<SharedCoordination, End> {
        let session = self.coordination.connect();
        let waiting = "the coordination store does not answer";
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => Err(End::Stopped),
            session = patiently(&self.health, waiting, session) => Ok(session?),
            never = refuse(&mut self.destroy) => match never {},
        }
    }

    /// Waits a little; true if the node is to stop.
    async fn pause(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => true,
            () = tokio::time::sleep(RETRY) => false,
            never = refuse(&mut self.destroy) => match never {},
        }
    }

    /// Registers with a session and keeps in step until it ends.
    async fn hold(&mut self, session: &SharedCoordination) -> End {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => End::Stopped,
            end = self.keep_in_step(session) => match end {
                Ok(()) => End::Lost("the watch has ended".to_owned()),
                Err(end) => end,
            },
        }
    }

    async fn keep_in_step(&mut self, session: &SharedCoordination) -> Result<(), End> {
        let store: &dyn Coordination = &**session;
        let cluster = self.cluster(store).await?;
        self.data_dir.join(cluster)?;
        // Before the first look, so that nothing is missed between the two.
        let mut watches = Watches {
            tables: store.watch(&Node::Tables.path()).await?,
            members: store.watch(&Node::Members.path()).await?,
            deleted: store.watch(&Node::Deleted.path()).await?,
            ourselves: store.watch(&Node::Live(self.member.id).path()).await?,
        };
        let mut claim = Claim::begin(session.clone(), self.live.clone(), PATIENCE);
        // A copy of the directory is found out before it could take the original's address or speak for it. The wait for
        // an old session may be long, so it is looked for again after it.
        if self.was_registered {
            self.keep_place(store).await?;
        } else {
            self.look_for_original(store).await?;
            self.first_claim(&mut claim).await?;
            self.look_for_original(store).await?;
            self.begin_tenure(store).await?;
            tracing::info!(node = %self.member.id, "registered");
        }
        self.read_members(store).await?;
        self.read_tables(store, Change::Everything).await?;
        self.converge(store).await?;
        if claim.is_settled() {
            self.health.send_replace(Health::ready(""));
        }
        let mut compare = tokio::time::interval(COMPARE);
        compare.reset();
        loop {
            tokio::select! {
                biased;
                change = watches.tables.changed() => {
                    self.read_tables(store, change?).await?;
                    self.converge(store).await?;
                }
                change = watches.deleted.changed() => {
                    change?;
                    self.converge(store).await?;
                }
                // Taken away by hand, or replaced by an earlier session's registration that has landed late and goes
                // with that session. While we are here, so is it.
                change = watches.ourselves.changed() => {
                    change?;
                    claim.renew();
                }
                change = watches.members.changed() => {
                    change?;
                    // The same holds for our own address.
                    self.keep_place(store).await?;
                    self.read_members(store).await?;
                }
                Some((table, answer)) = self.destroy.recv() => {
                    let destroyed = self.destroy_table(store, table).await;
                    let _ = answer.send(destroyed?);
                }
                claimed = patiently(&self.health, CLAIMING, claim.settled()), if !claim.is_settled() => {
                    claimed?;
                    tracing::info!(node = %self.member.id, "the registration stands");
                    self.health.send_replace(Health::ready(""));
                }
                // With what the watches have told, so that a steady cluster reads nothing: this is for what
                // could not be carried out before, not for what was missed.
                _ = compare.tick() => {
                    self.compare().await?;
                }
            }
        }
    }

    /// Waits until this process is registered for the first time. Until then it has nothing to say about tables.
    async fn first_claim(&mut self, claim: &mut Claim) -> Result<(), End> {
        tokio::select! {
            biased;
            claimed = patiently(&self.health, CLAIMING, claim.settled()) => Ok(claimed?),
            never = refuse(&mut self.destroy) => match never {},
        }
    }

    /// Which cluster the store is of. One that has lost it is not made anew by a node that has joined one: it is to be
    /// restored.
    async fn cluster(&self, store: &dyn Coordination) -> Result<ClusterId, End> {
        let Some(own) = self.data_dir.cluster() else {
            return Ok(registry::initialise(store).await?);
        };
        match registry::read_cluster(store).await? {
            Some(found) => Ok(found.value.cluster_id),
            None => Err(End::Lost(format!(
                "it is empty, and this node belongs to cluster {own}: restore it from a backup"
            ))),
        }
    }

    /// Looks whether this process may be the node; see [`tenure`]. An error says why not.
    async fn look_for_original(&self, store: &dyn Coordination) -> Result<u64, End> {
        let recorded = registry::read_member(store, self.member.id).await?;
        // The one that runs first, because that is the better reason.
        if let Some(recorded) = &recorded
            && let Some(other) = other_process(&self.network, recorded, &self.live).await
        {
            return Err(End::Fatal(other.to_string()));
        }
        Ok(tenure::begin(self.data_dir.tenures(), recorded.as_ref())?)
    }

    /// Becomes the node, and tells the others where it is.
    async fn begin_tenure(&mut self, store: &dyn Coordination) -> Result<(), End> {
        let recorded = registry::read_member(store, self.member.id).await?;
        let tenure = Tenure {
            number: tenure::begin(self.data_dir.tenures(), recorded.as_ref())?,
            incarnation: self.live.incarnation,
        };
        self.data_dir.begin_tenure(tenure)?;
        let own = MemberRecord {
            tenure: Some(tenure),
            ..self.member.clone()
        };
        let tenures = self.data_dir.tenures();
        let mut obstacle = None;
        let begun = registry::change_member(store, own.id, |found| {
            if found.and_then(|found| found.tenure) == own.tenure {
                return None;
            }
            // What was judged above is not what stands there now, unless it is.
            let judged = found == recorded.as_ref();
            if !judged {
                obstacle = Some(tenure::begin(tenures, found).err());
            }
            judged.then(|| own.clone())
        });
        begun.await?;
        match obstacle {
            None => {}
            Some(Some(refusal)) => return Err(refusal.into()),
            Some(None) => return Err(End::Lost("its record of this node has changed".to_owned())),
        }
        self.data_dir.hold_tenure(tenure)?;
        self.member = own;
        self.was_registered = true;
        Ok(())
    }

    /// Sees to it that the record of this node tells where it is, and names this process. A damaged record is a person's
    /// to mend or remove, which is noticed here; what this node holds it serves meanwhile.
    async fn keep_place(&self, store: &dyn Coordination) -> Result<(), End> {
        let own = &self.member;
        let mut refused = None;
        let kept = registry::change_member(store, own.id, |found| {
            let next = tenure::go_on(own, found).unwrap_or_else(|refusal| {
                refused = Some(refusal);
                None
            });
            if next.as_ref().is_some_and(|next| next.void_to.is_some()) {
                let other = found.map(|found| found.address.clone());
                tracing::warn!(
                    ?other,
                    "a copy of the data directory was started while this node ran; it has to end"
                );
            }
            next
        });
        match (kept.await, refused) {
            (_, Some(refusal)) => Err(refusal.into()),
            (Err(registry::Error::Record(error)), None) => {
                tracing::warn!(%error, "the others can't be told where this node is");
                Ok(())
            }
            (kept, None) => Ok(kept?),
        }
    }

    async fn read_members(&mut self, store: &dyn Coordination) -> Result<(), End> {
        let listing = registry::read_members(store).await?;
        // Where somebody was is better than nothing while a record is damaged.
        self.members
            .retain(|&id, _| listing.is_unreadable(&Node::Member(id)));
        let members = listing.entries.into_iter();
        self.members
            .extend(members.map(|(id, member)| (id, member.value.address)));
        self.peers.set_members(&self.members);
        self.forwarder.set_members(&self.members);
        Ok(())
    }

    async fn read_tables(&mut self, store: &dyn Coordination, change: Change) -> Result<(), End> {
        let Change::Paths(paths) = change else {
            return self.read_all_tables(store).await;
        };
        let changed = paths.iter().filter_map(|path| match Node::parse(path) {
            Ok(Node::Table(table)) => Some(table),
            _ => None,
        });
        for table in changed {
            match registry::read_table(store, table).await {
                Ok(Some(record)) => {
                    self.wanted.unreadable.remove(&table);
                    self.wanted.tables.insert(table, record.value);
                }
                Ok(None) => {
                    self.wanted.unreadable.remove(&table);
                    self.wanted.tables.remove(&table);
                }
                Err(registry::Error::Record(error)) => {
                    tracing::warn!(%error, "a table's record can't be read; its replicas stay as they are");
                    self.wanted.tables.remove(&table);
                    self.wanted.unreadable.insert(table);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn read_all_tables(&mut self, store: &dyn Coordination) -> Result<(), End> {
        let listing = registry::read_tables(store).await?;
        let tables = listing
            .entries
            .into_iter()
            .map(|(id, table)| (id, table.value));
        self.wanted.tables = tables.collect();
        let unreadable =
            listing
                .unreadable
                .iter()
                .filter_map(|error| match Node::parse(&error.path) {
                    Ok(Node::Table(table)) => Some(table),
                    _ => None,
                });
        self.wanted.unreadable = unreadable.collect();
        Ok(())
    }

    /// Looks for tombstones, does what there is to do, and confirms what is gone.
    async fn converge(&mut self, store: &dyn Coordination) -> Result<(), End> {
        let found = registry::read_tombstones(store).await?;
        let ours = found
            .iter()
            .filter(|(_, nodes)| nodes.contains(&self.member.id));
        let ours: Vec<TableId> = ours.map(|(table, _)| *table).collect();
        self.wanted.tombstones.clear();
        for table in ours {
            self.read_tombstone(store, table).await?;
        }
        let confirm = self.compare().await?;
        for table in confirm {
            registry::confirm_destroyed(store, table, self.member.id).await?;
        }
        // What a node that died while it confirmed has left: that node has no tombstone to come back to.
        registry::sweep_tombstones(store, &found).await?;
        Ok(())
    }

    /// Takes a tombstone of ours in, and what it says of its table.
    async fn read_tombstone(
        &mut self,
        store: &dyn Coordination,
        table: TableId,
    ) -> Result<(), End> {
        let undone = if self.replicas.of_table(table).is_empty() {
            false
        } else {
            match registry::is_undone(store, table, self.member.id).await {
                Ok(undone) => undone,
                Err(registry::Error::Record(error)) => {
                    tracing::warn!(%error, "a tombstone can't be read: remove it, or empty it to have the replicas destroyed");
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.wanted.tombstones.insert(table);
        if undone {
            self.undone.insert(table);
        } else {
            self.undone.remove(&table);
        }
        Ok(())
    }

    /// Compares what is held with what is known to be wanted.
    async fn compare(&mut self) -> Result<BTreeSet<TableId>, End> {
        // A disk that fails here fails for the replicas too, and they stop for their own reasons.
        let spared = self.spared().await.map_err(End::Lost)?;
        for table in spared.difference(&self.wanted.spared) {
            tracing::error!(%table, "the creation of this table was undone, but it has been in use: its replicas are quarantined \
                and not destroyed; see `minidynamo list-quarantined`");
        }
        self.wanted.spared = spared;
        let plan = plan(self.member.id, &self.wanted, &self.replicas.standings());
        let done = self.replicas.carry_out(&plan, &self.wanted.tables).await;
        done.map_err(End::Lost)?;
        Ok(plan.confirm)
    }

    /// The tables that are to go as ones that were never available, and that clients have used all the same.
    async fn spared(&mut self) -> Result<BTreeSet<TableId>, String> {
        self.undone
            .retain(|table| self.wanted.tombstones.contains(table));
        let deleting = self.wanted.tables.values();
        let deleting = deleting
            .filter(|table| table.state == TableState::Deleting && table.never_available)
            .map(|table| table.id);
        let undone: BTreeSet<TableId> = deleting.chain(self.undone.iter().copied()).collect();
        self.replicas.used(undone).await
    }

    /// Destroys what there is of a table if the coordination store says that its deletion was decided. True: there is nothing
    /// left that would ever serve.
    async fn destroy_table(
        &mut self,
        store: &dyn Coordination,
        table: TableId,
    ) -> Result<bool, End> {
        store.sync(&Node::Table(table).path()).await?;
        let undone = match registry::read_table(store, table).await? {
            Some(record) if record.value.state == TableState::Deleting => {
                let undone = record.value.never_available;
                // What is known may be older than what was just read, and there may be no tombstone for what was made after
                // this.
                self.wanted.unreadable.remove(&table);
                self.wanted.tables.insert(table, record.value);
                undone
            }
            Some(_) => return Ok(false),
            None => {
                let ours = registry::tombstones_of(store, self.member.id).await?;
                if !ours.contains(&table) {
                    return Ok(false);
                }
                self.read_tombstone(store, table).await?;
                if !self.wanted.tombstones.contains(&table) {
                    return Ok(false);
                }
                self.undone.contains(&table)
            }
        };
        let mut rest = self.replicas.of_table(table);
        if undone {
            self.compare().await?;
            rest = self.replicas.of_table(table);
            if self.wanted.spared.contains(&table) {
                rest = &rest - &self.replicas.kept_out_of(table);
            }
        }
        self.replicas.destroy(&rest).await.map_err(End::Lost)?;
        Ok(true)
    }
}

/// Without a session nobody can say that a deletion was decided.
async fn refuse(requests: &mut mpsc::Receiver<DestroyRequest>) -> Infallible {
    while let Some((_, answer)) = requests.recv().await {
        let _ = answer.send(false);
    }
    std::future::pending().await
}

/// Does what may take long; says what it waits for if it does.
async fn patiently<T>(
    health: &watch::Sender<Health>,
    waiting_for: &str,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(REMARK, &mut work).await {
        return done;
    }
    remark(health, waiting_for);
    work.await
}

/// Says what is wrong. A node that was ready stays so: what it holds it serves.
fn remark(health: &watch::Sender<Health>, reason: &str) {
    health.send_if_modified(|health| {
        let changed = health.reason != reason;
        if changed {
            tracing::warn!(reason, "waiting for the coordination store");
            reason.clone_into(&mut health.reason);
        }
        changed
    });
}

struct Watches {
    tables: Watch,
    members: Watch,
    deleted: Watch,
    ourselves: Watch,
}
