//! etcd: three members with their defaults.
//!
//! Puts, transactions and linearizable gets go to the member that leads, as our router's go to the leaders: through
//! another member each would cost a hop more. Serializable gets are spread over all three.

use std::path::Path;
use std::process::Command;

use super::make_directory;
use crate::Failure;
use crate::etcd::Member;
use crate::server::{Server, free_port};

const MEMBERS: usize = 3;
/// Without it a member refuses all writes once 2 GiB of history have come together. Nothing else is set.
const QUOTA_BYTES: &str = "8589934592";

/// The members, running.
pub(crate) struct Members {
    servers: Vec<Server>,
    /// To each member as many as are used at a time.
    connections: Vec<Vec<Member>>,
}

/// The addresses of one member, for clients and for other members.
struct Ports {
    client: u16,
    peer: u16,
}

impl Members {
    pub(crate) async fn start(
        program: &Path,
        directory: &Path,
        connections: usize,
    ) -> Result<Self, Failure> {
        let ports = (0..MEMBERS).map(|_| {
            Ok(Ports {
                client: free_port()?,
                peer: free_port()?,
            })
        });
        let ports = ports.collect::<Result<Vec<_>, Failure>>()?;
        let mut servers = Vec::new();
        for number in 0..MEMBERS {
            servers.push(start_member(program, directory, &ports, number)?);
        }
        let mut members = Self {
            servers,
            connections: Vec::new(),
        };
        for (server, ports) in members.servers.iter_mut().zip(&ports) {
            let address = format!("127.0.0.1:{}", ports.client);
            server
                .until(async || knows_leader(&address).await.then_some(()))
                .await?;
            let mut all = Vec::new();
            for _ in 0..connections {
                all.push(Member::connect(&address).await?);
            }
            members.connections.push(all);
        }
        Ok(members)
    }

    /// Connections to the member that leads now.
    pub(crate) async fn leader(&self) -> Result<Vec<Member>, Failure> {
        for member in &self.connections {
            let [first, ..] = member.as_slice() else {
                continue;
            };
            let status = first
                .status()
                .await
                .map_err(Failure::to("ask etcd who leads"))?;
            if status.leads {
                return Ok(member.clone());
            }
        }
        Err(Failure::new(
            "none of etcd's members leads: the machine is too busy to compare anything",
        ))
    }

    /// As many connections spread over all members, for serializable gets.
    pub(crate) fn spread(&self) -> Vec<Member> {
        let count = self.connections.first().map_or(0, Vec::len);
        let members = self.connections.iter().cycle().zip(0..count);
        members
            .filter_map(|(member, index)| member.get(index / MEMBERS))
            .map(Member::serializable)
            .collect()
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Server::pid).collect()
    }

    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        self.servers.iter_mut().try_for_each(Server::check)
    }
}

async fn knows_leader(address: &str) -> bool {
    let Ok(member) = Member::connect(address).await else {
        return false;
    };
    member
        .status()
        .await
        .is_ok_and(|status| status.knows_leader)
}

fn start_member(
    program: &Path,
    directory: &Path,
    ports: &[Ports],
    number: usize,
) -> Result<Server, Failure> {
    let name = |number: usize| format!("etcd-{}", number + 1);
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let cluster: Vec<_> = ports
        .iter()
        .enumerate()
        .map(|(number, ports)| format!("{}={}", name(number), url(ports.peer)))
        .collect();
    let (client, peer) = (url(ports[number].client), url(ports[number].peer));
    let mut command = Command::new(program);
    command
        .arg("--data-dir")
        .arg(make_directory(directory, &name(number))?);
    command.args(["--name", &name(number)]);
    command.args([
        "--listen-client-urls",
        &client,
        "--advertise-client-urls",
        &client,
    ]);
    command.args([
        "--listen-peer-urls",
        &peer,
        "--initial-advertise-peer-urls",
        &peer,
    ]);
    command.args(["--initial-cluster", &cluster.join(",")]);
    command.args(["--quota-backend-bytes", QUOTA_BYTES]);
    Server::start(&name(number), command, directory)
}
