//! The controller sees to what nobody owns: entries of routers that are unknown or stuck, intents without an entry, tokens
//! whose time is up.
//!
//! How long something has been there is measured by this router's own clock, from when it was first seen: nothing
//! depends on what other clocks say, but for tokens.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordination::Operation;
use coordination::registry::{
    self, list_tokens, list_transactions, read_transactions, sweep_tokens,
};
use coordination::tree::Node;
use futures::stream::{self, StreamExt as _};
use model::TransactionId;
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::MAX_RECOVERIES;
use super::recover::Case;
use super::takeover::routers;
use crate::directory::read;
use crate::state::{Session, State};

/// Sweeps until it is dropped, with everything on the way.
pub(crate) async fn run(state: &Arc<State>, session: &Arc<Session>, fence: Option<Operation>) {
    let fence: Vec<Operation> = fence.into_iter().collect();
    tokio::join!(
        entries(state, session),
        intents(state, session),
        tokens(state, session, &fence),
    );
}

async fn entries(state: &Arc<State>, session: &Arc<Session>) {
    let mut seen = BTreeMap::new();
    loop {
        match sweep_entries(state, session, &mut seen).await {
            Ok(()) if seen.is_empty() => {
                let look = list_transactions(&*session.store);
                news(session, &Node::Transactions, look).await;
            }
            Ok(()) => {}
            Err(error) => debug!(%error, "the ledger can't be swept"),
        }
        sleep(state.options.timing.transactions.sweep_interval).await;
    }
}

/// Returns when something has been made below a parent of which nothing was left, or when that can't be watched. So a cluster
/// without transactions reads nothing, and of one that has them nobody is told of each.
async fn news<Found: IntoIterator>(
    session: &Session,
    parent: &Node,
    look: impl Future<Output = Result<Found, registry::Error>>,
) {
    let Ok(mut watch) = session.store.watch(&parent.path()).await else {
        return;
    };
    // Else something came before the watch.
    if look
        .await
        .is_ok_and(|found| found.into_iter().next().is_none())
    {
        // An error is the end of the session, which others see as well.
        let _ = watch.changed().await;
    }
}

/// Looks at the entries that have been there for a while.
async fn sweep_entries(
    state: &Arc<State>,
    session: &Arc<Session>,
    seen: &mut BTreeMap<TransactionId, Instant>,
) -> Result<(), registry::Error> {
    let timing = &state.options.timing.transactions;
    let store = &*session.store;
    let ids = list_transactions(store).await?;
    let now = Instant::now();
    seen.retain(|id, _| ids.contains(id));
    for id in ids {
        seen.entry(id).or_insert(now);
    }
    let age = |id: &TransactionId| {
        let since = seen.get(id).copied().unwrap_or(now);
        now.duration_since(since)
    };
    let old = seen.keys().copied();
    let old = old.filter(|id| age(id) >= timing.entry_after).collect();
    let entries = read_transactions(store, old).await?;
    if entries.is_empty() {
        return Ok(());
    }
    // Who owns an entry that was read before has registered before.
    read::sync(store).await?;
    let routers = routers(store).await?;
    let left_behind = entries.into_iter().filter(|(id, entry)| {
        let patience = if entry.value.state.decision().is_none() {
            timing.pending_after
        } else {
            timing.decided_after
        };
        !routers.contains(&entry.value.router) || age(id) >= patience
    });
    let cases = left_behind.map(|(id, entry)| Case::of_entry(id, &entry.value));
    recover_all(state, session, cases).await;
    Ok(())
}

async fn intents(state: &Arc<State>, session: &Arc<Session>) {
    let timing = &state.options.timing.transactions;
    loop {
        let live = state.directory.snapshot().live.clone();
        let undecided = state.survey_undecided(live, timing.undecided_after).await;
        if !undecided.is_empty() {
            info!(
                transactions = undecided.len(),
                "shards hold transactions that nobody has decided"
            );
        }
        let cases = undecided.into_values().map(Case::from);
        recover_all(state, session, cases).await;
        sleep(timing.sweep_interval).await;
    }
}

async fn recover_all(
    state: &Arc<State>,
    session: &Arc<Session>,
    cases: impl Iterator<Item = Case>,
) {
    let recoveries = cases.map(|case| state.recover(session, case));
    let recoveries = stream::iter(recoveries).buffer_unordered(MAX_RECOVERIES);
    recoveries.for_each(|_| std::future::ready(())).await;
}

async fn tokens(state: &State, session: &Session, fence: &[Operation]) {
    loop {
        let now = state.now_millis();
        match sweep_tokens(&*session.store, fence, now).await {
            Ok(0) => {
                let look = list_tokens(&*session.store);
                news(session, &Node::Tokens, look).await;
            }
            Ok(left) => debug!(left, "tokens are swept"),
            Err(error) => debug!(%error, "tokens can't be swept"),
        }
        sleep(state.options.timing.transactions.token_sweep_interval).await;
    }
}
