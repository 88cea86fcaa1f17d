//! Where a session stands, for its client and all who ask.

use tokio::sync::{Notify, watch};

use crate::SessionState;

/// A session's state, which can be waited for in a fixed order: who waits on a [`watch`] channel is woken
/// in a random one.
pub(super) struct Standing {
    state: watch::Sender<SessionState>,
    changed: Notify,
}

impl Standing {
    pub(super) fn new(state: SessionState) -> Self {
        Self {
            state: watch::Sender::new(state),
            changed: Notify::new(),
        }
    }

    /// `Expired` is final.
    pub(super) fn set(&self, new: SessionState) {
        let changed = self.state.send_if_modified(|state| {
            let changes = *state != new && *state != SessionState::Expired;
            if changes {
                *state = new;
            }
            changes
        });
        if changed {
            self.changed.notify_waiters();
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<SessionState> {
        self.state.subscribe()
    }

    /// Waits until it is connected or expired.
    pub(super) async fn decided(&self) -> SessionState {
        loop {
            // Before the look: a change in between counts as well.
            let changed = self.changed.notified();
            let state = *self.state.borrow();
            if state != SessionState::Disconnected {
                return state;
            }
            changed.await;
        }
    }
}
