//! Opening a session, within a bounded time.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use zookeeper_client as zk;

use super::diagnosis::{Diagnosis, diagnose};
use super::tls::{Loaded, Tls};
use super::{ConnectOptions, RETRY_PAUSE, errors};
use crate::tree::Node;
use crate::{Error, path};

/// A TLS connection that takes longer is looked into, and again after the same time.
const DOUBT: Duration = Duration::from_secs(1);

/// A client whose chroot exists and whose tree may be read.
pub(super) struct Connected {
    pub(super) client: zk::Client,
    /// Bytes of the chroot.
    pub(super) root_bytes: usize,
}

/// One call of [`connect`].
struct Attempts<'a> {
    options: &'a ConnectOptions,
    hosts: &'a str,
    chroot: &'a str,
    tls: Option<Loaded>,
    /// Why there is no session yet.
    last: Mutex<String>,
}

/// Connects and makes the chroot, trying again until the deadline.
pub(super) async fn connect(options: &ConnectOptions) -> Result<Connected, Error> {
    let (hosts, chroot) = options.split_hosts()?;
    let attempts = Attempts {
        options,
        hosts,
        chroot,
        tls: options.tls.as_ref().map(Tls::load).transpose()?,
        last: Mutex::new("no server has answered".to_owned()),
    };
    let deadline = Instant::now() + options.connect_timeout;
    tokio::select! {
        biased;
        connected = timeout_at(deadline, attempts.until_connected()) => {
            connected.unwrap_or_else(|_| Err(attempts.in_vain()))
        }
        refused = attempts.doubt() => Err(refused),
    }
}

impl Attempts<'_> {
    fn in_vain(&self) -> Error {
        Error::Unavailable {
            reason: format!(
                "no session with ZooKeeper at {} within {:?}: {}",
                self.hosts,
                self.options.connect_timeout,
                self.last.lock()
            ),
        }
    }

    async fn until_connected(&self) -> Result<Connected, Error> {
        loop {
            match self.once().await {
                Ok(client) => {
                    let root_bytes = if self.chroot == path::ROOT {
                        0
                    } else {
                        self.chroot.len()
                    };
                    return Ok(Connected { client, root_bytes });
                }
                Err(error) if errors::is_definite(&error) => return Err(error),
                // What the client says of a TLS connection is no reason.
                Err(_) if self.tls.is_some() => {}
                Err(Error::Unavailable { reason }) => *self.last.lock() = reason,
                Err(error) => *self.last.lock() = error.to_string(),
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn once(&self) -> Result<zk::Client, Error> {
        let client = self.session().await.map_err(|error| match error {
            zk::Error::BadArguments(reason) => Error::InvalidOptions {
                reason: format!("`{}`: {reason}", self.hosts),
            },
            zk::Error::AuthFailed => Error::Refused {
                reason: format!("ZooKeeper at {} does not know the scheme `digest` or has been told to refuse it (AuthFailed)", self.hosts),
            },
            error => Error::Unavailable {
                reason: error.to_string(),
            },
        })?;
        self.enter_chroot(client).await
    }

    async fn session(&self) -> Result<zk::Client, zk::Error> {
        let mut connector =
            zk::Client::connector().with_session_timeout(self.options.session_timeout);
        if let Some(credentials) = &self.options.credentials {
            connector = credentials.present(connector);
        }
        match &self.tls {
            None => connector.connect(self.hosts).await,
            Some(tls) => {
                let connector = connector.with_tls(tls.options.clone());
                connector.secure_connect(self.hosts).await
            }
        }
    }

    /// Makes the chroot and every znode above it, if they are missing, goes there, and looks whether we may
    /// use what is there.
    async fn enter_chroot(&self, client: zk::Client) -> Result<zk::Client, Error> {
        let chroot = self.chroot;
        let failed = |path: &str, error: &zk::Error| errors::of_operation(error, path, None);
        let exists = client.check_stat(chroot).await;
        if exists.map_err(|error| failed(chroot, &error))?.is_none() {
            self.make_all(&client).await?;
        }
        let children = client.list_children(chroot).await;
        children.map_err(|error| failed(chroot, &error))?;
        let client = client.chroot(chroot).map_err(|_| Error::InvalidPath {
            path: chroot.to_owned(),
            reason: "ZooKeeper's client refuses it",
        })?;
        let cluster = Node::Cluster.path();
        match client.get_data(&cluster).await {
            Ok(_) | Err(zk::Error::NoNode) => Ok(client),
            Err(error) => {
                let shown = format!("{}{cluster}", chroot.trim_end_matches('/'));
                Err(failed(&shown, &error))
            }
        }
    }

    async fn make_all(&self, client: &zk::Client) -> Result<(), Error> {
        let acl = self.options.acl();
        let options = zk::CreateMode::Persistent.with_acls(zk::Acls::new(&acl));
        let chroot = self.chroot;
        let ends = chroot.match_indices('/').map(|(slash, _)| slash).skip(1);
        for end in ends.chain([chroot.len()]) {
            let path = &chroot[..end];
            match client.create(path, b"", &options).await {
                // Another process was first, or an earlier attempt of ours.
                Ok(_) | Err(zk::Error::NodeExists) => {}
                Err(error) => return Err(errors::of_operation(&error, path, None)),
            }
        }
        Ok(())
    }

    /// Looks into a TLS connection that takes its time. Returns with the error if every server refuses us or
    /// is refused by us; what else it finds is remembered.
    async fn doubt(&self) -> Error {
        let (Some(tls), Ok(servers)) = (&self.tls, self.options.servers()) else {
            return std::future::pending().await;
        };
        loop {
            sleep(DOUBT).await;
            match diagnose(servers.clone(), &tls.config).await {
                Diagnosis::Well => {}
                Diagnosis::Unreachable(reason) => *self.last.lock() = reason,
                Diagnosis::Refused(reason) => {
                    return Error::Refused {
                        reason: format!(
                            "no TLS with ZooKeeper, check --zookeeper-tls-ca, --zookeeper-tls-cert and \
                             --zookeeper-tls-key: {reason}"
                        ),
                    };
                }
            }
        }
    }
}
