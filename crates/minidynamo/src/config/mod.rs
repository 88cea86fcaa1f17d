//! What the roles are configured with.
//!
//! Every setting can come from four places; the first that has it wins:
//!
//! | place | `listen` of a router |
//! |---|---|
//! | flag | `--listen 127.0.0.1:7401` |
//! | environment | `MINIDYNAMO_LISTEN=127.0.0.1:7401` |
//! | file given by `--config` | `listen = "127.0.0.1:7401"` under `[router]` |
//! | default | `127.0.0.1:7400` |
//!
//! One struct per role is all three: the flags, the section of the file, and the defaults. All its fields
//! are optional, so that layers can be laid over each other. `--print-config` shows what holds, in the
//! form of the file.

pub mod datanode;
pub mod dev;
pub mod file;
pub mod log;
pub mod router;
pub mod timing;
pub mod zookeeper;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::Failure;
use crate::output;

/// Shown below the options of a role.
pub(crate) const AFTER_HELP: &str = "\
Every option can also be set in the environment (--data-dir: MINIDYNAMO_DATA_DIR) or in the
file of --config (data_dir). A flag wins over the environment, which wins over the file.
config/minidynamo.sample.toml has every setting with its default.";

/// Options of every role.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Common {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "MINIDYNAMO_CONFIG", hide_env = true)]
    pub config: Option<PathBuf>,
    /// Print the configuration that holds, and exit
    #[arg(long)]
    pub print_config: bool,
}

/// One layer over another: what the upper one has not comes from the lower one.
pub(crate) fn over<T: Serialize + DeserializeOwned>(upper: &T, lower: &T) -> Result<T, Failure> {
    let damaged = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("the configuration can't be put together: {error}"))
    };
    let mut merged = toml::Table::try_from(lower).map_err(|error| damaged(&error))?;
    merged.extend(toml::Table::try_from(upper).map_err(|error| damaged(&error))?);
    merged.try_into().map_err(|error| damaged(&error))
}

/// Prints sections as a configuration file.
pub(crate) fn print(document: &impl Serialize) -> Result<(), Failure> {
    let text = toml::to_string(document).map_err(|error| {
        Failure::new(format!(
            "the configuration can't be written as TOML: {error}"
        ))
    })?;
    output::print(&text)
}

/// A setting that has no default.
pub(crate) fn required<T>(value: Option<T>, role: &str, flag: &str) -> Result<T, Failure> {
    value.ok_or_else(|| {
        let variable = flag.to_ascii_uppercase().replace('-', "_");
        let key = flag.replace('-', "_");
        Failure::usage(format!(
            "`minidynamo {role}` needs --{flag} (or MINIDYNAMO_{variable}, or `{key}` under [{role}] in \
             the file of --config)"
        ))
    })
}

/// Checks that others can be told where this process is.
pub(crate) fn check_advertise(listen: SocketAddr, advertise: Option<&str>) -> Result<(), Failure> {
    match advertise {
        None if listen.ip().is_unspecified() => Err(Failure::usage(format!(
            "listening on all addresses ({listen}) needs --advertise HOST:PORT, so that others know which \
             one to use"
        ))),
        None => Ok(()),
        Some(text) => match text.rsplit_once(':') {
            Some((host, port))
                if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0) =>
            {
                Ok(())
            }
            _ => Err(Failure::usage(format!(
                "`{text}` can't be advertised: expected HOST:PORT, for example db1.example.com:7400"
            ))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_need_one_to_advertise() {
        let all: SocketAddr = "0.0.0.0:7400".parse().unwrap();
        let one: SocketAddr = "127.0.0.1:0".parse().unwrap();
        assert!(check_advertise(one, None).is_ok());
        assert!(check_advertise(all, Some("db1:7400")).is_ok());
        assert!(check_advertise(all, Some("[::1]:7400")).is_ok());
        let failure = check_advertise(all, None).unwrap_err();
        assert_eq!(failure.exit, 2);
        assert!(failure.message.contains("--advertise"));
        assert!(check_advertise("[::]:1".parse().unwrap(), None).is_err());
        for text in ["db1", "db1:", ":7400", "db1:0", "db1:x"] {
            assert!(check_advertise(one, Some(text)).is_err(), "{text}");
        }
    }
}
