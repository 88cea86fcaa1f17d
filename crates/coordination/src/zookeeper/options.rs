//! How to connect.

use std::time::Duration;

use zookeeper_client as zk;

use super::tls::check_host;
use super::{Credentials, Tls, Traffic};
use crate::{Error, path};

/// Where a server without a port listens, with or without TLS.
const DEFAULT_PORT: u16 = 2181;

/// How to connect to an ensemble.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The servers, and optionally the znode that everything of ours stands below:
    /// `zk1:2181,zk2:2181,zk3:2181/minidynamo`. Without a port, 2181.
    pub hosts: String,
    /// The user whom our znodes belong to; without one, anyone may use them.
    pub credentials: Option<Credentials>,
    /// TLS with all servers; without it, plain TCP.
    pub tls: Option<Tls>,
    /// How long the session survives without contact, 6 s. The server may raise or lower it to its own
    /// bounds.
    pub session_timeout: Duration,
    /// How long a call waits at the most, 4 s; never longer than the session timeout.
    pub request_timeout: Duration,
    /// How long [`connect`](super::ZooKeeper::connect) goes on trying, 10 s.
    pub connect_timeout: Duration,
    /// Counts over all sessions that are opened with these options or clones of them.
    pub traffic: Traffic,
}

impl ConnectOptions {
    /// The defaults, with these servers.
    pub fn new(hosts: impl Into<String>) -> Self {
        Self {
            hosts: hosts.into(),
            credentials: None,
            tls: None,
            session_timeout: Duration::from_secs(6),
            request_timeout: Duration::from_secs(4),
            connect_timeout: Duration::from_secs(10),
            traffic: Traffic::default(),
        }
    }

    /// Whether one can connect with these options at all: [`Error::InvalidOptions`] or
    /// [`Error::InvalidPath`] says what is wrong with the servers, the chroot or the certificates. Talks to
    /// nobody.
    pub fn check(&self) -> Result<(), Error> {
        self.split_hosts()?;
        self.tls.as_ref().map_or(Ok(()), Tls::check)
    }

    /// The access control list of every znode of ours.
    pub(super) fn acl(&self) -> Vec<zk::Acl> {
        match &self.credentials {
            Some(credentials) => vec![credentials.acl()],
            None => zk::Acls::anyone_all().to_vec(),
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
        if self.tls.is_some() {
            // The client takes it for granted that these are names.
            for (host, _) in servers(hosts)? {
                check_host(&host)?;
            }
        }
        Ok((hosts, chroot))
    }

    /// Host and port of each server.
    pub(super) fn servers(&self) -> Result<Vec<(String, u16)>, Error> {
        servers(self.split_hosts()?.0)
    }
}

fn servers(hosts: &str) -> Result<Vec<(String, u16)>, Error> {
    let parse = |server: &str| {
        let (host, port) = match server.rsplit_once(':') {
            // The colons of an IPv6 address stand in brackets.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (server, DEFAULT_PORT),
        };
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        Some((bare.unwrap_or(host).to_owned(), port))
    };
    let server = |text: &str| {
        parse(text).ok_or_else(|| Error::InvalidOptions {
            reason: format!("`{text}` is not HOST:PORT"),
        })
    };
    hosts.split(',').map(server).collect()
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
    fn hosts_and_ports_are_told_apart_as_the_client_does_it() {
        let parsed = servers("a:1,b,[::1]:3,[::1],10.0.0.1:4").unwrap();
        let parsed: Vec<_> = parsed.iter().map(|(h, p)| (h.as_str(), *p)).collect();
        let expected = [
            ("a", 1),
            ("b", 2181),
            ("::1", 3),
            ("::1", 2181),
            ("10.0.0.1", 4),
        ];
        assert_eq!(parsed, expected);
        assert!(servers("a:x").is_err());
    }

    #[test]
    fn a_host_that_no_certificate_can_be_for_is_refused_with_tls() {
        let mut options = ConnectOptions::new("a b:1");
        assert!(options.split_hosts().is_ok());
        options.tls = Some(Tls {
            ca: "ca".into(),
            cert: "cert".into(),
            key: "key".into(),
        });
        let error = options.check().unwrap_err().to_string();
        assert!(error.contains("`a b`"), "{error}");
    }

    #[test]
    fn no_call_waits_longer_than_a_session_lasts() {
        let mut options = ConnectOptions::new("a");
        assert_eq!(options.effective_request_timeout(), Duration::from_secs(4));
        options.session_timeout = Duration::from_secs(1);
        assert_eq!(options.effective_request_timeout(), Duration::from_secs(1));
    }
}
