//! The systems that are compared: started, and reached by the generator.

mod bare;
mod members;
pub(crate) mod ours;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub(crate) use bare::Bare;
pub(crate) use members::Members;
pub(crate) use ours::Ours;

use crate::Failure;

/// One of the systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// Mini-DynamoDB, as the client library uses it: over a stream.
    Ours,
    /// The same cluster, by a call for each operation.
    Calls,
    /// etcd.
    Etcd,
    /// The bare two hops of gRPC.
    Ceiling,
}

impl System {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "Mini-DynamoDB",
            Self::Calls => "… by calls",
            Self::Etcd => "etcd",
            Self::Ceiling => "ceiling",
        }
    }
}

/// Where programs and data are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The program `minidynamo`.
    pub minidynamo: PathBuf,
    /// The program `etcd`.
    pub etcd: PathBuf,
    /// This program: it also is both processes of the ceiling.
    pub own: PathBuf,
}

/// All of them, running.
pub(crate) struct Systems {
    pub(crate) ours: Ours,
    pub(crate) etcd: Members,
    pub(crate) ceiling: Bare,
}

impl Systems {
    /// Starts all of them, their data below a directory, each with so many connections.
    pub(crate) async fn start(
        places: &Places,
        directory: &Path,
        connections: usize,
    ) -> Result<Self, Failure> {
        Ok(Self {
            ours: Ours::start(&places.minidynamo, directory, connections).await?,
            etcd: Members::start(&places.etcd, directory, connections).await?,
            ceiling: Bare::start(&places.own, directory, connections).await?,
        })
    }

    /// Fails if one of them has ended.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        self.ours.check()?;
        self.etcd.check()?;
        self.ceiling.check()
    }
}

/// A directory of a server's own.
fn make_directory(parent: &Path, name: &str) -> Result<PathBuf, Failure> {
    let path = parent.join(name);
    std::fs::create_dir_all(&path).map_err(Failure::to(format!("make {}", path.display())))?;
    Ok(path)
}
