//! A ZooKeeper of one server.

use std::collections::BTreeMap;

use rustix::process::Signal;
use tempfile::TempDir;

use super::authority::Authority;
use super::ports::free_port;
use super::process::{Process, Served};

/// A ZooKeeper of one server, with a directory of its own. Killed when it is dropped.
pub struct ZooKeeperServer {
    process: Process,
    port: u16,
    secure_port: Option<u16>,
    // Removed after the process has been killed.
    _directory: TempDir,
}

impl ZooKeeperServer {
    /// Starts a server on a free port and waits until it serves.
    pub async fn start() -> Self {
        Self::start_as(None).await
    }

    /// The same with a second port, [`Self::secure_hosts`], for TLS with those whom the authority has given a
    /// certificate.
    pub async fn start_with_tls(authority: &Authority) -> Self {
        Self::start_as(Some(authority)).await
    }

    async fn start_as(authority: Option<&Authority>) -> Self {
        for _ in 0..5 {
            let directory = tempfile::tempdir().unwrap();
            let port = free_port();
            let mut lines = format!("clientPort={port}\nclientPortAddress=127.0.0.1\n");
            let secure_port = authority.map(|_| free_port());
            if let (Some(authority), Some(port)) = (authority, secure_port) {
                lines += &tls(authority, port);
            }
            let mut process = Process::configure(directory.path().to_owned(), port, 1, &lines);
            process.spawn();
            if process.serves().await {
                return Self {
                    process,
                    port,
                    secure_port,
                    _directory: directory,
                };
            }
            // Somebody else took a port in between.
        }
        panic!("ZooKeeper exits whenever it is started");
    }

    /// `127.0.0.1:port`.
    pub fn hosts(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The same for TLS. Only of a server that was started with it.
    pub fn secure_hosts(&self) -> String {
        let port = self.secure_port.expect("a server with TLS");
        format!("127.0.0.1:{port}")
    }

    /// What the server counts, from its four-letter word `mntr`: `znode_count`, `packets_received`,
    /// `watch_count` and so on, without their `zk_`. Numbers that are not whole are left out.
    pub async fn monitor(&self) -> BTreeMap<String, u64> {
        self.process.monitor().await
    }

    /// What it has done for all clients so far.
    pub async fn served(&self) -> Served {
        self.process.served().await.expect("the server serves")
    }

    /// Where it listens on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the process. Its data stay.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Pauses the process: connections stay open, nothing answers. See [`Self::resume`].
    pub fn stop(&mut self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets a paused process go on.
    pub fn resume(&mut self) {
        self.process.signal(Signal::CONT);
    }

    /// Starts the server again after [`Self::kill`], with its port and its data, and waits until it serves.
    pub async fn start_again(&mut self) {
        self.process.spawn();
        assert!(
            self.process.serves().await,
            "ZooKeeper does not start again"
        );
    }

    /// Starts an empty server after [`Self::kill`], on the same port.
    pub async fn start_empty(&mut self) {
        self.process.erase();
        self.start_again().await;
    }
}

/// The lines of the configuration, as in `docs/zookeeper.md`.
fn tls(authority: &Authority, port: u16) -> String {
    format!(
        "secureClientPort={port}\nsecureClientPortAddress=127.0.0.1\n\
         serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
         ssl.keyStore.location={}\nssl.trustStore.location={}\nssl.clientAuth=need\n",
        authority.server().display(),
        authority.certificate().display()
    )
}
