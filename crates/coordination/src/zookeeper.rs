//! The ZooKeeper store: a session with a real ensemble.
//!
//! It stands on the crate `zookeeper-client`, the only one of its kind with `multi`, recursive persistent
//! watches, a chroot and TLS. That crate has three traps, each of which has a test of its name in
//! `tests/zookeeper_traps.rs`:
//!
//! | trap | what happens | what we do |
//! |---|---|---|
//! | lost watches | at every reconnect its persistent watches are silently gone: it restores only the other kinds | every [`Watch`] watches again at each reconnect and then says [`Change::Everything`](crate::Change) |
//! | late writes | a write whose connection was lost, or that waited in its queue during an outage, may be applied after the reconnect | such a write ends with [`Error::ConnectionLoss`], whose contract says so; all writes are conditional |
//! | late expiry | it reports the end of a session after 7/5 of the timeout, while the server decides after one | [`SessionState::Disconnected`] is reported as soon as the connection is silent for 2/5 of the timeout, and means "stop acting" |
//!
//! A fourth thing is not a trap but a limit of ZooKeeper's own `sync`: a leader that has been deposed and
//! does not know it yet answers it too. So [`Coordination::sync`] is a `multi` that only checks the root; it
//! takes its place among the writes, through a majority, and everything before it is visible after it.
//! Calls that wait at the same time share one.
//!
//! # What the calls do while ZooKeeper can't be reached
//!
//! | | connection back in time | not back within the request timeout |
//! |---|---|---|
//! | read, `watch` | is sent again | `Unavailable` |
//! | write, not sent yet | is sent | `Unavailable` |
//! | write, sent or in the client's queue | `ConnectionLoss`, or its answer | `ConnectionLoss` |

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use zookeeper_client as zk;

pub use self::credentials::Credentials;
pub use self::options::ConnectOptions;
pub use self::tls::Tls;
pub use self::traffic::{Traffic, TrafficCounts};
use crate::store::validate_multi;
use crate::{
    ANY_VERSION, Coordination, Error, Operation, Outcome, Path, SessionState, Watch, Znode, path,
};

mod barrier;
mod connect;
mod credentials;
mod diagnosis;
mod errors;
mod multi;
mod options;
mod reading;
mod session;
mod tls;
mod traffic;
mod watching;

/// Between two attempts of a read on a connection that breaks at once.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A session with a ZooKeeper ensemble. It ends when it is closed or dropped.
pub struct ZooKeeper {
    inner: Arc<Inner>,
}

struct Inner {
    /// Taken out when the session is closed: the client ends its session when its last clone goes.
    client: Mutex<Option<zk::Client>>,
    state: Arc<watch::Sender<SessionState>>,
    barrier: barrier::Barrier,
    options: ConnectOptions,
    /// Of every znode that is made.
    acl: Vec<zk::Acl>,
    /// Bytes of the chroot.
    root_bytes: usize,
}

impl ZooKeeper {
    /// Opens a session, and makes the chroot where it is missing, which any number of processes may do at
    /// once.
    ///
    /// [`Error::Unavailable`], which names the hosts, if that takes longer than
    /// [`ConnectOptions::connect_timeout`]. [`Error::Refused`] if the tree belongs to another user, or if TLS
    /// fails with every server; nothing is changed then.
    pub async fn connect(options: ConnectOptions) -> Result<Self, Error> {
        let connected = connect::connect(&options).await?;
        let session = connected.client.session_id().0;
        let state = Arc::new(watch::Sender::new(SessionState::Connected { session }));
        let watcher = connected.client.state_watcher();
        tokio::spawn(session::follow(watcher, session, Arc::clone(&state)));
        Ok(Self {
            inner: Arc::new(Inner {
                client: Mutex::new(Some(connected.client)),
                state,
                barrier: barrier::Barrier::default(),
                acl: options.acl(),
                options,
                root_bytes: connected.root_bytes,
            }),
        })
    }
}

impl Inner {
    fn deadline(&self) -> Instant {
        Instant::now() + self.options.effective_request_timeout()
    }

    fn unavailable(&self) -> Error {
        Error::Unavailable {
            reason: format!(
                "ZooKeeper at {} has not answered for {:?}",
                self.options.hosts,
                self.options.effective_request_timeout()
            ),
        }
    }

    /// The client, once it is connected.
    async fn connected(&self, deadline: Instant) -> Result<zk::Client, Error> {
        let mut state = self.state.subscribe();
        let decided = state.wait_for(|state| *state != SessionState::Disconnected);
        match timeout_at(deadline, decided).await {
            Err(_) => Err(self.unavailable()),
            Ok(Ok(state)) if state.connected().is_some() => {
                self.client.lock().clone().ok_or(Error::SessionExpired)
            }
            Ok(_) => Err(Error::SessionExpired),
        }
    }

    /// Waits for an answer of the client, for the deadline (`None`) or for the session's end (`None`).
    async fn answer<T>(&self, deadline: Instant, call: impl Future<Output = T>) -> Option<T> {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| *state == SessionState::Expired);
        tokio::select! {
            biased;
            answer = timeout_at(deadline, call) => answer.ok(),
            _ = ended => None,
        }
    }

    /// Reads, as often as the connection breaks and until the deadline.
    async fn read<T, F>(&self, path: &Path, call: impl Fn(zk::Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, zk::Error>>,
    {
        let deadline = self.deadline();
        loop {
            let client = self.connected(deadline).await?;
            self.options.traffic.read();
            let answer = self.answer(deadline, call(client)).await;
            let error = match answer {
                Some(Ok(value)) => return Ok(value),
                Some(Err(error)) => errors::of_operation(&error, path, None),
                None => Error::ConnectionLoss,
            };
            if !error.outcome_unknown() {
                return Err(error);
            }
            if Instant::now() >= deadline {
                return Err(self.unavailable());
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn write(&self, operations: &[Operation]) -> Result<Vec<Outcome>, Error> {
        let deadline = self.deadline();
        let client = self.connected(deadline).await?;
        // From its first poll on, the write is out of our hands.
        let answer = self
            .answer(deadline, multi::multi(&client, &self.acl, operations))
            .await;
        answer.unwrap_or(Err(Error::ConnectionLoss))
    }

    async fn watch_once(&self, root: &Path) -> Result<zk::PersistentWatcher, Error> {
        let mode = zk::AddWatchMode::PersistentRecursive;
        self.read(root, |client| async move { client.watch(root, mode).await })
            .await
    }
}

#[async_trait]
impl Coordination for ZooKeeper {
    async fn get(&self, path: &Path) -> Result<Option<Znode>, Error> {
        path::validate(path)?;
        let call = |client: zk::Client| async move { client.get_data(path).await };
        match self.inner.read(path, call).await {
            Ok((data, stat)) => Ok(Some(reading::znode(data, &stat))),
            Err(Error::NoNode { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn get_all(&self, paths: &[String]) -> Result<Vec<Option<Znode>>, Error> {
        paths.iter().try_for_each(|path| path::validate(path))?;
        let some = paths.chunks(reading::AT_ONCE);
        let requests: Vec<_> = some.map(|paths| self.inner.read_together(paths)).collect();
        let requests = stream::iter(requests).buffered(reading::IN_FLIGHT);
        let read: Vec<_> = requests.try_collect().await?;
        Ok(read.into_iter().flatten().collect())
    }

    async fn children(&self, path: &Path) -> Result<Option<Vec<String>>, Error> {
        path::validate(path)?;
        let call = |client: zk::Client| async move { client.list_children(path).await };
        match self.inner.read(path, call).await {
            Ok(mut children) => {
                children.sort_unstable();
                Ok(Some(children))
            }
            Err(Error::NoNode { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn multi(&self, operations: Vec<Operation>) -> Result<Vec<Outcome>, Error> {
        validate_multi(&operations, self.inner.root_bytes)?;
        self.inner.options.traffic.write(operations.len());
        self.inner.write(&operations).await
    }

    async fn sync(&self, path: &Path) -> Result<(), Error> {
        path::validate(path)?;
        let check = [Operation::check(path::ROOT, ANY_VERSION)];
        let pass = || async {
            self.inner.options.traffic.barrier();
            self.inner.write(&check).await.map(drop)
        };
        match timeout_at(self.inner.deadline(), self.inner.barrier.pass(pass)).await {
            // It changes nothing, so nothing is unknown.
            Err(_) | Ok(Err(Error::ConnectionLoss)) => Err(self.inner.unavailable()),
            Ok(result) => result,
        }
    }

    fn session(&self) -> watch::Receiver<SessionState> {
        self.inner.state.subscribe()
    }

    async fn watch(&self, root: &Path) -> Result<Watch, Error> {
        path::validate(root)?;
        let watcher = self.inner.watch_once(root).await?;
        let (sender, watch) = Watch::channel();
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(watching::pump(inner, root.to_owned(), watcher, sender));
        Ok(watch)
    }

    async fn close(&self) {
        self.inner.state.send_replace(SessionState::Expired);
        let Some(client) = self.inner.client.lock().take() else {
            return;
        };
        let watcher = client.state_watcher();
        drop(client);
        session::ended(watcher, self.inner.deadline()).await;
        let counts = self.inner.options.traffic.counts();
        tracing::info!(?counts, "asked of ZooKeeper in all sessions so far");
    }
}
