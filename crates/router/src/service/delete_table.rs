//! `Tables.DeleteTable`: passes the point of no return, then waits until the controller has removed all of it.

use std::time::Duration;

use api::v1::{DeleteTableRequest, DeleteTableResponse};
use api::{Error, Reason, convert};
use coordination::registry::{self, Error as RegistryError};
use model::{TableId, TableName, TableState};
use tokio::time::{Instant, timeout_at};

use super::{describe_table, progress};
use crate::directory::{nodes_of, not_found, read, unavailable};
use crate::state::{Session, State};

/// At the end of a deletion's deadline, for finding out what it waits for.
const LOOK_FOR: Duration = Duration::from_secs(1);
/// Between two looks at a table that the directory has lost and the store has not.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Deletes a table and returns once it is gone. A table that is being deleted already is waited for as well.
pub(crate) async fn delete_table(
    state: &State,
    request: DeleteTableRequest,
    deadline: Instant,
) -> Result<DeleteTableResponse, Error> {
    let name = convert::table_name("name", &request.name)?;
    let session = state.connected()?;
    let id = match timeout_at(deadline, condemn(&session, &name)).await {
        Ok(id) => id?,
        Err(_) => {
            return Err(Error::outcome_unknown(format_args!(
                "the coordination store did not confirm the deletion of table {name} in time"
            )));
        }
    };
    if !mutant!(DeleteAnsweredEarly) {
        gone(state, &name, id, deadline).await?;
    }
    Ok(DeleteTableResponse {})
}

/// Sets the table to `deleting`.
async fn condemn(session: &Session, name: &TableName) -> Result<TableId, Error> {
    let store = &*session.store;
    read::sync(store).await.map_err(unavailable)?;
    loop {
        let table = registry::find_table(store, name).await;
        let Some(table) = table.map_err(unavailable)? else {
            return Err(not_found(name));
        };
        if table.value.state == TableState::Deleting {
            return Ok(table.value.id);
        }
        match registry::set_table_state(store, &table, TableState::Deleting).await {
            Ok(table) => return Ok(table.value.id),
            // The controller has made it available in between, or somebody else was faster.
            Err(RegistryError::Changed { .. }) => {}
            Err(error) if error.outcome_unknown() => return Err(Error::outcome_unknown(error)),
            Err(error) => return Err(unavailable(error)),
        }
    }
}

/// Waits until the table is gone.
async fn gone(
    state: &State,
    name: &TableName,
    id: TableId,
    deadline: Instant,
) -> Result<(), Error> {
    let mut changes = state.directory.changes();
    // The directory may not know the table yet. Once it has been looked up, its absence means its end.
    let mut known = state
        .directory
        .look_up(name.clone(), deadline)
        .await
        .is_ok();
    // Some of the time is for finding out what it waits for.
    let left = deadline.saturating_duration_since(Instant::now());
    let look_at = deadline - LOOK_FOR.min(left / 2);
    let mut waits_for = String::new();
    loop {
        changes.borrow_and_update();
        let absent = state.directory.snapshot().by_id(id).is_none();
        known |= !absent;
        // The directory leaves out what it can't read, so the store has the last word.
        let gone = absent && known;
        if gone && is_removed(state, name, id, deadline).await? {
            return Ok(());
        }
        let looked = Instant::now() >= look_at;
        let until = if looked { deadline } else { look_at };
        // The store is asked again about what the directory has lost.
        let again = if gone {
            Instant::now() + LOOK_AGAIN
        } else {
            until
        };
        if timeout_at(until.min(again), changes.changed())
            .await
            .is_ok()
        {
            continue;
        }
        if Instant::now() < until {
            continue;
        }
        if looked {
            return Err(takes_long(name, &waits_for));
        }
        // An answer that comes too late is none: whoever waits is to hear in time that it goes on.
        let end = deadline - (deadline - look_at) / 4;
        if let Ok(found) = timeout_at(end, obstacle(state, id, end)).await {
            waits_for = found;
        }
    }
}

/// What a deletion waits for, to follow what is said of it. Empty if nothing of it is known.
async fn obstacle(state: &State, id: TableId, end: Instant) -> String {
    let Some(entry) = state.directory.snapshot().by_id(id).cloned() else {
        return String::new();
    };
    let table = &entry.value;
    let nodes = nodes_of(table);
    let lost = describe_table::lost(state, nodes.clone()).await;
    let patience = end.saturating_duration_since(Instant::now()) * 3 / 4;
    let answers = state.survey_within(nodes, Some(id), patience).await;
    let statuses = describe_table::by_replica(&answers, id);
    let live = state.directory.snapshot().live.clone();
    let Some(progress) = progress::progress(table, &answers, &statuses, &live, &lost) else {
        return String::new();
    };
    let shards = table.shards.len() as u32;
    match (&*progress.waits_for, &*progress.unconfirmed) {
        ([], []) => String::new(),
        ([], nodes) => format!(
            ": data node {} has still to destroy its replicas",
            nodes.join(", ")
        ),
        (nodes, _) => format!(
            ": {} of its {shards} shards could still be served by data node {}, which does not answer or can't be reached. Start \
             it, and the deletion ends by itself; if it will never return, forget it with forget-node",
            shards - progress.sealed_shards,
            nodes.join(", ")
        ),
    }
}

fn takes_long(name: &TableName, waits_for: &str) -> Error {
    let message =
        format!("table {name} is being deleted, which takes longer than your deadline{waits_for}");
    Error::new(Reason::TableNotReady, message).with("table", name)
}

/// Whether the table's record is gone. False also as long as nobody can tell. A record that is there and can't be read is an
/// error: until that is mended, the deletion can't go on.
async fn is_removed(
    state: &State,
    name: &TableName,
    id: TableId,
    deadline: Instant,
) -> Result<bool, Error> {
    let Ok(session) = state.connected() else {
        return Ok(false);
    };
    let store = &*session.store;
    let look = async {
        read::sync(store).await?;
        registry::read_table(store, id).await
    };
    match timeout_at(deadline, look).await {
        Ok(Ok(found)) => Ok(found.is_none()),
        Ok(Err(RegistryError::Record(error))) => Err(Error::new(
            Reason::Corruption,
            format!(
                "table {name} is being deleted, which can't go on, because {error}: restore it from a backup, and delete the table \
                 again"
            ),
        )
        .with("table", name)),
        Ok(Err(_)) | Err(_) => Ok(false),
    }
}
