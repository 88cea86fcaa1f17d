//! Creations and deletions that go on until their outcome is known.
//!
//! | answer | the table | may be tried again and then be told |
//! |---|---|---|
//! | done | is as it was asked for | – |
//! | certainly not (`COORDINATION_UNAVAILABLE`) | is as before | only "done", or again certainly not |
//! | anything else that is no contradiction | may be either, now or later | also that it is done already |
//!
//! So `TABLE_ALREADY_EXISTS` and `TABLE_NOT_FOUND` fail the test unless an attempt before was uncertain. Nobody else may
//! create or delete the table meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use api::Reason;
use tokio::time::Instant;

use super::{Cluster, Tables, eventually, now_and_then};

#[derive(Clone, Copy)]
enum Wish {
    /// With so many shards.
    There(u32),
    Gone,
}

/// Creates a table through these routers in turn.
pub(crate) async fn create_until_there(
    routers: &[Tables],
    name: &str,
    shards: u32,
    within: Duration,
) {
    until_known(routers, name, Wish::There(shards), within).await;
}

/// Deletes a table through these routers in turn.
pub(crate) async fn delete_until_gone(routers: &[Tables], name: &str, within: Duration) {
    until_known(routers, name, Wish::Gone, within).await;
}

async fn until_known(routers: &[Tables], name: &str, wish: Wish, within: Duration) {
    let deadline = Instant::now() + within;
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    let mut uncertain = false;
    let mut ticks = now_and_then();
    for tables in routers.iter().cycle() {
        ticks.tick().await;
        let (answer, already) = match wish {
            Wish::There(shards) => (
                tables.create(name, shards, 3).await.map(drop),
                Reason::TableAlreadyExists,
            ),
            Wish::Gone => (tables.delete(name).await, Reason::TableNotFound),
        };
        let Err(failure) = answer else { return };
        if failure.reason() == Some(already) {
            assert!(uncertain, "table {name}: {failure}; before: {answers:?}");
            return;
        }
        uncertain |= failure.reason() != Some(Reason::CoordinationUnavailable);
        *answers.entry(failure.to_string()).or_default() += 1;
        assert!(
            Instant::now() < deadline,
            "table {name} is not there or gone within {within:?}: {answers:?}"
        );
    }
}

/// The router that drives tables.
pub(crate) async fn controller(cluster: &Cluster) -> usize {
    let tables = cluster.tables(0);
    let address = eventually("a controller", Duration::from_secs(20), || async {
        let status = tables.status().await.map_err(|error| error.to_string())?;
        let controller = status.routers.into_iter().find(|router| router.controller);
        controller
            .map(|router| router.address)
            .ok_or("there is none".to_owned())
    })
    .await;
    let mut routers = cluster.routers.iter();
    let found = routers.position(|router| router.address().ends_with(&address));
    found.unwrap_or_else(|| panic!("no router is at {address}"))
}
