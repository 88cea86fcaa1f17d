//! A ZooKeeper server of a test's own.

use std::collections::HashMap;

use coordination::testing::ZooKeeperServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A real ZooKeeper of one server, killed when this is dropped.
pub(crate) struct ZooKeeper {
    server: ZooKeeperServer,
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
    pub(crate) async fn start() -> Self {
        let server = ZooKeeperServer::start().await;
        Self { server }
    }

    /// As `--zookeeper` takes it.
    pub(crate) fn connect_string(&self, chroot: &str) -> String {
        format!("{}/{chroot}", self.server.hosts())
    }

    /// `SIGKILL`. What it has confirmed stays.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it with the data that it had.
    pub(crate) async fn start_again(&mut self) {
        self.server.start_again().await;
    }

    /// `SIGSTOP`: connections stay open, nothing is answered.
    pub(crate) fn pause(&mut self) {
        self.server.stop();
    }

    /// `SIGCONT`.
    pub(crate) fn resume(&mut self) {
        self.server.resume();
    }

    pub(crate) async fn counters(&self) -> Counters {
        let mut stream = TcpStream::connect(self.server.hosts()).await.unwrap();
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
