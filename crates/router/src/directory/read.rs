//! Reads of the coordination store that the registry does not have.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordination::Coordination;
use coordination::registry::{self, Error};
use coordination::tree::Node;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
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
    let known = names.iter().filter_map(|name| known.by_name(name.as_str()));
    let found = tables(store, known.map(|entry| entry.value.id).collect()).await?;
    let found = found
        .into_values()
        .map(|entry| (entry.value.name.clone(), entry));
    let found: BTreeMap<TableName, Arc<TableEntry>> = found.collect();
    let found = &found;
    let reads = names.into_iter().map(|name| async move {
        match found.get(&name) {
            Some(entry) => Ok(Some(Arc::clone(entry))),
            None => Ok(usable(registry::find_table(store, &name).await)?.map(Arc::new)),
        }
    });
    // In the order of the names.
    let reads = stream::iter(reads).buffered(CONCURRENT_READS);
    reads
        .try_filter_map(|entry| std::future::ready(Ok(entry)))
        .try_collect()
        .await
}

/// These tables, as far as they exist.
pub(crate) async fn tables(
    store: &dyn Coordination,
    ids: Vec<TableId>,
) -> Result<BTreeMap<TableId, Arc<TableEntry>>, Error> {
    let found = registry::read_each_table(store, ids.iter().copied()).await?;
    let mut tables = BTreeMap::new();
    for (id, table) in ids.into_iter().zip(found) {
        let table = usable(table.map_err(Error::from))?;
        tables.extend(table.map(|entry| (id, Arc::new(entry))));
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
