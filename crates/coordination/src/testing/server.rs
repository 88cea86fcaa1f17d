//! A ZooKeeper of one server.

use rustix::process::Signal;
use tempfile::TempDir;

use super::ports::free_port;
use super::process::Process;

/// A ZooKeeper of one server, with a directory of its own. Killed when it is dropped.
pub struct ZooKeeperServer {
    process: Process,
    port: u16,
    // Removed after the process has been killed.
    _directory: TempDir,
}

impl ZooKeeperServer {
    /// Starts a server on a free port and waits until it serves.
    pub async fn start() -> Self {
        for _ in 0..5 {
            let directory = tempfile::tempdir().unwrap();
            let port = free_port();
            let mut process = Process::configure(directory.path().to_owned(), port, 1, "");
            process.spawn();
            if process.serves().await {
                return Self {
                    process,
                    port,
                    _directory: directory,
                };
            }
            // Somebody else took the port in between.
        }
        panic!("ZooKeeper exits whenever it is started");
    }

    /// `127.0.0.1:port`.
    pub fn hosts(&self) -> String {
        format!("127.0.0.1:{}", self.port)
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
