//! The data directory of a node: its identity, and the lock that keeps a second process out.
//!
//! | path | what |
//! |---|---|
//! | `identity.json` | format, node id, and the cluster that it belongs to once it has joined one |
//! | `lock` | locked while a process uses the directory |
//! | `log/` | the log of all Raft groups |
//! | `store/` | the state store |
//!
//! A node's id is drawn when its directory is made. An emptied directory is a new node, in no placement: a node that
//! came back under its old id without its log could vote for what it had refused.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

/// The newest layout of a data directory that this version knows.
const FORMAT: u32 = 1;

/// A data directory in use by this process.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    identity: Identity,
    lock: DirLock,
}

/// The directory is locked as long as one of these is there: whoever writes to it holds one.
pub(super) type DirLock = Arc<File>;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Identity {
    format: u32,
    node: NodeId,
    cluster: Option<ClusterId>,
}

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The file system refused something.
    #[error("the data directory {} can't be used: {context}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What was to be done.
        context: &'static str,
        /// What the file system said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the data directory {} is in use by another process; stop that one, or give this one a directory of its own", .0.display())]
    InUse(PathBuf),
    /// A newer version wrote it.
    #[error("the data directory {} has format {found}, this version knows up to {FORMAT}; use the newer version", path.display())]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Its identity can't be read.
    #[error("the data directory {} is damaged: {detail}; restore it from a backup, or start with an empty one", path.display())]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// It belongs to a node of another cluster.
    #[error("the data directory {} belongs to cluster {own}, but this coordination store is of cluster {found}; check where --zookeeper points", path.display())]
    ForeignCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster that it belongs to.
        own: ClusterId,
        /// The cluster that the node was pointed at.
        found: ClusterId,
    },
}

impl DataDir {
    /// Opens a directory, made if it is missing, and locks it. `new_id` names the node of a new one.
    pub(super) fn open(path: &Path, new_id: NodeId) -> Result<Self, DataDirError> {
        let io = |context| {
            move |source| DataDirError::Io {
                path: path.to_owned(),
                context,
                source,
            }
        };
        fs::create_dir_all(path).map_err(io("it can't be made"))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(io("its lock can't be opened"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io("it can't be locked")(source)),
        }
        let identity = match fs::read(path.join("identity.json")) {
            Ok(json) => Identity::parse(path, &json)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if path.join("log").exists() || path.join("store").exists() {
                    let detail = "there is data but no identity.json".to_owned();
                    return Err(DataDirError::Damaged {
                        path: path.to_owned(),
                        detail,
                    });
                }
                let identity = Identity {
                    format: FORMAT,
                    node: new_id,
                    cluster: None,
                };
                identity
                    .write(path)
                    .map_err(io("identity.json can't be written"))?;
                identity
            }
            Err(source) => return Err(io("identity.json can't be read")(source)),
        };
        Ok(Self {
            path: path.to_owned(),
            identity,
            lock: Arc::new(lock),
        })
    }

    /// The node's id.
    pub(super) fn node(&self) -> NodeId {
        self.identity.node
    }

    /// The lock, for those who use the directory for longer than this lives.
    pub(super) fn lock(&self) -> DirLock {
        self.lock.clone()
    }

    /// Where the log is.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the state store is.
    pub(super) fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// The directory itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Joins a cluster for good, or checks that this is the one.
    pub(super) fn join(&mut self, cluster: ClusterId) -> Result<(), DataDirError> {
        match self.identity.cluster {
            Some(own) if own == cluster => Ok(()),
            Some(own) => {
                let path = self.path.clone();
                Err(DataDirError::ForeignCluster {
                    path,
                    own,
                    found: cluster,
                })
            }
            None => {
                let identity = Identity {
                    cluster: Some(cluster),
                    ..self.identity.clone()
                };
                identity
                    .write(&self.path)
                    .map_err(|source| DataDirError::Io {
                        path: self.path.clone(),
                        context: "identity.json can't be written",
                        source,
                    })?;
                self.identity = identity;
                Ok(())
            }
        }
    }
}

impl Identity {
    fn parse(path: &Path, json: &[u8]) -> Result<Self, DataDirError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged = |error: serde_json::Error| DataDirError::Damaged {
            path: path.to_owned(),
            detail: format!("identity.json: {error}"),
        };
        // The format first: a newer one may have other fields.
        let Format { format } = serde_json::from_slice(json).map_err(damaged)?;
        if format > FORMAT {
            return Err(DataDirError::NewerFormat {
                path: path.to_owned(),
                found: format,
            });
        }
        serde_json::from_slice(json).map_err(damaged)
    }

    /// Replaces the file in one step, durably.
    fn write(&self, path: &Path) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        let new = path.join("identity.json.new");
        let mut file = File::create(&new)?;
        file.write_all(&json)?;
        file.sync_all()?;
        fs::rename(&new, path.join("identity.json"))?;
        File::open(path)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_born_with_the_directory_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node");
        assert_eq!(DataDir::open(&path, NodeId(1)).unwrap().node(), NodeId(1));
        assert_eq!(DataDir::open(&path, NodeId(2)).unwrap().node(), NodeId(1));
        fs::remove_dir_all(&path).unwrap();
        assert_eq!(DataDir::open(&path, NodeId(3)).unwrap().node(), NodeId(3));
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let in_use = || {
            matches!(
                DataDir::open(dir.path(), NodeId(1)),
                Err(DataDirError::InUse(_))
            )
        };
        let first = DataDir::open(dir.path(), NodeId(1)).unwrap();
        assert!(in_use());
        let lock = first.lock();
        drop(first);
        assert!(in_use(), "somebody still writes to it");
        drop(lock);
        assert!(!in_use());
    }

    #[test]
    fn a_directory_of_another_cluster_or_a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut data = DataDir::open(dir.path(), NodeId(1)).unwrap();
        data.join(ClusterId(7)).unwrap();
        data.join(ClusterId(7)).unwrap();
        drop(data);
        let mut data = DataDir::open(dir.path(), NodeId(1)).unwrap();
        assert!(matches!(
            data.join(ClusterId(8)),
            Err(DataDirError::ForeignCluster { .. })
        ));
        drop(data);
        fs::write(
            dir.path().join("identity.json"),
            r#"{"format":2,"news":true}"#,
        )
        .unwrap();
        let refused = DataDir::open(dir.path(), NodeId(1));
        assert!(matches!(
            refused,
            Err(DataDirError::NewerFormat { found: 2, .. })
        ));
    }

    #[test]
    fn data_without_an_identity_is_not_taken_for_an_empty_directory() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path(), NodeId(1)).unwrap());
        fs::create_dir(dir.path().join("log")).unwrap();
        fs::remove_file(dir.path().join("identity.json")).unwrap();
        assert!(matches!(
            DataDir::open(dir.path(), NodeId(1)),
            Err(DataDirError::Damaged { .. })
        ));
        fs::write(dir.path().join("identity.json"), "nonsense").unwrap();
        assert!(matches!(
            DataDir::open(dir.path(), NodeId(1)),
            Err(DataDirError::Damaged { .. })
        ));
    }
}
