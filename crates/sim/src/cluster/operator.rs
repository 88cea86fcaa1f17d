//! An operator with hands on the coordination store.

use std::sync::Arc;
use std::time::Duration;

use coordination::tree::Node;
use coordination::{ANY_VERSION, Connect, CreateMode, Error, Operation};
use model::Table;

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
