//! `Cluster.KeepQuarantined`: a table that the coordination store has lost is listed again.

use std::collections::BTreeSet;
use std::time::Duration;

use api::v1::{KeepQuarantinedRequest, ReplicaState, TableDescription};
use api::{Error, Reason, convert};
use coordination::registry::{self, Restoration};
use model::{NodeId, TableId, TableName, TableState};
use tokio::time::{Instant, sleep, timeout_at};

use super::describe_table::describe;
use super::drop_quarantined::not_quarantined;
use super::ids;
use super::quarantined::{DELETED, survey, table_of};
use crate::directory::{TableEntry, read, unavailable};
use crate::state::{Session, State};

/// Between two looks for leaders.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Lists the table and returns once each shard has a leader, or when the deadline passes: listed it is then.
pub(crate) async fn keep_quarantined(
    state: &State,
    request: KeepQuarantinedRequest,
    deadline: Instant,
) -> Result<TableDescription, Error> {
    let id = ids::table("table_id", &request.table_id)?;
    let name = match request.name.as_str() {
        "" => None,
        name => Some(convert::table_name("name", name)?),
    };
    let session = state.connected()?;
    let kept = match timeout_at(deadline, keep(state, &session, id, name.as_ref())).await {
        Ok(kept) => kept?,
        Err(_) => {
            return Err(Error::outcome_unknown(format_args!(
                "the coordination store did not confirm in time that table {id} is listed"
            )));
        }
    };
    loop {
        let description = describe(state, &kept).await;
        let led = description.shards.iter().all(|shard| {
            let mut replicas = shard.replicas.iter();
            replicas.any(|replica| replica.state() == ReplicaState::Leader)
        });
        if led || Instant::now() + LOOK_EVERY >= deadline {
            return Ok(description);
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn keep(
    state: &State,
    session: &Session,
    id: TableId,
    name: Option<&TableName>,
) -> Result<TableEntry, Error> {
    let store = &*session.store;
    loop {
        read::sync(store).await.map_err(unavailable)?;
        let listed = registry::read_table(store, id).await;
        if let Some(listed) = listed.map_err(unavailable)? {
            return already(listed, name);
        }
        // Before the nodes are asked: if a table is removed after that, what they said is void.
        let cluster = registry::read_cluster(store).await.map_err(unavailable)?;
        let cluster = cluster.ok_or_else(|| unavailable("it has lost the cluster's identity"))?;
        let found = survey(state, session, Some(id)).await?;
        let replicas = found.tables.get(&id);
        let replicas = replicas.ok_or_else(|| not_quarantined(id, &found))?;
        if let Some(nodes) = found.removed.get(&id) {
            return Err(removed(id, nodes));
        }
        let table = table_of(id, name, replicas, &found.live)?;
        match registry::restore_table(store, &table, cluster.version).await {
            // Nothing that fails from now on may say that it was not done.
            Ok(Restoration::Restored) => {
                return Ok(TableEntry {
                    value: table,
                    version: 0,
                });
            }
            // Found above.
            Ok(Restoration::Listed) => {}
            Ok(Restoration::ClusterMoved) => sleep(LOOK_EVERY).await,
            Ok(Restoration::NameTaken(owner)) => return Err(taken(id, &table.name, owner)),
            Ok(Restoration::Removed(nodes)) => return Err(removed(id, &nodes)),
            Ok(Restoration::Undone(nodes)) => return Err(undone(id, &nodes)),
            Err(error) if error.outcome_unknown() => return Err(Error::outcome_unknown(error)),
            Err(error) => return Err(unavailable(error)),
        }
    }
}

/// A table that is listed is what was asked for, if its name is.
fn already(listed: TableEntry, name: Option<&TableName>) -> Result<TableEntry, Error> {
    let table = &listed.value;
    let refuse = |reason, what: &str| {
        let message = format!("table {} is listed as `{}`{what}", table.id, table.name);
        Err(Error::new(reason, message).with("table", &table.name))
    };
    if table.state == TableState::Deleting {
        return refuse(Reason::TableNotReady, " and is being deleted");
    }
    if name.is_some_and(|name| *name != table.name) {
        return refuse(Reason::TableAlreadyExists, " already");
    }
    Ok(listed)
}

fn taken(id: TableId, name: &TableName, owner: TableId) -> Error {
    let message = if id == owner {
        format!(
            "the name {name} is this table's, and its record is gone, so somebody has removed that alone: remove the znode \
             /names/{name} as well and try again"
        )
    } else {
        format!("the name {name} belongs to table {owner}: give another one with --name")
    };
    Error::new(Reason::TableAlreadyExists, message).with("table", name)
}

fn removed(id: TableId, nodes: &BTreeSet<NodeId>) -> Error {
    let message = if nodes.is_empty() {
        format!("table {id} {DELETED}")
    } else {
        let nodes = listed(nodes);
        format!(
            "table {id} was deleted on purpose, and its replicas are still to be destroyed by data node {nodes}"
        )
    };
    Error::new(Reason::ConditionFailed, message).with("table_id", id)
}

/// Not kept yet: what a node has that does not answer could be destroyed under the table that is listed again.
fn undone(id: TableId, nodes: &BTreeSet<NodeId>) -> Error {
    let nodes = listed(nodes);
    let message = format!(
        "the creation of table {id} was undone, and data node {nodes} has not told yet whether it has data of it: start it, \
         or, if it will never return, forget it with forget-node; then try again"
    );
    Error::new(Reason::TooFewNodes, message).with("table_id", id)
}

fn listed(nodes: &BTreeSet<NodeId>) -> String {
    let nodes: Vec<_> = nodes.iter().map(ToString::to_string).collect();
    nodes.join(", ")
}
