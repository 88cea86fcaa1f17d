//! The stream by which a connection carries operations once there are several.
//!
//! The second operation on a connection has it begun, in the background; until it stands operations are calls of their own. It ends
//! with its connection, when the router says that it goes down, and when the last handle of the connection is dropped. What was
//! sent by then is answered, but where the connection breaks. If the connection outlives it, another one is begun after a while,
//! unless the router does not know what that is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use api::v1::key_value_client::KeyValueClient;
use lanes::{Bounds, Lane};
use model::limits::{MAX_STREAM_BYTES, MAX_STREAM_OPERATIONS};
use tokio::time::{Instant, timeout};
use tonic::Code;

use crate::connection::Requests;
use crate::operation::Operate;

/// What a stream holds at the most, queued and in flight together. What is beyond goes by calls.
const BOUNDS: Bounds = Bounds {
    operations: MAX_STREAM_OPERATIONS,
    bytes: MAX_STREAM_BYTES,
};
/// This operation of a connection begins the first stream.
const BEGUN_BY: usize = 2;
/// For the router to take it.
const OPENING_TIMEOUT: Duration = Duration::from_secs(5);
/// After the end of one, before another one is begun.
const PAUSE: Duration = Duration::from_secs(1);

type Carried = Lane<Operate>;

/// A connection's stream, if it is there.
#[derive(Debug)]
pub(crate) struct Stream {
    lane: Arc<Carried>,
    /// Operations may be submitted to the lane.
    stands: AtomicBool,
    /// The router has said that it goes down.
    closing: AtomicBool,
    next: Mutex<Next>,
}

/// When a stream is begun.
#[derive(Debug)]
enum Next {
    /// By a later operation: so many have come.
    AfterOperations(usize),
    /// By the first operation after that.
    After(Instant),
    /// It has been begun, or never will be.
    Not,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            lane: Arc::new(Lane::new(BOUNDS)),
            stands: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            next: Mutex::new(Next::AfterOperations(0)),
        }
    }
}

impl Stream {
    /// The lane to submit an operation to, where the stream stands.
    pub(crate) fn lane(
        self: &Arc<Self>,
        stub: impl FnOnce() -> KeyValueClient<Requests>,
    ) -> Option<&Arc<Carried>> {
        if self.stands.load(Ordering::Acquire) {
            return Some(&self.lane);
        }
        if self.next().is_now() {
            let end = End {
                stream: Arc::downgrade(self),
                lane: Arc::clone(&self.lane),
                again: false,
            };
            tokio::spawn(carry(stub(), end));
        }
        None
    }

    /// Whether the router goes down: what is sent over this connection now may get no answer.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn next(&self) -> MutexGuard<'_, Next> {
        // Nothing panics while the lock is held.
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Next {
    /// Whether this operation is to begin it.
    fn is_now(&mut self) -> bool {
        let now = match self {
            Self::AfterOperations(operations) => {
                *operations += 1;
                *operations >= BEGUN_BY
            }
            Self::After(moment) => Instant::now() >= *moment,
            Self::Not => false,
        };
        if now {
            *self = Self::Not;
        }
        now
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.lane.retire();
    }
}

/// Closes the lane, however the stream has ended: also if its task is dropped with its runtime.
struct End {
    stream: Weak<Stream>,
    lane: Arc<Carried>,
    /// Another one is begun after a while.
    again: bool,
}

impl End {
    fn stands(&self, stands: bool) {
        if let Some(stream) = self.stream.upgrade() {
            stream.stands.store(stands, Ordering::Release);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.stands(false);
        self.lane.close();
        if self.again
            && let Some(stream) = self.stream.upgrade()
        {
            *stream.next() = Next::After(Instant::now() + PAUSE);
        }
    }
}

/// Opens the stream and completes what is answered over it until it ends.
async fn carry(mut stub: KeyValueClient<Requests>, mut end: End) {
    let outgoing = end.lane.outgoing();
    // Whoever drops it from now on has the lane end.
    if end.stream.strong_count() == 0 {
        return;
    }
    let opened = timeout(OPENING_TIMEOUT, stub.operate(outgoing)).await;
    // It has a handle of the connection, which would keep it open.
    drop(stub);
    end.again = !matches!(&opened, Ok(Err(status)) if status.code() == Code::Unimplemented);
    let Ok(Ok(answers)) = opened else { return };
    let mut answers = answers.into_inner();
    end.stands(true);
    while let Ok(Some(frame)) = answers.message().await {
        end.lane.complete(frame.results);
        if frame.closing {
            if let Some(stream) = end.stream.upgrade() {
                stream.closing.store(true, Ordering::Release);
            }
            end.stands(false);
            end.lane.retire();
        }
    }
}
