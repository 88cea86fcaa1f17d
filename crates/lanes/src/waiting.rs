//! The caller's end of an operation.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::{Lane, Outcome, Protocol};

/// An operation that was submitted: a future of its outcome.
///
/// Whoever drops it before the outcome is here waits for it no longer. If the operation was not sent by then, it never
/// is; if it was, the other side is told so.
#[must_use = "an operation that nobody waits for is cancelled"]
pub struct Waiting<P: Protocol> {
    outcome: oneshot::Receiver<Outcome<P::Answer>>,
    correlation: u64,
    /// Until the outcome is here.
    lane: Option<Arc<Lane<P>>>,
}

impl<P: Protocol> Waiting<P> {
    pub(crate) fn new(
        outcome: oneshot::Receiver<Outcome<P::Answer>>,
        correlation: u64,
        lane: Arc<Lane<P>>,
    ) -> Self {
        Self {
            outcome,
            correlation,
            lane: Some(lane),
        }
    }
}

impl<P: Protocol> fmt::Debug for Waiting<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("correlation", &self.correlation)
            .finish_non_exhaustive()
    }
}

impl<P: Protocol> Future for Waiting<P> {
    type Output = Outcome<P::Answer>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.outcome).poll(context));
        self.lane = None;
        Poll::Ready(outcome.unwrap_or(Outcome::Lost))
    }
}

impl<P: Protocol> Drop for Waiting<P> {
    fn drop(&mut self) {
        let Some(lane) = self.lane.take() else { return };
        // Closed first: what the next frame does not find closed, the lane has in flight when it is told.
        self.outcome.close();
        if self.outcome.try_recv().is_err() {
            lane.cancel(self.correlation);
        }
    }
}
