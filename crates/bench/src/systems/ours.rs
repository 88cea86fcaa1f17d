//! Our cluster: one ZooKeeper server, three data nodes, a router; one table of 12 shards with three replicas each.
//!
//! ZooKeeper and not the embedded store, because only with it data nodes and router are processes of their own, as in
//! use. One server of it is enough: no operation on single keys goes there, and what transactions cost it is told apart.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use client::{Client, Consistency, Options};
use load::Table;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::make_directory;
use crate::Failure;
use crate::server::{Server, free_port};

/// The table's shards.
pub(crate) const SHARDS: u32 = 12;
/// … replicas of each.
pub(crate) const REPLICAS: u32 = 3;
const NODES: usize = 3;
/// As Debian's package `libzookeeper-java` has them.
const JARS: [&str; 2] = [
    "/usr/share/java/zookeeper.jar",
    "/usr/share/java/slf4j-simple.jar",
];

/// How our processes are started.
struct Launch {
    program: PathBuf,
    directory: PathBuf,
    /// ZooKeeper's connect string.
    hosts: String,
}

impl Launch {
    fn role(&self, name: &str, role: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([role, "--zookeeper", &self.hosts, "--log-level", "warn"]);
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        if role == "datanode" {
            command.arg("--data-dir").arg(self.directory.join(name));
        }
        command
    }

    fn node(&self, index: usize) -> Result<Server, Failure> {
        let name = format!("datanode-{}", index + 1);
        Server::start(&name, self.role(&name, "datanode"), &self.directory)
    }
}

/// The cluster, running.
pub(crate) struct Ours {
    launch: Launch,
    zookeeper: Server,
    nodes: Vec<Server>,
    router: Server,
    /// One for each connection.
    clients: Vec<Client>,
    /// … which make a call for each operation.
    callers: Vec<Client>,
}

impl Ours {
    pub(crate) const TABLE: &str = "compare";

    pub(crate) async fn start(
        program: &Path,
        directory: &Path,
        connections: usize,
    ) -> Result<Self, Failure> {
        let (zookeeper, hosts) = start_zookeeper(directory).await?;
        let launch = Launch {
            program: program.to_owned(),
            directory: directory.to_owned(),
            hosts,
        };
        let nodes = (0..NODES).map(|index| launch.node(index));
        let mut nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        let mut router = Server::start("router", launch.role("router", "router"), directory)?;
        for node in &mut nodes {
            node.address().await?;
        }
        let address = router.address().await?;
        let clients = connect(&address, connections, true)?;
        let callers = connect(&address, connections, false)?;
        create_table(&clients[0]).await?;
        Ok(Self {
            launch,
            zookeeper,
            nodes,
            router,
            clients,
            callers,
        })
    }

    /// One of the clients.
    pub(crate) fn client(&self) -> &Client {
        &self.clients[0]
    }

    /// `SIGKILL`. The node's data stay.
    pub(crate) fn kill_node(&mut self, index: usize) {
        self.nodes[index].kill();
    }

    /// Starts a node that was killed, and returns when it says that it can be used.
    pub(crate) async fn start_node(&mut self, index: usize) -> Result<(), Failure> {
        self.nodes[index] = self.launch.node(index)?;
        self.nodes[index].address().await.map(|_| ())
    }

    /// Waits until every shard has all of its replicas.
    pub(crate) async fn until_whole(&mut self) -> Result<(), Failure> {
        let client = self.client().clone();
        let whole = async || {
            let table = client.describe_table(Self::TABLE).await.ok()?;
            (table.under_replicated_shards == 0).then_some(())
        };
        self.router.until(whole).await
    }

    /// The table over each connection.
    pub(crate) fn tables(&self, consistency: Consistency) -> Vec<Table> {
        tables(&self.clients, consistency)
    }

    /// The same, by a call for each operation.
    pub(crate) fn tables_by_calls(&self, consistency: Consistency) -> Vec<Table> {
        tables(&self.callers, consistency)
    }

    /// The ids of all processes: first those whose CPU time an operation is charged with, ZooKeeper's the last.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let servers = std::iter::once(&self.router).chain(&self.nodes);
        let servers = servers.chain(std::iter::once(&self.zookeeper));
        servers.map(Server::pid).collect()
    }

    pub(crate) fn router_pid(&self) -> u32 {
        self.router.pid()
    }

    pub(crate) fn node_pids(&self) -> Vec<u32> {
        self.nodes.iter().map(Server::pid).collect()
    }

    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        self.zookeeper.check()?;
        self.router.check()?;
        self.nodes.iter_mut().try_for_each(Server::check)
    }
}

fn connect(address: &str, connections: usize, streams: bool) -> Result<Vec<Client>, Failure> {
    let options = Options {
        streams,
        ..Options::default()
    };
    let clients = (0..connections).map(|_| Client::with_options([address], &options));
    clients
        .collect::<Result<Vec<_>, _>>()
        .map_err(Failure::to("use the router"))
}

fn tables(clients: &[Client], consistency: Consistency) -> Vec<Table> {
    let table = |client: &Client| Table {
        client: client.clone(),
        name: Ours::TABLE.to_owned(),
        consistency,
    };
    clients.iter().map(table).collect()
}

async fn create_table(client: &Client) -> Result<(), Failure> {
    client
        .create_table(Ours::TABLE, SHARDS, REPLICAS)
        .await
        .map_err(Failure::to("create the table"))?;
    Ok(())
}

/// Starts ZooKeeper with its defaults; returns the connect string of a path of our own in it.
async fn start_zookeeper(directory: &Path) -> Result<(Server, String), Failure> {
    if let Some(missing) = JARS.iter().find(|jar| !Path::new(jar).exists()) {
        return Err(Failure::new(format!(
            "{missing} is missing: install Debian's packages libzookeeper-java and default-jre-headless"
        )));
    }
    let data = make_directory(directory, "zookeeper")?;
    let port = free_port()?;
    let configuration = directory.join("zoo.cfg");
    let lines = format!(
        "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
         admin.enableServer=false\n4lw.commands.whitelist=srvr\n",
        data.display()
    );
    std::fs::write(&configuration, lines).map_err(Failure::to("configure ZooKeeper"))?;
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-cp", &JARS.join(":")]);
    command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain");
    command.arg(configuration);
    let mut server = Server::start("zookeeper", command, directory)?;
    server
        .until(async || zookeeper_serves(port).await.then_some(()))
        .await?;
    Ok((server, format!("127.0.0.1:{port}/compare")))
}

async fn zookeeper_serves(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"srvr").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(1), ask).await;
    matches!(answer, Ok(Ok(answer)) if answer.contains("Mode: "))
}
