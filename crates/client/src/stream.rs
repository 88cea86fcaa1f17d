//! The stream by which a connection carries operations once there are several.
//!
//! The second operation on a connection has it begun, in the background; until it stands, and for good if the router does not
//! know it, operations are calls of their own. It ends with its connection, when the router says that it goes down, and when
//! the last handle of the connection is dropped. What was sent by then is answered, but where the connection breaks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use api::v1::key_value_client::KeyValueClient;
use hyper::Uri;
use lanes::{Bounds, Lane};
use model::limits::{MAX_MESSAGE_BYTES, MAX_STREAM_BYTES, MAX_STREAM_OPERATIONS};

use crate::connection::Requests;
use crate::operation::Operate;

/// What a stream holds at the most, queued and in flight together. What is beyond goes by calls.
const BOUNDS: Bounds = Bounds {
    operations: MAX_STREAM_OPERATIONS,
    bytes: MAX_STREAM_BYTES,
};
/// This operation of a connection begins the stream.
const BEGUN_BY: usize = 2;

/// A connection's stream, if it is there.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Operations so far; counts no further than it takes to begin.
    operations: AtomicUsize,
    lane: OnceLock<Arc<Lane<Operate>>>,
}

impl Stream {
    /// The lane to submit an operation to, where the stream stands.
    pub(crate) fn lane(
        self: &Arc<Self>,
        requests: &Requests,
        origin: &Uri,
    ) -> Option<&Arc<Lane<Operate>>> {
        let lane = self.lane.get();
        if lane.is_none()
            && self.operations.load(Ordering::Relaxed) < BEGUN_BY
            && self.operations.fetch_add(1, Ordering::Relaxed) + 1 == BEGUN_BY
        {
            let stub = KeyValueClient::with_origin(requests.clone(), origin.clone());
            tokio::spawn(carry(stub, Arc::downgrade(self)));
        }
        lane
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.get() {
            lane.retire();
        }
    }
}

/// Opens the stream and completes what is answered over it until it ends.
async fn carry(stub: KeyValueClient<Requests>, stream: Weak<Stream>) {
    let lane = Arc::new(Lane::new(BOUNDS));
    let mut stub = stub
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let answers = stub.operate(lane.outgoing()).await;
    // It has a handle of the connection, which would keep it open.
    drop(stub);
    let Ok(answers) = answers else { return };
    let mut answers = answers.into_inner();
    match stream.upgrade() {
        // Nobody else sets it.
        Some(stream) => drop(stream.lane.set(Arc::clone(&lane))),
        None => lane.retire(),
    }
    while let Ok(Some(frame)) = answers.message().await {
        lane.complete(frame.results);
        if frame.closing {
            lane.retire();
        }
    }
    lane.close();
}
