//! `Operate`: operations of many callers over one stream.
//!
//! Eventual reads are answered right here. All else goes to the worker of its shard, and the answers gather in the stream's
//! queue; the transport takes as many as there are whenever it can send, so batches form without a timer.
//!
//! A caller that asks and doesn't fetch the answers is not listened to until it does: a short question may have an answer
//! of 400 KiB. What it has asked before is read only while there is room for the answers, and else `OVERLOADED`: one frame has
//! room for questions whose answers have gigabytes.
//!
//! A caller may say that it waits for an operation no longer. What was not begun by then is not begun: a write that is not
//! proposed yet, a consistent read that is not in a round or not read yet. It is answered with an error all the same, for the
//! caller counts what this node works at. What was handed on is given up, and so cancelled on the next node, too. A write that
//! was proposed can't be called back, and ends as it does.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use api::Error;
use api::internal::{self, OperationBatch, OperationResult, ResultBatch};
use environment::Clock;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use model::{NodeId, ShardId, TableId, limits};
use tokio::sync::{Notify, mpsc};
use tonic::{Status, Streaming};

use super::Service;
use super::cancelled::Cancelled;
use crate::admission::Admission;
use crate::hosted::Hosted;
use crate::operation::{self, Answer, Operation, Reply, ReplySink, Request};
use crate::shell::Workers;
use crate::worker::Input;

/// A frame of answers takes no further one beyond so many bytes.
const FRAME_BYTES: usize = limits::MAX_MESSAGE_BYTES / 4;
/// With so many bytes of answers waiting to be fetched, a stream takes no further operation.
const BACKLOG_BYTES: usize = 2 * limits::MAX_MESSAGE_BYTES;

/// After so many operations of a frame others get the thread: eventual reads may wait for the disk, and heartbeats travel by the
/// same threads.
const AT_ONCE: usize = 32;

impl Service {
    pub(super) fn start_operating(
        &self,
        batches: Streaming<OperationBatch>,
    ) -> <Self as internal::data_node_server::DataNode>::OperateStream {
        let (sender, results) = mpsc::unbounded_channel();
        let backlog = Arc::new(Backlog::default());
        let intake = Intake {
            clock: self.clock.clone(),
            admission: self.admission.clone(),
            hosted: self.hosted.clone(),
            workers: self.workers.clone(),
            sink: Arc::new(Sink::new(sender, backlog.clone())),
            backlog: backlog.clone(),
        };
        let stopped = self.stopped();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stopped => {}
                () = intake.run(batches) => {}
            }
        });
        // Ends by itself when the intake has ended and every reply was given.
        Box::pin(Results {
            queue: results,
            kept: None,
            backlog,
        })
    }
}

/// The incoming half of a stream. The outgoing half ends when this has ended and every reply was given.
struct Intake {
    clock: Arc<dyn Clock>,
    admission: Admission,
    hosted: Hosted,
    workers: Workers,
    sink: Arc<Sink>,
    backlog: Arc<Backlog>,
}

/// The queue of answers. It has no bound of its own, for those who answer must not wait: what is in flight has one, and
/// nothing is taken on while there is a backlog.
struct Sink {
    results: mpsc::UnboundedSender<OperationResult>,
    backlog: Arc<Backlog>,
    cancelled: Cancelled,
}

/// The answers of a stream that were given and not fetched.
#[derive(Default)]
struct Backlog {
    bytes: AtomicUsize,
    /// Nobody will fetch them.
    gone: AtomicBool,
    shrunk: Notify,
}

impl Backlog {
    fn grow(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn shrink(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before >= BACKLOG_BYTES && before - bytes < BACKLOG_BYTES {
            self.shrunk.notify_one();
        }
    }

    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= BACKLOG_BYTES
    }

    /// Waits until it is no longer full. False if the caller is gone.
    async fn room(&self) -> bool {
        while self.is_full() && !self.gone.load(Ordering::Relaxed) {
            self.shrunk.notified().await;
        }
        !self.gone.load(Ordering::Relaxed)
    }

    fn abandon(&self) {
        self.gone.store(true, Ordering::Relaxed);
        self.shrunk.notify_one();
    }
}

impl Sink {
    fn new(results: mpsc::UnboundedSender<OperationResult>, backlog: Arc<Backlog>) -> Self {
        Self {
            results,
            backlog,
            cancelled: Cancelled::default(),
        }
    }
}

impl ReplySink for Sink {
    fn answer(&self, correlation: u64, leader: Option<NodeId>, answer: Answer) {
        self.cancelled.remove(correlation);
        let result = operation::encode_answer(correlation, leader, answer);
        self.backlog.grow(result_bytes(&result));
        // Nobody is there any more: the caller learns that from the end of the stream.
        let _ = self.results.send(result);
    }

    fn is_full(&self) -> bool {
        self.backlog.is_full()
    }

    fn is_cancelled(&self, correlation: u64) -> bool {
        self.cancelled.contains(correlation)
    }

    fn cancelled(&self, correlation: u64) -> BoxFuture<'_, ()> {
        Box::pin(self.cancelled.wait_for(correlation))
    }
}

impl Intake {
    async fn run(self, batches: impl Stream<Item = Result<OperationBatch, Status>>) {
        let mut batches = pin!(batches);
        while let Some(Ok(batch)) = batches.next().await {
            if !self.take(batch).await {
                return;
            }
        }
    }

    /// Takes a batch on, with pauses while there is a backlog. False if the caller is gone.
    async fn take(&self, batch: OperationBatch) -> bool {
        self.sink.cancelled.add(batch.cancelled);
        let now = self.clock.now().monotonic_millis;
        let mut seats: Vec<Vec<Request>> = (0..self.workers.count()).map(|_| Vec::new()).collect();
        for (number, operation) in batch.operations.into_iter().enumerate() {
            if number % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            if self.backlog.is_full() {
                self.hand_in(&mut seats);
                if !self.backlog.room().await {
                    return false;
                }
            }
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
        self.hand_in(&mut seats);
        true
    }

    /// Gives the workers what was gathered for them.
    fn hand_in(&self, seats: &mut [Vec<Request>]) {
        for (seat, requests) in seats.iter_mut().enumerate().filter(|(_, r)| !r.is_empty()) {
            let requests = std::mem::take(requests);
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
        let timeout = u64::from(operation.timeout_millis).min(limits::MAX_DATA_DEADLINE_MILLIS);
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
            deadline_millis: now + timeout,
            forwarded: operation.forwarded,
            reply,
        }))
    }
}

/// The outgoing half of a stream.
struct Results {
    queue: mpsc::UnboundedReceiver<OperationResult>,
    /// Taken from the queue and too large for the last frame.
    kept: Option<OperationResult>,
    backlog: Arc<Backlog>,
}

impl Drop for Results {
    fn drop(&mut self) {
        self.backlog.abandon();
    }
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
            match self.queue.poll_recv(context) {
                Poll::Ready(Some(result)) => {
                    self.backlog.shrink(result_bytes(&result));
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
    use internal::operation_result::Kind;
    match &result.kind {
        Some(Kind::Found(found)) => found.value.len() + 64,
        Some(Kind::Rejected(rejected)) => rejected.objections.len() * 16 + 64,
        Some(Kind::Items(items)) => {
            let items = items.items.iter().map(|item| item.value.len() + 32);
            items.sum::<usize>() + 64
        }
        _ => 128,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_values_of_a_reading_transaction_count_in_a_frame() {
        let item = links::ReadItem {
            content: Some(links::Content::Value(vec![0; 100_000].into())),
            lsn: 1,
            locked: false,
        };
        let answer = |count| Answer::Items(vec![item.clone(); count]);
        let bytes = |count| result_bytes(&operation::encode_answer(1, None, answer(count)));
        assert!((3_000_000..3_010_000).contains(&bytes(30)), "{}", bytes(30));
        assert!(bytes(0) > 0);
    }

    fn put(correlation: u64) -> internal::Operation {
        let put = internal::Put {
            key: "k".into(),
            request_id: Some(api::v1::RequestId::default()),
            ..internal::Put::default()
        };
        internal::Operation {
            correlation,
            timeout_millis: 1000,
            kind: Some(internal::operation::Kind::Put(put)),
            ..internal::Operation::default()
        }
    }

    #[tokio::test]
    async fn a_stream_cancels_what_is_in_flight_on_it_by_any_later_frame() {
        let (sender, mut results) = mpsc::unbounded_channel();
        let backlog = Arc::new(Backlog::default());
        let workers = Workers::new(&crate::options::Tuning::default());
        let sink = Arc::new(Sink::new(sender, backlog.clone()));
        let intake = Intake {
            clock: Arc::new(environment::SystemClock::default()),
            admission: Admission::new(10, 1000),
            hosted: Hosted::default(),
            workers,
            sink,
            backlog,
        };
        let frame = |operations, cancelled| OperationBatch {
            operations,
            cancelled,
        };
        intake.take(frame(vec![put(1), put(2)], Vec::new())).await;
        intake.take(frame(vec![put(3)], vec![2, 9])).await;
        let cancelled =
            |intake: &Intake| [1, 2, 3].map(|correlation| intake.sink.is_cancelled(correlation));
        assert_eq!(cancelled(&intake), [false, true, false]);
        intake.take(frame(Vec::new(), vec![1])).await;
        assert_eq!(cancelled(&intake), [true, true, false]);
        assert!(results.try_recv().is_err(), "none is answered by that");
        assert_eq!(intake.admission.in_flight(), 3);
        // They were with the worker.
        let Intake { workers, sink, .. } = intake;
        drop(workers);
        assert_eq!(
            [1, 2].map(|correlation| sink.is_cancelled(correlation)),
            [false; 2]
        );
        let answered = [(); 3].map(|()| results.try_recv().unwrap().correlation);
        assert_eq!(answered, [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_caller_that_does_not_fetch_is_listened_to_again_once_it_does() {
        let (sender, results) = mpsc::unbounded_channel();
        let backlog = Arc::new(Backlog::default());
        let sink = Sink::new(sender, backlog.clone());
        let mut fetched = Results {
            queue: results,
            kept: None,
            backlog: backlog.clone(),
        };
        let answer = Answer::Found {
            value: vec![0; limits::MAX_VALUE_BYTES].into(),
            version: 1,
        };
        let mut given = 0;
        while backlog.room().now_or_never().is_some() {
            sink.answer(given, None, answer.clone());
            given += 1;
        }
        let unfetched = given as usize * limits::MAX_VALUE_BYTES;
        assert!(unfetched.abs_diff(BACKLOG_BYTES) <= 2 * limits::MAX_VALUE_BYTES);
        {
            let mut room = pin!(backlog.room());
            assert_eq!(room.as_mut().now_or_never(), None);
            let frame = fetched.next().await.unwrap().unwrap();
            assert!(!frame.results.is_empty());
            assert!(room.await, "fetching wakes whoever waits");
        }
        while backlog.room().now_or_never().is_some() {
            sink.answer(given, None, answer.clone());
            given += 1;
        }
        let room = backlog.room();
        drop(fetched);
        assert!(!room.await, "the caller is gone");
    }
}
