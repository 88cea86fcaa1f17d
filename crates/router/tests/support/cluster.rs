//! Store, nodes and routers, wired up.

use std::sync::Arc;
use std::time::Duration;

use api::v1::cluster_client::ClusterClient;
use api::v1::key_value_client::KeyValueClient;
use api::v1::tables_client::TablesClient;
use api::v1::{self, TableDescription};
use coordination::embedded::Embedded;
use coordination::records::{LiveNodeRecord, MemberRecord};
use coordination::{Coordination, registry};
use model::NodeId;
use router::{Options, RouterService, Timing};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::flaky::Flaky;
use super::within;
use links::testing::{FakeNode, World};

pub struct Cluster {
    pub store: Embedded,
    pub world: Arc<World>,
    pub nodes: Vec<FakeNode>,
    /// The sessions of the nodes, by the same index.
    sessions: Vec<Arc<dyn Coordination>>,
    observer: JoinHandle<()>,
    _directory: TempDir,
}

/// Patience for tests.
pub fn timing() -> Timing {
    let millis = Duration::from_millis;
    Timing {
        attempt_timeout: millis(250),
        eventual_attempt_timeout: millis(100),
        unreachable_patience: millis(300),
        creating_timeout: millis(10_000),
        creating_poll: (millis(10), millis(50)),
        seal_timeout: millis(1000),
        destroy_timeout: millis(1000),
        describe_timeout: millis(500),
        coordination_backoff: (millis(10), millis(50)),
        shutdown_grace: millis(3000),
        ..Timing::default()
    }
}

impl Cluster {
    pub async fn start(nodes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(directory.path()).unwrap();
        registry::initialise(&*store.session()).await.unwrap();
        let world = Arc::new(World::default());
        world.set_leader(NodeId(1));
        let observer = tokio::spawn(observe(store.session(), Arc::clone(&world)));
        let mut cluster = Self {
            store,
            world,
            nodes: Vec::new(),
            sessions: Vec::new(),
            observer,
            _directory: directory,
        };
        for id in 1..=nodes {
            cluster.add_node(NodeId(id)).await;
        }
        cluster
    }

    async fn add_node(&mut self, id: NodeId) {
        let node = FakeNode::start(id, &self.world);
        let session = self.register(&node).await;
        self.nodes.push(node);
        self.sessions.push(session);
    }

    /// Starts a node that was killed and registers it.
    pub async fn restart_node(&mut self, index: usize) {
        self.nodes[index].restart();
        self.sessions[index] = self.register(&self.nodes[index]).await;
    }

    async fn register(&self, node: &FakeNode) -> Arc<dyn Coordination> {
        let id = node.id;
        let session = self.store.session();
        let address = node.address.to_string();
        let member = MemberRecord {
            id,
            address: address.clone(),
            zone: None,
            tenure: None,
            void_to: None,
        };
        registry::register_member(&*session, &member).await.unwrap();
        let live = LiveNodeRecord {
            id,
            address,
            incarnation: 1,
            started_millis: 0,
            host: "here".to_owned(),
            data_dir: format!("/{id}"),
        };
        let registered = registry::register_live_node(&*session, &live, Duration::ZERO).await;
        registered.unwrap();
        session
    }

    /// Kills a node, session and all.
    pub async fn kill_node(&mut self, index: usize) {
        self.nodes[index].kill();
        self.sessions[index].close().await;
    }

    pub fn options(&self) -> Options {
        Self::options_through(&Flaky::new(&self.store))
    }

    pub fn options_through(way: &Flaky) -> Options {
        let listen = "127.0.0.1:0".parse().unwrap();
        Options {
            timing: timing(),
            ..Options::new(Arc::new(way.clone()), listen)
        }
    }

    /// A router that is ready, and a client of it.
    pub async fn router(&self) -> Client {
        Client::start(self.options()).await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.observer.abort();
    }
}

/// Lets the pretended nodes see the tables, as real ones do.
async fn observe(store: Arc<dyn Coordination>, world: Arc<World>) {
    let mut watch = store.watch("/tables").await.unwrap();
    loop {
        let tables = registry::read_tables(&*store).await.unwrap();
        for table in tables.entries.values() {
            world.place(&table.value);
        }
        if watch.changed().await.is_err() {
            return;
        }
    }
}

/// A router and clients of its services.
pub struct Client {
    pub router: RouterService,
    pub channel: Channel,
}

const DEADLINE: Duration = Duration::from_secs(20);

impl Client {
    pub async fn start(options: Options) -> Self {
        let router = router::start(options).await.unwrap();
        router.ready().await.unwrap();
        let address = format!("http://{}", router.address());
        let channel = Channel::from_shared(address).unwrap();
        let channel = channel.connect().await.unwrap();
        Self { router, channel }
    }

    pub fn key_value(&self) -> KeyValueClient<Channel> {
        KeyValueClient::new(self.channel.clone())
    }

    pub fn tables(&self) -> TablesClient<Channel> {
        TablesClient::new(self.channel.clone())
    }

    pub fn operator(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone())
    }

    pub async fn status(&self) -> Result<v1::StatusResponse, Status> {
        let mut client = ClusterClient::new(self.channel.clone());
        let request = within(DEADLINE, v1::StatusRequest {});
        client.status(request).await.map(Response::into_inner)
    }

    pub async fn create(&self, name: &str, shards: u32) -> Result<TableDescription, Status> {
        self.create_with(name, shards, 3, DEADLINE).await
    }

    pub async fn create_with(
        &self,
        name: &str,
        shards: u32,
        replicas: u32,
        deadline: Duration,
    ) -> Result<TableDescription, Status> {
        let request = v1::CreateTableRequest {
            name: name.to_owned(),
            shards,
            replicas,
        };
        let answer = self.tables().create_table(within(deadline, request)).await;
        answer.map(Response::into_inner)
    }

    pub async fn drop_table(&self, name: &str) -> Result<(), Status> {
        self.drop_table_within(name, DEADLINE).await
    }

    pub async fn drop_table_within(&self, name: &str, deadline: Duration) -> Result<(), Status> {
        let name = name.to_owned();
        let request = within(deadline, v1::DeleteTableRequest { name });
        self.tables().delete_table(request).await.map(drop)
    }

    pub async fn describe(&self, name: &str, verify: bool) -> Result<TableDescription, Status> {
        let name = name.to_owned();
        let request = within(DEADLINE, v1::DescribeTableRequest { name, verify });
        let answer = self.tables().describe_table(request).await;
        answer.map(Response::into_inner)
    }

    pub async fn list(&self, after: &str, limit: u32) -> Result<v1::ListTablesResponse, Status> {
        let after = after.to_owned();
        let request = within(DEADLINE, v1::ListTablesRequest { after, limit });
        let answer = self.tables().list_tables(request).await;
        answer.map(Response::into_inner)
    }

    pub async fn put(&self, table: &str, key: &str, value: &str) -> Result<u64, Status> {
        self.put_within(table, key, value, DEADLINE).await
    }

    pub async fn put_within(
        &self,
        table: &str,
        key: &str,
        value: &str,
        deadline: Duration,
    ) -> Result<u64, Status> {
        let request = v1::PutRequest {
            table: table.to_owned(),
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            request_id: None,
            condition: None,
        };
        let answer = self.key_value().put(within(deadline, request)).await;
        answer.map(|answer| answer.into_inner().version)
    }

    pub async fn get(&self, table: &str, key: &str) -> Result<Option<String>, Status> {
        self.get_with(table, key, true, DEADLINE).await
    }

    pub async fn get_eventual(&self, table: &str, key: &str) -> Result<Option<String>, Status> {
        self.get_with(table, key, false, DEADLINE).await
    }

    pub async fn get_with(
        &self,
        table: &str,
        key: &str,
        consistent: bool,
        deadline: Duration,
    ) -> Result<Option<String>, Status> {
        let request = v1::GetRequest {
            table: table.to_owned(),
            key: key.to_owned().into(),
            consistent,
        };
        let answer = self.key_value().get(within(deadline, request)).await?;
        let answer = answer.into_inner();
        let value = String::from_utf8(answer.value.to_vec()).unwrap();
        Ok(answer.found.then_some(value))
    }

    pub async fn delete(&self, table: &str, key: &str) -> Result<(), Status> {
        let request = v1::DeleteRequest {
            table: table.to_owned(),
            key: key.to_owned().into(),
            request_id: None,
            condition: None,
        };
        self.key_value()
            .delete(within(DEADLINE, request))
            .await
            .map(drop)
    }
}
