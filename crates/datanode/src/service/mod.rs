//! The gRPC service of a data node. One file per call.

mod cancelled;
mod describe;
mod operate;
mod verify;

use std::pin::{Pin, pin};
use std::sync::Arc;

use api::internal::data_node_server::DataNode;
use api::internal::{
    DescribeRequest, DescribeResponse, DestroyRequest, DestroyResponse, OperationBatch, PeerEnd,
    PeerFrame, ResultBatch, SnapshotAnswer, SnapshotFrame, VerifyRequest, VerifyResponse,
};
use environment::{Clock, Offload};
use futures::{Stream, StreamExt};
use model::{NodeId, TableId};
use storage::state::StateStore;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use crate::admission::Admission;
use crate::device::Place;
use crate::hosted::Hosted;
use crate::node::Destroyer;
use crate::senders::{Senders, Sending};
use crate::shell::Workers;
use crate::snapshot::Receiver;
use crate::wire;
use crate::worker::Input;

/// What the calls work with.
pub struct Service {
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    /// Where this process keeps its data.
    pub(crate) place: Place,
    pub(crate) senders: Senders,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) offload: Offload,
    pub(crate) admission: Admission,
    pub(crate) hosted: Hosted,
    pub(crate) workers: Workers,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) receiver: Receiver,
    pub(crate) destroyer: Destroyer,
    /// True once the node goes down: streams end then, for they would never end by themselves.
    pub(crate) stop: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl DataNode for Service {
    type OperateStream = Pin<Box<dyn Stream<Item = Result<ResultBatch, Status>> + Send>>;

    async fn operate(
        &self,
        request: Request<Streaming<OperationBatch>>,
    ) -> Result<Response<Self::OperateStream>, Status> {
        Ok(Response::new(self.start_operating(request.into_inner())))
    }

    async fn raft(
        &self,
        request: Request<Streaming<PeerFrame>>,
    ) -> Result<Response<PeerEnd>, Status> {
        let mut frames = pin!(request.into_inner().take_until(self.stopped()));
        let mut sending = None;
        while let Some(frame) = frames.next().await.transpose()? {
            let (from, incarnation) = (NodeId(frame.from), frame.incarnation);
            if !sending
                .as_ref()
                .is_some_and(|sending: &Sending| sending.is(from, incarnation))
            {
                sending = self.senders.begin(from, incarnation);
                if sending.is_none() {
                    return Err(Status::already_exists(
                        "another process sends as this node: one of the two is on a copy of the other's data directory",
                    ));
                }
            }
            self.take_frame(frame)?;
        }
        Ok(Response::new(PeerEnd {}))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotFrame>>,
    ) -> Result<Response<SnapshotAnswer>, Status> {
        let (receiver, stopped) = (self.receiver.clone(), self.stopped());
        // In a task of its own: this call is dropped as soon as the sender goes away, and what was received must be
        // cleaned up before the shard may receive again.
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stopped => Err(Status::unavailable("the node goes down")),
                answer = receiver.receive(request.into_inner()) => answer,
            }
        });
        match task.await {
            Ok(answer) => answer.map(Response::new),
            Err(error) => Err(Status::aborted(error.to_string())),
        }
    }

    async fn describe(
        &self,
        request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(
            self.describe_replicas(request.into_inner()).await,
        ))
    }

    async fn verify(
        &self,
        request: Request<VerifyRequest>,
    ) -> Result<Response<VerifyResponse>, Status> {
        self.verify_replica(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn destroy(
        &self,
        request: Request<DestroyRequest>,
    ) -> Result<Response<DestroyResponse>, Status> {
        let table = TableId(request.into_inner().table);
        let destroyed = self.destroyer.destroy(table).await;
        Ok(Response::new(DestroyResponse { destroyed }))
    }
}

impl Service {
    /// Ends when the node goes down.
    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.clone();
        async move {
            // A sender that is gone means the same.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    /// Gives a frame's messages to the workers of their groups.
    fn take_frame(&self, frame: PeerFrame) -> Result<(), Status> {
        if frame.to != self.node.0 {
            return Err(Status::failed_precondition(
                "this address belongs to another node now",
            ));
        }
        let from = NodeId(frame.from);
        if frame.messages.is_empty() {
            let incarnation = frame.incarnation;
            self.workers.send_all(|| Input::Heard { from, incarnation });
            return Ok(());
        }
        let mut seats: Vec<Vec<_>> = (0..self.workers.count()).map(|_| Vec::new()).collect();
        for message in frame.messages {
            let (shard, message) = wire::decode(from, self.node, message)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            if let Some(seat) = seats.get_mut(self.workers.seat_of(shard)) {
                seat.push((shard, message));
            }
        }
        for (seat, messages) in seats.into_iter().enumerate().filter(|(_, m)| !m.is_empty()) {
            self.workers.send_to(seat, Input::Frame { from, messages });
        }
        Ok(())
    }
}
