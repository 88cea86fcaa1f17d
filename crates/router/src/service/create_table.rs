//! `Tables.CreateTable`: records the table, then waits until the controller has made it available.
//!
//! The record is the point from which the table goes its way without this router: whether the caller, or the
//! router, still waits makes no difference to it.

use std::sync::Arc;
use std::time::Duration;

use api::v1::{CreateTableRequest, TableDescription};
use api::{Error, Reason, convert};
use coordination::registry::{self, Creation};
use model::limits::REPLICAS;
use model::{Table, TableId, TableName, TableState};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, timeout_at};

use crate::directory::{TableEntry, read, unavailable};
use crate::placement::{self, Candidate};
use crate::state::{Session, State};

/// Before a name that was taken is looked at again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Creates a table and returns once it is available.
pub(crate) async fn create_table(
    state: &State,
    request: CreateTableRequest,
    deadline: Instant,
) -> Result<TableDescription, Error> {
    let name = convert::table_name("name", &request.name)?;
    let shards = convert::shard_count(request.shards)?;
    check_replicas(request.replicas, state.options.allow_single_replica)?;
    let session = state.connected()?;
    let record = record(state, &session, &name, shards, request.replicas);
    let id = match timeout_at(deadline, record).await {
        Ok(id) => id?,
        Err(_) => {
            return Err(Error::outcome_unknown(format_args!(
                "the coordination store did not confirm table {name} in time"
            )));
        }
    };
    let entry = available(state, &name, id, deadline).await?;
    Ok(super::describe_table::describe(state, &entry).await)
}

fn check_replicas(replicas: u32, allow_single: bool) -> Result<(), Error> {
    if REPLICAS.contains(&replicas) || (allow_single && replicas == 1) {
        return Ok(());
    }
    let message = if replicas == 1 {
        "1 replica is only for a cluster of one data node (dev --nodes 1): take 3 or 5".to_owned()
    } else {
        format!("a table has 3 or 5 replicas, not {replicas}")
    };
    Err(Error::invalid("replicas", message))
}

/// Draws the placement and records the table.
async fn record(
    state: &State,
    session: &Session,
    name: &TableName,
    shards: u32,
    replicas: u32,
) -> Result<TableId, Error> {
    let store = &*session.store;
    read::sync(store).await.map_err(unavailable)?;
    let mut last_owner = None;
    loop {
        let existing = registry::find_table(store, name).await;
        if let Some(existing) = existing.map_err(unavailable)? {
            return Err(taken(&existing));
        }
        let cluster = registry::read_cluster(store).await.map_err(unavailable)?;
        let cluster = cluster.ok_or_else(|| unavailable("it has lost the cluster's identity"))?;
        let candidates = candidates(session).await?;
        // Drawn after the version of /cluster was read, and again if that has moved.
        let id = TableId(rand::random());
        let mut random = StdRng::seed_from_u64(rand::random());
        let placed = placement::place(&candidates, shards, replicas, &mut random);
        let placed = placed.map_err(|error| {
            Error::new(
                Reason::TooFewNodes,
                format!("{error}: start more data nodes"),
            )
            .with("table", name)
        })?;
        let table = Table {
            id,
            name: name.clone(),
            state: TableState::Creating,
            never_available: false,
            replicas,
            created_millis: state.now_millis(),
            shards: placed,
        };
        match registry::create_table(store, &table, cluster.version).await {
            Ok(Creation::Created) => return Ok(id),
            // Looked at again, above: by now it may have gone.
            Ok(Creation::NameTaken(owner)) if last_owner != Some(owner) => {
                last_owner = Some(owner);
                sleep(LOOK_AGAIN_AFTER).await;
            }
            Ok(Creation::NameTaken(owner)) => return Err(held_by_no_table(name, owner)),
            Ok(Creation::ClusterMoved) => {}
            Err(error) if error.outcome_unknown() => return Err(Error::outcome_unknown(error)),
            Err(error) => return Err(unavailable(error)),
        }
    }
}

/// A name and its table come and go at once, unless somebody has removed the table's record by hand.
fn held_by_no_table(name: &TableName, owner: TableId) -> Error {
    let message = format!(
        "the name {name} belongs to table {owner}, whose record the coordination store has lost: list it again with \
         keep-quarantined, or remove the znode /names/{name}"
    );
    Error::new(Reason::TableAlreadyExists, message).with("table", name)
}

fn taken(existing: &TableEntry) -> Error {
    let name = &existing.value.name;
    match existing.value.state {
        TableState::Creating | TableState::Available => Error::new(
            Reason::TableAlreadyExists,
            format!("a table {name} exists already ({})", existing.value.state),
        ),
        TableState::Deleting => Error::new(
            Reason::TableNotReady,
            format!("table {name} is still being deleted: try again in a moment"),
        ),
    }
    .with("table", name)
}

/// The nodes that are alive, with their zones.
async fn candidates(session: &Session) -> Result<Vec<Candidate>, Error> {
    let store = &*session.store;
    let (live, members) = tokio::try_join!(
        registry::read_live_nodes(store),
        registry::read_members(store)
    )
    .map_err(unavailable)?;
    let candidates = live.entries.into_keys().filter_map(|node| {
        // A node that is alive but no member could not be found by anybody.
        let member = members.entries.get(&node)?;
        Some(Candidate {
            node,
            zone: member.value.zone.clone(),
        })
    });
    Ok(candidates.collect())
}

/// Waits until the table is available.
async fn available(
    state: &State,
    name: &TableName,
    id: TableId,
    deadline: Instant,
) -> Result<Arc<TableEntry>, Error> {
    let mut changes = state.directory.changes();
    // Puts it into the directory. If the store can't be reached now, a watch will do that.
    let mut known = state
        .directory
        .look_up(name.clone(), deadline)
        .await
        .is_ok();
    loop {
        changes.borrow_and_update();
        let entry = state.directory.snapshot().by_id(id).cloned();
        match entry.map(|entry| (entry.value.state, entry)) {
            Some((TableState::Available, entry)) => return Ok(entry),
            Some((TableState::Creating, _)) => known = true,
            Some((TableState::Deleting, _)) => return Err(given_up(name)),
            None if known => return Err(given_up(name)),
            None => {}
        }
        if timeout_at(deadline, changes.changed()).await.is_err() {
            return Err(Error::new(
                Reason::TableNotReady,
                format!("table {name} is still being created: describe it to see how far it is"),
            )
            .with("table", name));
        }
    }
}

fn given_up(name: &TableName) -> Error {
    Error::new(
        Reason::TooFewNodes,
        format!(
            "table {name} was given up: not all its shards got a leader in time, or somebody deleted it; see that enough data nodes are alive, then create it again"
        ),
    )
    .with("table", name)
}
