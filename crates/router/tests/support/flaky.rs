//! The embedded store behind a connection that can be lost, a session that can expire, and a count of reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use coordination::embedded::Embedded;
use coordination::{
    Connect, Coordination, Error, Operation, Outcome, Path, SessionState, Watch, WatchSender, Znode,
};
use parking_lot::Mutex;
use tokio::sync::watch;

/// A way to the store for one router.
#[derive(Clone)]
pub struct Flaky {
    store: Embedded,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    cut: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
    /// Writes wait for as long as this is true.
    held: watch::Sender<bool>,
    sessions: Mutex<Vec<Arc<FlakySession>>>,
}

struct FlakySession {
    inner: Arc<dyn Coordination>,
    shared: Arc<Shared>,
    state: watch::Sender<SessionState>,
    watches: Mutex<Vec<WatchSender>>,
}

impl Flaky {
    pub fn new(store: &Embedded) -> Self {
        Self {
            store: store.clone(),
            shared: Arc::default(),
        }
    }

    /// Reads of any kind that reached the store.
    pub fn reads(&self) -> u64 {
        self.shared.reads.load(Ordering::SeqCst)
    }

    /// Writes that were asked for.
    pub fn writes(&self) -> u64 {
        self.shared.writes.load(Ordering::SeqCst)
    }

    /// Has writes wait before they reach the store, or lets them go on.
    pub fn hold_writes(&self, held: bool) {
        self.shared.held.send_replace(held);
    }

    /// Loses the connection. The session lives on.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        for session in self.shared.sessions.lock().iter() {
            session.set_state(SessionState::Disconnected);
        }
    }

    /// Mends the connection. What happened meanwhile is told as "everything".
    pub fn mend(&self) {
        self.shared.cut.store(false, Ordering::SeqCst);
        for session in self.shared.sessions.lock().iter() {
            session.set_state(SessionState::Connected { session: 1 });
            for watch in session.watches.lock().iter() {
                watch.everything();
            }
        }
    }

    /// Ends the current sessions.
    pub async fn expire(&self) {
        let sessions = std::mem::take(&mut *self.shared.sessions.lock());
        for session in sessions {
            session.inner.close().await;
            session.end();
        }
    }
}

impl FlakySession {
    fn set_state(&self, state: SessionState) {
        self.state.send_if_modified(|current| {
            let differs = *current != state && *current != SessionState::Expired;
            if differs {
                *current = state;
            }
            differs
        });
    }

    fn end(&self) {
        self.state.send_replace(SessionState::Expired);
        for watch in self.watches.lock().iter() {
            watch.end();
        }
    }

    fn read(&self) -> Result<(), Error> {
        self.check()?;
        self.shared.reads.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        if *self.state.borrow() == SessionState::Expired {
            return Err(Error::SessionExpired);
        }
        if self.shared.cut.load(Ordering::SeqCst) {
            return Err(Error::Unavailable {
                reason: "cut".to_owned(),
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Connect for Flaky {
    async fn connect(&self) -> Result<Arc<dyn Coordination>, Error> {
        if self.shared.cut.load(Ordering::SeqCst) {
            return Err(Error::Unavailable {
                reason: "cut".to_owned(),
            });
        }
        let session = Arc::new(FlakySession {
            inner: self.store.session(),
            shared: Arc::clone(&self.shared),
            state: watch::Sender::new(SessionState::Connected { session: 1 }),
            watches: Mutex::default(),
        });
        self.shared.sessions.lock().push(Arc::clone(&session));
        Ok(Arc::new(Handle(session)))
    }
}

/// What the router holds.
struct Handle(Arc<FlakySession>);

#[async_trait]
impl Coordination for Handle {
    async fn get(&self, path: &Path) -> Result<Option<Znode>, Error> {
        self.0.read()?;
        self.0.inner.get(path).await
    }

    async fn children(&self, path: &Path) -> Result<Option<Vec<String>>, Error> {
        self.0.read()?;
        self.0.inner.children(path).await
    }

    async fn multi(&self, operations: Vec<Operation>) -> Result<Vec<Outcome>, Error> {
        self.0.check()?;
        self.0.shared.writes.fetch_add(1, Ordering::SeqCst);
        // The sender lives as long as the session does.
        let mut held = self.0.shared.held.subscribe();
        let _ = held.wait_for(|held| !held).await;
        self.0.inner.multi(operations).await
    }

    async fn sync(&self, path: &Path) -> Result<(), Error> {
        self.0.read()?;
        self.0.inner.sync(path).await
    }

    fn session(&self) -> watch::Receiver<SessionState> {
        self.0.state.subscribe()
    }

    async fn watch(&self, root: &Path) -> Result<Watch, Error> {
        self.0.check()?;
        let mut inner = self.0.inner.watch(root).await?;
        let (sender, watch) = Watch::channel();
        self.0.watches.lock().push(sender.clone());
        let session = Arc::clone(&self.0);
        tokio::spawn(async move {
            while let Ok(change) = inner.changed().await {
                if sender.is_closed() {
                    return;
                }
                // What happens during a cut is lost; mending it says "everything".
                if session.check().is_ok() {
                    match change {
                        coordination::Change::Everything => sender.everything(),
                        coordination::Change::Paths(paths) => {
                            for path in &paths {
                                sender.path(path);
                            }
                        }
                    }
                }
            }
        });
        Ok(watch)
    }

    async fn close(&self) {
        self.0.inner.close().await;
        self.0.end();
    }
}
