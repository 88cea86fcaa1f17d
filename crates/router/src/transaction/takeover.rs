//! When another router's session ends, its transactions are finished by those that are left.
//!
//! All of them notice, and all may do it: the first one that decides decides for all. Each waits for a random moment, so
//! that the first has mostly done it when the others look.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use coordination::registry::{self, list_transactions, read_routers, read_transactions};
use coordination::tree::Node;
use coordination::{Coordination, Watch};
use futures::stream::{self, StreamExt as _};
use model::RouterId;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info};

use super::MAX_RECOVERIES;
use super::recover::Case;
use crate::directory::read;
use crate::state::{Session, State};

/// Before the store is asked again after it could not be.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Watches over the other routers until the session ends; the future itself never does.
pub(crate) async fn run(state: &Arc<State>, session: &Arc<Session>) {
    let store = &*session.store;
    let mut watch = watch(store).await;
    let mut known = BTreeSet::new();
    let mut gone: BTreeSet<RouterId> = BTreeSet::new();
    let mut look = true;
    let mut due = Instant::now();
    loop {
        if look {
            match routers(store).await {
                Ok(alive) => {
                    look = false;
                    let vanished: BTreeSet<_> = known.difference(&alive).copied().collect();
                    if !vanished.is_empty() {
                        info!(
                            ?vanished,
                            "other routers are gone: looking for their transactions"
                        );
                        let jitter = state.options.timing.transactions.takeover_jitter;
                        due = Instant::now() + jitter.mul_f64(rand::random_range(0.0..=1.0));
                        gone.extend(vanished);
                    }
                    known = alive;
                }
                Err(error) => {
                    debug!(%error, "the other routers can't be read");
                    sleep(RETRY_AFTER).await;
                    continue;
                }
            }
        }
        tokio::select! {
            biased;
            changed = watch.changed() => match changed {
                Ok(_) => look = true,
                // The session is over, which others see as well.
                Err(_) => return std::future::pending().await,
            },
            () = sleep_until(due), if !gone.is_empty() => {
                match take_over(state, session, &gone).await {
                    Ok(left) => gone = left,
                    Err(error) => debug!(%error, "the ledger can't be read"),
                }
                due = Instant::now() + state.options.timing.transactions.sweep_interval;
            }
        }
    }
}

async fn watch(store: &dyn Coordination) -> Watch {
    loop {
        match store.watch(&Node::Routers.path()).await {
            Ok(watch) => return watch,
            Err(error) => debug!(%error, "the other routers can't be watched, trying again"),
        }
        sleep(RETRY_AFTER).await;
    }
}

/// The routers that are alive; one whose record can't be read is alive as well.
pub(crate) async fn routers(
    store: &dyn Coordination,
) -> Result<BTreeSet<RouterId>, registry::Error> {
    let listing = read_routers(store).await?;
    let unreadable = listing.unreadable.iter();
    let unreadable = unreadable.filter_map(|error| match Node::parse(&error.path) {
        Ok(Node::Router(router)) => Some(router),
        Ok(_) | Err(_) => None,
    });
    let unreadable: BTreeSet<_> = unreadable.collect();
    Ok(listing.entries.into_keys().chain(unreadable).collect())
}

/// Finishes the transactions of these routers. Returns those of whom some are left.
async fn take_over(
    state: &Arc<State>,
    session: &Arc<Session>,
    gone: &BTreeSet<RouterId>,
) -> Result<BTreeSet<RouterId>, registry::Error> {
    let store = &*session.store;
    read::sync(store).await?;
    let ids = list_transactions(store).await?;
    let entries = read_transactions(store, ids).await?;
    let theirs = entries
        .into_iter()
        .filter(|(_, entry)| gone.contains(&entry.value.router));
    let recoveries = theirs.map(|(id, entry)| async move {
        let case = Case::of_entry(id, &entry.value);
        (entry.value.router, state.recover(session, case).await)
    });
    let ends = stream::iter(recoveries).buffer_unordered(MAX_RECOVERIES);
    let ends: Vec<_> = ends.collect().await;
    let left = ends.into_iter();
    let left = left.filter(|(_, end)| *end == txn::recovery::End::GivenUp);
    Ok(left.map(|(router, _)| router).collect())
}
