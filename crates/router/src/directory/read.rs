//! Reads of the coordination store that the registry does not have.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordination::Coordination;
use coordination::registry::{self, Error};
use coordination::tree::Node;
use futures::stream::{self, StreamExt as _};
use model::{TableId, TableName};
use tracing::error;

use super::snapshot::{Snapshot, TableEntry};

/// Reads on the way at the same time: a connection carries them one behind the other, so that few would wait for the way
/// there and back.
const CONCURRENT_READS: usize = 256;

/// Makes the reads that follow see everything that was confirmed to anyone before.
pub(crate) async fn sync(store: &dyn Coordination) -> Result<(), Error> {
    Ok(store.sync(&Node::Tables.path()).await?)
}

/// Every name in use, sorted.
pub(crate) async fn names(store: &dyn Coordination) -> Result<Vec<TableName>, Error> {
    let path = Node::Names.path();
    let names = store.children(&path).await?;
    let names = names.ok_or(Error::NotInitialised { path })?;
    let mut names: Vec<TableName> = names.iter().filter_map(|name| name.parse().ok()).collect();
    names.sort_unstable();
    Ok(names)
}

/// The tables of these names, as far as they exist. What is known of them only says where to look: a table's id is never
/// another's, so if it is there it has the name, and one read instead of two shows it as it is now.
pub(crate) async fn tables_of(
    store: &dyn Coordination,
    names: Vec<TableName>,
    known: &Snapshot,
) -> Result<Vec<Arc<TableEntry>>, Error> {
    let reads = names.into_iter().map(|name| async move {
        if let Some(entry) = known.by_name(name.as_str())
            && let Some(table) = registry::read_table(store, entry.value.id).await?
        {
            return Ok(Some(table));
        }
        registry::find_table(store, &name).await
    });
    // In the order of the names.
    let mut reads = stream::iter(reads).buffered(CONCURRENT_READS);
    let mut tables = Vec::new();
    while let Some(read) = reads.next().await {
        tables.extend(usable(read)?.map(Arc::new));
    }
    Ok(tables)
}

/// These tables, as far as they exist.
pub(crate) async fn tables(
    store: &dyn Coordination,
    ids: Vec<TableId>,
) -> Result<BTreeMap<TableId, Arc<TableEntry>>, Error> {
    let reads = ids
        .into_iter()
        .map(|id| async move { (id, registry::read_table(store, id).await) });
    let mut reads = stream::iter(reads).buffer_unordered(CONCURRENT_READS);
    let mut tables = BTreeMap::new();
    while let Some((id, read)) = reads.next().await {
        tables.extend(usable(read)?.map(|entry| (id, Arc::new(entry))));
    }
    Ok(tables)
}

/// A record that can't be used is reported and counts as absent, so that it does not hide the others.
fn usable<R>(read: Result<Option<R>, Error>) -> Result<Option<R>, Error> {
    match read {
        Err(Error::Record(error)) => {
            error!(%error, "a record of the coordination store can't be used");
            Ok(None)
        }
        read => read,
    }
}
