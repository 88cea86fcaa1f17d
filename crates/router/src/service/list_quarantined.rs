//! `Cluster.ListQuarantined`: what nobody wants and nobody may destroy.

use std::collections::BTreeSet;

use api::Error;
use api::v1::{ListQuarantinedRequest, ListQuarantinedResponse};
use coordination::registry;
use model::TableId;
use tokio::time::{Instant, timeout_at};

use super::quarantined::survey;
use crate::directory::unavailable;
use crate::state::{Session, State};

/// Lists the tables.
pub(crate) async fn list_quarantined(
    state: &State,
    _request: ListQuarantinedRequest,
    deadline: Instant,
) -> Result<ListQuarantinedResponse, Error> {
    let session = state.connected()?;
    match timeout_at(deadline, list(state, &session)).await {
        Ok(listed) => listed,
        Err(_) => Err(unavailable("it did not answer in time")),
    }
}

async fn list(state: &State, session: &Session) -> Result<ListQuarantinedResponse, Error> {
    let found = survey(state, session, None).await?;
    let tables = registry::read_tables(&*session.store).await;
    let tables = tables.map_err(unavailable)?;
    // A node may not have seen yet that it is listed.
    let listed: BTreeSet<TableId> = tables.entries.into_keys().collect();
    let quarantined = found.tables.iter().filter(|(id, _)| !listed.contains(id));
    Ok(ListQuarantinedResponse {
        tables: quarantined
            .map(|(id, replicas)| found.describe(*id, replicas))
            .collect(),
        silent: found.silent.iter().map(ToString::to_string).collect(),
    })
}
