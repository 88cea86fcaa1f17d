//! `Cluster.ForgetNode`: for a data node that will never return.

use api::v1::{ForgetNodeRequest, ForgetNodeResponse};
use api::{Error, Reason};
use coordination::registry::{self, Error as RegistryError, Forgotten};
use model::NodeId;
use tokio::time::{Instant, timeout_at};

use super::ids;
use super::list_nodes::placed_on;
use crate::directory::{read, unavailable};
use crate::state::{Session, State};

/// Forgets a node that is not alive. May be called again.
pub(crate) async fn forget_node(
    state: &State,
    request: ForgetNodeRequest,
    deadline: Instant,
) -> Result<ForgetNodeResponse, Error> {
    let node = ids::node("node", &request.node)?;
    let session = state.connected()?;
    match timeout_at(deadline, forget(&session, node)).await {
        Ok(done) => done,
        Err(_) => Err(Error::outcome_unknown(format_args!(
            "the coordination store did not confirm in time that data node {node} is forgotten"
        ))),
    }
}

async fn forget(session: &Session, node: NodeId) -> Result<ForgetNodeResponse, Error> {
    let store = &*session.store;
    read::sync(store).await.map_err(unavailable)?;
    // Before, because a failure after it would have to be an unknown outcome.
    let tables = registry::read_tables(store).await.map_err(unavailable)?;
    let placed = tables.entries.values().map(|table| &table.value);
    let lost = placed.filter_map(|table| placed_on(table).get(&node).copied());
    let lost_replicas: u32 = lost.sum();
    let forgotten = registry::forget_node(store, node).await;
    let forgotten = forgotten.map_err(|error| refused(node, error))?;
    let already = forgotten == Forgotten::default();
    if already && lost_replicas == 0 {
        let message = format!(
            "there is no data node {node}, and no table has a place for one: see list-nodes"
        );
        return Err(Error::invalid("node", message));
    }
    Ok(ForgetNodeResponse {
        lost_replicas,
        tombstones: forgotten.tombstones.len() as u32,
        already,
    })
}

fn refused(node: NodeId, error: RegistryError) -> Error {
    match error {
        RegistryError::StillAlive { host, data_dir, .. } => Error::new(
            Reason::ConditionFailed,
            format!(
                "data node {node} is alive, on {host} with {data_dir}, and only one that will never return is forgotten: \
                 stop it, and when its session with the coordination store has ended, some seconds later, try again"
            ),
        )
        .with("node", node),
        error if error.outcome_unknown() => Error::outcome_unknown(error),
        error => unavailable(error),
    }
}
