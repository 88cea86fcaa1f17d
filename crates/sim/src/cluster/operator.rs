//! An operator with hands on the coordination store.

use std::sync::Arc;
use std::time::Duration;

use coordination::records::Record as _;
use coordination::registry::{self, Restoration};
use coordination::tree::Node;
use coordination::{ANY_VERSION, Connect, CreateMode, Error, Operation};
use model::{Table, TableState};

use crate::host::Exit;

/// Between two attempts.
pub(super) const PAUSE: Duration = Duration::from_millis(200);
/// No write lands later than this: `coordination::simulated` lets them be late by three seconds.
pub(super) const LATE: Duration = Duration::from_secs(5);

/// Takes the records of a table away and puts them back after a while, as one who restores an old backup and
/// then finds a newer one.
pub(super) async fn hide(
    coordination: Arc<dyn Connect>,
    table: Table,
    hidden: Duration,
    exit: Exit,
) {
    let paths = [Node::Table(table.id).path(), Node::Name(table.name).path()];
    let Some(contents) = until_it_works(|| read(&*coordination, &paths)).await else {
        return exit.with("the table is gone");
    };
    until_it_works(|| delete(&*coordination, &paths)).await;
    tokio::time::sleep(hidden).await;
    // A deletion whose answer was lost may land late, so the table has to stay for a while.
    let mut stayed = Duration::ZERO;
    while stayed <= LATE {
        let created = until_it_works(|| create(&*coordination, &paths, &contents)).await;
        stayed = if created {
            Duration::ZERO
        } else {
            stayed + PAUSE
        };
        tokio::time::sleep(PAUSE).await;
    }
    exit.with("the table is listed again");
}

/// Puts the record of a table back to what it was while the table was being created, as one who restores an old backup; a
/// user deletes it then. Once it is gone, the operator keeps the table: what the nodes have of it is quarantined.
pub(super) async fn undo(coordination: Arc<dyn Connect>, table: Table, exit: Exit) {
    let undone = until_it_works(|| make_undone(&*coordination, &table)).await;
    if !undone {
        return exit.with("the table was deleted");
    }
    while !until_it_works(|| keep(&*coordination, &table)).await {
        tokio::time::sleep(PAUSE).await;
    }
    exit.with("the table is kept");
}

/// True: the table is on its way out as one that was never available. False: it is on its way for another reason.
async fn make_undone(coordination: &dyn Connect, table: &Table) -> Result<bool, registry::Error> {
    let store = coordination.connect().await?;
    store.sync(&Node::Table(table.id).path()).await?;
    let Some(mut listed) = registry::read_table(&*store, table.id).await? else {
        return Ok(false);
    };
    if listed.value.state == TableState::Available {
        listed.value.state = TableState::Creating;
        let path = Node::Table(table.id).path();
        let set = store.set(&path, listed.value.encode(), listed.version);
        listed.version = set.await?;
    }
    if listed.value.state == TableState::Creating {
        listed = registry::set_table_state(&*store, &listed, TableState::Deleting).await?;
    }
    store.close().await;
    Ok(listed.value.never_available)
}

/// False: it can't be listed again yet.
async fn keep(coordination: &dyn Connect, table: &Table) -> Result<bool, registry::Error> {
    let store = coordination.connect().await?;
    store.sync(&Node::Table(table.id).path()).await?;
    let cluster = registry::read_cluster(&*store).await?;
    let kept = match cluster {
        Some(cluster) => registry::restore_table(&*store, table, cluster.version).await?,
        None => return Ok(false),
    };
    store.close().await;
    Ok(kept == Restoration::Restored)
}

/// Takes the records of a table away. That may happen again a little later.
pub(super) async fn hide_for_good(coordination: &Arc<dyn Connect>, table: Table) {
    let paths = [Node::Table(table.id).path(), Node::Name(table.name).path()];
    until_it_works(|| delete(&**coordination, &paths)).await;
}

pub(super) async fn until_it_works<T, E, F>(attempt: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, E>>,
{
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn read(
    coordination: &dyn Connect,
    paths: &[String; 2],
) -> Result<Option<[bytes::Bytes; 2]>, Error> {
    let store = coordination.connect().await?;
    let found = (store.get(&paths[0]).await?, store.get(&paths[1]).await?);
    store.close().await;
    Ok(match found {
        (Some(table), Some(name)) => Some([table.data, name.data]),
        _ => None,
    })
}

async fn delete(coordination: &dyn Connect, paths: &[String; 2]) -> Result<(), Error> {
    let store = coordination.connect().await?;
    store.sync(&paths[0]).await?;
    if store.get(&paths[0]).await?.is_some() {
        let away = paths
            .iter()
            .map(|path| Operation::delete(path, ANY_VERSION));
        store.multi(away.collect()).await?;
    }
    store.close().await;
    Ok(())
}

/// False: it is there.
async fn create(
    coordination: &dyn Connect,
    paths: &[String; 2],
    contents: &[bytes::Bytes; 2],
) -> Result<bool, Error> {
    let store = coordination.connect().await?;
    store.sync(&paths[0]).await?;
    let missing = store.get(&paths[0]).await?.is_none();
    if missing {
        let back = paths.iter().zip(contents);
        let back =
            back.map(|(path, data)| Operation::create(path, data.clone(), CreateMode::Persistent));
        store.multi(back.collect()).await?;
    }
    store.close().await;
    Ok(missing)
}
