//! The configuration file, and every default.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{datanode, dev, log, over, router, timing, zookeeper};
use crate::cli::Failure;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// A router's gRPC.
pub const ROUTER_LISTEN: SocketAddr = SocketAddr::new(LOOPBACK, 7400);
/// A router's admin HTTP.
pub const ROUTER_ADMIN_LISTEN: SocketAddr = SocketAddr::new(LOOPBACK, 7480);
/// A data node's gRPC.
pub const DATANODE_LISTEN: SocketAddr = SocketAddr::new(LOOPBACK, 7500);
/// A data node's admin HTTP.
pub const DATANODE_ADMIN_LISTEN: SocketAddr = SocketAddr::new(LOOPBACK, 7580);
/// Of a session with ZooKeeper.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// A configuration file. One file can serve all roles: each reads its own section and those for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// `minidynamo router`.
    pub router: router::Settings,
    /// `minidynamo datanode`.
    pub datanode: datanode::Settings,
    /// `minidynamo dev`.
    pub dev: dev::Settings,
    /// All roles, where they use ZooKeeper.
    pub zookeeper: zookeeper::Settings,
    /// `datanode` and `dev`.
    pub raft: timing::Raft,
    /// All roles.
    pub log: log::Settings,
}

impl File {
    /// What holds where nothing else is said.
    pub fn defaults() -> Self {
        Self {
            router: router::Settings::defaults(),
            datanode: datanode::Settings::defaults(),
            dev: dev::Settings::defaults(),
            zookeeper: zookeeper::Settings::defaults(),
            raft: timing::Raft::defaults(),
            log: log::Settings::defaults(),
        }
    }

    /// The file laid over the defaults; without a file, the defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, Failure> {
        let defaults = Self::defaults();
        let Some(path) = path else {
            return Ok(defaults);
        };
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!(
                "can't read the configuration file {shown}: {error}"
            ))
        })?;
        let file: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(0, |span| {
                text.bytes()
                    .take(span.start)
                    .filter(|&b| b == b'\n')
                    .count()
            });
            Failure::usage(format!("{shown}, line {}: {}", line + 1, error.message()))
        })?;
        Ok(Self {
            router: over(&file.router, &defaults.router)?,
            datanode: over(&file.datanode, &defaults.datanode)?,
            dev: over(&file.dev, &defaults.dev)?,
            zookeeper: over(&file.zookeeper, &defaults.zookeeper)?,
            raft: over(&file.raft, &defaults.raft)?,
            log: over(&file.log, &defaults.log)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use std::io::Write;

    const SAMPLE: &str = include_str!("../../../../config/minidynamo.sample.toml");

    fn written(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn the_sample_file_says_what_the_defaults_are() {
        let sample: File = toml::from_str(SAMPLE).unwrap();
        assert_eq!(sample, File::defaults());
    }

    #[test]
    fn the_sample_file_names_every_setting() {
        let every = File {
            router: router::Settings {
                zookeeper: Some(String::new()),
                advertise: Some(String::new()),
                ..router::Settings::defaults()
            },
            datanode: datanode::Settings {
                zookeeper: Some(String::new()),
                data_dir: Some("x".into()),
                advertise: Some(String::new()),
                zone: Some(String::new()),
                ..datanode::Settings::defaults()
            },
            dev: dev::Settings {
                data_dir: Some("x".into()),
                zookeeper: Some(String::new()),
                ..dev::Settings::defaults()
            },
            zookeeper: zookeeper::Settings {
                auth_file: Some("x".into()),
                tls_ca: Some("x".into()),
                tls_cert: Some("x".into()),
                tls_key: Some("x".into()),
            },
            ..File::defaults()
        };
        let mut section = "";
        let mut named = std::collections::BTreeSet::new();
        for line in SAMPLE.lines() {
            let line = line.trim_start_matches("# ");
            if line.starts_with('[') && line.ends_with(']') {
                section = line.trim_matches(['[', ']']);
            } else if let Some((key, _)) = line.split_once(" = ") {
                named.insert(format!("{section}.{key}"));
            }
        }
        for (section, settings) in toml::Table::try_from(every).unwrap() {
            for key in settings.as_table().unwrap().keys() {
                assert!(named.remove(&format!("{section}.{key}")), "{section}.{key}");
            }
        }
        assert!(named.is_empty(), "settings that don't exist: {named:?}");
    }

    #[test]
    fn a_file_lies_over_the_defaults() {
        let file = written("[router]\nlisten = \"127.0.0.1:1\"\nsession_timeout = \"2s\"\n");
        let loaded = File::load(Some(file.path())).unwrap();
        assert_eq!(loaded.router.listen, Some("127.0.0.1:1".parse().unwrap()));
        assert_eq!(loaded.router.session_timeout, Some(Duration::from_secs(2)));
        assert_eq!(loaded.router.admin_listen, Some(ROUTER_ADMIN_LISTEN));
        assert_eq!(loaded.dev, dev::Settings::defaults());
    }

    #[test]
    fn mistakes_in_a_file_are_named_with_their_line() {
        for (text, said) in [
            (
                "[router]\nlisten = \"127.0.0.1:1\"\ncolour = 3\n",
                "line 3: unknown field `colour`",
            ),
            ("[rooter]\n", "line 1: unknown field `rooter`"),
            (
                "\n[router]\nlisten = \"here\"\n",
                "line 3: invalid socket address",
            ),
            ("[raft]\nheartbeat = \"soon\"\n", "`soon` is not a duration"),
            ("[router\n", "line 1"),
        ] {
            let file = written(text);
            let failure = File::load(Some(file.path())).unwrap_err();
            assert_eq!(failure.exit, 2);
            assert!(failure.message.contains(said), "{}", failure.message);
        }
        let failure = File::load(Some(Path::new("/nonexistent.toml"))).unwrap_err();
        assert!(failure.message.contains("/nonexistent.toml"));
    }

    #[test]
    fn a_flag_lies_over_the_file() {
        let line = "minidynamo router --listen 127.0.0.1:2";
        let Command::Router(args) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("not a router");
        };
        let file = written("[router]\nlisten = \"127.0.0.1:1\"\nadvertise = \"db1:1\"\n");
        let loaded = File::load(Some(file.path())).unwrap();
        let settings = over(&args.settings, &loaded.router).unwrap();
        assert_eq!(settings.listen, Some("127.0.0.1:2".parse().unwrap()));
        assert_eq!(settings.advertise.as_deref(), Some("db1:1"));
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        let text = toml::to_string(&File::defaults()).unwrap();
        assert_eq!(toml::from_str::<File>(&text).unwrap(), File::defaults());
    }
}
