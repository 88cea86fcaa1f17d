//! `minidynamo datanode`

use datanode::DataNodeService;

use super::health::{Health, Probe};
use super::process::{self, Role};
use super::zookeeper;
use crate::cli::Failure;
use crate::config::datanode::{Args, Settings};
use crate::config::file::{DATANODE_ADMIN_LISTEN, DATANODE_LISTEN, File};
use crate::config::{self, log, timing};

/// Runs a data node until a signal ends it, or it can't go on.
pub fn run(args: &Args) -> Result<(), Failure> {
    let file = File::load(args.common.config.as_deref())?;
    let settings = config::over(&args.settings, &file.datanode)?;
    let raft = config::over(&args.raft, &file.raft)?;
    let log = config::over(&args.log, &file.log)?;
    if args.common.print_config {
        return print(settings, raft, log);
    }
    let hosts = config::required(settings.zookeeper, "datanode", "zookeeper")?;
    let data_dir = config::required(settings.data_dir, "datanode", "data-dir")?;
    let coordination = zookeeper(&hosts, settings.session_timeout)?;
    let listen = settings.listen.unwrap_or(DATANODE_LISTEN);
    config::check_advertise(listen, settings.advertise.as_deref())?;
    let mut options = datanode::Options::new(coordination, data_dir, listen);
    options.advertise = settings.advertise;
    options.zone = settings.zone;
    options.tuning = raft.tuning()?;
    let admin_listen = settings.admin_listen.unwrap_or(DATANODE_ADMIN_LISTEN);
    process::run(&log, admin_listen, async {
        start(options).await.map(DataNode)
    })
}

fn print(datanode: Settings, raft: timing::Raft, log: log::Settings) -> Result<(), Failure> {
    #[derive(serde::Serialize)]
    struct Sections {
        datanode: Settings,
        raft: timing::Raft,
        log: log::Settings,
    }
    config::print(&Sections {
        datanode,
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

struct DataNode(DataNodeService);

impl Role for DataNode {
    async fn ready(&self) -> Result<(), String> {
        self.0.ready().await
    }

    async fn failed(&self) -> String {
        self.0.failed().await
    }

    fn ready_line(&self) -> String {
        format!("ready: datanode http://{}", self.0.address())
    }

    fn probes(&self) -> Vec<(String, Probe)> {
        vec![("datanode".to_owned(), probe(&self.0))]
    }

    async fn shutdown(self) {
        self.0.shutdown().await;
    }
}
