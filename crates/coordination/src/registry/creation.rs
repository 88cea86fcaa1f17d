//! Creating a table: wholly or not at all.

use model::{Table, TableId};

use super::Error;
use super::attempts::Attempts;
use super::reading::{read_cluster, table_of};
use crate::records::{NameRecord, Record as _};
use crate::tree::Node;
use crate::{Coordination, CreateMode, Operation};

/// How the creation of a table ended. All of these are certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// The table is there.
    Created,
    /// The name belongs to another table.
    NameTaken(TableId),
    /// Nothing was created, and nothing will be: since the version of `/cluster` was read, a table was
    /// removed. Start over, with a new table id and the new version.
    ClusterMoved,
}

/// Creates a table under its name, in one `multi` that checks the version that `/cluster` had before the
/// first attempt.
///
/// `cluster_version` comes from [`read_cluster`](super::read_cluster), read before the table's id was
/// drawn. It is what keeps an attempt that lands late from raising a table that was created by a later
/// attempt and removed since: each removal moves that version.
pub async fn create_table(
    store: &dyn Coordination,
    table: &Table,
    cluster_version: i32,
) -> Result<Creation, Error> {
    let mut attempts = Attempts::new();
    loop {
        let Err(error) = store.multi(operations(table, cluster_version)).await else {
            return Ok(Creation::Created);
        };
        attempts.look(store, error).await?;
        let owner = table_of(store, &table.name).await;
        match owner.map_err(|error| attempts.honest_read(error))? {
            Some(owner) if owner == table.id => return Ok(Creation::Created),
            Some(owner) => return Ok(Creation::NameTaken(owner)),
            None => {}
        }
        let cluster = read_cluster(store).await;
        let cluster = cluster.map_err(|error| attempts.honest_read(error))?;
        let cluster = cluster.ok_or_else(|| Error::NotInitialised {
            path: Node::Cluster.path(),
        })?;
        if cluster.version != cluster_version {
            return Ok(Creation::ClusterMoved);
        }
    }
}

fn operations(table: &Table, cluster_version: i32) -> Vec<Operation> {
    let name = Node::Name(table.name.clone());
    let record = NameRecord { table: table.id };
    let mut operations = vec![
        Operation::create(name.path(), record.encode(), CreateMode::Persistent),
        Operation::create(
            Node::Table(table.id).path(),
            table.encode(),
            CreateMode::Persistent,
        ),
    ];
    if !mutant!(CreationUnfenced) {
        operations.insert(0, Operation::check(Node::Cluster.path(), cluster_version));
    }
    operations
}
