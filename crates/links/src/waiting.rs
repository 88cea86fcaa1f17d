//! The caller's end of an operation.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::Outcome;
use crate::lane::Lane;

/// An operation that was submitted: a future of its outcome.
///
/// Whoever drops it before the outcome is here waits for it no longer. If the operation was not sent by then, it never
/// is; if it was, the node is told so.
#[derive(Debug)]
#[must_use = "an operation that nobody waits for is cancelled"]
pub struct Waiting {
    outcome: oneshot::Receiver<Outcome>,
    correlation: u64,
    /// Until the outcome is here.
    lane: Option<Arc<Lane>>,
}

impl Waiting {
    pub(crate) fn new(
        outcome: oneshot::Receiver<Outcome>,
        correlation: u64,
        lane: Arc<Lane>,
    ) -> Self {
        Self {
            outcome,
            correlation,
            lane: Some(lane),
        }
    }
}

impl Future for Waiting {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let outcome = ready!(Pin::new(&mut self.outcome).poll(context));
        self.lane = None;
        Poll::Ready(outcome.unwrap_or(Outcome::Lost))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(lane) = self.lane.take() else { return };
        // Closed first: what the next frame does not find closed, the lane has in flight when it is told.
        self.outcome.close();
        if self.outcome.try_recv().is_err() {
            lane.cancel(self.correlation);
        }
    }
}
