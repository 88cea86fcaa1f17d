//! The data directory of a node: its identity, and the lock that keeps a second process out.
//!
//! | path | what |
//! |---|---|
//! | `identity.json` | format, node id, the cluster that it belongs to once it has joined one, the [tenures](super::tenure) that tell it from its copies, and what its replicas [promise](DataDir::promise) |
//! | `lock` | locked while a process uses the directory |
//! | `log/` | the log of all Raft groups |
//! | `store/` | the state store |
//!
//! A node's id is drawn when its directory is made. An emptied directory is a new node, in no placement: a node that
//! came back under its old id without its log could vote for what it had refused.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coordination::records::Tenure;
use model::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};
use storage::disk::Disk;

use super::tenure::Held;
use crate::device::{Lock, Storage};

/// The newest layout of a data directory that this version knows.
const FORMAT: u32 = 1;

/// The file with the identity.
const IDENTITY: &str = "identity.json";

/// A data directory in use by this process.
pub(super) struct DataDir {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    identity: Identity,
    lock: Lock,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Identity {
    format: u32,
    node: NodeId,
    cluster: Option<ClusterId>,
    #[serde(default)]
    tenures: Held,
    /// No process on this directory has promised leaders more since the last one that kept it.
    #[serde(default, skip_serializing_if = "is_nothing")]
    promised_millis: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde wants it.
fn is_nothing(millis: &u64) -> bool {
    *millis == 0
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
    pub(super) fn open(
        storage: &dyn Storage,
        path: &Path,
        new_id: NodeId,
    ) -> Result<Self, DataDirError> {
        let io = |context| {
            move |source| DataDirError::Io {
                path: path.to_owned(),
                context,
                source,
            }
        };
        let disk = storage.disk();
        disk.create_dir_all(path).map_err(io("it can't be made"))?;
        let lock = storage.lock(path)?;
        let identity = match read(&*disk, &path.join(IDENTITY)) {
            Ok(json) => Identity::parse(path, &json)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if exists(&*disk, &path.join("log")) || exists(&*disk, &path.join("store")) {
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
                    tenures: Held::default(),
                    promised_millis: 0,
                };
                identity
                    .write(&*disk, path)
                    .map_err(io("identity.json can't be written"))?;
                identity
            }
            Err(source) => return Err(io("identity.json can't be read")(source)),
        };
        Ok(Self {
            path: path.to_owned(),
            disk,
            identity,
            lock,
        })
    }

    /// The node's id.
    pub(super) fn node(&self) -> NodeId {
        self.identity.node
    }

    /// The lock, for those who use the directory for longer than this lives.
    pub(super) fn lock(&self) -> Lock {
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
            None => self.replace(Identity {
                cluster: Some(cluster),
                ..self.identity.clone()
            }),
        }
    }

    /// The cluster that it has joined.
    pub(super) fn cluster(&self) -> Option<ClusterId> {
        self.identity.cluster
    }

    /// What it knows of its node's tenures.
    pub(super) fn tenures(&self) -> &Held {
        &self.identity.tenures
    }

    /// For how long the replicas may have promised leaders to vote for nobody, before this process.
    pub(super) fn promised_millis(&self) -> u64 {
        self.identity.promised_millis
    }

    /// Writes down what the replicas will promise: before they do, and not before what was promised earlier is kept.
    pub(super) fn promise(&mut self, promised_millis: u64) -> Result<(), DataDirError> {
        if promised_millis == self.identity.promised_millis {
            return Ok(());
        }
        self.replace(Identity {
            promised_millis,
            ..self.identity.clone()
        })
    }

    /// Writes down that a tenure is begun: before anybody else can learn of it.
    pub(super) fn begin_tenure(&mut self, tenure: Tenure) -> Result<(), DataDirError> {
        let mut identity = self.identity.clone();
        identity.tenures.begun.push(tenure);
        self.replace(identity)
    }

    /// Writes down that a tenure is recorded, so that all before it are over.
    pub(super) fn hold_tenure(&mut self, tenure: Tenure) -> Result<(), DataDirError> {
        let tenures = Held {
            last: Some(tenure),
            begun: Vec::new(),
        };
        self.replace(Identity {
            tenures,
            ..self.identity.clone()
        })
    }

    fn replace(&mut self, identity: Identity) -> Result<(), DataDirError> {
        let written = identity.write(&*self.disk, &self.path);
        written.map_err(|source| DataDirError::Io {
            path: self.path.clone(),
            context: "identity.json can't be written",
            source,
        })?;
        self.identity = identity;
        Ok(())
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
    fn write(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        let new = path.join("identity.json.new");
        let file = match disk.create(&new) {
            // A crash has left it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = disk.open(&new)?;
                file.set_len(0)?;
                file
            }
            file => file?,
        };
        file.write_all_at(&json, 0)?;
        file.sync_data()?;
        disk.rename(&new, &path.join(IDENTITY))?;
        disk.sync_dir(path)
    }
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let mut content = vec![0; file.len()? as usize];
    let count = file.read_at(&mut content, 0)?;
    content.truncate(count);
    Ok(content)
}

/// Whether there is a directory of that name.
fn exists(disk: &dyn Disk, dir: &Path) -> bool {
    !matches!(disk.list(dir), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use storage::disk::SimDisk;
    use storage::state::{MemoryStore, StateStore, StoreError};

    use super::*;
    use crate::device::{Place, RealStorage};

    fn open(path: &Path, new_id: u64) -> Result<DataDir, DataDirError> {
        DataDir::open(&RealStorage, path, NodeId(new_id))
    }

    /// A disk in memory that nobody else uses.
    struct SimStorage(SimDisk);

    impl Storage for SimStorage {
        fn disk(&self) -> Arc<dyn Disk> {
            Arc::new(self.0.clone())
        }

        fn open_store(&self, _: &Path) -> Result<Arc<dyn StateStore>, StoreError> {
            Ok(Arc::new(MemoryStore::new()))
        }

        fn lock(&self, _: &Path) -> Result<Lock, DataDirError> {
            Ok(Arc::new(()))
        }

        fn place(&self, dir: &Path) -> Place {
            Place {
                host: "here".to_owned(),
                dir: dir.display().to_string(),
            }
        }
    }

    #[test]
    fn an_identity_is_whole_wherever_the_power_goes() {
        let path = Path::new("/node");
        let whole = SimStorage(SimDisk::new());
        let mut data = DataDir::open(&whole, path, NodeId(1)).unwrap();
        data.join(ClusterId(7)).unwrap();
        for cut in 1..=whole.0.changes() {
            for seed in 0..20 {
                let storage = SimStorage(SimDisk::new());
                storage.0.cut_power_at(cut);
                let opened = DataDir::open(&storage, path, NodeId(1));
                let joined = opened.and_then(|mut data| data.join(ClusterId(7)).map(|()| data));
                assert!(joined.is_err(), "cut {cut}");
                let storage = SimStorage(storage.0.crash(seed));
                // Told to nobody before it was durable, so a new id is as good as the old one.
                let mut data = DataDir::open(&storage, path, NodeId(2)).unwrap();
                data.join(ClusterId(7)).unwrap();
                let again = DataDir::open(&storage, path, NodeId(3)).unwrap();
                assert_eq!(again.node(), data.node(), "cut {cut}");
            }
        }
    }

    #[test]
    fn a_tenure_is_known_from_before_it_is_told_until_the_next_one_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let tenure = |number| Tenure {
            number,
            incarnation: 10 * number,
        };
        let mut data = open(dir.path(), 1).unwrap();
        assert_eq!(data.tenures(), &Held::default());
        for number in 1..=2 {
            data.begin_tenure(tenure(number)).unwrap();
        }
        drop(data);
        let mut data = open(dir.path(), 1).unwrap();
        assert_eq!(data.tenures().begun, [tenure(1), tenure(2)]);
        data.hold_tenure(tenure(2)).unwrap();
        drop(data);
        let held = Held {
            last: Some(tenure(2)),
            begun: Vec::new(),
        };
        assert_eq!(open(dir.path(), 1).unwrap().tenures(), &held);
    }

    #[test]
    fn what_was_promised_is_known_to_the_next_process_and_costs_nothing_where_nothing_was() {
        let dir = tempfile::tempdir().unwrap();
        let identity = || fs::read_to_string(dir.path().join("identity.json")).unwrap();
        let mut data = open(dir.path(), 1).unwrap();
        let before = identity();
        data.promise(0).unwrap();
        assert_eq!(identity(), before);
        for millis in [450, 300, 0] {
            data.promise(millis).unwrap();
            data.join(ClusterId(7)).unwrap();
            drop(data);
            data = open(dir.path(), 1).unwrap();
            assert_eq!(data.promised_millis(), millis);
        }
    }

    #[test]
    fn the_id_is_born_with_the_directory_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node");
        assert_eq!(open(&path, 1).unwrap().node(), NodeId(1));
        assert_eq!(open(&path, 2).unwrap().node(), NodeId(1));
        fs::remove_dir_all(&path).unwrap();
        assert_eq!(open(&path, 3).unwrap().node(), NodeId(3));
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let in_use = || matches!(open(dir.path(), 1), Err(DataDirError::InUse(_)));
        let first = open(dir.path(), 1).unwrap();
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
        let mut data = open(dir.path(), 1).unwrap();
        data.join(ClusterId(7)).unwrap();
        data.join(ClusterId(7)).unwrap();
        drop(data);
        let mut data = open(dir.path(), 1).unwrap();
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
        let refused = open(dir.path(), 1);
        assert!(matches!(
            refused,
            Err(DataDirError::NewerFormat { found: 2, .. })
        ));
    }

    #[test]
    fn data_without_an_identity_is_not_taken_for_an_empty_directory() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), 1).unwrap());
        fs::create_dir(dir.path().join("log")).unwrap();
        fs::remove_file(dir.path().join("identity.json")).unwrap();
        assert!(matches!(
            open(dir.path(), 1),
            Err(DataDirError::Damaged { .. })
        ));
        fs::write(dir.path().join("identity.json"), "nonsense").unwrap();
        assert!(matches!(
            open(dir.path(), 1),
            Err(DataDirError::Damaged { .. })
        ));
    }
}
