//! `Tables.DeleteTable`: passes the point of no return, then waits until the controller has removed all of it.

use api::v1::{DeleteTableRequest, DeleteTableResponse};
use api::{Error, Reason, convert};
use coordination::registry::{self, Error as RegistryError};
use model::{TableId, TableName, TableState};
use tokio::time::{Instant, timeout_at};

use crate::directory::{not_found, read, unavailable};
use crate::state::{Session, State};

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
    loop {
        changes.borrow_and_update();
        match state.directory.snapshot().by_id(id) {
            Some(_) => known = true,
            None if known => return Ok(()),
            None => {}
        }
        if timeout_at(deadline, changes.changed()).await.is_err() {
            return Err(Error::new(
                Reason::TableNotReady,
                format!("table {name} is being deleted, which takes longer than your deadline"),
            )
            .with("table", name));
        }
    }
}
