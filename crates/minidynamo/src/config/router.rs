//! `minidynamo router`

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Common, log, zookeeper};
use crate::cli::duration;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = super::AFTER_HELP)]
pub struct Args {
    /// What can also stand in the file under `[router]`.
    #[command(flatten)]
    pub settings: Settings,
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

/// Settings of a router.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// ZooKeeper connect string, like zk1:2181,zk2:2181/minidynamo
    #[arg(
        long,
        value_name = "HOSTS",
        env = "MINIDYNAMO_ZOOKEEPER",
        hide_env = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zookeeper: Option<String>,
    /// Address to listen on for gRPC; port 0 is any free one [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDR", env = "MINIDYNAMO_LISTEN", hide_env = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// HOST:PORT under which others reach this process [default: the address it listens on]
    #[arg(
        long,
        value_name = "ADDR",
        env = "MINIDYNAMO_ADVERTISE",
        hide_env = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// Address of the admin HTTP: /health/live, /health/ready [default: 127.0.0.1:7480]
    #[arg(
        long,
        value_name = "ADDR",
        env = "MINIDYNAMO_ADMIN_LISTEN",
        hide_env = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_listen: Option<SocketAddr>,
    /// Silence after which ZooKeeper takes this process for dead [default: 6s]
    #[arg(long, value_name = "DURATION", env = "MINIDYNAMO_SESSION_TIMEOUT", hide_env = true,
        value_parser = duration::parse_positive)]
    #[serde(with = "duration::text", skip_serializing_if = "Option::is_none")]
    pub session_timeout: Option<Duration>,
}

impl Settings {
    /// What holds where nothing else is said.
    pub fn defaults() -> Self {
        Self {
            zookeeper: None,
            listen: Some(super::file::ROUTER_LISTEN),
            advertise: None,
            admin_listen: Some(super::file::ROUTER_ADMIN_LISTEN),
            session_timeout: Some(super::file::SESSION_TIMEOUT),
        }
    }
}
