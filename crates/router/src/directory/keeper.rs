//! The one task that keeps the copy in step with the coordination store, for one session.
//!
//! It watches `/tables`, `/members` and `/nodes`, remembers what may have changed in [`Dirty`], and reads just
//! that. What could not be read stays dirty and is tried again. Look-ups of names are answered in between,
//! all that have gathered with one `sync`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coordination::registry::{self, Error};
use coordination::tree::Node;
use coordination::{Change, Coordination, SessionState};
use model::{TableId, TableName};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::{Directory, Found, Lookup, read, unavailable};
use crate::attempt::leaders::Leaders;
use links::Nodes;

/// Before a failed read is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Who wants to know what of the copy.
#[derive(Debug)]
pub(crate) struct Keeper<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) nodes: &'a Nodes,
    pub(crate) leaders: &'a Leaders,
}

/// What may differ between the copy and the store.
#[derive(Debug, Default)]
struct Dirty {
    all_tables: bool,
    tables: BTreeSet<TableId>,
    /// Few and small: read together.
    members: bool,
    live: bool,
}

impl Dirty {
    fn everything() -> Self {
        Self {
            all_tables: true,
            members: true,
            live: true,
            tables: BTreeSet::new(),
        }
    }

    fn is_empty(&self) -> bool {
        !(self.all_tables || self.members || self.live) && self.tables.is_empty()
    }

    /// Takes note of a change below `parent`.
    fn note(&mut self, parent: &Node, change: Change) {
        match (parent, change) {
            (Node::Members, _) => self.members = true,
            (Node::Nodes, _) => self.live = true,
            (_, Change::Everything) => self.all_tables |= !mutant!(ReconnectUnread),
            (_, Change::Paths(paths)) => {
                let tables = paths.iter().filter_map(|path| match Node::parse(path) {
                    Ok(Node::Table(id)) => Some(id),
                    // The parent itself is made once and never changes.
                    Ok(_) | Err(_) => None,
                });
                self.tables.extend(tables);
            }
        }
    }
}

impl Keeper<'_> {
    /// Keeps the copy in step until the session has ended. `complete` is called after the first full read.
    pub(crate) async fn run(&self, store: Arc<dyn Coordination>, complete: impl Fn()) -> Error {
        let lookups = self.directory.appoint();
        let end = self.keep(&*store, lookups, complete).await;
        self.directory.dismiss();
        end
    }

    async fn keep(
        &self,
        store: &dyn Coordination,
        mut lookups: mpsc::Receiver<Lookup>,
        complete: impl Fn(),
    ) -> Error {
        let watches = tokio::try_join!(
            watch(store, &Node::Tables),
            watch(store, &Node::Members),
            watch(store, &Node::Nodes),
        );
        let (mut tables, mut members, mut live) = match watches {
            Ok(watches) => watches,
            Err(error) => return error.into(),
        };
        let mut dirty = Dirty::everything();
        let mut retry_at = Instant::now();
        let mut failed = false;
        loop {
            if !dirty.is_empty() && Instant::now() >= retry_at {
                match self.refresh(store, &mut dirty).await {
                    Ok(()) => {
                        failed = false;
                        complete();
                    }
                    Err(Error::Store(coordination::Error::SessionExpired)) => {
                        return coordination::Error::SessionExpired.into();
                    }
                    Err(error) => {
                        if !failed && !error.is_transient() {
                            warn!(%error, "the coordination store can't be read: what is known of it stays");
                        }
                        failed = true;
                        retry_at = Instant::now() + RETRY_AFTER;
                    }
                }
            }
            let waits = !dirty.is_empty();
            let (parent, change) = tokio::select! {
                biased;
                change = tables.changed() => (Node::Tables, change),
                change = members.changed() => (Node::Members, change),
                change = live.changed() => (Node::Nodes, change),
                Some(lookup) = lookups.recv() => {
                    self.look_up(store, lookup, &mut lookups).await;
                    continue;
                }
                () = sleep_until(retry_at), if waits => continue,
            };
            match change {
                Ok(change) => dirty.note(&parent, change),
                Err(error) => return error.into(),
            }
        }
    }

    /// Reads what may have changed and publishes it.
    async fn refresh(&self, store: &dyn Coordination, dirty: &mut Dirty) -> Result<(), Error> {
        let mut snapshot = (**self.directory.snapshot()).clone();
        if dirty.all_tables {
            let listing = registry::read_tables(store).await?;
            snapshot.set_tables(listing.entries.into_values().map(Arc::new));
        } else {
            let ids: Vec<TableId> = dirty.tables.iter().copied().collect();
            let mut read = read::tables(store, ids.clone()).await?;
            for id in ids {
                snapshot.set_table(id, read.remove(&id));
            }
        }
        if dirty.members {
            let listing = registry::read_members(store).await?;
            // Where somebody was is better than nothing while a record is damaged.
            snapshot
                .members
                .retain(|&node, _| listing.is_unreadable(&Node::Member(node)));
            let entries = listing.entries.into_iter();
            snapshot
                .members
                .extend(entries.map(|(node, member)| (node, member.value)));
        }
        if dirty.live {
            let listing = registry::read_live_nodes(store).await?;
            snapshot.live = listing.entries.into_keys().collect();
        }
        if dirty.all_tables || !dirty.tables.is_empty() {
            self.leaders
                .retain(|shard| snapshot.by_id(shard.table).is_some());
        }
        *dirty = Dirty::default();
        snapshot.complete = true;
        let members = snapshot.members.values();
        self.nodes
            .set_members(members.map(|member| (member.id, member.address.as_str())));
        self.directory.publish(snapshot);
        Ok(())
    }

    /// Answers this look-up and all others that wait.
    async fn look_up(
        &self,
        store: &dyn Coordination,
        first: Lookup,
        lookups: &mut mpsc::Receiver<Lookup>,
    ) {
        let mut waiting: BTreeMap<TableName, Vec<oneshot::Sender<Found>>> = BTreeMap::new();
        let mut next = Some(first);
        while let Some(Lookup { name, reply }) = next {
            waiting.entry(name).or_default().push(reply);
            next = lookups.try_recv().ok();
        }
        let session = *store.session().borrow();
        let synced = match session {
            SessionState::Connected { .. } => read::sync(store).await,
            SessionState::Disconnected => Err(coordination::Error::ConnectionLoss.into()),
            SessionState::Expired => Err(coordination::Error::SessionExpired.into()),
        };
        for (name, replies) in waiting {
            let found = match &synced {
                Ok(()) => self.read_name(store, &name).await,
                Err(error) => Err(unavailable(error)),
            };
            for reply in replies {
                // Who asked may have given up.
                let _ = reply.send(found.clone());
            }
        }
    }

    /// Reads the table of a name, takes it into the copy, and returns it.
    async fn read_name(&self, store: &dyn Coordination, name: &TableName) -> Found {
        let found = match registry::find_table(store, name).await {
            Ok(found) => found.map(Arc::new),
            Err(Error::Record(error)) => {
                return Err(api::Error::new(api::Reason::Corruption, error.to_string()));
            }
            Err(error) => return Err(unavailable(error)),
        };
        let current = self.directory.snapshot();
        let known = current.by_name(name.as_str());
        if known != found.as_ref() {
            let mut snapshot = (**current).clone();
            match (&found, known) {
                (Some(entry), _) => snapshot.set_table(entry.value.id, Some(Arc::clone(entry))),
                (None, Some(known)) => snapshot.set_table(known.value.id, None),
                (None, None) => {}
            }
            self.directory.publish(snapshot);
        }
        Ok(found)
    }
}

async fn watch(
    store: &dyn Coordination,
    root: &Node,
) -> Result<coordination::Watch, coordination::Error> {
    loop {
        match store.watch(&root.path()).await {
            Err(error) if error.is_transient() => {
                debug!(%error, "watching the coordination store failed, trying again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            watch => return watch,
        }
    }
}
