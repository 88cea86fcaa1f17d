//! Whether a router can be used, and why not.

use tokio::sync::watch;

/// What a router says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// It serves data operations. Once true, it stays so until shutdown: the data path does not need the
    /// coordination store.
    pub ready: bool,
    /// In words: why it is not ready, or what is missing although it is.
    pub reason: String,
}

impl Health {
    pub(crate) fn starting() -> Self {
        Self {
            ready: false,
            reason: "starting: not connected to the coordination store yet".to_owned(),
        }
    }
}

/// What a router says that takes no more requests.
const SHUTTING_DOWN: &str = "shutting down";

/// The router ends. Nothing changes its health any more.
pub(crate) fn close(health: &watch::Sender<Health>) {
    health.send_replace(Health {
        ready: false,
        reason: SHUTTING_DOWN.to_owned(),
    });
}

/// Changes the health where it differs.
pub(crate) fn set(health: &watch::Sender<Health>, ready: bool, reason: impl Into<String>) {
    let reason = reason.into();
    health.send_if_modified(|current| {
        let next = Health {
            ready: ready || current.ready,
            reason,
        };
        let differs = *current != next && current.reason != SHUTTING_DOWN;
        if !differs {
            return false;
        }
        *current = next;
        true
    });
}
