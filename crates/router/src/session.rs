//! The task that always has, or seeks, a session with the coordination store.
//!
//! | step | fails |
//! |---|---|
//! | connect | try again, with back-off |
//! | make the tree where it is missing; the cluster must be the one that was seen before | try again |
//! | register under a fresh id | try again |
//! | keep the directory in step, stand for controller, take over transactions | until the session expires: begin again |
//!
//! The directory outlives sessions, and the data path does not notice their end. Only administration waits.
//!
//! # Caveats
//!
//! A router that was told of another cluster id than before (the store was replaced, or its address passed to
//! another cluster) keeps what it knows and asks again until it sees its own cluster: mixing two clusters'
//! tables would be worse than being out of date.

use std::sync::Arc;
use std::time::Duration;

use coordination::records::RouterRecord;
use coordination::registry;
use coordination::{Coordination, Joined, SessionState};
use model::{ClusterId, RouterId};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::controller;
use crate::directory::keeper::Keeper;
use crate::health;
use crate::state::{Session, State};
use crate::transaction::takeover;

/// Runs until `stop`, then ends the session.
pub(crate) async fn run(state: Arc<State>, address: String, stop: CancellationToken) {
    let mut cluster = None;
    while !stop.is_cancelled() {
        let begin = begin(&state, &address, &mut cluster);
        let Some(session) = stop.run_until_cancelled(begin).await else {
            return;
        };
        let session = Arc::new(session);
        info!(router = %session.router, cluster = %session.cluster, "registered with the coordination store");
        state.session.send_replace(Some(Arc::clone(&session)));
        let end = stop.run_until_cancelled(serve(&state, &session)).await;
        state.session.send_replace(None);
        session.store.close().await;
        if let Some(end) = end {
            warn!(router = %session.router, reason = %end, "the session with the coordination store has ended, starting a new one");
            report(
                &state,
                "the session with the coordination store has expired",
            );
        }
    }
}

/// Connects and registers, however long it takes.
async fn begin(state: &State, address: &str, cluster: &mut Option<ClusterId>) -> Session {
    let (first, most) = state.options.timing.coordination_backoff;
    let mut backoff = first;
    loop {
        match try_begin(state, address, cluster).await {
            Ok(session) => return session,
            Err(reason) => {
                if backoff == first {
                    warn!(%reason, "no session with the coordination store, trying again");
                }
                report(state, &reason);
            }
        }
        tokio::time::sleep(backoff.mul_f64(rand::random_range(0.5..=1.0))).await;
        backoff = (backoff * 2).min(most);
    }
}

async fn try_begin(
    state: &State,
    address: &str,
    cluster: &mut Option<ClusterId>,
) -> Result<Session, String> {
    let store = state.options.coordination.connect().await;
    let store = store.map_err(|error| error.to_string())?;
    match register(&*store, address, cluster).await {
        Ok((router, cluster)) => Ok(Session {
            router,
            cluster,
            ledger: Joined::new(Arc::clone(&store)),
            store,
        }),
        Err(reason) => {
            store.close().await;
            Err(reason)
        }
    }
}

async fn register(
    store: &dyn Coordination,
    address: &str,
    cluster: &mut Option<ClusterId>,
) -> Result<(RouterId, ClusterId), String> {
    let seen = match *cluster {
        None => registry::initialise(store).await,
        // A store that has lost the cluster is not made anew by one that has known it.
        Some(known) => registry::read_cluster(store)
            .await
            .map(|record| record.map_or(ClusterId(!known.0), |record| record.value.cluster_id)),
    };
    let seen = seen.map_err(|error| error.to_string())?;
    let known = *cluster.get_or_insert(seen);
    if known != seen {
        return Err(format!(
            "the coordination store holds another cluster than {known}, or has lost it: restore it, or restart this router"
        ));
    }
    let router = RouterId(rand::random());
    let record = RouterRecord {
        address: address.to_owned(),
    };
    let registered = registry::register_router(store, router, &record).await;
    registered.map_err(|error| error.to_string())?;
    Ok((router, seen))
}

/// Everything that goes on during a session. Returns why it has ended.
async fn serve(state: &Arc<State>, session: &Arc<Session>) -> String {
    let keeper = Keeper {
        directory: &state.directory,
        nodes: &state.nodes,
        leaders: &state.leaders,
    };
    let complete = || health::set(&state.health, true, "ready");
    tokio::select! {
        biased;
        () = watch_session(state, session) => "the session has expired".to_owned(),
        end = keeper.run(Arc::clone(&session.store), complete) => end.to_string(),
        () = controller::driver::run(state, session) => "the controller has ended".to_owned(),
        () = takeover::run(state, session) => "the watch over other routers has ended".to_owned(),
    }
}

/// Reports losses of the connection; returns when the session is over.
async fn watch_session(state: &State, session: &Session) {
    let mut session_state = session.store.session();
    loop {
        let current = *session_state.borrow_and_update();
        match current {
            SessionState::Connected { .. } => {
                if state.health.borrow().ready {
                    report(state, "ready");
                }
            }
            SessionState::Disconnected => {
                report(state, "the connection to the coordination store is lost");
            }
            SessionState::Expired => return,
        }
        if session_state.changed().await.is_err() {
            return;
        }
    }
}

/// Says what is the matter. Does not make the router ready, nor take readiness away.
fn report(state: &State, reason: &str) {
    let ready = state.health.borrow().ready;
    let suffix = if ready && reason != "ready" {
        "; serving the tables that are known"
    } else {
        ""
    };
    health::set(&state.health, false, format!("{reason}{suffix}"));
}

/// How long the end of a session may take.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
