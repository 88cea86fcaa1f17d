//! What waits to be sent to one node, and what was sent and waits for its answer.
//!
//! An operation passes through three places, always forward, and completes exactly once:
//!
//! | place | if the connection ends now |
//! |---|---|
//! | queued: nobody has seen it | [`NotSent`] |
//! | in flight: a frame with it was handed to the transport | [`Outcome::Lost`] |
//! | answered | – |
//!
//! A caller that has gone is noticed by the drop of its [`Waiting`]. What is queued is then never sent. Of what is in
//! flight the node is told with the next frame, be it one of nothing else, so that it need not begin what it has not
//! begun. The operation stays in flight, and takes its room, until the node answers or the connection ends: the bounds
//! are on what the node works at. It answers a cancelled operation like any other.
//!
//! There is no timer for batches. The transport asks for the next frame when it can send one, and gets
//! everything that has gathered since it last asked, up to a bound on bytes. An idle connection so sends
//! each operation at once, a busy one sends large frames.
//!
//! Correlation ids count up over the life of the lane, so an answer on a new connection can't be taken for
//! that of an operation sent on an old one. An operation has its id from the moment it is taken in.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use api::internal::{Operation, OperationBatch, ResultBatch, TransactionItem, operation::Kind};
use bytes::Bytes;
use futures::Stream;
use model::limits::{self, MAX_ENTRY_BYTES, MAX_ENTRY_COMMANDS};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::{Answer, NotSent, Outcome, Waiting};

/// Room for an operation's frame, besides key and value.
const OPERATION_FRAME_BYTES: usize = 64;
/// … and of each participant of a transaction beside its key.
const PARTICIPANT_FRAME_BYTES: usize = 16;

/// The bounds on what is queued and in flight together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) operations: usize,
    pub(crate) bytes: usize,
}

impl Bounds {
    /// Of the lane to a data node.
    pub(crate) const NODE: Self = Self {
        operations: limits::MAX_NODE_OPERATIONS,
        bytes: limits::MAX_NODE_BYTES / 2,
    };
}

/// The operations of one node. Shared by those who submit and the link that carries them.
#[derive(Debug)]
pub(crate) struct Lane {
    state: Mutex<State>,
    bounds: Bounds,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    /// Counts connections, so that a stream of an old one takes nothing meant for a new one.
    generation: u64,
    next_correlation: u64,
    queued: VecDeque<Queued>,
    in_flight: HashMap<u64, InFlight>,
    /// Those in flight that nobody waits for any more, and whose node was not told so yet.
    cancelled: BTreeSet<u64>,
    /// Of queued and in flight together.
    bytes: usize,
    /// Since when the node owes answers and has given none.
    silent_since: Option<Instant>,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Queued {
    operation: Operation,
    deadline: Instant,
    bytes: usize,
    reply: oneshot::Sender<Outcome>,
}

#[derive(Debug)]
struct InFlight {
    bytes: usize,
    reply: oneshot::Sender<Outcome>,
}

impl Lane {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            state: Mutex::new(State {
                open: true,
                ..State::default()
            }),
            bounds,
        }
    }

    /// Takes an operation in, or refuses it at once.
    pub(crate) fn submit(
        self: &Arc<Self>,
        mut operation: Operation,
        deadline: Instant,
    ) -> Result<Waiting, NotSent> {
        let bytes = operation_bytes(&operation);
        let mut state = self.state.lock();
        if !state.open {
            return Err(NotSent::Unreachable);
        }
        let operations = state.queued.len() + state.in_flight.len();
        if operations >= self.bounds.operations || state.bytes + bytes > self.bounds.bytes {
            return Err(NotSent::Overloaded);
        }
        let (reply, outcome) = oneshot::channel();
        state.next_correlation += 1;
        let correlation = state.next_correlation;
        operation.correlation = correlation;
        state.bytes += bytes;
        state.queued.push_back(Queued {
            operation,
            deadline,
            bytes,
            reply,
        });
        wake(state);
        Ok(Waiting::new(outcome, correlation, Arc::clone(self)))
    }

    /// Nobody waits for an operation any more: its reply is closed. The node is told if it may have it.
    pub(crate) fn cancel(&self, correlation: u64) {
        let mut state = self.state.lock();
        if state.in_flight.contains_key(&correlation) {
            state.cancelled.insert(correlation);
            wake(state);
        }
    }

    /// Whether the node is known to be out of reach, or owes answers and has given none for this long.
    pub(crate) fn is_suspect(&self, now: Instant, patience: Duration) -> bool {
        let state = self.state.lock();
        !state.open
            || state
                .silent_since
                .is_some_and(|since| now.saturating_duration_since(since) >= patience)
    }

    /// The outgoing half of a new connection.
    pub(crate) fn outgoing(self: &Arc<Self>) -> Outgoing {
        let mut state = self.state.lock();
        state.open = true;
        state.generation += 1;
        Outgoing {
            lane: Arc::clone(self),
            generation: state.generation,
        }
    }

    /// Completes the operations that a frame answers.
    pub(crate) fn complete(&self, batch: ResultBatch) {
        let mut done = Vec::with_capacity(batch.results.len());
        let mut state = self.state.lock();
        for result in batch.results {
            // An answer to nothing in flight: a duplicate. The first one counted.
            let mut correlation = result.correlation;
            if mutant!(AnswersByOrder) {
                correlation = state.in_flight.keys().min().copied().unwrap_or_default();
            }
            if let Some(entry) = state.in_flight.remove(&correlation) {
                state.bytes -= entry.bytes;
                state.cancelled.remove(&correlation);
                done.push((entry.reply, result));
            }
        }
        state.silent_since = (!state.in_flight.is_empty()).then(Instant::now);
        drop(state);
        for (reply, result) in done {
            // Nobody listens any more if the caller has gone.
            let _ = reply.send(Outcome::Answer(Answer::from(result)));
        }
    }

    /// Ends the connection, and with it everything in flight and queued. Further operations are refused until
    /// the lane is opened again.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.open = false;
        state.generation += 1;
        state.bytes = 0;
        state.silent_since = None;
        let queued = std::mem::take(&mut state.queued);
        let in_flight = std::mem::take(&mut state.in_flight);
        state.cancelled.clear();
        wake(state);
        for entry in queued {
            let _ = entry.reply.send(Outcome::NotSent(NotSent::Unreachable));
        }
        // In the order in which they were sent, so that nothing depends on how they are kept.
        let mut in_flight: Vec<_> = in_flight.into_iter().collect();
        in_flight.sort_unstable_by_key(|(correlation, _)| *correlation);
        for (_, entry) in in_flight {
            let _ = entry.reply.send(Outcome::Lost);
        }
    }
}

/// Has the transport ask for the next frame. Without a waker it is busy and asks by itself, or there is no connection.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The frames of one connection, made when the transport asks for them.
#[derive(Debug)]
pub(crate) struct Outgoing {
    lane: Arc<Lane>,
    generation: u64,
}

impl Stream for Outgoing {
    type Item = OperationBatch;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<OperationBatch>> {
        let now = Instant::now();
        let mut late = Vec::new();
        let mut state = self.lane.state.lock();
        if state.generation != self.generation {
            return Poll::Ready(None);
        }
        let batch = state.next_frame(now, &mut late);
        let idle = batch.operations.is_empty() && batch.cancelled.is_empty();
        if idle {
            state.waker = Some(context.waker().clone());
        }
        drop(state);
        for reply in late {
            let _ = reply.send(Outcome::NotSent(NotSent::TooLate));
        }
        if idle {
            return Poll::Pending;
        }
        Poll::Ready(Some(batch))
    }
}

impl State {
    /// Moves what fits into one frame from the queue to the operations in flight, and adds all cancellations: there
    /// are never more of them than operations in flight.
    fn next_frame(
        &mut self,
        now: Instant,
        late: &mut Vec<oneshot::Sender<Outcome>>,
    ) -> OperationBatch {
        let cancelled = std::mem::take(&mut self.cancelled).into_iter().collect();
        let mut operations = Vec::new();
        let mut frame_bytes = 0;
        while let Some(next) = self.queued.front() {
            let full = frame_bytes + next.bytes > MAX_ENTRY_BYTES
                || operations.len() >= MAX_ENTRY_COMMANDS;
            if full && !operations.is_empty() {
                break;
            }
            let Some(mut next) = self.queued.pop_front() else {
                break;
            };
            if next.reply.is_closed() {
                self.bytes -= next.bytes;
                continue;
            }
            let left = next.deadline.saturating_duration_since(now).as_millis();
            if left == 0 {
                self.bytes -= next.bytes;
                late.push(next.reply);
                continue;
            }
            next.operation.timeout_millis = u32::try_from(left).unwrap_or(u32::MAX);
            frame_bytes += next.bytes;
            let entry = InFlight {
                bytes: next.bytes,
                reply: next.reply,
            };
            self.in_flight.insert(next.operation.correlation, entry);
            self.silent_since.get_or_insert(now);
            operations.push(next.operation);
        }
        OperationBatch {
            operations,
            cancelled,
        }
    }
}

fn operation_bytes(operation: &Operation) -> usize {
    let content = match &operation.kind {
        Some(Kind::Get(get)) => get.key.len(),
        Some(Kind::Put(put)) => put.key.len() + put.value.len(),
        Some(Kind::Delete(delete)) => delete.key.len(),
        Some(Kind::TransactWrite(write)) => items_bytes(&write.items),
        Some(Kind::Prepare(prepare)) => {
            let participants = prepare.participants.iter();
            let participants = participants.map(|p| PARTICIPANT_FRAME_BYTES + p.key.len());
            items_bytes(&prepare.items) + participants.sum::<usize>()
        }
        Some(Kind::Inquire(inquire)) => inquire.keys.iter().map(Bytes::len).sum(),
        Some(Kind::TransactRead(read)) => read.keys.iter().map(|key| key.key.len()).sum(),
        Some(Kind::Seal(_) | Kind::Checkpoint(_) | Kind::Decide(_)) | None => 0,
    };
    OPERATION_FRAME_BYTES + content
}

fn items_bytes(items: &[TransactionItem]) -> usize {
    let items = items.iter();
    items.map(|item| item.key.len() + item.value.len()).sum()
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
