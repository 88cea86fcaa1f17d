//! For the benchmarks of this crate: a lane on a connection that is none. No part of the interface.

use std::sync::Arc;

use api::internal::{Operation, OperationBatch, ResultBatch};
use futures::{FutureExt as _, StreamExt as _};
use lanes::{Lane, Outgoing};
use tokio::time::Instant;

use crate::protocol::{BOUNDS, Operate};
use crate::{NotSent, Waiting};

/// The lane of a node, and what would be the transport.
pub struct Connected {
    lane: Arc<Lane<Operate>>,
    outgoing: Outgoing<Operate>,
}

impl Connected {
    /// With the bounds of a data node.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let lane = Arc::new(Lane::new(BOUNDS));
        let outgoing = lane.outgoing();
        Self { lane, outgoing }
    }

    /// As a caller does it.
    pub fn submit(&self, operation: Operation, deadline: Instant) -> Result<Waiting, NotSent> {
        self.lane.submit(operation, deadline)
    }

    /// The next frame, as the transport asks for it; none if nothing is queued.
    pub fn frame(&mut self) -> Option<OperationBatch> {
        // At first it lets others through.
        let first = self.outgoing.next().now_or_never();
        first.or_else(|| self.outgoing.next().now_or_never())?
    }

    /// A frame of answers has come.
    pub fn complete(&self, answers: ResultBatch) {
        self.lane.complete(answers.results);
    }
}
