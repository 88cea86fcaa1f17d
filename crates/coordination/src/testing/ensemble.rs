//! A ZooKeeper of several servers.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use rustix::process::Signal;
use tempfile::TempDir;

use super::eventually;
use super::ports::free_port;
use super::process::{Process, Served};

/// A ZooKeeper of several servers. They are killed when it is dropped.
pub struct Ensemble {
    servers: Vec<Process>,
    ports: Vec<u16>,
    // Removed after the processes have been killed.
    _directory: TempDir,
}

impl Ensemble {
    /// Starts an ensemble of `count` servers on free ports and waits until all of them serve.
    pub async fn start(count: u32) -> Self {
        for _ in 0..5 {
            let mut ensemble = Self::configure(count);
            for server in &mut ensemble.servers {
                server.spawn();
            }
            let serving = join_all(ensemble.servers.iter_mut().map(Process::serves)).await;
            if serving.into_iter().all(|serves| serves) {
                return ensemble;
            }
            // Somebody else took a port in between.
        }
        panic!("ZooKeeper exits whenever it is started");
    }

    fn configure(count: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut members = String::new();
        let mut ports = Vec::new();
        for id in 1..=count {
            let (peers, election, clients) = (free_port(), free_port(), free_port());
            writeln!(
                members,
                "server.{id}=127.0.0.1:{peers}:{election};127.0.0.1:{clients}"
            )
            .unwrap();
            ports.push(clients);
        }
        let servers = (1..=count)
            .zip(&ports)
            .map(|(id, port)| {
                let directory = directory.path().join(id.to_string());
                Process::configure(directory, *port, id, &members)
            })
            .collect();
        Self {
            servers,
            ports,
            _directory: directory,
        }
    }

    /// All servers, `127.0.0.1:port,127.0.0.1:port,…`.
    pub fn hosts(&self) -> String {
        let hosts: Vec<_> = (0..self.ports.len()).map(|i| self.host(i)).collect();
        hosts.join(",")
    }

    /// One server, from 0.
    pub fn host(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.ports[index])
    }

    /// The leader's index, once there is one.
    pub async fn leader(&self) -> usize {
        let deadline = Duration::from_secs(30);
        eventually("ZooKeeper elects a leader", deadline, || async {
            self.leader_now().await.is_some()
        })
        .await;
        self.leader_now().await.expect("the leader stays")
    }

    /// The server that a session is connected to at the moment, if one says so.
    pub async fn server_of(&self, session: i64) -> Option<usize> {
        let lists = join_all(self.servers.iter().map(|server| server.ask("cons"))).await;
        let session = format!("sid={session:#x},");
        let holds = |list: &Option<String>| list.as_ref().is_some_and(|l| l.contains(&session));
        lists.iter().position(holds)
    }

    /// What all servers have done for all clients so far. All of them must run.
    pub async fn served(&self) -> Served {
        let each = join_all(self.servers.iter().map(Process::served)).await;
        let each = each.into_iter().map(|served| served.expect("it serves"));
        each.fold(
            Served {
                writes: 0,
                events: 0,
            },
            // Each has all the writes, and its own clients' watches.
            |all, one| Served {
                writes: all.writes.max(one.writes),
                events: all.events + one.events,
            },
        )
    }

    async fn leader_now(&self) -> Option<usize> {
        let modes = join_all(self.servers.iter().map(Process::mode)).await;
        let is_leader = |mode: &Option<String>| mode.as_deref() == Some("leader");
        modes.iter().position(is_leader)
    }

    /// Kills the leader and returns its index. Does not wait for a new one.
    pub async fn kill_leader(&mut self) -> usize {
        let leader = self.leader().await;
        self.kill(leader);
        leader
    }

    /// Kills a server. Its data stay.
    pub fn kill(&mut self, index: usize) {
        self.servers[index].kill();
    }

    /// Pauses a server: connections stay open, nothing answers.
    pub fn stop(&mut self, index: usize) {
        self.servers[index].signal(Signal::STOP);
    }

    /// Lets a paused server go on.
    pub fn resume(&mut self, index: usize) {
        self.servers[index].signal(Signal::CONT);
    }

    /// Kills all servers. Their data stay.
    pub fn kill_all(&mut self) {
        for server in &mut self.servers {
            server.kill();
        }
    }

    /// Copies the data of all servers, which must have been killed, to below a directory: a backup.
    pub fn save(&self, backup: &Path) {
        for (index, server) in self.servers.iter().enumerate() {
            server.save(&backup.join(index.to_string()));
        }
    }

    /// Starts all servers, which must have been killed, with the data of a backup, and waits until they serve.
    pub async fn start_from(&mut self, backup: &Path) {
        for (index, server) in self.servers.iter_mut().enumerate() {
            server.restore(&backup.join(index.to_string()));
        }
        self.start_again().await;
    }

    /// Starts all servers, which must have been killed, without any data, and waits until they serve.
    pub async fn start_empty(&mut self) {
        self.servers.iter_mut().for_each(Process::erase);
        self.start_again().await;
    }

    /// Starts every server that was killed again, and waits until all serve.
    pub async fn start_again(&mut self) {
        for server in &mut self.servers {
            if !server.runs() {
                server.spawn();
            }
        }
        let serving = join_all(self.servers.iter_mut().map(Process::serves)).await;
        assert!(
            serving.into_iter().all(|serves| serves),
            "ZooKeeper does not start again"
        );
    }
}
