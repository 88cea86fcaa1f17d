//! The way to a ZooKeeper ensemble.
//!
//! | ZooKeeper | a process that has had a session | one that has not |
//! |---|---|---|
//! | can't be reached | waits | waits |
//! | refuses: the tree is another user's, a certificate does not fit | waits, and says so | ends, and says so |
//!
//! Who starts with a wrong password should not have to look for the reason in a log; who serves should not
//! stop for what someone does to the ensemble.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use coordination::zookeeper::ConnectOptions;
use coordination::{Connect, Error, SharedCoordination};
use tokio::sync::watch;

use crate::cli::Failure;
use crate::config::zookeeper::Settings;

/// The sessions of one process.
pub(super) struct Sessions {
    options: ConnectOptions,
    /// There was one.
    admitted: AtomicBool,
    /// Why there is none and will be none.
    refusal: watch::Sender<Option<String>>,
}

impl Sessions {
    /// With these servers. Talks to nobody yet.
    pub(super) fn new(
        hosts: &str,
        session_timeout: Option<Duration>,
        settings: &Settings,
    ) -> Result<Arc<Self>, Failure> {
        let servers = hosts.split('/').next().unwrap_or_default();
        let named = |server: &str| !server.is_empty() && !server.starts_with(':');
        if !servers.split(',').all(named) || hosts.contains("://") || hosts.contains(' ') {
            return Err(Failure::usage(format!(
                "`{hosts}` is not a ZooKeeper connect string: expected HOST:PORT,HOST:PORT/CHROOT, for \
                 example zk1:2181,zk2:2181/minidynamo"
            )));
        }
        let mut options = ConnectOptions::new(hosts);
        if let Some(timeout) = session_timeout {
            options.session_timeout = timeout;
        }
        options.credentials = settings.credentials()?;
        options.tls = settings.tls()?;
        options
            .check()
            .map_err(|error| Failure::usage(error.to_string()))?;
        Ok(Arc::new(Self {
            options,
            admitted: AtomicBool::new(false),
            refusal: watch::Sender::new(None),
        }))
    }

    /// Returns when ZooKeeper has refused a process that never had a session, with the reason.
    pub(super) async fn refused(&self) -> String {
        let mut refusal = self.refusal.subscribe();
        let refused = refusal.wait_for(Option::is_some).await;
        match refused.ok().and_then(|reason| reason.clone()) {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Connect for Sessions {
    async fn connect(&self) -> Result<SharedCoordination, Error> {
        let session = self.options.connect().await;
        match &session {
            Ok(_) => self.admitted.store(true, Ordering::Relaxed),
            Err(error @ Error::Refused { .. }) if !self.admitted.load(Ordering::Relaxed) => {
                self.refusal.send_replace(Some(error.to_string()));
            }
            Err(_) => {}
        }
        session
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_strings_are_checked_before_anything_starts() {
        let sessions = |hosts| Sessions::new(hosts, None, &Settings::defaults());
        for hosts in ["zk1:2181", "zk1,zk2:2181/a/b", "[::1]:2181"] {
            assert!(sessions(hosts).is_ok(), "{hosts}");
        }
        for hosts in [
            "",
            "/a",
            "zk1,,zk2",
            ":2181",
            "tcp://zk1",
            "zk1, zk2",
            "zk1/a/",
        ] {
            let failure = sessions(hosts).err().unwrap();
            assert_eq!(failure.exit, 2, "{hosts}");
        }
    }

    #[test]
    fn certificates_are_read_before_anything_starts() {
        let file = || Some("/nonexistent.pem".into());
        let settings = Settings {
            tls_ca: file(),
            tls_cert: file(),
            tls_key: file(),
            ..Settings::defaults()
        };
        let failure = Sessions::new("zk1", None, &settings).err().unwrap();
        assert_eq!(failure.exit, 2);
        assert!(failure.message.contains("/nonexistent.pem"));
    }
}
