//! Sending: from a view of the store, without stopping writes, and not faster than allowed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::internal::{SnapshotFrame, SnapshotStart, snapshot_frame::Kind};
use model::NodeId;
use raft::Index;
use storage::snapshot::SnapshotSource;
use storage::state::StateStore;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use crate::peers::Peers;
use crate::shell::Workers;
use crate::worker::{Input, SendSnapshot};

/// So many snapshots leave a node at a time.
const CONCURRENT: usize = 2;

/// Sends this node's snapshots.
#[derive(Clone)]
pub struct Sender {
    /// This node.
    pub node: NodeId,
    /// Where the states are.
    pub store: Arc<dyn StateStore>,
    /// The way there.
    pub peers: Arc<Peers>,
    /// Whom to tell how it went.
    pub workers: Workers,
    /// Bytes of one chunk.
    pub chunk_bytes: usize,
    /// Bytes per second.
    pub rate: u64,
    turns: Arc<Semaphore>,
    /// True once the node goes down.
    stop: watch::Receiver<bool>,
}

impl Sender {
    /// A sender with nothing to send.
    pub fn new(
        node: NodeId,
        store: Arc<dyn StateStore>,
        peers: Arc<Peers>,
        workers: Workers,
        tuning: &crate::options::Tuning,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            node,
            store,
            peers,
            workers,
            chunk_bytes: tuning.snapshot_chunk_bytes,
            rate: tuning.snapshot_bytes_per_second.max(1),
            turns: Arc::new(Semaphore::new(CONCURRENT)),
            stop,
        }
    }

    /// Sends one, and tells the worker how it went. Breaks it off when the node goes down, for it keeps hold of the store.
    pub async fn send(self, snapshot: SendSnapshot) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.send_whole(snapshot) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    async fn send_whole(&self, snapshot: SendSnapshot) {
        let _turn = self.turns.acquire().await;
        let SendSnapshot { shard, to, .. } = snapshot;
        let installed = match self.transfer(&snapshot).await {
            Ok(installed) => installed,
            Err(error) => {
                tracing::warn!(%shard, %to, error, "a snapshot was not sent; it will be tried again");
                None
            }
        };
        self.workers.send(
            shard,
            Input::SnapshotSent {
                shard,
                to,
                installed,
            },
        );
    }

    async fn transfer(&self, snapshot: &SendSnapshot) -> Result<Option<Index>, String> {
        let SendSnapshot { shard, to, term } = *snapshot;
        let mut client = self
            .peers
            .client(to)
            .ok_or("the follower is not a known member")?;
        let (view, node, chunk_bytes, rate) =
            (self.store.view(), self.node, self.chunk_bytes, self.rate);
        let (frames, stream) = mpsc::channel(2);
        let producer = tokio::task::spawn_blocking(move || {
            let source = SnapshotSource::new(view, shard).map_err(|error| error.to_string())?;
            let header = source.header();
            let start = SnapshotStart {
                from: node.0,
                to: to.0,
                table: shard.table.0,
                shard: shard.index,
                term: term.0,
                index: header.index(),
                index_term: header.term(),
                header: header.encode(),
            };
            produce(source, start, chunk_bytes, rate, &frames)
        });
        let answer = client.snapshot(ReceiverStream::new(stream)).await;
        let sent = producer.await.map_err(|error| error.to_string())?;
        let index = answer
            .map_err(|status| status.message().to_owned())?
            .into_inner()
            .index;
        if index > 0 {
            let bytes = sent?;
            tracing::info!(%shard, %to, index, bytes, "a follower has installed a snapshot");
        }
        Ok((index > 0).then_some(Index(index)))
    }
}

/// Reads chunk after chunk, at most at `rate`. Ends early, without a complaint, if nobody takes them any more.
fn produce(
    mut source: SnapshotSource,
    start: SnapshotStart,
    chunk_bytes: usize,
    rate: u64,
    frames: &mpsc::Sender<SnapshotFrame>,
) -> Result<u64, String> {
    let begun = Instant::now();
    let mut sent = 0;
    if frames
        .blocking_send(SnapshotFrame {
            kind: Some(Kind::Start(start)),
        })
        .is_err()
    {
        return Ok(sent);
    }
    while let Some(chunk) = source
        .next_chunk(chunk_bytes)
        .map_err(|error| error.to_string())?
    {
        let chunk = chunk.encode();
        sent += chunk.len() as u64;
        if frames
            .blocking_send(SnapshotFrame {
                kind: Some(Kind::Chunk(chunk)),
            })
            .is_err()
        {
            break;
        }
        let earliest = begun + Duration::from_micros(sent.saturating_mul(1_000_000) / rate);
        std::thread::sleep(earliest.saturating_duration_since(Instant::now()));
    }
    Ok(sent)
}
