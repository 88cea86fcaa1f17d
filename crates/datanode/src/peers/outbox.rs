//! What waits to be sent to one peer.
//!
//! There is no timer. The transport asks for the next frame when it can send one, and gets all that has gathered since it last
//! asked, of all groups and all turns of the worker: a connection that is free carries each message at once, a busy one carries
//! large frames.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use api::internal::{GroupMessage, PeerFrame, group_message::Body};
use futures::Stream;
use model::limits;
use parking_lot::Mutex;

/// Messages that wait for a peer, at the most. What comes on top is dropped: the peer does not keep up, and Raft sends again.
const QUEUED_MESSAGES: usize = 16_384;
/// The same in bytes of entries.
const QUEUED_BYTES: usize = 32 << 20;
/// A frame takes no further message beyond so many bytes of entries.
const FRAME_BYTES: usize = limits::MAX_MESSAGE_BYTES / 4;
/// What a message takes beside its entries.
const MESSAGE_BYTES: usize = 64;
/// … and beside an entry's payload.
const ENTRY_BYTES: usize = 32;

/// Shared by those who send and the stream that carries it.
pub(super) struct Outbox {
    /// A frame without messages: whose it would be.
    envelope: PeerFrame,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counts streams, so that an old one takes nothing from a new one.
    generation: u64,
    queued: VecDeque<(GroupMessage, usize)>,
    bytes: usize,
    /// A frame without messages is to be sent.
    sign: bool,
    waker: Option<Waker>,
}

impl Outbox {
    pub(super) fn new(envelope: PeerFrame) -> Self {
        Self {
            envelope,
            state: Mutex::default(),
        }
    }

    /// Queues messages, or drops what there is no room for.
    pub(super) fn push(&self, messages: impl Iterator<Item = GroupMessage>) {
        let mut state = self.state.lock();
        for message in messages {
            let bytes = message_bytes(&message);
            let full = state.queued.len() >= QUEUED_MESSAGES || state.bytes + bytes > QUEUED_BYTES;
            if !full {
                state.bytes += bytes;
                state.queued.push_back((message, bytes));
            }
        }
        wake(state);
    }

    /// Queues a frame without messages: it says that this node is there.
    pub(super) fn push_sign(&self) {
        let mut state = self.state.lock();
        state.sign = true;
        wake(state);
    }

    /// The frames of a new stream. What had queued up is old by now, and dropped.
    pub(super) fn frames(self: &Arc<Self>) -> Frames {
        let mut state = self.state.lock();
        let generation = state.generation + 1;
        *state = State {
            generation,
            waker: state.waker.take(),
            ..State::default()
        };
        wake(state);
        Frames {
            outbox: self.clone(),
            generation,
        }
    }
}

fn wake(mut state: parking_lot::MutexGuard<'_, State>) {
    // Without one the transport is busy and asks by itself, or there is no stream.
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    /// What goes into the next frame.
    fn next(&mut self) -> Vec<GroupMessage> {
        let mut messages = Vec::with_capacity(self.queued.len());
        let mut frame_bytes = 0;
        while frame_bytes < FRAME_BYTES
            && let Some((message, bytes)) = self.queued.pop_front()
        {
            self.bytes -= bytes;
            frame_bytes += bytes;
            messages.push(message);
        }
        messages
    }
}

/// The frames of one stream, made when the transport asks for them.
pub(super) struct Frames {
    outbox: Arc<Outbox>,
    generation: u64,
}

impl Stream for Frames {
    type Item = PeerFrame;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PeerFrame>> {
        let mut state = self.outbox.state.lock();
        if state.generation != self.generation {
            return Poll::Ready(None);
        }
        if std::mem::take(&mut state.sign) {
            return Poll::Ready(Some(self.outbox.envelope.clone()));
        }
        let messages = state.next();
        if messages.is_empty() {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        Poll::Ready(Some(PeerFrame {
            messages,
            ..self.outbox.envelope
        }))
    }
}

fn message_bytes(message: &GroupMessage) -> usize {
    let entries = match &message.body {
        Some(Body::Append(append)) => append.entries.as_slice(),
        _ => &[],
    };
    let entries = entries
        .iter()
        .map(|entry| entry.payload.len() + ENTRY_BYTES);
    MESSAGE_BYTES + entries.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use api::internal::{Append, Entry};
    use futures::{FutureExt, StreamExt};

    use super::*;

    fn outbox() -> Arc<Outbox> {
        Arc::new(Outbox::new(PeerFrame {
            from: 1,
            to: 2,
            incarnation: 3,
            messages: Vec::new(),
        }))
    }

    fn message(shard: u32, payload: usize) -> GroupMessage {
        GroupMessage {
            shard,
            body: Some(Body::Append(Append {
                entries: vec![Entry {
                    payload: vec![0; payload].into(),
                    ..Entry::default()
                }],
                ..Append::default()
            })),
            ..GroupMessage::default()
        }
    }

    fn shards(frame: &PeerFrame) -> Vec<u32> {
        frame.messages.iter().map(|message| message.shard).collect()
    }

    #[tokio::test]
    async fn what_gathers_while_the_transport_is_busy_goes_in_one_frame() {
        let outbox = outbox();
        let mut frames = outbox.frames();
        assert!(frames.next().now_or_never().is_none());
        outbox.push((1..3).map(|shard| message(shard, 10)));
        outbox.push([message(3, 10)].into_iter());
        let frame = frames.next().await.unwrap();
        assert_eq!((frame.from, frame.to, frame.incarnation), (1, 2, 3));
        assert_eq!(shards(&frame), [1, 2, 3]);
        assert!(frames.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn whoever_waits_for_a_frame_is_woken() {
        let outbox = outbox();
        let mut frames = outbox.frames();
        let waiting = tokio::spawn(async move { frames.next().await });
        tokio::task::yield_now().await;
        outbox.push_sign();
        assert_eq!(waiting.await.unwrap().unwrap().messages, []);
    }

    #[tokio::test]
    async fn a_sign_is_a_frame_of_its_own_before_the_messages() {
        let outbox = outbox();
        let mut frames = outbox.frames();
        outbox.push([message(1, 10)].into_iter());
        outbox.push_sign();
        outbox.push_sign();
        assert_eq!(frames.next().await.unwrap().messages, []);
        assert_eq!(shards(&frames.next().await.unwrap()), [1]);
        assert!(frames.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn frames_are_not_too_large_and_what_there_is_no_room_for_is_dropped() {
        let outbox = outbox();
        let mut frames = outbox.frames();
        let large = FRAME_BYTES / 2;
        let fit = QUEUED_BYTES / (large + MESSAGE_BYTES + ENTRY_BYTES);
        for shard in 0..1_000 {
            outbox.push([message(shard, large)].into_iter());
        }
        let mut came = Vec::new();
        while let Some(Some(frame)) = frames.next().now_or_never() {
            assert!(frame.messages.len() <= 2);
            came.extend(shards(&frame));
        }
        let expected: Vec<_> = (0..1_000).take(fit).collect();
        assert_eq!(came, expected);
        outbox.push((0..20_000).map(|shard| message(shard, 0)));
        let frame = frames.next().await.unwrap();
        assert_eq!(frame.messages.len(), QUEUED_MESSAGES);
    }

    #[tokio::test]
    async fn a_new_stream_begins_with_what_comes_from_now_on_and_ends_the_old_one() {
        let outbox = outbox();
        let mut old = outbox.frames();
        outbox.push([message(1, 10)].into_iter());
        outbox.push_sign();
        let mut new = outbox.frames();
        assert_eq!(old.next().await, None);
        outbox.push([message(2, 10)].into_iter());
        assert_eq!(shards(&new.next().await.unwrap()), [2]);
    }
}
