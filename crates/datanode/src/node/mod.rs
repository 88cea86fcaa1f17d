//! A data node as a whole: started from its directory, kept in step with the coordination store, stopped.

mod claim;
mod data_dir;
mod keeper;
mod original;
mod plan;
mod quarantine;
mod recovery;
mod replicas;
mod tenure;
mod vital;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::internal::data_node_server::DataNodeServer;
use coordination::records::{LiveNodeRecord, MemberRecord};
use environment::{Incoming, Offload};
use model::{NodeId, ShardId, TableId, limits};
use storage::log::Log;
use storage::state::StateStore;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use self::data_dir::DataDir;
pub use self::data_dir::DataDirError;
use self::keeper::{DestroyRequest, Keeper};
use self::plan::Wanted;
pub(crate) use self::quarantine::{KeptOut, Quarantine};
#[cfg(test)]
pub(crate) use self::recovery::config as raft_config;
use self::replicas::{Hands, Replicas};
use self::vital::Vital;
use crate::admission::Admission;
use crate::device::Lock;
use crate::forward::Forwarder;
use crate::health::Health;
use crate::hosted::Hosted;
use crate::operation::Request;
use crate::options::Options;
use crate::peers::Peers;
use crate::senders::Senders;
use crate::service::Service;
use crate::shell::{Outside, Parts, Shell, Workers};
use crate::snapshot::{Receiver, Sender};
use crate::wire::PeerMessage;
use crate::worker::{Input, SendSnapshot};

/// How long a node that goes down waits for leaderships to be handed over and for what is in flight.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a data node can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The address.
    #[error("can't listen on {address}: {source}; choose another --listen")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others could not reach it.
    #[error(
        "listening on all addresses ({0}) needs --advertise HOST:PORT, the address under which others reach this node"
    )]
    Advertise(SocketAddr),
    /// What is on disk can't be used.
    #[error("the data in {dir} can't be used: {detail}")]
    Data {
        /// The directory.
        dir: String,
        /// What is wrong.
        detail: String,
    },
    /// The system has no threads to give.
    #[error("can't start a thread: {0}")]
    Threads(std::io::Error),
}

/// A running data node.
pub struct DataNodeService {
    node: NodeId,
    address: SocketAddr,
    health: watch::Receiver<Health>,
    failed: watch::Receiver<Option<String>>,
    stop: watch::Sender<bool>,
    shell: Arc<Shell>,
    workers: Workers,
    store: Arc<dyn StateStore>,
    peers: Arc<Peers>,
    admission: Admission,
    server: JoinHandle<()>,
    keeper: JoinHandle<()>,
    offload: Offload,
    /// Until the stages have ended: the keeper ends before them.
    _lock: Lock,
}

/// Starts a data node: opens its directory, listens, and begins to look for the coordination store.
///
/// Returns once it listens; [`DataNodeService::ready`] waits until it is registered and holds what it should.
pub async fn start(options: Options) -> Result<DataNodeService, StartError> {
    if options.listen.ip().is_unspecified() && options.advertise.is_none() {
        return Err(StartError::Advertise(options.listen));
    }
    let new_id = NodeId(rand::random());
    let mut data_dir = DataDir::open(&*options.storage, &options.data_dir, new_id)?;
    let promised = take_over_promises(&mut data_dir, options.tuning.promise_millis()).await?;
    let address = options.listen;
    let (network, offload) = (
        options.environment.network.clone(),
        options.environment.offload,
    );
    let listener = network
        .listen(address)
        .await
        .map_err(|source| StartError::Listen { address, source })?;
    let address = listener
        .local_addr()
        .map_err(|source| StartError::Listen { address, source })?;
    let opened = match offload.run(move || open(options, data_dir, promised)).await {
        Ok(opened) => opened?,
        Err(error) => {
            let (dir, detail) = (String::new(), error.to_string());
            return Err(StartError::Data { dir, detail });
        }
    };
    opened.start(listener, address)
}

/// Sees to it that what an earlier process has promised leaders is kept, and that what this one will promise is known to the next. Gives what replicas still
/// have to keep: what was promised for longer than now is waited out before they start, so that it can be forgotten.
async fn take_over_promises(data_dir: &mut DataDir, own_millis: u64) -> Result<u64, DataDirError> {
    let mut promised = data_dir.promised_millis();
    if promised > own_millis {
        tokio::time::sleep(Duration::from_millis(promised)).await;
        promised = 0;
    }
    data_dir.promise(own_millis)?;
    Ok(promised)
}

/// What was read from the directory.
struct Opened {
    options: Options,
    data_dir: DataDir,
    log: Log,
    store: Arc<dyn StateStore>,
    found: std::collections::BTreeMap<ShardId, recovery::Found>,
}

fn open(options: Options, data_dir: DataDir, promised: u64) -> Result<Opened, StartError> {
    let unusable = |detail: String| StartError::Data {
        dir: data_dir.path().display().to_string(),
        detail,
    };
    let store = options
        .storage
        .open_store(&data_dir.store())
        .map_err(|error| unusable(error.to_string()))?;
    // What is read from it may have come from the page cache only, and a log that is found to be behind it begins anew
    // after it.
    store
        .persist()
        .map_err(|error| unusable(error.to_string()))?;
    let (log, groups) = Log::open(options.storage.disk(), &data_dir.log(), options.log.clone())
        .map_err(|error| unusable(error.to_string()))?;
    let node = data_dir.node();
    let found = recovery::recover(
        node,
        &options.tuning,
        promised,
        &store,
        groups,
        &log.reader(),
    )
    .map_err(unusable)?;
    Ok(Opened {
        options,
        data_dir,
        log,
        store,
        found,
    })
}

impl Opened {
    fn start(self, listener: Incoming, address: SocketAddr) -> Result<DataNodeService, StartError> {
        let Self {
            options,
            data_dir,
            log,
            store,
            found,
        } = self;
        let node = data_dir.node();
        let advertised = options
            .advertise
            .clone()
            .unwrap_or_else(|| address.to_string());
        let hosted = Hosted::default();
        let environment = options.environment;
        let (clock, network) = (environment.clock.clone(), environment.network.clone());
        let offload = environment.offload;
        let incarnation = rand::random();
        let runtime = tokio::runtime::Handle::current();
        let peers = Peers::new(node, incarnation, runtime, network.clone());
        let peers = Arc::new(peers);
        let workers = Workers::new(&options.tuning);
        let (stop, stopping) = watch::channel(false);
        let snapshots = Sender::new(
            node,
            store.clone(),
            peers.clone(),
            workers.clone(),
            &options.tuning,
            offload,
            stopping.clone(),
        );
        let forwarder = Forwarder::new(clock.clone(), network.clone());
        let outside: Arc<dyn Outside> = Arc::new(Network {
            peers: peers.clone(),
            snapshots,
            forwarder: forwarder.clone(),
            runtime: tokio::runtime::Handle::current(),
        });
        let parts = Parts {
            node,
            tuning: options.tuning.clone(),
            environment,
            log,
            store: store.clone(),
            hosted: hosted.clone(),
            probe: options.probe,
        };
        let shell = Shell::start(parts, workers.clone(), &outside).map_err(StartError::Threads)?;
        let shell = Arc::new(shell);
        let admission = Admission::new(options.tuning.max_operations, options.tuning.max_bytes);
        let quarantined = Arc::<Quarantine>::default();
        let (destroy, destroy_requests) = mpsc::channel(64);
        let place = options.storage.place(data_dir.path());
        let service = Service {
            node,
            incarnation,
            place: place.clone(),
            senders: Senders::default(),
            clock: clock.clone(),
            offload,
            admission: admission.clone(),
            hosted,
            workers: workers.clone(),
            store: store.clone(),
            receiver: Receiver::new(node, store.clone(), workers.clone(), offload),
            destroyer: Destroyer {
                requests: destroy,
                quarantined: quarantined.clone(),
            },
            stop: stopping.clone(),
        };
        let (health, health_seen) = watch::channel(Health::waiting("starting"));
        let now = clock.now().wall_millis;
        let keeper = Keeper {
            coordination: options.coordination.clone(),
            member: MemberRecord {
                id: node,
                address: advertised.clone(),
                zone: options.zone.clone(),
                tenure: None,
                void_to: None,
            },
            live: LiveNodeRecord {
                id: node,
                address: advertised,
                incarnation,
                started_millis: now,
                host: place.host,
                data_dir: place.dir,
            },
            data_dir,
            replicas: Replicas::new(
                Hands {
                    node,
                    tuning: options.tuning,
                    store: store.clone(),
                    shell: shell.clone(),
                    workers: workers.clone(),
                    clock,
                    offload,
                    quarantined,
                },
                found,
            ),
            network,
            peers: peers.clone(),
            forwarder,
            health,
            destroy: destroy_requests,
            stop: stopping.clone(),
            wanted: Wanted::default(),
            undone: std::collections::BTreeSet::new(),
            members: std::collections::BTreeMap::new(),
            was_registered: false,
        };
        let (fail, failed) = watch::channel(None);
        let lock = keeper.data_dir.lock();
        let serving = serve(service, listener, stopping.clone());
        let keeping = keep(keeper, shell.failed());
        let server = tokio::spawn(Vital::new(SERVER, &stopping, &fail).watch(serving));
        let keeper = tokio::spawn(Vital::new(KEEPER, &stopping, &fail).watch(keeping));
        Ok(DataNodeService {
            node,
            address,
            health: health_seen,
            failed,
            stop,
            shell,
            workers,
            store,
            peers,
            admission,
            server,
            keeper,
            offload,
            _lock: lock,
        })
    }
}

/// What serves the other nodes and the routers.
const SERVER: &str = "the gRPC server";
/// What keeps the node in step with the coordination store.
const KEEPER: &str = "the keeper";

/// Runs the keeper and watches over the log; an error says which of them can't go on.
async fn keep(
    keeper: Keeper,
    mut log_failed: watch::Receiver<Option<String>>,
) -> Result<(), String> {
    tokio::select! {
        biased;
        Ok(reason) = log_failed.wait_for(Option::is_some) => Err(reason.clone().unwrap_or_default()),
        kept = keeper.run() => kept,
    }
}

/// Serves until the node stops.
async fn serve(
    service: Service,
    listener: Incoming,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let service = DataNodeServer::new(service)
        .max_decoding_message_size(limits::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(limits::MAX_MESSAGE_BYTES);
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(2)))
        .http2_keepalive_timeout(Some(Duration::from_secs(2)))
        .initial_stream_window_size(4 * 1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        .add_service(service);
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let incoming = listener.until(stopped, ());
    // With a signal it lets requests in flight finish; the end of what comes in is that signal.
    let end = server
        .serve_with_incoming_shutdown(incoming, std::future::pending())
        .await;
    end.map_err(|error| format!("the node can't serve any more: {error}"))
}

impl DataNodeService {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its id.
    pub fn node_id(&self) -> NodeId {
        self.node
    }

    /// Whether it can be used, and why not.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Waits until it is registered and holds what it should, or can't go on: then an error says why.
    pub async fn ready(&self) -> Result<(), String> {
        let mut health = self.health.clone();
        let mut failed = self.failed.clone();
        tokio::select! {
            biased;
            reason = failed.wait_for(Option::is_some) => Err(reason_of(reason)),
            // A node that fails stops to report its health just before it says why.
            Ok(_) = health.wait_for(|health| health.ready) => Ok(()),
        }
    }

    /// Waits until the node can't go on, and says why.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        let reason = failed.wait_for(Option::is_some).await;
        match reason.map(|reason| reason.clone().unwrap_or_default()) {
            Ok(reason) => reason,
            // The keeper has ended without a failure: the node is being shut down.
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends the node cleanly: hands leaderships over, finishes what is in flight, makes everything durable and
    /// ends its session.
    pub async fn shutdown(self) {
        self.hand_over().await;
        let deadline = tokio::time::Instant::now() + FAREWELL;
        while self.admission.in_flight() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _ = self.stop.send(true);
        let _ = self.keeper.await;
        self.peers.stop();
        let mut server = self.server;
        if tokio::time::timeout(FAREWELL, &mut server).await.is_err() {
            server.abort();
        }
        let (shell, store) = (self.shell, self.store);
        let ended = self.offload.run(move || {
            shell.stop();
            store.persist()
        });
        if let Ok(Err(error)) = ended.await {
            tracing::warn!(%error, "the state store could not be made durable; the log has what it lacks");
        }
    }

    /// Hands every leadership over and waits until others have them, within bounds.
    async fn hand_over(&self) {
        let deadline = tokio::time::Instant::now() + FAREWELL;
        loop {
            self.workers.send_all(|| Input::HandOver);
            if self.leads().await == 0 || tokio::time::Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Groups that it leads and that others could lead.
    async fn leads(&self) -> usize {
        let mut led = 0;
        for seat in 0..self.workers.count() {
            let (answer, wait) = oneshot::channel();
            let answer = Box::new(move |statuses| drop(answer.send(statuses)));
            self.workers.send_to(
                seat,
                Input::Describe {
                    table: None,
                    answer,
                },
            );
            let statuses: Vec<crate::worker::ReplicaStatus> = wait.await.unwrap_or_default();
            led += statuses
                .iter()
                .filter(|status| status.can_hand_over())
                .count();
        }
        led
    }
}

fn reason_of(reason: Result<watch::Ref<'_, Option<String>>, watch::error::RecvError>) -> String {
    match reason {
        Ok(reason) => reason.clone().unwrap_or_default(),
        Err(_) => "the node has stopped".to_owned(),
    }
}

/// The way to the keeper for those who want a table's replicas destroyed.
#[derive(Clone)]
pub(crate) struct Destroyer {
    requests: mpsc::Sender<DestroyRequest>,
    quarantined: Arc<Quarantine>,
}

impl Destroyer {
    /// Whether nothing of the table is left on this node. False also where the deletion can't be confirmed to have been
    /// decided, at once where there is no session to ask in.
    pub(crate) async fn destroy(&self, table: TableId) -> bool {
        let (answer, wait) = oneshot::channel();
        if self.requests.send((table, answer)).await.is_err() {
            return false;
        }
        wait.await.unwrap_or(false)
    }

    /// Replicas that are kept out.
    pub(crate) fn quarantined(&self) -> &Arc<Quarantine> {
        &self.quarantined
    }
}

/// Everything that the workers need of the network.
struct Network {
    peers: Arc<Peers>,
    snapshots: Sender,
    forwarder: Forwarder,
    runtime: tokio::runtime::Handle,
}

impl Outside for Network {
    fn send(&self, to: NodeId, messages: Vec<(ShardId, PeerMessage)>) {
        self.peers.send(to, messages);
    }

    fn forward(&self, to: NodeId, request: Request) {
        // Called from a worker's stage; deadlines are by the runtime's time, which need not be the machine's.
        let _runtime = self.runtime.enter();
        self.forwarder.forward(&self.runtime, to, request);
    }

    fn send_snapshot(&self, snapshot: SendSnapshot) {
        self.runtime.spawn(self.snapshots.clone().send(snapshot));
    }
}
