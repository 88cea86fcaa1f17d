//! One session with the embedded store.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

use super::Core;
use super::committer::{Registration, Request};
use crate::store::validate_multi;
use crate::{Coordination, Error, Operation, Outcome, Path, SessionState, Watch, Znode, path};

/// See [`super::Embedded::session`].
pub(super) struct Session {
    id: i64,
    core: Arc<Core>,
    state: Arc<watch::Sender<SessionState>>,
}

impl Session {
    pub(super) fn open(core: Arc<Core>) -> Self {
        // 0 would mean "persistent"; the sign bit stays clear to look like ZooKeeper's.
        let id = i64::from(rand::random::<u32>()) << 31 | i64::from(rand::random::<u32>() >> 1) | 1;
        let initial = match core.shared.check() {
            Ok(()) => SessionState::Connected { session: id },
            Err(_) => SessionState::Disconnected,
        };
        let state = Arc::new(watch::Sender::new(initial));
        let mut sessions = core.shared.sessions.lock();
        sessions.push((id, Arc::clone(&state)));
        drop(sessions);
        core.send(Request::Open { session: id });
        Self { id, core, state }
    }

    fn check(&self) -> Result<(), Error> {
        if *self.state.borrow() == SessionState::Expired {
            return Err(Error::SessionExpired);
        }
        self.core.shared.check()
    }

    fn begin_close(&self) -> oneshot::Receiver<()> {
        let (done, closed) = oneshot::channel();
        self.state.send_replace(SessionState::Expired);
        self.core.send(Request::Close {
            session: self.id,
            done,
        });
        closed
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.begin_close());
    }
}

#[async_trait]
impl Coordination for Session {
    async fn get(&self, path: &Path) -> Result<Option<Znode>, Error> {
        path::validate(path)?;
        self.check()?;
        Ok(self.core.shared.visible.read().get(path))
    }

    async fn children(&self, path: &Path) -> Result<Option<Vec<String>>, Error> {
        path::validate(path)?;
        self.check()?;
        Ok(self.core.shared.visible.read().children(path))
    }

    async fn multi(&self, operations: Vec<Operation>) -> Result<Vec<Outcome>, Error> {
        validate_multi(&operations, 0)?;
        self.check()?;
        let (answer, answered) = oneshot::channel();
        self.core.send(Request::Multi {
            session: self.id,
            operations,
            answer,
        });
        // No answer: the journal failed while this write waited for it.
        answered.await.unwrap_or(Err(Error::ConnectionLoss))
    }

    /// Nothing to do: what was confirmed to anyone is visible to everyone.
    async fn sync(&self, path: &Path) -> Result<(), Error> {
        path::validate(path)?;
        self.check()
    }

    fn session(&self) -> watch::Receiver<SessionState> {
        self.state.subscribe()
    }

    async fn watch(&self, root: &Path) -> Result<Watch, Error> {
        path::validate(root)?;
        let (sender, watch) = Watch::channel();
        self.core.shared.watches.lock().push(Registration {
            session: self.id,
            root: root.to_owned(),
            sender,
        });
        // Only now: a session that ends in between ends the watch, or is noticed here.
        self.check()?;
        Ok(watch)
    }

    async fn close(&self) {
        // No answer: the journal has failed, and the next opening ends all sessions.
        let _ = self.begin_close().await;
    }
}
