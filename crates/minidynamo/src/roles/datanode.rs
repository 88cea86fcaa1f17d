//! `minidynamo datanode`

use std::sync::Arc;

use datanode::DataNodeService;

use super::health::{Health, Probe};
use super::process::{self, Role};
use super::zookeeper::Sessions;
use crate::cli::Failure;
use crate::config::datanode::{Args, Settings};
use crate::config::file::{DATANODE_ADMIN_LISTEN, DATANODE_LISTEN, File};
use crate::config::{self, log, timing, zookeeper};

/// Runs a data node until a signal ends it, or it can't go on.
pub fn run(args: &Args) -> Result<(), Failure> {
    let file = File::load(args.common.config.as_deref())?;
    let settings = config::over(&args.settings, &file.datanode)?;
    let zookeeper = config::over(&args.zookeeper, &file.zookeeper)?;
    let raft = config::over(&args.raft, &file.raft)?;
    let log = config::over(&args.log, &file.log)?;
    if args.common.print_config {
        return print(settings, zookeeper, raft, log);
    }
    let hosts = config::required(settings.zookeeper, "datanode", "zookeeper")?;
    let data_dir = config::required(settings.data_dir, "datanode", "data-dir")?;
    let sessions = Sessions::new(&hosts, settings.session_timeout, &zookeeper)?;
    let listen = settings.listen.unwrap_or(DATANODE_LISTEN);
    config::check_advertise(listen, settings.advertise.as_deref())?;
    let mut options = datanode::Options::new(sessions.clone(), data_dir, listen);
    options.advertise = settings.advertise;
    options.zone = settings.zone;
    options.tuning = raft.tuning()?;
    let admin_listen = settings.admin_listen.unwrap_or(DATANODE_ADMIN_LISTEN);
    process::run(&log, admin_listen, async {
        let service = start(options).await?;
        Ok(DataNode { service, sessions })
    })
}

fn print(
    datanode: Settings,
    zookeeper: zookeeper::Settings,
    raft: timing::Raft,
    log: log::Settings,
) -> Result<(), Failure> {
    #[derive(serde::Serialize)]
    struct Sections {
        datanode: Settings,
        zookeeper: zookeeper::Settings,
        raft: timing::Raft,
        log: log::Settings,
    }
    config::print(&Sections {
        datanode,
        zookeeper,
        raft,
        log,
    })
}

/// Starts the service.
pub(super) async fn start(options: datanode::Options) -> Result<DataNodeService, Failure> {
    datanode::start(options)
        .await
        .map_err(|error| Failure::new(error.to_string()))
}

/// How a data node is asked how it is.
pub(super) fn probe(service: &DataNodeService) -> Probe {
    let health = service.health();
    Box::new(move || {
        let health = health.borrow();
        Health {
            ready: health.ready,
            reason: health.reason.clone(),
        }
    })
}

struct DataNode {
    service: DataNodeService,
    sessions: Arc<Sessions>,
}

impl Role for DataNode {
    /// The runtime carries messages; what is done about them has threads of its own, and they need cores, too. With a thread for
    /// each core every message wakes a second one in vain.
    fn runtime_threads(cores: usize) -> usize {
        cores / 2
    }

    async fn ready(&self) -> Result<(), String> {
        tokio::select! {
            ready = self.service.ready() => ready,
            reason = self.sessions.refused() => Err(reason),
        }
    }

    async fn failed(&self) -> String {
        tokio::select! {
            reason = self.service.failed() => reason,
            reason = self.sessions.refused() => reason,
        }
    }

    fn ready_line(&self) -> String {
        format!("ready: datanode http://{}", self.service.address())
    }

    fn probes(&self) -> Vec<(String, Probe)> {
        vec![("datanode".to_owned(), probe(&self.service))]
    }

    async fn shutdown(self) {
        self.service.shutdown().await;
    }
}
