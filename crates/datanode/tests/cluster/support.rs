//! A cluster of data nodes in this process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::internal::data_node_client::DataNodeClient;
use api::internal::operation::Kind as Ask;
use api::internal::operation_result::Kind as Answer;
use api::internal::{
    DescribeRequest, Get, Operation, OperationBatch, PeerFrame, Put, UndecidedTransaction,
};
use bytes::Bytes;
use coordination::embedded::Embedded;
use coordination::records::{DeletedRecord, LiveNodeRecord, Record as _};
use coordination::registry;
use coordination::tree::Node;
use coordination::{Connect, Coordination, CreateMode, Operation as Change, SharedCoordination};
use datanode::{DataNodeService, Health, Options};
use model::{HashRange, KeyHash, NodeId, Shard, ShardId, Table, TableId, TableState};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(20);

/// The store of one cluster, from which its nodes can be cut off.
pub(crate) struct Switch {
    store: Arc<Embedded>,
    closed: AtomicBool,
    sessions: parking_lot::Mutex<Vec<SharedCoordination>>,
}

#[async_trait::async_trait]
impl Connect for Switch {
    async fn connect(&self) -> Result<SharedCoordination, coordination::Error> {
        if self.closed.load(Ordering::SeqCst) {
            let reason = "cut off".to_owned();
            return Err(coordination::Error::Unavailable { reason });
        }
        let session = self.store.session();
        self.sessions.lock().push(session.clone());
        Ok(session)
    }
}

pub(crate) struct Cluster {
    coordination: Arc<Embedded>,
    /// Between the nodes and the store, if that was wanted.
    switch: Option<Arc<Switch>>,
    dir: tempfile::TempDir,
    running: Vec<DataNodeService>,
}

/// A stream of Raft frames, and how it ends.
pub(crate) struct RaftStream {
    pub(crate) frames: tokio::sync::mpsc::Sender<PeerFrame>,
    pub(crate) ended: tokio::task::JoinHandle<Result<(), tonic::Status>>,
}

pub(crate) struct TestTable {
    pub(crate) table: Table,
}

impl TestTable {
    pub(crate) fn shard_of(&self, key: &str) -> ShardId {
        self.table.shard_of(KeyHash::of(key.as_bytes()))
    }
}

impl Cluster {
    pub(crate) async fn start(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let coordination = Arc::new(Embedded::open(dir.path().join("coordination")).unwrap());
        let mut cluster = Self {
            coordination,
            switch: None,
            dir,
            running: Vec::new(),
        };
        for number in 0..count {
            cluster.start_node(number).await;
        }
        cluster
    }

    /// Nodes that can be [cut off](Self::cut_off) from the store, which copies of them are not.
    pub(crate) async fn start_behind_switches(count: usize) -> Self {
        let mut cluster = Self::start(0).await;
        cluster.switch = Some(Arc::new(Switch {
            store: cluster.coordination.clone(),
            closed: AtomicBool::new(false),
            sessions: parking_lot::Mutex::default(),
        }));
        for number in 0..count {
            let mut options = cluster.options(number);
            if let Some(switch) = &cluster.switch {
                options.coordination = switch.clone();
            }
            cluster.start_with(options).await;
        }
        cluster
    }

    /// Cuts all nodes off from the store, for longer than their sessions live.
    pub(crate) async fn cut_off(&self) {
        let switch = self.switch.as_ref().unwrap();
        switch.closed.store(true, Ordering::SeqCst);
        let sessions = std::mem::take(&mut *switch.sessions.lock());
        for session in sessions {
            session.close().await;
        }
    }

    pub(crate) fn let_in(&self) {
        let switch = self.switch.as_ref().unwrap();
        switch.closed.store(false, Ordering::SeqCst);
    }

    /// Makes the store tell an address of a node where nobody is.
    pub(crate) async fn hide_address(&self, number: usize) {
        let session = self.session().await;
        let node = self.running[number].node_id();
        let mut member = registry::read_member(&*session, node)
            .await
            .unwrap()
            .unwrap();
        "127.0.0.1:1".clone_into(&mut member.address);
        registry::register_member(&*session, &member).await.unwrap();
    }

    /// Begins to send Raft messages to a node as a process of another one.
    pub(crate) async fn raft_stream(&self, number: usize, incarnation: u64) -> RaftStream {
        let node = &self.running[number];
        let mut client = client(node.address()).await;
        let (frames, queue) = tokio::sync::mpsc::channel(1);
        let frame = PeerFrame {
            from: 99,
            to: node.node_id().0,
            messages: Vec::new(),
            incarnation,
        };
        frames.send(frame).await.unwrap();
        let mut behind = client.clone();
        let ended = tokio::spawn(async move {
            let queue = tokio_stream::wrappers::ReceiverStream::new(queue);
            client.raft(queue).await.map(drop)
        });
        // Sent, once there is room for the next one. What comes behind it on the same connection is answered after it was taken.
        drop(frames.reserve().await);
        for _ in 0..3 {
            let _ = behind.describe(DescribeRequest::default()).await;
        }
        RaftStream { frames, ended }
    }

    /// Another store, with nothing in it.
    pub(crate) fn empty_store(&self) -> Arc<Embedded> {
        Arc::new(Embedded::open(self.dir.path().join("empty")).unwrap())
    }

    async fn start_node(&mut self, number: usize) {
        self.start_with(self.options(number)).await;
    }

    /// Starts the next node.
    pub(crate) async fn start_with(&mut self, options: Options) {
        let node = datanode::start(options).await.unwrap();
        node.ready().await.unwrap();
        self.running.push(node);
    }

    /// What a node is started with.
    pub(crate) fn options(&self, number: usize) -> Options {
        let coordination: Arc<dyn Connect> = self.coordination.clone();
        Options::new(coordination, self.data_dir(number), listen_anywhere())
    }

    /// Starts a node on a copy of a running node's directory.
    pub(crate) async fn start_copy_of(&self, number: usize) -> DataNodeService {
        copy_dir(&self.data_dir(number), &self.dir.path().join("copy"));
        self.start_again_on_the_copy(number).await
    }

    /// Starts a node on the copy that was made before.
    pub(crate) async fn start_again_on_the_copy(&self, number: usize) -> DataNodeService {
        let mut options = self.options(number);
        options.data_dir = self.dir.path().join("copy");
        datanode::start(options).await.unwrap()
    }

    /// Ends a node.
    pub(crate) async fn end(&mut self, number: usize) {
        self.running.remove(number).shutdown().await;
    }

    /// Where the others are told to find a node, and where it is.
    pub(crate) async fn addresses_of(&self, number: usize) -> (String, String) {
        let session = self.coordination.connect().await.unwrap();
        let members = registry::read_members(&*session).await.unwrap();
        let node = &self.running[number];
        let told = members.entries[&node.node_id()].value.address.clone();
        (told, node.address().to_string())
    }

    /// Another session with the coordination store.
    pub(crate) async fn session(&self) -> SharedCoordination {
        self.coordination.connect().await.unwrap()
    }

    pub(crate) fn registration(&self, number: usize) -> String {
        Node::Live(self.running[number].node_id()).path()
    }

    /// The session by which a node is registered as alive.
    pub(crate) async fn registrar_of(&self, number: usize) -> Option<i64> {
        let znode = self.session().await.get(&self.registration(number)).await;
        znode.unwrap().map(|znode| znode.stat.ephemeral_owner)
    }

    pub(crate) async fn wait_until_registered(&self, number: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.registrar_of(number).await.is_none() {
            assert!(Instant::now() < deadline, "it is not registered again");
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn wait_until_registered_by(&self, number: usize, session: i64) {
        let deadline = Instant::now() + PATIENCE;
        while self.registrar_of(number).await != Some(session) {
            assert!(Instant::now() < deadline, "it is not registered again");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Removes a node's registration, or replaces it by one of the same content.
    pub(crate) async fn take_registration(&self, number: usize, by: Option<&dyn Coordination>) {
        let keep = |_: &mut LiveNodeRecord| ();
        self.change_registration(number, by, keep).await;
    }

    /// The same with a content that is changed.
    pub(crate) async fn change_registration(
        &self,
        number: usize,
        by: Option<&dyn Coordination>,
        change: impl FnOnce(&mut LiveNodeRecord),
    ) {
        let path = self.registration(number);
        let session = self.session().await;
        let found = session.get(&path).await.unwrap().unwrap();
        let mut record = LiveNodeRecord::decode(&path, &found.data).unwrap();
        change(&mut record);
        let mut operations = vec![Change::delete(path.clone(), found.stat.version)];
        if by.is_some() {
            let content = record.encode();
            operations.push(Change::create(path, content, CreateMode::Ephemeral));
        }
        by.unwrap_or(&*session).multi(operations).await.unwrap();
    }

    /// Ends a node and puts its registration there again, by a session that lives on: as after a SIGKILL.
    pub(crate) async fn end_and_leave_registered(&mut self, number: usize) -> SharedCoordination {
        let (session, path) = (self.session().await, self.registration(number));
        let content = session.get(&path).await.unwrap().unwrap().data;
        self.running.remove(number).shutdown().await;
        session
            .create(&path, content, CreateMode::Ephemeral)
            .await
            .unwrap();
        session
    }

    pub(crate) fn health_of(&self, number: usize) -> watch::Receiver<Health> {
        self.running[number].health()
    }

    pub(crate) async fn start_again(&mut self, number: usize) {
        self.start_node(number).await;
    }

    fn data_dir(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("node-{number}"))
    }

    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.running.iter().map(DataNodeService::node_id).collect()
    }

    pub(crate) async fn restart(&mut self) {
        let running = std::mem::take(&mut self.running);
        let count = running.len();
        for node in running {
            node.shutdown().await;
        }
        for number in 0..count {
            self.start_node(number).await;
        }
    }

    pub(crate) async fn create_table(&self, name: &str, shards: u32, replicas: u32) -> TestTable {
        let session = self.coordination.connect().await.unwrap();
        let cluster = registry::read_cluster(&*session).await.unwrap().unwrap();
        let nodes = self.nodes();
        let table = Table {
            id: TableId(rand::random()),
            name: name.parse().unwrap(),
            state: TableState::Available,
            never_available: false,
            replicas,
            created_millis: 0,
            shards: HashRange::divide(shards)
                .into_iter()
                .map(|range| Shard {
                    range,
                    nodes: nodes[..replicas as usize].to_vec(),
                })
                .collect(),
        };
        registry::create_table(&*session, &table, cluster.version)
            .await
            .unwrap();
        let table = TestTable { table };
        self.wait_for_leaders(&table).await;
        table
    }

    /// Puts tombstones of a removed table there, and returns the path of their parent.
    pub(crate) async fn leave_tombstones(&self, table: TableId, nodes: &[NodeId]) -> String {
        let session = self.coordination.connect().await.unwrap();
        let parent = Node::Tombstones(table).path();
        let record = DeletedRecord {
            name: "people".parse().unwrap(),
            forgotten: std::collections::BTreeSet::new(),
        };
        let parent_record = record.encode();
        let nodes = nodes.iter().map(|node| {
            let path = Node::Tombstone(table, *node).path();
            Change::create(path, "", CreateMode::Persistent)
        });
        let parent_node = Change::create(parent.clone(), parent_record, CreateMode::Persistent);
        let operations = std::iter::once(parent_node).chain(nodes).collect();
        session.multi(operations).await.unwrap();
        parent
    }

    pub(crate) async fn is_there(&self, path: &str) -> bool {
        let session = self.coordination.connect().await.unwrap();
        session.get(path).await.unwrap().is_some()
    }

    pub(crate) async fn wait_until_gone(&self, path: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.is_there(path).await {
            assert!(Instant::now() < deadline, "{path} is still there");
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn wait_for_leaders(&self, table: &TestTable) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut leaders = 0;
            for node in &self.running {
                let mut client = client(node.address()).await;
                let request = DescribeRequest {
                    table: table.table.id.0,
                    totals_only: true,
                    undecided_after_millis: 0,
                };
                leaders += client
                    .describe(request)
                    .await
                    .unwrap()
                    .into_inner()
                    .leader_count;
            }
            if leaders as usize == table.table.shards.len() {
                return;
            }
            assert!(Instant::now() < deadline, "{leaders} leaders");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What is undecided on any node, and how many transactions the nodes count.
    pub(crate) async fn undecided(&self) -> (Vec<UndecidedTransaction>, u64) {
        let (mut undecided, mut count) = (Vec::new(), 0);
        for node in &self.running {
            let request = DescribeRequest {
                totals_only: true,
                undecided_after_millis: 1,
                ..DescribeRequest::default()
            };
            let described = client(node.address()).await.describe(request).await;
            let described = described.unwrap().into_inner();
            undecided.extend(described.undecided);
            count += described.prepared_transactions;
        }
        (undecided, count)
    }

    /// Waits until so many transactions are listed as undecided.
    pub(crate) async fn wait_for_undecided(&self, wanted: usize) -> Vec<UndecidedTransaction> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (undecided, count) = self.undecided().await;
            if undecided.len() == wanted && count == wanted as u64 {
                return undecided;
            }
            assert!(Instant::now() < deadline, "{undecided:?}, {count} counted");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks one node; an election in between is waited for.
    pub(crate) async fn operate(&self, node: NodeId, shard: ShardId, kind: Ask) -> Answer {
        let addresses: HashMap<_, _> = self
            .running
            .iter()
            .map(|node| (node.node_id(), node.address()))
            .collect();
        let mut client = client(addresses[&node]).await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let operation = Operation {
                correlation: 1,
                table: shard.table.0,
                shard: shard.index,
                timeout_millis: 5000,
                forwarded: false,
                kind: Some(kind.clone()),
            };
            let batch = OperationBatch {
                operations: vec![operation],
                cancelled: Vec::new(),
            };
            let stream = tokio_stream::once(batch);
            let mut answers = client.operate(stream).await.unwrap().into_inner();
            let answer = answers
                .message()
                .await
                .unwrap()
                .unwrap()
                .results
                .remove(0)
                .kind
                .unwrap();
            let again =
                matches!(&answer, Answer::Failure(failure) if failure.reason == "NO_LEADER");
            if !again || Instant::now() > deadline {
                return answer;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn listen_anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry
            .map(|entry| (entry.path(), entry.file_name()))
            .unwrap();
        if path.is_dir() {
            copy_dir(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

async fn client(address: SocketAddr) -> DataNodeClient<tonic::transport::Channel> {
    DataNodeClient::connect(format!("http://{address}"))
        .await
        .unwrap()
}

pub(crate) fn put(key: &str, value: &str) -> Ask {
    static SEQUENCE: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64;
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    Ask::Put(Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        request_id: Some(api::v1::RequestId {
            client_id: 7,
            sequence,
            issued_at_millis: now,
        }),
        condition: None,
    })
}

pub(crate) fn get(key: &str, consistent: bool) -> Ask {
    Ask::Get(Get {
        key: Bytes::copy_from_slice(key.as_bytes()),
        consistent,
    })
}
