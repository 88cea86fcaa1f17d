//! A data node's gRPC interface without a data node: all nodes share one [`World`] that keeps the items, so that
//! any of them answers as if it had asked the leader. Faults are set per node.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod transactions;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::internal::{self, operation, operation_result};
use api::v1::ReplicaState;
use api::{Error, Reason, convert};
use bytes::Bytes;
use futures::Stream;
use model::NodeId;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

pub use transactions::Phase;
use transactions::Transactions;

/// What goes wrong on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Takes operations in and never answers.
    Silent,
    /// Refuses operations that need the leader.
    Refuse(Reason),
    /// Carries the next operation out and ends the stream instead of answering.
    CutAfterNext,
    /// Answers after a while.
    Slow(Duration),
}

/// What all nodes of a cluster have in common.
#[derive(Debug, Default)]
pub struct World {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    items: BTreeMap<(u64, u32, Bytes), (Bytes, u64)>,
    identities: BTreeMap<(u64, u64), u64>,
    version: u64,
    applications: u64,
    sealed: BTreeSet<(u64, u32)>,
    destroyed: BTreeSet<(u64, u64)>,
    leader: u64,
    leaderless: bool,
    placements: BTreeMap<u64, Vec<(u32, Vec<NodeId>)>>,
    quarantined: BTreeMap<(u64, u64), Vec<internal::QuarantinedReplica>>,
    transactions: Transactions,
}

impl World {
    /// Writes that took effect.
    pub fn applications(&self) -> u64 {
        self.inner.lock().applications
    }

    /// Whether a shard was sealed.
    pub fn is_sealed(&self, table: u64, shard: u32) -> bool {
        self.inner.lock().sealed.contains(&(table, shard))
    }

    /// Who leads all shards.
    pub fn set_leader(&self, leader: NodeId) {
        self.inner.lock().leader = leader.0;
    }

    /// Whether shards have no leaders.
    pub fn set_leaderless(&self, leaderless: bool) {
        self.inner.lock().leaderless = leaderless;
    }

    /// Makes a table's replicas known, as data nodes learn of them from the coordination store.
    pub fn place(&self, table: &model::Table) {
        let shards = table.shard_ids();
        let shards = shards.map(|(id, shard)| (id.index, shard.nodes.clone()));
        let mut inner = self.inner.lock();
        inner.placements.insert(table.id.0, shards.collect());
        inner.quarantined.retain(|(_, id), _| *id != table.id.0);
    }

    /// Makes these nodes keep out their replicas of a table that is not listed.
    pub fn quarantine(&self, table: &model::Table, nodes: &[NodeId]) {
        let mut inner = self.inner.lock();
        inner.placements.remove(&table.id.0);
        for node in nodes {
            let shards = table.shard_ids();
            let held = shards.filter(|(_, shard)| shard.nodes.contains(node));
            let replicas = held.map(|(id, shard)| internal::QuarantinedReplica {
                table: id.table.0,
                shard: id.index,
                table_name: table.name.to_string(),
                table_shards: table.shards.len() as u32,
                first_hash: shard.range.first,
                last_hash: shard.range.last,
                voters: shard.nodes.iter().map(|node| node.0).collect(),
                created_millis: table.created_millis,
                items: 2,
                bytes: 20,
                ..internal::QuarantinedReplica::default()
            });
            let place = (node.0, table.id.0);
            inner.quarantined.insert(place, replicas.collect());
        }
    }

    /// Makes a node destroy what it keeps out of a table.
    pub fn destroy_quarantined(&self, node: NodeId, table: model::TableId) {
        let mut inner = self.inner.lock();
        inner.quarantined.remove(&(node.0, table.0));
        inner.destroyed.insert((node.0, table.0));
    }

    fn carry_out(
        &self,
        node: NodeId,
        operation: &internal::Operation,
    ) -> Result<operation_result::Kind, Error> {
        use operation_result::Kind;
        let mut inner = self.inner.lock();
        let shard = (operation.table, operation.shard);
        if inner.destroyed.contains(&(node.0, operation.table)) {
            return Err(Error::new(Reason::ShardNotHosted, "not here"));
        }
        let sealed = inner.sealed.contains(&shard);
        match operation.kind.as_ref().unwrap() {
            operation::Kind::Get(get) => {
                if sealed && get.consistent {
                    return Err(Error::new(Reason::TableNotFound, "sealed"));
                }
                let item = inner.items.get(&(shard.0, shard.1, get.key.clone()));
                Ok(
                    item.map_or(Kind::Absent(internal::Absent {}), |(value, version)| {
                        Kind::Found(internal::Found {
                            value: value.clone(),
                            version: *version,
                        })
                    }),
                )
            }
            operation::Kind::Put(put) => inner.write(
                shard,
                &put.key,
                Some(put.value.clone()),
                put.request_id.unwrap(),
                put.condition.as_ref(),
            ),
            operation::Kind::Delete(delete) => {
                let condition = delete.condition.as_ref();
                inner.write(
                    shard,
                    &delete.key,
                    None,
                    delete.request_id.unwrap(),
                    condition,
                )
            }
            operation::Kind::Seal(_) => {
                inner.sealed.insert(shard);
                Ok(Kind::Applied(internal::Applied { version: 0 }))
            }
            operation::Kind::Checkpoint(_) => {
                inner.version += 1;
                let version = inner.version;
                Ok(Kind::Applied(internal::Applied { version }))
            }
            transaction => inner.transact(shard, transaction),
        }
    }
}

impl Inner {
    fn write(
        &mut self,
        shard: (u64, u32),
        key: &Bytes,
        value: Option<Bytes>,
        id: api::v1::RequestId,
        condition: Option<&api::v1::Condition>,
    ) -> Result<operation_result::Kind, Error> {
        if self.sealed.contains(&shard) {
            return Err(Error::new(Reason::TableNotFound, "sealed"));
        }
        let identity = (id.client_id, id.sequence);
        let version = if let Some(&version) = self.identities.get(&identity) {
            version
        } else if self.is_locked(shard, key) {
            return Err(Error::new(Reason::TransactionConflict, "locked"));
        } else if !convert::condition(condition).holds(self.version(shard, key)) {
            return Err(Error::new(Reason::ConditionFailed, "does not hold"));
        } else {
            self.version += 1;
            self.applications += 1;
            let version = self.version;
            self.identities.insert(identity, version);
            let key = (shard.0, shard.1, key.clone());
            match value {
                Some(value) => drop(self.items.insert(key, (value, version))),
                None => drop(self.items.remove(&key)),
            }
            version
        };
        Ok(operation_result::Kind::Applied(internal::Applied {
            version,
        }))
    }
}

/// A node that can be killed and started again at the same address.
pub struct FakeNode {
    pub id: NodeId,
    pub address: SocketAddr,
    service: Service,
    /// Its own, so that killing it kills every connection.
    runtime: Option<tokio::runtime::Runtime>,
}

#[derive(Clone)]
struct Service {
    id: NodeId,
    world: Arc<World>,
    fault: Arc<Mutex<Fault>>,
    operations: Arc<Mutex<u64>>,
    cancelled: Arc<Mutex<u64>>,
}

impl FakeNode {
    pub fn start(id: NodeId, world: &Arc<World>) -> Self {
        let service = Service {
            id,
            world: Arc::clone(world),
            fault: Arc::new(Mutex::new(Fault::None)),
            operations: Arc::default(),
            cancelled: Arc::default(),
        };
        let mut node = Self {
            id,
            address: "127.0.0.1:0".parse().unwrap(),
            service,
            runtime: None,
        };
        node.restart();
        node
    }

    pub fn set_fault(&self, fault: Fault) {
        *self.service.fault.lock() = fault;
    }

    /// Operations received since the start.
    pub fn operations(&self) -> u64 {
        *self.service.operations.lock()
    }

    /// Operations that were cancelled since the start.
    pub fn cancelled(&self) -> u64 {
        *self.service.cancelled.lock()
    }

    /// As a SIGKILL: every connection is gone.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Starts it, at the address that it had if it had one.
    pub fn restart(&mut self) {
        self.kill();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let service = self.service.clone();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let server = internal::data_node_server::DataNodeServer::new(service)
                .max_decoding_message_size(model::limits::MAX_MESSAGE_BYTES);
            tonic::transport::Server::builder()
                .add_service(server)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
        });
        self.runtime = Some(runtime);
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Service {
    /// `None`: never answers. `Some(Err)`: ends the stream.
    async fn answer(
        &self,
        operation: &internal::Operation,
    ) -> Option<Result<internal::OperationResult, Status>> {
        *self.operations.lock() += 1;
        let fault = *self.fault.lock();
        if self.world.is_held(operation) {
            return None;
        }
        let eventual =
            matches!(&operation.kind, Some(operation::Kind::Get(get)) if !get.consistent);
        let mut leader = self.world.inner.lock().leader;
        let result = match fault {
            Fault::Silent => return None,
            Fault::Refuse(reason) if !eventual => {
                leader = 0;
                Err(Error::new(reason, "as told"))
            }
            Fault::CutAfterNext => {
                *self.fault.lock() = Fault::None;
                let _ = self.world.carry_out(self.id, operation);
                return Some(Err(Status::unavailable("cut")));
            }
            Fault::Slow(time) => {
                tokio::time::sleep(time).await;
                self.world.carry_out(self.id, operation)
            }
            Fault::None | Fault::Refuse(_) => self.world.carry_out(self.id, operation),
        };
        let kind = match result {
            Ok(kind) => kind,
            Err(error) => operation_result::Kind::Failure(error.into()),
        };
        Some(Ok(internal::OperationResult {
            correlation: operation.correlation,
            leader,
            kind: Some(kind),
        }))
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl internal::data_node_server::DataNode for Service {
    type OperateStream = Answers<internal::ResultBatch>;

    async fn operate(
        &self,
        request: Request<Streaming<internal::OperationBatch>>,
    ) -> Result<Response<Self::OperateStream>, Status> {
        let (sender, answers) = mpsc::channel(16);
        let service = self.clone();
        let mut batches = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(batch)) = batches.message().await {
                *service.cancelled.lock() += batch.cancelled.len() as u64;
                let mut results = Vec::new();
                // The last comes first: nobody may rely on the order.
                for operation in batch.operations.iter().rev() {
                    match service.answer(operation).await {
                        None => {}
                        Some(Ok(result)) => results.push(result),
                        Some(Err(status)) => {
                            let _ = sender.send(Err(status)).await;
                            return;
                        }
                    }
                }
                if sender
                    .send(Ok(internal::ResultBatch { results }))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn raft(
        &self,
        _: Request<Streaming<internal::PeerFrame>>,
    ) -> Result<Response<internal::PeerEnd>, Status> {
        Err(Status::unimplemented("only pretends"))
    }

    async fn snapshot(
        &self,
        _: Request<Streaming<internal::SnapshotFrame>>,
    ) -> Result<Response<internal::SnapshotAnswer>, Status> {
        Err(Status::unimplemented("only pretends"))
    }

    async fn describe(
        &self,
        request: Request<internal::DescribeRequest>,
    ) -> Result<Response<internal::DescribeResponse>, Status> {
        let request = request.into_inner();
        let inner = self.world.inner.lock();
        let mut replicas = Vec::new();
        for (&table, shards) in &inner.placements {
            let wanted = request.table == 0 || request.table == table;
            if !wanted || inner.destroyed.contains(&(self.id.0, table)) {
                continue;
            }
            let held = shards.iter().filter(|(_, nodes)| nodes.contains(&self.id));
            for (shard, nodes) in held {
                // Its leader is the cluster's, where it holds a replica, else the first that does.
                let leader = nodes.iter().find(|node| node.0 == inner.leader);
                let leader = *leader.unwrap_or(&nodes[0]);
                let leads = leader == self.id && !inner.leaderless;
                let state = if leads {
                    ReplicaState::Leader
                } else {
                    ReplicaState::Follower
                };
                replicas.push(internal::ReplicaStatus {
                    table,
                    shard: *shard,
                    state: state.into(),
                    term: 2,
                    leader: if inner.leaderless { 0 } else { leader.0 },
                    sealed: inner.sealed.contains(&(table, *shard)),
                    ..internal::ReplicaStatus::default()
                });
            }
        }
        let kept_out = inner.quarantined.iter();
        let kept_out = kept_out.filter(|((node, table), _)| {
            *node == self.id.0 && (request.table == 0 || request.table == *table)
        });
        let quarantined_replicas: Vec<_> = kept_out
            .flat_map(|(_, replicas)| replicas)
            .cloned()
            .collect();
        let undecided = match request.undecided_after_millis {
            millis if millis > 0 && inner.leader == self.id.0 => {
                inner.undecided(Duration::from_millis(millis.into()))
            }
            _ => Vec::new(),
        };
        Ok(Response::new(internal::DescribeResponse {
            node: self.id.0,
            undecided,
            quarantined: quarantined_replicas.len() as u32,
            quarantined_replicas,
            replica_count: replicas.len() as u32,
            replicas,
            ..internal::DescribeResponse::default()
        }))
    }

    async fn verify(
        &self,
        _: Request<internal::VerifyRequest>,
    ) -> Result<Response<internal::VerifyResponse>, Status> {
        let same = *self.fault.lock() != Fault::Refuse(Reason::Corruption);
        Ok(Response::new(internal::VerifyResponse {
            index: 9,
            hash: vec![u8::from(same); 16].into(),
            items: 1,
        }))
    }

    async fn destroy(
        &self,
        request: Request<internal::DestroyRequest>,
    ) -> Result<Response<internal::DestroyResponse>, Status> {
        let table = request.into_inner().table;
        self.world.inner.lock().destroyed.insert((self.id.0, table));
        Ok(Response::new(internal::DestroyResponse { destroyed: true }))
    }
}
