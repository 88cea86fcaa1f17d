//! Follows the client's session and tells everyone where it stands.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use zookeeper_client as zk;

use crate::SessionState;

/// Passes the client's states on until a final one.
pub(super) async fn follow(
    mut watcher: zk::StateWatcher,
    session: i64,
    state: Arc<watch::Sender<SessionState>>,
) {
    let mut current = watcher.peek_state();
    loop {
        let new = translate(current, session);
        let changed = state.send_if_modified(|state| {
            // Expired is final, also when it was us who closed the session.
            let changes = *state != new && *state != SessionState::Expired;
            if changes {
                *state = new;
            }
            changes
        });
        if changed {
            tracing::info!(session = format!("{session:#x}"), state = ?new, "ZooKeeper session");
        }
        if new == SessionState::Expired {
            return;
        }
        current = watcher.changed().await;
    }
}

/// Waits until the client's session has ended.
pub(super) async fn ended(mut watcher: zk::StateWatcher, deadline: Instant) {
    let ended = async {
        while !watcher.peek_state().is_terminated() {
            watcher.changed().await;
        }
    };
    if timeout_at(deadline, ended).await.is_err() {
        tracing::warn!("ZooKeeper can't be reached to close the session; it will expire");
    }
}

fn translate(state: zk::SessionState, session: i64) -> SessionState {
    match state {
        zk::SessionState::SyncConnected => SessionState::Connected { session },
        // A server without a quorum is no use: nothing it says is confirmed.
        zk::SessionState::Disconnected | zk::SessionState::ConnectedReadOnly => {
            SessionState::Disconnected
        }
        zk::SessionState::AuthFailed | zk::SessionState::Expired | zk::SessionState::Closed => {
            SessionState::Expired
        }
    }
}
