//! A table's state moves forward: `creating → available → deleting`, or `creating → deleting`.

use model::{Table, TableState};

use super::Error;
use super::attempts::Attempts;
use super::reading::{Versioned, read_table};
use crate::records::Record as _;
use crate::tree::Node;
use crate::{ANY_VERSION, Coordination};

/// Moves a table, as it was read, to another state, and returns it with its new version. One that goes from `creating` to
/// `deleting` is marked as [never available](Table::never_available).
///
/// [`Error::Changed`] if somebody else has moved it elsewhere or removed it since. If somebody else has
/// moved it to the same state, that is a success.
pub async fn set_table_state(
    store: &dyn Coordination,
    table: &Versioned<Table>,
    state: TableState,
) -> Result<Versioned<Table>, Error> {
    if !is_forward(table.value.state, state) {
        return Err(Error::Backwards {
            from: table.value.state,
            to: state,
        });
    }
    let path = Node::Table(table.value.id).path();
    let value = Table {
        state,
        never_available: (table.value.state, state) == (TableState::Creating, TableState::Deleting),
        ..table.value.clone()
    };
    let mut attempts = Attempts::new();
    loop {
        let version = if mutant!(VersionUnchecked) {
            ANY_VERSION
        } else {
            table.version
        };
        let set = store.set(&path, value.encode(), version).await;
        let error = match set {
            Ok(version) => return Ok(Versioned { value, version }),
            Err(error) => error,
        };
        attempts.look(store, error).await?;
        let current = read_table(store, value.id).await;
        match current.map_err(|error| attempts.honest_read(error))? {
            Some(current) if current.value == value => return Ok(current),
            Some(current) if current.version == table.version => {}
            _ => return Err(Error::Changed { table: value.id }),
        }
    }
}

fn is_forward(from: TableState, to: TableState) -> bool {
    matches!(
        (from, to),
        (
            TableState::Creating,
            TableState::Available | TableState::Deleting
        ) | (TableState::Available, TableState::Deleting)
    )
}
