//! What a data node is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use coordination::Connect;
use environment::Environment;
use model::limits;
use storage::log::LogOptions;

use crate::device::{RealStorage, Storage};
use crate::worker::{Outputs, Worker};

/// What a data node is started with.
pub struct Options {
    /// Where the cluster's configuration is kept.
    pub coordination: Arc<dyn Connect>,
    /// Where this node keeps everything. Made where it is missing.
    pub data_dir: PathBuf,
    /// Where to listen for gRPC. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// `host:port` under which the others reach this node; where it listens if not given.
    pub advertise: Option<String>,
    /// Where the node stands, for placement. Replicas of a shard go to different zones where they can.
    pub zone: Option<String>,
    /// Times and sizes.
    pub tuning: Tuning,
    /// Sizes of the log.
    pub log: LogOptions,
    /// Time, network and threads.
    pub environment: Environment,
    /// What it keeps its data on.
    pub storage: Arc<dyn Storage>,
    /// Looks at every turn of the workers, if there is one.
    pub probe: Option<Arc<dyn Probe>>,
}

/// Looks at what the workers do, turn by turn.
///
/// For the simulation, which checks what must hold after each turn, and loses, doubles and delays messages.
pub trait Probe: Send + Sync + 'static {
    /// A worker has had a turn; what it brought forth has not been carried out yet, and may be changed.
    fn turned(&self, worker: &Worker, outputs: &mut Outputs);
}

impl Options {
    /// A node with everything else at its default.
    pub fn new(coordination: Arc<dyn Connect>, data_dir: PathBuf, listen: SocketAddr) -> Self {
        Self {
            coordination,
            data_dir,
            listen,
            advertise: None,
            zone: None,
            tuning: Tuning::default(),
            log: LogOptions::default(),
            environment: Environment::default(),
            storage: Arc::new(RealStorage),
            probe: None,
        }
    }
}

/// Times and sizes that decide how a node behaves, not what it does.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// One tick of Raft's clock, milliseconds.
    pub tick_millis: u64,
    /// A leader sends heartbeats so often, ticks.
    pub heartbeat_ticks: u32,
    /// A follower stands for election after so many ticks without a leader, at most twice as many.
    pub election_ticks: u32,
    /// A group that nobody has wanted anything of for so many ticks rests: it sends no heartbeats.
    pub rest_ticks: u64,
    /// A leader that is not at home transfers its leadership there once home has been level with it for so many ticks without
    /// a gap; longer each time that home did not keep it, up to 12 times. Long enough that a node which has just returned has warmed
    /// up, and that one which comes and goes is left alone.
    pub home_ticks: u32,
    /// Shard workers, each with a thread of its own and one for applying.
    pub workers: usize,
    /// The replicas compare their contents so often, if anything has changed, milliseconds.
    pub checkpoint_interval_millis: u64,
    /// The state store is made durable so often, if anything has changed, milliseconds.
    pub store_persist_interval_millis: u64,
    /// How a leader here answers consistent reads, and whether a follower here lets its leader do so without asking.
    pub read_mode: ReadMode,
    /// All logs of a node together are compacted to about so many bytes.
    pub log_budget_bytes: u64,
    /// The log of one group is compacted beyond so many bytes, even if a follower needs a snapshot then.
    pub group_log_bytes: u64,
    /// Bytes of one chunk of a snapshot.
    pub snapshot_chunk_bytes: usize,
    /// A snapshot is sent at most so fast, bytes per second.
    pub snapshot_bytes_per_second: u64,
    /// Bound on operations in flight.
    pub max_operations: usize,
    /// Bound on bytes of keys and values in flight.
    pub max_bytes: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            tick_millis: 50,
            heartbeat_ticks: 2,
            election_ticks: 10,
            rest_ticks: 100,
            home_ticks: 100,
            workers: 1,
            checkpoint_interval_millis: 10_000,
            store_persist_interval_millis: 2_000,
            read_mode: ReadMode::Quorum,
            log_budget_bytes: 512 * MIB,
            group_log_bytes: 64 * MIB,
            snapshot_chunk_bytes: MIB as usize,
            snapshot_bytes_per_second: 200 * MIB,
            max_operations: limits::MAX_NODE_OPERATIONS,
            max_bytes: limits::MAX_NODE_BYTES,
        }
    }
}

impl Tuning {
    /// What a replica here promises to a leader that it hears: to vote for nobody for so long. As long as its election timeout is at the least: whoever
    /// counts ten ticks has waited for nine whole ones.
    pub(crate) fn promise_millis(&self) -> u64 {
        match self.read_mode {
            ReadMode::Quorum => 0,
            ReadMode::Lease => self.tick_millis * u64::from(self.election_ticks.saturating_sub(1)),
        }
    }
}

/// How a leader makes sure that it still leads when it answers a consistent read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadMode {
    /// It asks a majority, once for all reads that wait. Depends on no clock.
    #[default]
    Quorum,
    /// It has a majority's word that nobody else is elected for a while. Holds as long as the clocks of the nodes run equally fast, but for a
    /// tenth; a follower in the other mode gives no such word.
    Lease,
}

const MIB: u64 = 1024 * 1024;
