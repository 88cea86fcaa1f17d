//! `Cluster.DropQuarantined`: tombstones for a table that nobody lists.
//!
//! Only a tombstone destroys, here as well: the nodes do the rest by themselves, and remember what they destroyed. A
//! node that has a place in the table and does not answer gets one too, so that it won't come back with its replicas.

use std::collections::BTreeSet;
use std::time::Duration;

use api::v1::{DropQuarantinedRequest, DropQuarantinedResponse};
use api::{Error, Reason};
use coordination::registry;
use coordination::tree::Node;
use model::{NodeId, TableId, TableName};
use tokio::time::{Instant, sleep, timeout_at};

use super::ids;
use super::quarantined::{Survey, survey};
use crate::directory::unavailable;
use crate::state::{Session, State};

/// Between two looks at the tombstones.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Drops replicas and waits until the nodes that answer have destroyed them.
pub(crate) async fn drop_quarantined(
    state: &State,
    request: DropQuarantinedRequest,
    deadline: Instant,
) -> Result<DropQuarantinedResponse, Error> {
    let id = ids::table("table_id", &request.table_id)?;
    let only = match request.node.as_str() {
        "" => None,
        node => Some(ids::node("node", node)?),
    };
    let session = state.connected()?;
    let condemned = match timeout_at(deadline, condemn(state, &session, id, only)).await {
        Ok(condemned) => condemned?,
        Err(_) => {
            return Err(Error::outcome_unknown(format_args!(
                "the coordination store did not confirm in time that table {id} is dropped"
            )));
        }
    };
    let outcome = match timeout_at(deadline, destroyed(state, &session, id, &condemned)).await {
        Ok(outcome) => outcome,
        // It is decided; the nodes go on.
        Err(_) => Fates {
            waiting: condemned.nodes.clone(),
            ..Fates::default()
        },
    };
    let ids = |nodes: &BTreeSet<NodeId>| nodes.iter().map(ToString::to_string).collect();
    Ok(DropQuarantinedResponse {
        destroyed: ids(&outcome.destroyed),
        waiting: ids(&outcome.waiting),
        forgotten: ids(&outcome.forgotten),
    })
}

struct Condemned {
    /// The nodes that have got a tombstone.
    nodes: BTreeSet<NodeId>,
    /// The nodes that have something to destroy, those without a tombstone included.
    holders: BTreeSet<NodeId>,
    /// The nodes that don't answer.
    silent: BTreeSet<NodeId>,
}

async fn condemn(
    state: &State,
    session: &Session,
    id: TableId,
    only: Option<NodeId>,
) -> Result<Condemned, Error> {
    let store = &*session.store;
    let found = survey(state, session, Some(id)).await?;
    let listed = registry::read_table(store, id).await;
    if let Some(listed) = listed.map_err(unavailable)?
        && !mutant!(ListedIsDropped)
    {
        return Err(in_use(id, listed.value.name.as_str()));
    }
    let Some(Targets {
        name,
        holders,
        nodes,
    }) = targets(&found, id)?
    else {
        // Asked for before, maybe: what is still to come is waited for.
        return remaining(session, id, found).await;
    };
    let nodes: BTreeSet<NodeId> = match only {
        None => nodes,
        Some(node) if holders.contains(&node) || found.silent.contains(&node) => [node].into(),
        Some(node) => {
            let message = format!("data node {node} has no quarantined replica of table {id}");
            return Err(Error::invalid("node", message));
        }
    };
    match registry::condemn_table(store, id, &name, &nodes).await {
        Ok(Some(nodes)) => Ok(Condemned {
            nodes,
            holders,
            silent: found.silent,
        }),
        Ok(None) => Err(in_use(id, name.as_str())),
        Err(error) if error.outcome_unknown() => Err(Error::outcome_unknown(error)),
        Err(error) => Err(unavailable(error)),
    }
}

/// Whom a drop is for.
struct Targets {
    name: TableName,
    /// The nodes that have replicas of the table.
    holders: BTreeSet<NodeId>,
    /// And those that may have some.
    nodes: BTreeSet<NodeId>,
}

fn targets(found: &Survey, id: TableId) -> Result<Option<Targets>, Error> {
    let Some(replicas) = found.tables.get(&id) else {
        return Ok(None);
    };
    let Some((_, first)) = replicas.first() else {
        return Ok(None);
    };
    let name = first.table_name.parse().map_err(|error| {
        let message = format!("a data node tells an impossible name of table {id}: {error}");
        Error::new(Reason::Corruption, message)
    })?;
    let holders: BTreeSet<NodeId> = replicas.iter().map(|(node, _)| *node).collect();
    // One that has just started may not know yet what it keeps out, and of a shard nobody may have told who is in it. Who
    // has nothing confirms just that.
    let placed = replicas.iter().flat_map(|(_, replica)| &replica.voters);
    let placed = placed.copied().map(NodeId);
    let silent = found.silent.iter().copied();
    let nodes = holders.iter().copied().chain(placed).chain(silent);
    Ok(Some(Targets {
        name,
        nodes: nodes.collect(),
        holders,
    }))
}

async fn remaining(session: &Session, id: TableId, found: Survey) -> Result<Condemned, Error> {
    let nodes = waiting(session, id).await.map_err(unavailable)?;
    if nodes.is_empty() {
        return Err(not_quarantined(id, &found));
    }
    Ok(Condemned {
        holders: nodes.clone(),
        nodes,
        silent: found.silent,
    })
}

/// The error for a table of which nothing is quarantined.
pub(crate) fn not_quarantined(id: TableId, found: &Survey) -> Error {
    let silent = match found.silent.len() {
        0 => String::new(),
        some => format!(" that answers ({some} don't)"),
    };
    let message = format!("no data node{silent} has a quarantined replica of table {id}");
    Error::new(Reason::TableNotFound, message).with("table_id", id)
}

fn in_use(id: TableId, name: &str) -> Error {
    let message = format!(
        "table {id} is listed, as `{name}`, and not in quarantine: delete-table deletes it"
    );
    Error::new(Reason::ConditionFailed, message).with("table_id", id)
}

/// What has become of a drop at each of its nodes.
#[derive(Default)]
struct Fates {
    destroyed: BTreeSet<NodeId>,
    waiting: BTreeSet<NodeId>,
    forgotten: BTreeSet<NodeId>,
}

/// Waits until the nodes that answer have confirmed.
async fn destroyed(state: &State, session: &Session, id: TableId, condemned: &Condemned) -> Fates {
    loop {
        // A store that stumbles is asked again.
        if let Ok(waiting) = waiting(session, id).await {
            let waiting: BTreeSet<NodeId> = &waiting & &condemned.nodes;
            if waiting.is_subset(&condemned.silent)
                && let Ok(fates) = fates(state, session, id, condemned, waiting).await
            {
                return fates;
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// A tombstone goes when its node has confirmed, and also when that was forgotten. One that was is no member, or has come back
/// as one and holds what it held.
async fn fates(
    state: &State,
    session: &Session,
    id: TableId,
    condemned: &Condemned,
    waiting: BTreeSet<NodeId>,
) -> Result<Fates, Error> {
    let ended = &(&condemned.holders & &condemned.nodes) - &waiting;
    // After the tombstones were read, and with a `sync`: who confirmed and was forgotten then counts as forgotten.
    let found = survey(state, session, Some(id)).await?;
    let holds = |node: &NodeId| {
        let mut replicas = found.tables.get(&id).into_iter().flatten();
        replicas.any(|(holder, _)| holder == node)
    };
    let (destroyed, forgotten) = ended
        .into_iter()
        .partition(|node| found.members.contains_key(node) && !holds(node));
    Ok(Fates {
        destroyed,
        waiting,
        forgotten,
    })
}

async fn waiting(session: &Session, id: TableId) -> Result<BTreeSet<NodeId>, coordination::Error> {
    let nodes = session.store.children(&Node::Tombstones(id).path()).await?;
    let nodes = nodes.unwrap_or_default();
    Ok(nodes.iter().filter_map(|node| node.parse().ok()).collect())
}
