//! `Tables.DeleteTable`: passes the point of no return, then waits until the controller has removed all of it.

use std::time::Duration;

use api::v1::{DeleteTableRequest, DeleteTableResponse};
use api::{Error, Reason, convert};
use coordination::registry::{self, Error as RegistryError};
use model::{TableId, TableName, TableState};
use tokio::time::{Instant, timeout_at};

use crate::directory::{not_found, read, unavailable};
use crate::state::{Session, State};

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
    loop {
        changes.borrow_and_update();
        let absent = state.directory.snapshot().by_id(id).is_none();
        known |= !absent;
        // The directory leaves out what it can't read, so the store has the last word.
        let gone = absent && known;
        if gone && is_removed(state, name, id, deadline).await? {
            return Ok(());
        }
        let look_again = if gone {
            deadline.min(Instant::now() + LOOK_AGAIN)
        } else {
            deadline
        };
        if timeout_at(look_again, changes.changed()).await.is_err() && Instant::now() >= deadline {
            return Err(Error::new(
                Reason::TableNotReady,
                format!("table {name} is being deleted, which takes longer than your deadline"),
            )
            .with("table", name));
        }
    }
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
