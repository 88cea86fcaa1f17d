//! A cluster of real processes.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use api::v1::TableDescription;
use coordination::SharedCoordination;
use model::{Key, NodeId, ShardId};

use super::{Cli, Direct, Directory, Kv, Machine, Process, Tables, ZooKeeper, eventually, ports};

/// What kind of cluster to start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClusterOptions {
    nodes: usize,
    routers: usize,
    alone: bool,
    ensemble: bool,
    session_timeout: Option<&'static str>,
}

/// ZooKeeper, data nodes and routers, each a process.
pub(crate) struct Cluster {
    // Dropped in this order: our processes, ZooKeeper, their files, the hold on the machine.
    pub(crate) nodes: Vec<Process>,
    pub(crate) routers: Vec<Process>,
    pub(crate) zookeeper: ZooKeeper,
    pub(crate) directory: Directory,
    /// Where in ZooKeeper the cluster lives; another one is another cluster.
    pub(crate) chroot: String,
    session_timeout: Option<&'static str>,
    _machine: Machine,
}

impl ClusterOptions {
    pub(crate) fn new(nodes: usize, routers: usize) -> Self {
        Self {
            nodes,
            routers,
            alone: false,
            ensemble: false,
            session_timeout: None,
        }
    }

    /// With a ZooKeeper of three servers.
    #[must_use]
    pub(crate) fn ensemble(mut self) -> Self {
        self.ensemble = true;
        self
    }

    /// Sessions with ZooKeeper expire after this silence.
    #[must_use]
    pub(crate) fn session_timeout(mut self, timeout: &'static str) -> Self {
        self.session_timeout = Some(timeout);
        self
    }

    /// No other test runs meanwhile: for tests that measure time.
    #[must_use]
    pub(crate) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Starts ZooKeeper and describes the other processes without starting them.
    pub(crate) async fn prepare(self) -> Cluster {
        let machine = if self.alone {
            Machine::alone().await
        } else {
            Machine::shared().await
        };
        let directory = Directory::of_this_test();
        let zookeeper = if self.ensemble {
            ZooKeeper::start_ensemble().await
        } else {
            ZooKeeper::start().await
        };
        let mut cluster = Cluster {
            nodes: Vec::new(),
            routers: Vec::new(),
            zookeeper,
            directory,
            chroot: "minidynamo".to_owned(),
            session_timeout: self.session_timeout,
            _machine: machine,
        };
        for _ in 0..self.nodes {
            cluster.add_node(&[]);
        }
        for _ in 0..self.routers {
            cluster.add_router(&[]);
        }
        cluster
    }

    /// Starts all of it and waits until it can be used.
    pub(crate) async fn start(self) -> Cluster {
        let mut cluster = self.prepare().await;
        cluster.start_all().await;
        cluster
    }
}

impl Cluster {
    /// Describes one more data node, with further arguments.
    pub(crate) fn add_node(&mut self, arguments: &[&str]) -> usize {
        let zookeeper = self.connect_string();
        self.add_node_at(&zookeeper, arguments)
    }

    /// Describes one more data node, with another way to ZooKeeper.
    pub(crate) fn add_node_at(&mut self, zookeeper: &str, arguments: &[&str]) -> usize {
        let index = self.nodes.len();
        let process = self.describe_node(index, zookeeper, arguments);
        self.nodes.push(process);
        index
    }

    /// Describes a data node anew that does not run: its data directory stays, its address is another one.
    pub(crate) fn move_node(&mut self, index: usize) {
        self.change_node(index, &[]);
    }

    /// The same, with other further arguments.
    pub(crate) fn change_node(&mut self, index: usize, arguments: &[&str]) {
        assert!(!self.nodes[index].is_running(), "node{index} runs");
        self.nodes[index] = self.describe_node(index, &self.connect_string(), arguments);
    }

    fn describe_node(&self, index: usize, zookeeper: &str, arguments: &[&str]) -> Process {
        let name = format!("node{index}");
        let mut all = vec![
            "datanode".to_owned(),
            format!("--zookeeper={zookeeper}"),
            format!("--data-dir={}", self.data_dir(index).display()),
            format!("--listen=127.0.0.1:{}", ports::free()),
            "--admin-listen=127.0.0.1:0".to_owned(),
        ];
        all.extend(self.session_timeout());
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        Process::new(&self.directory, &name, all)
    }

    fn session_timeout(&self) -> Option<String> {
        let timeout = self.session_timeout?;
        Some(format!("--session-timeout={timeout}"))
    }

    /// Describes one more router, with further arguments.
    pub(crate) fn add_router(&mut self, arguments: &[&str]) -> usize {
        let zookeeper = self.connect_string();
        self.add_router_at(&zookeeper, arguments)
    }

    /// Describes one more router, with another way to ZooKeeper.
    pub(crate) fn add_router_at(&mut self, zookeeper: &str, arguments: &[&str]) -> usize {
        let index = self.routers.len();
        let name = format!("router{index}");
        let mut all = vec![
            "router".to_owned(),
            format!("--zookeeper={zookeeper}"),
            format!("--listen=127.0.0.1:{}", ports::free()),
            "--admin-listen=127.0.0.1:0".to_owned(),
        ];
        all.extend(self.session_timeout());
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self.routers.push(Process::new(&self.directory, &name, all));
        index
    }

    /// As `--zookeeper` takes it.
    pub(crate) fn connect_string(&self) -> String {
        self.zookeeper.connect_string(&self.chroot)
    }

    /// A session of the test's own with ZooKeeper.
    pub(crate) async fn session(&self) -> SharedCoordination {
        self.zookeeper.session(&self.chroot).await
    }

    /// The data directory of a node.
    pub(crate) fn data_dir(&self, node: usize) -> PathBuf {
        let cluster = self.directory.path().join(&self.chroot);
        cluster.join(format!("data{node}"))
    }

    /// Starts every process that does not run, all at the same moment, and waits for them.
    pub(crate) async fn start_all(&mut self) {
        let mut all: Vec<_> = self.nodes.iter_mut().chain(&mut self.routers).collect();
        all.retain(|process| !process.is_running());
        for process in &mut all {
            process.spawn();
        }
        for process in &mut all {
            process.wait_ready().await;
        }
    }

    /// Reads and writes through a router.
    pub(crate) fn kv(&self, router: usize) -> Kv {
        Kv::new(self.routers[router].address())
    }

    /// Administration through a router.
    pub(crate) fn tables(&self, router: usize) -> Tables {
        Tables::new(self.routers[router].address())
    }

    /// The command line, with all routers that run.
    pub(crate) fn cli(&self) -> Cli {
        Cli::new(self.router_addresses().join(","))
    }

    /// Of the routers that run.
    pub(crate) fn router_addresses(&self) -> Vec<String> {
        let running = self.routers.iter().filter(|router| router.is_running());
        running.map(|router| router.address().to_owned()).collect()
    }

    /// One data node's internal service.
    pub(crate) fn direct(&self, node: usize) -> Direct {
        Direct::new(self.nodes[node].address())
    }

    /// The node that leads the most shards now.
    pub(crate) async fn busiest_leader(&self) -> usize {
        // A single leader that goes home meanwhile may be missed.
        eventually("somebody leads", Duration::from_secs(2), || async {
            let mut most = (0, 0);
            for node in 0..self.nodes.len() {
                let leads = self.direct(node).describe().await.unwrap().leader_count;
                most = most.max((leads, node));
            }
            (most.0 > 0).then_some(most.1).ok_or("nobody leads")
        })
        .await
    }

    /// The ids of the data nodes that run, and their positions here.
    pub(crate) async fn node_ids(&self) -> HashMap<NodeId, usize> {
        let mut ids = HashMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if node.is_running() {
                let answer = self.direct(index).describe().await.unwrap();
                ids.insert(NodeId(answer.node), index);
            }
        }
        ids
    }

    /// Waits until every replica of a table holds the same data, by a comparison of all of it.
    pub(crate) async fn assert_replicas_equal(&self, table: &str) -> TableDescription {
        let tables = self.tables(0);
        let what = format!("all replicas of {table} are equal");
        eventually(&what, Duration::from_secs(30), || async {
            let described = tables.describe(table, true).await;
            let described = described.map_err(|failure| failure.to_string())?;
            for shard in &described.shards {
                // A replica may be late or out of reach; one that differs will not get better.
                let hashes = shard.replicas.iter().map(|replica| &*replica.content_hash);
                let different: BTreeSet<_> = hashes.filter(|hash| !hash.is_empty()).collect();
                assert!(different.len() <= 1, "replicas differ: {shard:?}");
            }
            let unequal = described.shards.iter().find(|shard| {
                let verified = shard.verification.as_ref();
                !verified.is_some_and(|verified| verified.equal)
            });
            match unequal {
                None => Ok(described),
                Some(shard) => Err(format!("{shard:?}")),
            }
        })
        .await
    }

    /// The same by the command line: one look, every shard equal.
    pub(crate) async fn assert_verified(&self, table: &str) {
        self.assert_replicas_equal(table).await;
        let arguments = ["--output", "json", "describe-table", table, "--verify"];
        let printed = self.cli().ok(&arguments).await;
        let document: serde_json::Value = serde_json::from_str(&printed).unwrap();
        let equal = printed.matches("\"equal\":true").count();
        let shards = document["shards"].as_array().map_or(0, Vec::len);
        assert!(shards > 0 && equal == shards, "{printed}");
    }
}

/// A table's shards as the tests need them.
pub(crate) trait Shards {
    /// The shard that a key falls to.
    fn shard_of(&self, key: &str) -> ShardId;
    /// The nodes of a shard.
    fn nodes_of(&self, shard: ShardId) -> Vec<NodeId>;
    /// All shards.
    fn all(&self) -> Vec<ShardId>;
    /// A key, different for each `n`, that falls to the shard.
    fn key_in(&self, shard: ShardId, n: usize) -> String;
}

impl Shards for TableDescription {
    fn shard_of(&self, key: &str) -> ShardId {
        let hash = Key::new(key.to_owned().into()).unwrap().hash().0;
        let mut shards = self.all().into_iter().zip(&self.shards);
        let found = shards.find(|(_, shard)| (shard.first_hash..=shard.last_hash).contains(&hash));
        found.expect("the ranges cover every hash").0
    }

    fn nodes_of(&self, shard: ShardId) -> Vec<NodeId> {
        let replicas = self.shards[shard.index as usize].replicas.iter();
        replicas
            .map(|replica| replica.node.parse().unwrap())
            .collect()
    }

    fn all(&self) -> Vec<ShardId> {
        let summary = self.summary.as_ref().unwrap();
        let table = summary.id.parse().unwrap();
        let indices = self.shards.iter().map(|shard| shard.index);
        indices.map(|index| ShardId { table, index }).collect()
    }

    fn key_in(&self, shard: ShardId, n: usize) -> String {
        (0..100_000)
            .map(|attempt| format!("key-{n}-{attempt}"))
            .find(|key| self.shard_of(key) == shard)
            .unwrap()
    }
}
