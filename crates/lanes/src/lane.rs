//! What waits to be sent over one stream, and what was sent and waits for its answer.
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
//! flight the other side is told with the next frame, be it one of nothing else, so that it need not begin what it has not
//! begun. The operation stays in flight, and takes its room, until the other side answers or the connection ends: the bounds
//! are on what that works at. It answers a cancelled operation like any other.
//!
//! There is no timer for batches. The transport asks for the next frame when it can send one, and gets
//! everything that has gathered since it last asked, up to a bound on bytes. Before it gets one, whoever else has something to
//! do on its thread goes first, once, and what they bring travels along. An idle connection so sends each operation at once,
//! a busy one sends large frames.
//!
//! Correlation ids count up over the life of the lane, so an answer on a new connection can't be taken for
//! that of an operation sent on an old one. An operation has its id from the moment it is taken in.
//!
//! A lane can be [retired](Lane::retire), when the other side asks for it: then it takes nothing in, what is queued is still
//! sent, and the outgoing half ends by itself.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::Stream;
use model::limits::{MAX_ENTRY_BYTES, MAX_ENTRY_COMMANDS};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::{NotSent, Outcome, Protocol, Waiting};

/// The bounds on what is queued and in flight together.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many operations.
    pub operations: usize,
    /// Their [bytes](Protocol::bytes).
    pub bytes: usize,
}

/// The operations of one stream. Shared by those who submit and by what carries them.
pub struct Lane<P: Protocol> {
    state: Mutex<State<P>>,
    bounds: Bounds,
}

struct State<P: Protocol> {
    open: bool,
    /// Nothing is taken in any more, but what is queued is still sent.
    retired: bool,
    /// Counts connections, so that a stream of an old one takes nothing meant for a new one.
    generation: u64,
    next_correlation: u64,
    queued: VecDeque<Queued<P>>,
    in_flight: HashMap<u64, InFlight<P>>,
    /// Those in flight that nobody waits for any more, and of which the other side was not told yet.
    cancelled: BTreeSet<u64>,
    /// Of queued and in flight together.
    bytes: usize,
    /// Since when the other side owes answers and has given none.
    silent_since: Option<Instant>,
    waker: Option<Waker>,
}

struct Queued<P: Protocol> {
    operation: P::Operation,
    correlation: u64,
    deadline: Instant,
    bytes: usize,
    reply: Reply<P>,
}

struct InFlight<P: Protocol> {
    bytes: usize,
    reply: Reply<P>,
}

type Reply<P> = oneshot::Sender<Outcome<<P as Protocol>::Answer>>;

impl<P: Protocol> fmt::Debug for Lane<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

impl<P: Protocol> Lane<P> {
    /// A lane that takes operations in, before there is a connection as well.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            state: Mutex::new(State {
                open: true,
                retired: false,
                generation: 0,
                next_correlation: 0,
                queued: VecDeque::new(),
                in_flight: HashMap::new(),
                cancelled: BTreeSet::new(),
                bytes: 0,
                silent_since: None,
                waker: None,
            }),
            bounds,
        }
    }

    /// Takes an operation in, or refuses it at once.
    pub fn submit(
        self: &Arc<Self>,
        operation: P::Operation,
        deadline: Instant,
    ) -> Result<Waiting<P>, NotSent> {
        let bytes = P::bytes(&operation);
        let mut state = self.state.lock();
        if !state.open || state.retired {
            return Err(NotSent::Unreachable);
        }
        let operations = state.queued.len() + state.in_flight.len();
        if operations >= self.bounds.operations || state.bytes + bytes > self.bounds.bytes {
            return Err(NotSent::Overloaded);
        }
        let (reply, outcome) = oneshot::channel();
        state.next_correlation += 1;
        let correlation = state.next_correlation;
        state.bytes += bytes;
        state.queued.push_back(Queued {
            operation,
            correlation,
            deadline,
            bytes,
            reply,
        });
        wake(state);
        Ok(Waiting::new(outcome, correlation, Arc::clone(self)))
    }

    /// Nobody waits for an operation any more: its reply is closed. The other side is told if it may have it.
    pub(crate) fn cancel(&self, correlation: u64) {
        let mut state = self.state.lock();
        if state.in_flight.contains_key(&correlation) {
            state.cancelled.insert(correlation);
            wake(state);
        }
    }

    /// Whether the other side is known to be out of reach, or owes answers and has given none for this long.
    pub fn is_suspect(&self, now: Instant, patience: Duration) -> bool {
        let state = self.state.lock();
        !state.open
            || state
                .silent_since
                .is_some_and(|since| now.saturating_duration_since(since) >= patience)
    }

    /// The outgoing half of a new connection.
    pub fn outgoing(self: &Arc<Self>) -> Outgoing<P> {
        let mut state = self.state.lock();
        state.open = true;
        state.retired = false;
        state.generation += 1;
        Outgoing {
            lane: Arc::clone(self),
            generation: state.generation,
            let_through: false,
        }
    }

    /// Completes the operations that a frame answers.
    pub fn complete(&self, results: Vec<P::Result>) {
        let mut done = Vec::with_capacity(results.len());
        let mut state = self.state.lock();
        for result in results {
            // An answer to nothing in flight: a duplicate. The first one counted.
            let mut correlation = P::correlation(&result);
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
            let _ = reply.send(Outcome::Answer(P::answer(result)));
        }
    }

    /// Takes nothing in any more, until the lane is opened again. The outgoing half ends once what is queued was sent.
    pub fn retire(&self) {
        let mut state = self.state.lock();
        state.retired = true;
        wake(state);
    }

    /// Ends the connection, and with it everything in flight and queued. Further operations are refused until
    /// the lane is opened again.
    pub fn close(&self) {
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
fn wake<P: Protocol>(mut state: MutexGuard<'_, State<P>>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The frames of one connection, made when the transport asks for them.
#[derive(Debug)]
pub struct Outgoing<P: Protocol> {
    lane: Arc<Lane<P>>,
    generation: u64,
    /// Others have gone first since the last frame.
    let_through: bool,
}

impl<P: Protocol> Stream for Outgoing<P> {
    type Item = P::Frame;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<P::Frame>> {
        let this = &mut *self;
        let mut late = Vec::new();
        let mut state = this.lane.state.lock();
        if state.generation != this.generation {
            return Poll::Ready(None);
        }
        if !state.queued.is_empty() && !std::mem::replace(&mut this.let_through, true) {
            drop(state);
            // The runtime puts a task that wakes itself behind those that are ready.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.let_through = false;
        let now = Instant::now();
        let (operations, cancelled) = state.next_frame(now, &mut late);
        let idle = operations.is_empty() && cancelled.is_empty();
        let ended = idle && state.retired;
        if idle && !ended {
            state.waker = Some(context.waker().clone());
        }
        drop(state);
        for reply in late {
            let _ = reply.send(Outcome::NotSent(NotSent::TooLate));
        }
        if ended {
            return Poll::Ready(None);
        }
        if idle {
            return Poll::Pending;
        }
        Poll::Ready(Some(P::frame(operations, cancelled)))
    }
}

impl<P: Protocol> State<P> {
    /// Moves what fits into one frame from the queue to the operations in flight, and adds all cancellations: there
    /// are never more of them than operations in flight.
    fn next_frame(
        &mut self,
        now: Instant,
        late: &mut Vec<Reply<P>>,
    ) -> (Vec<P::Operation>, Vec<u64>) {
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
            let timeout_millis = u32::try_from(left).unwrap_or(u32::MAX);
            P::stamp(&mut next.operation, next.correlation, timeout_millis);
            frame_bytes += next.bytes;
            let entry = InFlight {
                bytes: next.bytes,
                reply: next.reply,
            };
            self.in_flight.insert(next.correlation, entry);
            self.silent_since.get_or_insert(now);
            operations.push(next.operation);
        }
        (operations, cancelled)
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
