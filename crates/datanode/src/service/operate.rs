//! `Operate`: operations of many callers over one stream.
//!
//! Eventual reads are answered right here. All else goes to the worker of its shard, and the answers gather in the stream's
//! queue; the transport takes as many as there are whenever it can send, so batches form without a timer.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use api::Error;
use api::internal::{self, OperationBatch, OperationResult, ResultBatch};
use futures::{Stream, StreamExt};
use model::{NodeId, ShardId, TableId, limits};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::Service;
use crate::admission::Admission;
use crate::clock::Clock;
use crate::hosted::Hosted;
use crate::operation::{self, Answer, Operation, Reply, ReplySink, Request};
use crate::shell::Workers;
use crate::worker::Input;

/// A frame of answers takes no further one beyond so many bytes.
const FRAME_BYTES: usize = limits::MAX_MESSAGE_BYTES / 4;

impl Service {
    pub(super) fn start_operating(
        &self,
        batches: Streaming<OperationBatch>,
    ) -> <Self as internal::data_node_server::DataNode>::OperateStream {
        let (sender, results) = mpsc::unbounded_channel();
        let intake = Intake {
            clock: self.clock.clone(),
            admission: self.admission.clone(),
            hosted: self.hosted.clone(),
            workers: self.workers.clone(),
            sink: Arc::new(Sink(sender)),
        };
        tokio::spawn(intake.run(batches.take_until(self.stopped())));
        // Ends by itself when the intake has ended and every reply was given.
        Box::pin(Results {
            results,
            kept: None,
        })
    }
}

/// The incoming half of a stream. The outgoing half ends when this has ended and every reply was given.
struct Intake {
    clock: Arc<dyn Clock>,
    admission: Admission,
    hosted: Hosted,
    workers: Workers,
    sink: Arc<dyn ReplySink>,
}

/// The queue of answers. It is unbounded because what is in flight is bounded.
struct Sink(mpsc::UnboundedSender<OperationResult>);

impl ReplySink for Sink {
    fn answer(&self, correlation: u64, leader: Option<NodeId>, answer: Answer) {
        // Nobody is there any more: the caller learns that from the end of the stream.
        let _ = self
            .0
            .send(operation::encode_answer(correlation, leader, answer));
    }
}

impl Intake {
    async fn run(self, batches: impl Stream<Item = Result<OperationBatch, Status>>) {
        let mut batches = pin!(batches);
        while let Some(Ok(batch)) = batches.next().await {
            self.take(batch);
        }
    }

    fn take(&self, batch: OperationBatch) {
        let now = self.clock.now().monotonic_millis;
        let mut seats: Vec<Vec<Request>> = (0..self.workers.count()).map(|_| Vec::new()).collect();
        for operation in batch.operations {
            let correlation = operation.correlation;
            match self.admit(operation, now) {
                Ok(Some(request)) => {
                    if let Some(seat) = seats.get_mut(self.workers.seat_of(request.shard)) {
                        seat.push(request);
                    }
                }
                Ok(None) => {}
                Err(error) => self.sink.answer(correlation, None, Answer::Failed(error)),
            }
        }
        for (seat, requests) in seats.into_iter().enumerate().filter(|(_, r)| !r.is_empty()) {
            self.workers.send_to(seat, Input::Requests(requests));
        }
    }

    /// Answers an eventual read; makes a request of everything else that there is room for.
    fn admit(&self, operation: internal::Operation, now: u64) -> Result<Option<Request>, Error> {
        let shard = ShardId {
            table: TableId(operation.table),
            index: operation.shard,
        };
        let kind = operation
            .kind
            .ok_or_else(|| Error::invalid("kind", "no operation is named"))?;
        let decoded = operation::decode(kind)?;
        if let Operation::Get {
            key,
            consistent: false,
        } = &decoded
        {
            let answer = self.hosted.read(shard, key);
            self.sink.answer(operation.correlation, None, answer);
            return Ok(None);
        }
        let permit = self.admission.admit(decoded.bytes())?;
        let reply = Reply::new(
            self.sink.clone(),
            operation.correlation,
            decoded.is_write(),
            Some(permit),
        );
        Ok(Some(Request {
            shard,
            operation: decoded,
            deadline_millis: now + u64::from(operation.timeout_millis),
            forwarded: operation.forwarded,
            reply,
        }))
    }
}

/// The outgoing half of a stream.
struct Results {
    results: mpsc::UnboundedReceiver<OperationResult>,
    /// Taken from the queue and too large for the last frame.
    kept: Option<OperationResult>,
}

impl Stream for Results {
    type Item = Result<ResultBatch, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut results = Vec::new();
        let mut bytes = 0;
        if let Some(kept) = self.kept.take() {
            bytes += result_bytes(&kept);
            results.push(kept);
        }
        loop {
            match self.results.poll_recv(context) {
                Poll::Ready(Some(result)) => {
                    bytes += result_bytes(&result);
                    if bytes > FRAME_BYTES && !results.is_empty() {
                        self.kept = Some(result);
                        return Poll::Ready(Some(Ok(ResultBatch { results })));
                    }
                    results.push(result);
                }
                Poll::Ready(None) if results.is_empty() => return Poll::Ready(None),
                Poll::Pending if results.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => {
                    return Poll::Ready(Some(Ok(ResultBatch { results })));
                }
            }
        }
    }
}

fn result_bytes(result: &OperationResult) -> usize {
    match &result.kind {
        Some(internal::operation_result::Kind::Found(found)) => found.value.len() + 64,
        _ => 128,
    }
}
