//! Watches: "something below here has changed, look again".
//!
//! A watch is **level-triggered**. It says which znodes may have changed since it was last asked, joined
//! into one set however often they changed, and never what they changed to: the reader reads. So nothing
//! depends on catching every event in order, and a reader that is slow or was cut off loses nothing; it
//! is told [`Change::Everything`] and reads all of it.
//!
//! | happens | the next `changed()` says |
//! |---|---|
//! | `/tables/a` is set three times | `Paths {/tables/a}` |
//! | `/tables/b` is created, `/tables/a` deleted | `Paths {/tables/a, /tables/b}` |
//! | the connection was lost and is back | `Everything` |
//! | more znodes change than are worth a list | `Everything` |
//! | the session ends | `Err(SessionExpired)` |
//!
//! A reader that is to be in step reads once **after** `watch()` has returned, then after every change.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::Error;

/// Beyond this many changed paths that nobody has asked for, a watch says [`Change::Everything`].
const MAX_PENDING_PATHS: usize = 4096;

/// What has changed since the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These znodes were created, set or deleted.
    Paths(BTreeSet<String>),
    /// Anything may have changed: read all of it again.
    Everything,
}

/// The reader's end of a watch.
///
/// A change that is made after [`watch`](crate::Coordination::watch) has returned is never missed: a
/// `changed()` that names its path, or `Everything`, follows it. There may be more of them than changes.
/// Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
}

/// The store's end of a watch. Only stores need it.
#[derive(Debug, Clone)]
pub struct WatchSender {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    /// Wakes the reader.
    news: Notify,
    /// Wakes the store's end when the reader has gone.
    closed: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    paths: BTreeSet<String>,
    everything: bool,
    ended: bool,
    closed: bool,
}

impl Watch {
    /// Both ends of a new watch.
    pub fn channel() -> (WatchSender, Self) {
        let shared = Arc::new(Shared::default());
        (
            WatchSender {
                shared: Arc::clone(&shared),
            },
            Self { shared },
        )
    }

    /// Waits until something may have changed since the last call. Fails with [`Error::SessionExpired`]
    /// when the session has ended, after all changes before that. Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Result<Change, Error> {
        loop {
            let news = self.shared.news.notified();
            if let Some(change) = self.shared.pending.lock().take() {
                return change;
            }
            news.await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.pending.lock().closed = true;
        self.shared.closed.notify_one();
    }
}

impl Pending {
    fn take(&mut self) -> Option<Result<Change, Error>> {
        if mem::take(&mut self.everything) {
            self.paths.clear();
            return Some(Ok(Change::Everything));
        }
        if !self.paths.is_empty() {
            return Some(Ok(Change::Paths(mem::take(&mut self.paths))));
        }
        self.ended.then_some(Err(Error::SessionExpired))
    }
}

impl WatchSender {
    /// Tells of one changed znode.
    pub fn path(&self, path: &str) {
        self.tell(|pending| {
            if pending.everything {
                return;
            }
            if pending.paths.len() >= MAX_PENDING_PATHS {
                pending.everything = true;
                pending.paths.clear();
            } else {
                pending.paths.insert(path.to_owned());
            }
        });
    }

    /// Tells that anything may have changed.
    pub fn everything(&self) {
        self.tell(|pending| {
            pending.everything = true;
            pending.paths.clear();
        });
    }

    /// Tells that the session has ended.
    pub fn end(&self) {
        self.tell(|pending| pending.ended = true);
    }

    /// Whether the reader has gone.
    pub fn is_closed(&self) -> bool {
        self.shared.pending.lock().closed
    }

    /// Waits until the reader has gone.
    pub async fn closed(&self) {
        loop {
            let closed = self.shared.closed.notified();
            if self.is_closed() {
                return;
            }
            closed.await;
        }
    }

    fn tell(&self, update: impl FnOnce(&mut Pending)) {
        update(&mut self.shared.pending.lock());
        self.shared.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    fn paths<const N: usize>(paths: [&str; N]) -> Change {
        Change::Paths(paths.map(str::to_owned).into())
    }

    #[tokio::test]
    async fn changes_are_joined_until_somebody_asks() {
        let (sender, mut watch) = Watch::channel();
        sender.path("/b");
        sender.path("/a");
        sender.path("/b");
        assert_eq!(watch.changed().await, Ok(paths(["/a", "/b"])));
        assert_eq!(watch.changed().now_or_never(), None);
        sender.path("/a");
        assert_eq!(watch.changed().await, Ok(paths(["/a"])));
    }

    #[tokio::test]
    async fn too_many_changes_become_everything_once() {
        let (sender, mut watch) = Watch::channel();
        for i in 0..=MAX_PENDING_PATHS {
            sender.path(&format!("/{i}"));
        }
        sender.path("/late");
        assert_eq!(watch.changed().await, Ok(Change::Everything));
        assert_eq!(watch.changed().now_or_never(), None);
    }

    #[tokio::test]
    async fn the_end_comes_after_the_last_change_and_stays() {
        let (sender, mut watch) = Watch::channel();
        sender.path("/a");
        sender.end();
        assert_eq!(watch.changed().await, Ok(paths(["/a"])));
        assert_eq!(watch.changed().await, Err(Error::SessionExpired));
        assert_eq!(watch.changed().await, Err(Error::SessionExpired));
    }

    #[tokio::test]
    async fn the_store_learns_when_the_reader_has_gone() {
        let (sender, watch) = Watch::channel();
        let closed = tokio::spawn({
            let sender = sender.clone();
            async move { sender.closed().await }
        });
        drop(watch);
        closed.await.unwrap();
        assert!(sender.is_closed());
    }
}
