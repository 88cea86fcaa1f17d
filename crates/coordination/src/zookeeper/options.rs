//! How to connect.

use std::time::Duration;

use crate::{Error, path};

/// How to connect to an ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The servers, and optionally the znode that everything of ours stands below:
    /// `zk1:2181,zk2:2181,zk3:2181/minidynamo`. Without a port, 2181.
    pub hosts: String,
    /// How long the session survives without contact, 6 s. The server may raise or lower it to its own
    /// bounds.
    pub session_timeout: Duration,
    /// How long a call waits at the most, 4 s; never longer than the session timeout.
    pub request_timeout: Duration,
    /// How long [`connect`](super::ZooKeeper::connect) goes on trying, 10 s.
    pub connect_timeout: Duration,
}

impl ConnectOptions {
    /// The defaults, with these servers.
    pub fn new(hosts: impl Into<String>) -> Self {
        Self {
            hosts: hosts.into(),
            session_timeout: Duration::from_secs(6),
            request_timeout: Duration::from_secs(4),
            connect_timeout: Duration::from_secs(10),
        }
    }

    pub(super) fn effective_request_timeout(&self) -> Duration {
        self.request_timeout.min(self.session_timeout)
    }

    /// The servers, and the chroot (`/` if there is none).
    pub(super) fn split_hosts(&self) -> Result<(&str, &str), Error> {
        let (hosts, chroot) = match self.hosts.find('/') {
            None => (self.hosts.as_str(), path::ROOT),
            Some(slash) => self.hosts.split_at(slash),
        };
        if hosts.split(',').any(str::is_empty) {
            return Err(Error::InvalidOptions {
                reason: format!("`{}` lacks the name of a host", self.hosts),
            });
        }
        path::validate(chroot)?;
        Ok((hosts, chroot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_chroot_are_told_apart() {
        for (text, hosts, chroot) in [
            ("a", "a", "/"),
            ("a:1,b:2", "a:1,b:2", "/"),
            ("a:1,b:2/", "a:1,b:2", "/"),
            ("a:1,b:2/x/y", "a:1,b:2", "/x/y"),
        ] {
            let options = ConnectOptions::new(text);
            assert_eq!(options.split_hosts(), Ok((hosts, chroot)), "{text}");
        }
        for text in ["", "/x", "a,,b", "a,/x", "a/x/", "tcp://a"] {
            assert!(ConnectOptions::new(text).split_hosts().is_err(), "{text}");
        }
    }

    #[test]
    fn no_call_waits_longer_than_a_session_lasts() {
        let mut options = ConnectOptions::new("a");
        assert_eq!(options.effective_request_timeout(), Duration::from_secs(4));
        options.session_timeout = Duration::from_secs(1);
        assert_eq!(options.effective_request_timeout(), Duration::from_secs(1));
    }
}
