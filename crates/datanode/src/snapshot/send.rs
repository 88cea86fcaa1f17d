//! Sending: from a view of the store, without stopping writes, and not faster than allowed.

use std::sync::Arc;
use std::time::Duration;

use api::internal::{SnapshotFrame, SnapshotStart, snapshot_frame::Kind};
use environment::Offload;
use model::NodeId;
use raft::Index;
use storage::snapshot::{SnapshotError, SnapshotSource};
use storage::state::StateStore;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
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
    /// Where the chunks are read.
    pub offload: Offload,
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
        offload: Offload,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            node,
            store,
            peers,
            workers,
            chunk_bytes: tuning.snapshot_chunk_bytes,
            rate: tuning.snapshot_bytes_per_second.max(1),
            offload,
            turns: Arc::new(Semaphore::new(CONCURRENT)),
            stop,
        }
    }

    /// Sends one, and tells the worker how it went. Breaks it off when the node goes down, for it keeps hold of the store.
    pub async fn send(self, snapshot: SendSnapshot) {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.send_whole(snapshot) => {}
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
        let SendSnapshot { shard, to, .. } = *snapshot;
        let mut client = self
            .peers
            .client(to)
            .ok_or("the follower is not a known member")?;
        let (frames, stream) = mpsc::channel(2);
        let produced = self.produce(snapshot, frames);
        let (answer, sent) = tokio::join!(
            biased;
            client.snapshot(ReceiverStream::new(stream)),
            produced
        );
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

    /// Reads chunk after chunk, at most at the rate. Ends early, without a complaint, if nobody takes them any more.
    async fn produce(
        &self,
        snapshot: &SendSnapshot,
        frames: mpsc::Sender<SnapshotFrame>,
    ) -> Result<u64, String> {
        let SendSnapshot { shard, to, term } = *snapshot;
        let view = self.store.view();
        let mut source = self.read(move || SnapshotSource::new(view, shard)).await?;
        let header = source.header();
        let start = SnapshotStart {
            from: self.node.0,
            to: to.0,
            table: shard.table.0,
            shard: shard.index,
            term: term.0,
            index: header.index(),
            index_term: header.term(),
            header: header.encode(),
        };
        let (begun, chunk_bytes) = (Instant::now(), self.chunk_bytes);
        let (mut sent, mut kind) = (0, Kind::Start(start));
        loop {
            if frames
                .send(SnapshotFrame { kind: Some(kind) })
                .await
                .is_err()
            {
                return Ok(sent);
            }
            let earliest =
                begun + Duration::from_micros(sent.saturating_mul(1_000_000) / self.rate);
            tokio::time::sleep_until(earliest).await;
            let read = self.read(move || {
                let chunk = source.next_chunk(chunk_bytes)?;
                Ok((source, chunk.map(|chunk| chunk.encode())))
            });
            let (rest, chunk) = read.await?;
            let Some(chunk) = chunk else {
                return Ok(sent);
            };
            sent += chunk.len() as u64;
            (source, kind) = (rest, Kind::Chunk(chunk));
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
    ) -> Result<T, String> {
        let read = self.offload.run(work).await;
        let read = read.map_err(|error| error.to_string())?;
        read.map_err(|error| error.to_string())
    }
}
