//! `KeyValue.Operate`: the operations of many callers over one stream.
//!
//! What the transport sends is asked for when it can be sent, as the next frame: then what has come in meanwhile is begun, what
//! is under way goes on, and all results that are there make the frame. So batches form without a timer, there is no queue, and
//! a caller that does not fetch results is not listened to either: what is under way on one stream is bounded. Transactions that
//! write have tasks of their own, for they hold what others wait for, and go on meanwhile.
//!
//! When the router goes down it says so on the stream, and goes on to serve until the caller ends its side: so nothing that was
//! sent stays without a result.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use api::v1::operation::Kind as Question;
use api::v1::operation_result::Kind as Answer;
use api::v1::{OperateRequest, OperateResponse, Operation, OperationResult};
use api::{Error, deadline};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Stream, StreamExt as _};
use model::limits::{MAX_MESSAGE_BYTES, MAX_STREAM_BYTES, MAX_STREAM_OPERATIONS};
use prost::Message as _;
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::{delete, get, put, transact_get, transact_put};
use crate::state::State;

/// With so many under way nothing further is looked at, cancellations neither: more than callers have who keep to the limit.
/// Another message may come in just before.
const MAX_RUNNING: usize = MAX_STREAM_OPERATIONS + 1;
/// The same of their bytes.
const MAX_RUNNING_BYTES: usize = MAX_STREAM_BYTES + MAX_MESSAGE_BYTES;
/// Messages that are looked at before others get the thread.
const AT_ONCE: usize = 32;
/// A frame of results takes no further one beyond so many bytes.
const FRAME_BYTES: usize = MAX_MESSAGE_BYTES / 4;

/// The results of one stream, as its caller gets them; see the [module](self).
pub(crate) struct Results<S> {
    state: Arc<State>,
    /// What the caller sends; none once that has ended.
    requests: Option<S>,
    running: FuturesUnordered<Running>,
    /// Of what is running, as it came.
    running_bytes: usize,
    closing: Closing,
}

enum Closing {
    /// Until the router goes down.
    Not(Pin<Box<WaitForCancellationFutureOwned>>),
    Said,
}

/// An operation under way.
struct Running {
    correlation: u64,
    bytes: usize,
    work: BoxFuture<'static, Result<Answer, Error>>,
}

impl Future for Running {
    type Output = (usize, OperationResult);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let correlation = self.correlation;
        let bytes = self.bytes;
        let ended = self.work.poll_unpin(context);
        ended.map(|answer| (bytes, result(correlation, answer)))
    }
}

fn result(correlation: u64, answer: Result<Answer, Error>) -> OperationResult {
    let kind = answer.unwrap_or_else(|error| Answer::Error(error.into()));
    OperationResult {
        correlation,
        kind: Some(kind),
    }
}

impl<S> Results<S> {
    /// Serves what comes in, until that ends.
    pub(crate) fn new(state: Arc<State>, requests: S) -> Self {
        let closing = state.closing.clone().cancelled_owned();
        Self {
            state,
            requests: Some(requests),
            running: FuturesUnordered::new(),
            running_bytes: 0,
            closing: Closing::Not(Box::pin(closing)),
        }
    }

    fn begin(&mut self, operation: Operation, now: Instant) {
        let deadline = now + deadline::of_operation(operation.timeout_millis);
        let correlation = operation.correlation;
        let bytes = operation.encoded_len();
        let work = carry_out(Arc::clone(&self.state), operation.kind, deadline).boxed();
        self.running_bytes += bytes;
        self.running.push(Running {
            correlation,
            bytes,
            work,
        });
    }

    /// Gives up what nobody waits for any more.
    fn cancel(&mut self, cancelled: &BTreeSet<u64>, results: &mut Vec<OperationResult>) {
        let mut running = self.running.iter();
        if cancelled.is_empty() || !running.any(|one| cancelled.contains(&one.correlation)) {
            return;
        }
        for running in std::mem::take(&mut self.running) {
            if cancelled.contains(&running.correlation) {
                self.running_bytes -= running.bytes;
                let error = Error::outcome_unknown("the operation was cancelled");
                results.push(result(running.correlation, Err(error)));
            } else {
                self.running.push(running);
            }
        }
    }

    /// Whether the router goes down since the last time.
    fn begins_to_close(&mut self, context: &mut Context<'_>) -> bool {
        let Closing::Not(closing) = &mut self.closing else {
            return false;
        };
        let begins = closing.as_mut().poll(context).is_ready();
        if begins {
            self.closing = Closing::Said;
        }
        begins
    }
}

impl<S: Stream<Item = Result<OperateRequest, Status>> + Unpin> Results<S> {
    /// Begins what has come in, as long as there is room.
    fn take_in(
        &mut self,
        context: &mut Context<'_>,
        results: &mut Vec<OperationResult>,
    ) -> Result<(), Status> {
        let now = Instant::now();
        let mut cancelled = BTreeSet::new();
        let mut looked_at = 0;
        while self.running.len() < MAX_RUNNING
            && self.running_bytes < MAX_RUNNING_BYTES
            && let Some(requests) = &mut self.requests
            && let Poll::Ready(request) = requests.poll_next_unpin(context)
        {
            let Some(request) = request.transpose()? else {
                self.requests = None;
                break;
            };
            check_number(&request)?;
            cancelled.extend(request.cancelled);
            for operation in request.operations {
                self.begin(operation, now);
            }
            looked_at += 1;
            if looked_at == AT_ONCE {
                context.waker().wake_by_ref();
                break;
            }
        }
        self.cancel(&cancelled, results);
        Ok(())
    }

    /// Goes on with what is under way, and gathers what has ended.
    fn gather(&mut self, context: &mut Context<'_>, results: &mut Vec<OperationResult>) {
        let mut bytes = 0;
        while bytes < FRAME_BYTES
            && let Poll::Ready(Some((freed, result))) = self.running.poll_next_unpin(context)
        {
            self.running_bytes -= freed;
            bytes += result.encoded_len();
            results.push(result);
        }
    }
}

impl<S: Stream<Item = Result<OperateRequest, Status>> + Unpin> Stream for Results<S> {
    type Item = Result<OperateResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut results = Vec::new();
        if let Err(status) = self.take_in(context, &mut results) {
            // What is under way is given up: there is nobody left to tell.
            self.requests = None;
            self.running.clear();
            return Poll::Ready(Some(Err(super::server::named(status))));
        }
        self.gather(context, &mut results);
        let closing = self.requests.is_some() && self.begins_to_close(context);
        if !results.is_empty() || closing {
            return Poll::Ready(Some(Ok(OperateResponse { results, closing })));
        }
        if self.requests.is_none() && self.running.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

fn check_number(request: &OperateRequest) -> Result<(), Error> {
    for (field, number) in [
        ("operations", request.operations.len()),
        ("cancelled", request.cancelled.len()),
    ] {
        if number > MAX_STREAM_OPERATIONS {
            let message = format!("at most {MAX_STREAM_OPERATIONS} in a message, not {number}");
            return Err(Error::invalid(field, message));
        }
    }
    Ok(())
}

async fn carry_out(
    state: Arc<State>,
    question: Option<Question>,
    deadline: Instant,
) -> Result<Answer, Error> {
    let Some(question) = question else {
        return Err(Error::invalid(
            "kind",
            "no operation is named, or one that this version does not know",
        ));
    };
    Ok(match question {
        Question::Get(request) => Answer::Get(get::get(&state, request, deadline).await?),
        Question::Put(request) => Answer::Put(put::put(&state, request, deadline).await?),
        Question::Delete(request) => {
            Answer::Delete(delete::delete(&state, request, deadline).await?)
        }
        Question::TransactPut(request) => {
            let put = async move { transact_put::transact_put(&state, request, deadline).await };
            let put = AbortOnDropHandle::new(tokio::spawn(put));
            Answer::TransactPut(put.await.map_err(Error::outcome_unknown)??)
        }
        Question::TransactGet(request) => {
            Answer::TransactGet(transact_get::transact_get(&state, request, deadline).await?)
        }
    })
}
