//! Watches that outlive connections, which the client's own do not: see the first trap in [`super`].

use std::sync::Weak;

use zookeeper_client as zk;

use super::{Inner, Traffic};
use crate::{Error, WatchSender};

/// Why a watcher of the client gives no more events.
enum Silence {
    /// The connection was lost; what has happened since, or will happen, is not told to it.
    Disconnected,
    /// The session has ended.
    Ended,
}

/// Passes on what the client's watcher says, and watches again whenever the connection was lost, until the
/// session ends or nobody listens any more.
pub(super) async fn pump(
    inner: Weak<Inner>,
    root: String,
    watcher: zk::PersistentWatcher,
    sender: WatchSender,
) {
    tokio::select! {
        () = sender.closed() => {}
        () = until_end(inner, root, watcher, &sender) => sender.end(),
    }
}

async fn until_end(
    inner: Weak<Inner>,
    root: String,
    mut watcher: zk::PersistentWatcher,
    sender: &WatchSender,
) {
    let Some(traffic) = inner.upgrade().map(|inner| inner.options.traffic.clone()) else {
        return;
    };
    while let Silence::Disconnected = pass_on(&mut watcher, sender, &traffic).await {
        match watch_again(&inner, &root).await {
            Some(again) => watcher = again,
            None => return,
        }
        // Only now: who reads because of this must not miss what comes after its reading.
        traffic.event();
        sender.everything();
    }
}

async fn pass_on(
    watcher: &mut zk::PersistentWatcher,
    sender: &WatchSender,
    traffic: &Traffic,
) -> Silence {
    loop {
        let event = watcher.changed().await;
        if event.event_type != zk::EventType::Session {
            traffic.event();
            sender.path(&event.path);
        } else if event.session_state.is_terminated() {
            return Silence::Ended;
        } else {
            return Silence::Disconnected;
        }
    }
}

async fn watch_again(inner: &Weak<Inner>, root: &str) -> Option<zk::PersistentWatcher> {
    loop {
        let result = inner.upgrade()?.watch_once(root).await;
        match result {
            Ok(watcher) => return Some(watcher),
            // An outage may last; the session ends at some time or comes back.
            Err(error) if error.is_transient() => {}
            Err(Error::SessionExpired) => return None,
            Err(error) => {
                tracing::error!(%error, root, "ZooKeeper refuses a watch");
                return None;
            }
        }
    }
}
