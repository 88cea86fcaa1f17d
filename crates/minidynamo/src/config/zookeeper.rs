//! How a process shows ZooKeeper who it is, and ZooKeeper itself to the process.

use std::path::{Path, PathBuf};

use coordination::zookeeper::{Credentials, Tls};
use serde::{Deserialize, Serialize};

use crate::cli::Failure;

/// Names of files only: a password stands neither in a list of processes nor in what `--print-config` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[group(id = "zookeeper_settings")]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// File with one line USER:PASSWORD; all znodes of the cluster belong to that user
    /// [default: to anyone]
    #[arg(
        long = "zookeeper-auth-file",
        value_name = "FILE",
        env = "MINIDYNAMO_ZOOKEEPER_AUTH_FILE",
        hide_env = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_file: Option<PathBuf>,
    /// TLS to ZooKeeper: certificates (PEM) of who vouches for its servers [default: no TLS]
    #[arg(
        long = "zookeeper-tls-ca",
        value_name = "FILE",
        env = "MINIDYNAMO_ZOOKEEPER_TLS_CA",
        hide_env = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// TLS to ZooKeeper: certificate (PEM) of this process
    #[arg(
        long = "zookeeper-tls-cert",
        value_name = "FILE",
        env = "MINIDYNAMO_ZOOKEEPER_TLS_CERT",
        hide_env = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// TLS to ZooKeeper: key (PEM) of that certificate
    #[arg(
        long = "zookeeper-tls-key",
        value_name = "FILE",
        env = "MINIDYNAMO_ZOOKEEPER_TLS_KEY",
        hide_env = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
}

impl Settings {
    /// What holds where nothing else is said.
    pub fn defaults() -> Self {
        Self::default()
    }

    /// The user, if there is one.
    pub(crate) fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        let read = |file: &PathBuf| {
            Credentials::read(file)
                .map_err(|error| Failure::usage(format!("--zookeeper-auth-file: {error}")))
        };
        self.auth_file.as_ref().map(read).transpose()
    }

    /// The certificates, all or none.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, Failure> {
        let [ca, cert, key] = [&self.tls_ca, &self.tls_cert, &self.tls_key].map(Option::as_deref);
        match (ca, cert, key) {
            (None, None, None) => Ok(None),
            (Some(ca), Some(cert), Some(key)) => {
                let [ca, cert, key] = [ca, cert, key].map(Path::to_owned);
                Ok(Some(Tls { ca, cert, key }))
            }
            _ => Err(Failure::usage(
                "TLS to ZooKeeper needs all of --zookeeper-tls-ca, --zookeeper-tls-cert and \
                 --zookeeper-tls-key",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_all_there_or_none() {
        let file = || Some(PathBuf::from("x"));
        let mut settings = Settings::defaults();
        assert_eq!(settings.tls().unwrap(), None);
        settings.tls_ca = file();
        settings.tls_cert = file();
        assert_eq!(settings.tls().unwrap_err().exit, 2);
        settings.tls_key = file();
        assert!(settings.tls().unwrap().is_some());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_before_anything_starts() {
        let settings = Settings {
            auth_file: Some("/nonexistent/auth".into()),
            ..Settings::defaults()
        };
        let failure = settings.credentials().unwrap_err();
        assert_eq!(failure.exit, 2);
        assert!(failure.message.contains("/nonexistent/auth"));
    }
}
