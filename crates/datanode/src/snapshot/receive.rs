//! Receiving: into a generation of keys that nothing reads, switched to when it is whole and durable.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::internal::{SnapshotAnswer, SnapshotFrame, SnapshotStart, snapshot_frame::Kind};
use environment::Offload;
use futures::{Stream, StreamExt};
use model::{NodeId, ShardId, TableId};
use parking_lot::Mutex;
use raft::{Index, Term};
use storage::snapshot::{SnapshotChunk, SnapshotHeader, SnapshotSink, clean_generations};
use storage::state::StateStore;
use tokio::sync::oneshot;
use tonic::Status;

use crate::shell::Workers;
use crate::worker::{Answer, Input};

/// Takes snapshots for this node's replicas, one at a time for each.
#[derive(Clone)]
pub struct Receiver {
    node: NodeId,
    store: Arc<dyn StateStore>,
    workers: Workers,
    receiving: Arc<Mutex<BTreeSet<ShardId>>>,
    offload: Offload,
}

/// The right to receive for a shard.
struct Turn {
    shard: ShardId,
    receiving: Arc<Mutex<BTreeSet<ShardId>>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.receiving.lock().remove(&self.shard);
    }
}

impl Receiver {
    /// A receiver of nothing yet.
    pub fn new(
        node: NodeId,
        store: Arc<dyn StateStore>,
        workers: Workers,
        offload: Offload,
    ) -> Self {
        Self {
            node,
            store,
            workers,
            offload,
            receiving: Arc::default(),
        }
    }

    /// Takes a whole snapshot. The answer names the index that the replica is at then, or 0 if it was not wanted. Nothing
    /// of a snapshot that breaks off or is not wanted any more stays.
    ///
    /// Not to be dropped half-way while the node goes on: what still writes then could meet the next snapshot.
    pub async fn receive<S>(&self, mut frames: S) -> Result<SnapshotAnswer, Status>
    where
        S: Stream<Item = Result<SnapshotFrame, Status>> + Unpin,
    {
        let Some(Kind::Start(start)) = frames.next().await.transpose()?.and_then(|f| f.kind) else {
            return Err(Status::invalid_argument("a snapshot begins with its start"));
        };
        let shard = ShardId {
            table: TableId(start.table),
            index: start.shard,
        };
        let unwanted = SnapshotAnswer { index: 0 };
        if start.to != self.node.0 {
            return Ok(unwanted);
        }
        let Some(_turn) = self.turn(shard) else {
            return Err(Status::aborted(
                "another snapshot of the shard is being received",
            ));
        };
        if !self.offer(shard, &start).await {
            return Ok(unwanted);
        }
        let generation = match self.take_in(&start, frames).await {
            Ok(generation) => generation,
            Err(status) => {
                self.workers.send(shard, Input::SnapshotAbandoned { shard });
                self.clean(shard).await;
                return Err(status);
            }
        };
        let installed = self.ask(shard, |answer| Input::SnapshotReceived {
            shard,
            generation,
            answer,
        });
        let installed: Option<Index> = installed.await.flatten();
        self.clean(shard).await;
        tracing::info!(%shard, index = installed.map_or(0, |index| index.0), "a snapshot was received");
        Ok(SnapshotAnswer {
            index: installed.map_or(0, |index| index.0),
        })
    }

    fn turn(&self, shard: ShardId) -> Option<Turn> {
        let free = self.receiving.lock().insert(shard);
        free.then(|| Turn {
            shard,
            receiving: self.receiving.clone(),
        })
    }

    async fn offer(&self, shard: ShardId, start: &SnapshotStart) -> bool {
        let (from, term, index) = (NodeId(start.from), Term(start.term), Index(start.index));
        let wanted = self.ask(shard, |answer| Input::SnapshotOffered {
            shard,
            from,
            term,
            index,
            answer,
        });
        wanted.await.unwrap_or(false)
    }

    /// Asks the shard's worker; `None` if it has no answer because it has ended.
    async fn ask<T: Send + 'static>(
        &self,
        shard: ShardId,
        question: impl FnOnce(Answer<T>) -> Input,
    ) -> Option<T> {
        let (answer, wait) = oneshot::channel();
        let answer = Box::new(move |value| drop(answer.send(value)));
        self.workers.send(shard, question(answer));
        wait.await.ok()
    }

    /// Writes the chunks into a generation of their own.
    async fn take_in<S>(&self, start: &SnapshotStart, mut frames: S) -> Result<u32, Status>
    where
        S: Stream<Item = Result<SnapshotFrame, Status>> + Unpin,
    {
        let header = SnapshotHeader::decode(&start.header).map_err(refused)?;
        let offered = (start.table, start.shard, start.index);
        if (header.shard.table.0, header.shard.index, header.index()) != offered {
            return Err(Status::invalid_argument(
                "the snapshot is not the one that was offered",
            ));
        }
        let store = self.store.clone();
        let mut sink = self
            .blocking(move || SnapshotSink::begin(store, header))
            .await?
            .map_err(refused)?;
        while let Some(frame) = frames.next().await.transpose()? {
            let Some(Kind::Chunk(chunk)) = frame.kind else {
                return Err(Status::invalid_argument("a snapshot goes on with chunks"));
            };
            let added = self.blocking(move || {
                let added = SnapshotChunk::decode(chunk).and_then(|chunk| sink.add(chunk));
                added.map(|()| sink)
            });
            sink = added.await?.map_err(refused)?;
        }
        let received = self
            .blocking(move || sink.finish())
            .await?
            .map_err(refused)?;
        Ok(received.generation)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let done = self.offload.run(work).await;
        done.map_err(|error| Status::aborted(error.to_string()))
    }

    /// Removes the generations that are not in use any more.
    async fn clean(&self, shard: ShardId) {
        let store = self.store.clone();
        let cleaned = self
            .blocking(move || clean_generations(&*store, shard))
            .await;
        if let Ok(Err(error)) = cleaned {
            tracing::warn!(%shard, %error, "old state could not be removed; the next start tries again");
        }
    }
}

fn refused(error: impl std::fmt::Display) -> Status {
    Status::aborted(error.to_string())
}
