//! `minidynamo dev`

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Common, log, timing, zookeeper};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = super::AFTER_HELP)]
pub struct Args {
    /// What can also stand in the file under `[dev]`.
    #[command(flatten)]
    pub settings: Settings,
    /// What can also stand in the file under `[raft]`.
    #[command(flatten)]
    pub raft: timing::Raft,
    /// What can also stand in the file under `[zookeeper]`.
    #[command(flatten)]
    pub zookeeper: zookeeper::Settings,
    /// What can also stand in the file under `[log]`.
    #[command(flatten)]
    pub log: log::Settings,
    /// Where the file is.
    #[command(flatten)]
    pub common: Common,
}

/// Settings of a whole cluster in one process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Number of data nodes: 3 or more, or 1, where tables may have 1 replica [default: 3]
    #[arg(long, value_name = "N", env = "MINIDYNAMO_NODES", hide_env = true,
        value_parser = clap::value_parser!(u32).range(1..=99))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u32>,
    /// Number of routers, all but the first on free ports [default: 1]
    #[arg(long, value_name = "N", env = "MINIDYNAMO_ROUTERS", hide_env = true,
        value_parser = clap::value_parser!(u32).range(1..=99))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routers: Option<u32>,
    /// Directory of all data, made if missing [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR", env = "MINIDYNAMO_DATA_DIR", hide_env = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// ZooKeeper connect string [default: an embedded store instead]
    #[arg(
        long,
        value_name = "HOSTS",
        env = "MINIDYNAMO_ZOOKEEPER",
        hide_env = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zookeeper: Option<String>,
    /// Address of the first router; port 0 is any free one [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDR", env = "MINIDYNAMO_LISTEN", hide_env = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Address of the admin HTTP: /health/live, /health/ready [default: 127.0.0.1:7480]
    #[arg(
        long,
        value_name = "ADDR",
        env = "MINIDYNAMO_ADMIN_LISTEN",
        hide_env = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_listen: Option<SocketAddr>,
}

impl Settings {
    /// What holds where nothing else is said.
    pub fn defaults() -> Self {
        Self {
            nodes: Some(3),
            routers: Some(1),
            data_dir: None,
            zookeeper: None,
            listen: Some(super::file::ROUTER_LISTEN),
            admin_listen: Some(super::file::ROUTER_ADMIN_LISTEN),
        }
    }
}
