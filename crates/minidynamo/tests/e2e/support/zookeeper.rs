//! A ZooKeeper of a test's own.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use coordination::SharedCoordination;
use coordination::testing::{Ensemble, ZooKeeperServer};
use coordination::zookeeper::{ConnectOptions, ZooKeeper as Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A real ZooKeeper, of one server or of several, killed when this is dropped.
pub(crate) struct ZooKeeper {
    servers: Servers,
}

// One per test: their size does not matter.
#[allow(clippy::large_enum_variant)]
enum Servers {
    One(ZooKeeperServer),
    Several(Ensemble),
}

/// What the server has counted since its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    /// Sessions that live now.
    pub(crate) sessions: u64,
    /// Answers with a znode's data or children.
    pub(crate) data_reads: u64,
    /// Requests of every kind, pings included.
    pub(crate) packets_received: u64,
}

impl ZooKeeper {
    /// Starts one server.
    pub(crate) async fn start() -> Self {
        let servers = Servers::One(ZooKeeperServer::start().await);
        Self { servers }
    }

    /// Starts an ensemble of three.
    pub(crate) async fn start_ensemble() -> Self {
        let servers = Servers::Several(Ensemble::start(3).await);
        Self { servers }
    }

    /// The servers, where there are several.
    pub(crate) fn ensemble(&mut self) -> &mut Ensemble {
        match &mut self.servers {
            Servers::One(_) => panic!("this test has a ZooKeeper of one server"),
            Servers::Several(ensemble) => ensemble,
        }
    }

    fn hosts(&self) -> String {
        match &self.servers {
            Servers::One(server) => server.hosts(),
            Servers::Several(ensemble) => ensemble.hosts(),
        }
    }

    /// As `--zookeeper` takes it.
    pub(crate) fn connect_string(&self, chroot: &str) -> String {
        format!("{}/{chroot}", self.hosts())
    }

    /// A session of the test's own.
    pub(crate) async fn session(&self, chroot: &str) -> SharedCoordination {
        let mut options = ConnectOptions::new(self.connect_string(chroot));
        options.connect_timeout = Duration::from_secs(30);
        Arc::new(Session::connect(options).await.unwrap())
    }

    /// `SIGKILL` of the server that leads. Nobody waits for another one to lead.
    pub(crate) async fn kill_leader(&mut self) {
        self.ensemble().kill_leader().await;
    }

    /// `SIGKILL` of all servers. What they have confirmed stays.
    pub(crate) fn kill(&mut self) {
        match &mut self.servers {
            Servers::One(server) => server.kill(),
            Servers::Several(ensemble) => ensemble.kill_all(),
        }
    }

    /// Starts every server that was killed with the data that it had.
    pub(crate) async fn start_again(&mut self) {
        match &mut self.servers {
            Servers::One(server) => server.start_again().await,
            Servers::Several(ensemble) => ensemble.start_again().await,
        }
    }

    /// Stops all servers for a moment and keeps a copy of their data.
    pub(crate) async fn back_up(&mut self, backup: &Path) {
        self.kill();
        self.ensemble().save(backup);
        self.start_again().await;
    }

    fn server(&mut self) -> &mut ZooKeeperServer {
        match &mut self.servers {
            Servers::One(server) => server,
            Servers::Several(_) => panic!("this test has a ZooKeeper of several servers"),
        }
    }

    /// `SIGSTOP`: connections stay open, nothing is answered.
    pub(crate) fn pause(&mut self) {
        self.server().stop();
    }

    /// `SIGCONT`.
    pub(crate) fn resume(&mut self) {
        self.server().resume();
    }

    pub(crate) async fn counters(&self) -> Counters {
        let mut stream = TcpStream::connect(self.hosts()).await.unwrap();
        stream.write_all(b"mntr").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let lines = answer.lines().filter_map(|line| line.split_once('\t'));
        let counters: HashMap<_, _> = lines.collect();
        let count = |name: &str| counters[name].parse::<u64>().unwrap();
        Counters {
            sessions: count("zk_global_sessions"),
            data_reads: count("zk_response_packet_cache_hits")
                + count("zk_response_packet_cache_misses")
                + count("zk_response_packet_get_children_cache_hits")
                + count("zk_response_packet_get_children_cache_misses"),
            packets_received: count("zk_packets_received"),
        }
    }
}
