//! The client's code, as it runs within a process: it waits, tries again and gives up, by the clock of its
//! host, in the same way as [`crate::zookeeper`].

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep, timeout_at};

use super::Ensemble;
use super::message::{Failure, Opened, Reply, Request, Value};
use super::standing::Standing;
use crate::store::validate_multi;
use crate::{
    Connect, Coordination, Error, Operation, Outcome, Path, SessionState, Watch, Znode, path,
};

/// Between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// See [`Ensemble::client`].
pub(super) struct Connector {
    pub(super) ensemble: Ensemble,
    pub(super) host: u64,
    pub(super) process: u64,
}

/// An attempt to connect; the session that it opens is closed if nobody takes it.
struct Attempt<'a> {
    ensemble: &'a Ensemble,
    ticket: Option<u64>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.ensemble.model.lock().abandon(ticket);
        }
    }
}

impl Connector {
    async fn try_once(&self) -> Option<Opened> {
        let (ticket, opened) = self.ensemble.model.lock().open(self.host, self.process);
        let mut attempt = Attempt {
            ensemble: &self.ensemble,
            ticket: Some(ticket),
        };
        let opened = opened.await.ok()?;
        attempt.ticket = None;
        Some(opened)
    }
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self) -> Result<Arc<dyn Coordination>, Error> {
        let connect_timeout = self.ensemble.options.connect_timeout;
        let attempts = async {
            loop {
                match self.try_once().await {
                    Some(opened) => return opened,
                    None => sleep(RETRY_PAUSE).await,
                }
            }
        };
        match timeout_at(Instant::now() + connect_timeout, attempts).await {
            Ok(opened) => Ok(Arc::new(Session {
                ensemble: self.ensemble.clone(),
                id: opened.session,
                standing: opened.standing,
            })),
            Err(_) => Err(Error::Unavailable {
                reason: format!("no session with the simulated store within {connect_timeout:?}"),
            }),
        }
    }
}

/// A session with the simulated ensemble. It ends when it is closed or dropped, unless its process was
/// killed before.
struct Session {
    ensemble: Ensemble,
    id: i64,
    standing: Arc<Standing>,
}

impl Session {
    fn request_timeout(&self) -> Duration {
        let options = &self.ensemble.options;
        options.request_timeout.min(options.session_timeout)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.request_timeout()
    }

    fn unavailable(&self) -> Error {
        Error::Unavailable {
            reason: format!(
                "the simulated store has not answered for {:?}",
                self.request_timeout()
            ),
        }
    }

    async fn connected(&self, deadline: Instant) -> Result<(), Error> {
        match timeout_at(deadline, self.standing.decided()).await {
            Err(_) => Err(self.unavailable()),
            Ok(state) if state.connected().is_some() => Ok(()),
            Ok(_) => Err(Error::SessionExpired),
        }
    }

    fn send(&self, request: Request) -> impl Future<Output = Reply> + use<> {
        let answered = self.ensemble.model.lock().submit(self.id, request);
        async move { answered.await.unwrap_or(Err(Failure::Lost)) }
    }

    /// Reads, as often as something is lost and until the deadline.
    async fn read<T>(
        &self,
        mut request: impl FnMut() -> (Request, T) + Send,
    ) -> Result<(Value, T), Error>
    where
        T: Send,
    {
        let deadline = self.deadline();
        loop {
            self.connected(deadline).await?;
            let (request, kept) = request();
            let answer = self.send(request);
            match timeout_at(deadline, answer).await {
                Ok(Ok(value)) => return Ok((value, kept)),
                Ok(Err(Failure::Refused(error))) => return Err(error),
                Ok(Err(Failure::Lost)) | Err(_) => {}
            }
            if Instant::now() >= deadline {
                return Err(self.unavailable());
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn write(&self, request: Request) -> Result<Value, Error> {
        let deadline = self.deadline();
        self.connected(deadline).await?;
        // From here on, the write is out of our hands.
        let answer = self.send(request);
        match timeout_at(deadline, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Failure::Refused(error))) => Err(error),
            Ok(Err(Failure::Lost)) | Err(_) => Err(Error::ConnectionLoss),
        }
    }
}

/// No server answers a request with a value of another kind.
fn of_another_kind() -> Error {
    Error::Refused {
        reason: "the simulated store has answered something else".into(),
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.ensemble.model.lock().close(self.id));
    }
}

#[async_trait]
impl Coordination for Session {
    async fn get(&self, path: &Path) -> Result<Option<Znode>, Error> {
        path::validate(path)?;
        let get = || {
            let path = path.to_owned();
            (Request::Get { path }, ())
        };
        match self.read(get).await? {
            (Value::Znode(znode), ()) => Ok(znode),
            _ => Err(of_another_kind()),
        }
    }

    async fn children(&self, path: &Path) -> Result<Option<Vec<String>>, Error> {
        path::validate(path)?;
        let children = || {
            let path = path.to_owned();
            (Request::Children { path }, ())
        };
        match self.read(children).await? {
            (Value::Children(children), ()) => Ok(children),
            _ => Err(of_another_kind()),
        }
    }

    async fn multi(&self, operations: Vec<Operation>) -> Result<Vec<Outcome>, Error> {
        validate_multi(&operations, 0)?;
        match self.write(Request::Multi { operations }).await? {
            Value::Outcomes(outcomes) => Ok(outcomes),
            _ => Err(of_another_kind()),
        }
    }

    async fn sync(&self, path: &Path) -> Result<(), Error> {
        path::validate(path)?;
        match self.write(Request::Sync).await {
            // It changes nothing, so nothing is unknown.
            Err(Error::ConnectionLoss) => Err(self.unavailable()),
            result => result.map(drop),
        }
    }

    fn session(&self) -> watch::Receiver<SessionState> {
        self.standing.subscribe()
    }

    async fn watch(&self, root: &Path) -> Result<Watch, Error> {
        path::validate(root)?;
        let watch = || {
            let root = root.to_owned();
            let (sender, watch) = Watch::channel();
            (Request::Watch { root, sender }, watch)
        };
        let (_, watch) = self.read(watch).await?;
        Ok(watch)
    }

    async fn close(&self) {
        let deadline = self.deadline();
        let closed = self.ensemble.model.lock().close(self.id);
        if let Some(closed) = closed {
            // Should this take too long or be lost, the session expires.
            let _ = timeout_at(deadline, closed).await;
        }
    }
}
