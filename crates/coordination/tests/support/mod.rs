//! A store that loses answers, on purpose and at known places.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use coordination::{
    Coordination, Error, Operation, Outcome, SessionState, SharedCoordination, Watch, Znode,
};
use tokio::sync::watch;

/// What becomes of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is carried out and answered.
    Fine,
    /// It is carried out; the answer is lost.
    LostAnswer,
    /// It is never carried out; the writer can't know.
    LostRequest,
    /// It is carried out by [`Lossy::land`]; the writer can't know.
    Late,
    /// It is not carried out, nor is anything else from then on; the writer knows.
    Down,
}

/// A session whose writes meet the fates of a script, in order; those after its end are fine. The checks
/// of barriers are no writes, and are always fine. Clones are the same session.
#[derive(Clone)]
pub(crate) struct Lossy {
    inner: SharedCoordination,
    script: Arc<Mutex<VecDeque<Fate>>>,
    late: Arc<Mutex<Vec<Vec<Operation>>>>,
    down: Arc<AtomicBool>,
}

impl Lossy {
    pub(crate) fn new(inner: SharedCoordination, script: &[Fate]) -> Self {
        Self {
            inner,
            script: Arc::new(Mutex::new(script.iter().copied().collect())),
            late: Arc::default(),
            down: Arc::default(),
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Error::Unavailable {
                reason: "down".into(),
            });
        }
        Ok(())
    }

    /// Carries out the writes that are late, and returns what becomes of them.
    pub(crate) async fn land(&self) -> Vec<Result<Vec<Outcome>, Error>> {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        let mut results = Vec::new();
        for operations in late {
            results.push(self.inner.multi(operations).await);
        }
        results
    }
}

#[async_trait]
impl Coordination for Lossy {
    async fn get(&self, path: &str) -> Result<Option<Znode>, Error> {
        self.check()?;
        self.inner.get(path).await
    }

    async fn children(&self, path: &str) -> Result<Option<Vec<String>>, Error> {
        self.check()?;
        self.inner.children(path).await
    }

    async fn multi(&self, operations: Vec<Operation>) -> Result<Vec<Outcome>, Error> {
        let fate = self.script.lock().unwrap().pop_front();
        match fate.unwrap_or(Fate::Fine) {
            Fate::Fine => return self.inner.multi(operations).await,
            Fate::LostAnswer => drop(self.inner.multi(operations).await),
            Fate::LostRequest => {}
            Fate::Down => {
                self.down.store(true, Ordering::SeqCst);
                return self.check().map(|()| Vec::new());
            }
            Fate::Late => self.late.lock().unwrap().push(operations),
        }
        Err(Error::ConnectionLoss)
    }

    async fn sync(&self, path: &str) -> Result<(), Error> {
        self.check()?;
        self.inner.sync(path).await
    }

    fn session(&self) -> watch::Receiver<SessionState> {
        self.inner.session()
    }

    async fn watch(&self, root: &str) -> Result<Watch, Error> {
        self.inner.watch(root).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
