//! The two processes of the ceiling.

use std::path::Path;
use std::process::Command;

use crate::Failure;
use crate::ceiling::Echo;
use crate::server::Server;

/// Proxy and node, running.
pub(crate) struct Bare {
    proxy: Server,
    node: Server,
    connections: Vec<Echo>,
}

impl Bare {
    pub(crate) async fn start(
        program: &Path,
        directory: &Path,
        connections: usize,
    ) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command.arg("ceiling-node");
        let mut node = Server::start("ceiling-node", command, directory)?;
        let mut command = Command::new(program);
        command.args(["ceiling-proxy", &node.address().await?]);
        let mut proxy = Server::start("ceiling-proxy", command, directory)?;
        let address = proxy.address().await?;
        let mut all = Vec::new();
        for _ in 0..connections {
            all.push(Echo::connect(&address).await?);
        }
        Ok(Self {
            proxy,
            node,
            connections: all,
        })
    }

    /// Every connection, with messages of so many bytes.
    pub(crate) fn echoes(&self, bytes: usize) -> Vec<Echo> {
        let echoes = self.connections.iter();
        echoes.map(|echo| echo.with_size(bytes)).collect()
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        vec![self.proxy.pid(), self.node.pid()]
    }

    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        self.proxy.check()?;
        self.node.check()
    }
}
