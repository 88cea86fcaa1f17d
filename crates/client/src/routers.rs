//! The routers that a client knows, and the connections to them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use environment::Network;

use crate::address::Address;
use crate::connection::Connection;

/// All routers of a client. Requests go to one of them until it can't be used, then to the next.
#[derive(Debug)]
pub(crate) struct Routers {
    routers: Vec<Router>,
    /// Index of the router in use; counts on beyond the end.
    current: AtomicUsize,
}

/// One router.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) address: Arc<Address>,
    network: Arc<dyn Network>,
    /// Connections, used in turn.
    slots: Vec<Slot>,
    turn: AtomicUsize,
    /// Whether connections may carry operations over a stream.
    streams: bool,
}

#[derive(Debug, Default)]
struct Slot {
    open: Mutex<Option<Connection>>,
    /// Held while a connection is opened, so that many waiting requests open one.
    opening: tokio::sync::Mutex<()>,
}

impl Routers {
    pub(crate) fn new(
        addresses: Vec<Address>,
        connections: usize,
        streams: bool,
        network: &Arc<dyn Network>,
    ) -> Self {
        let router = |address| Router {
            address: Arc::new(address),
            network: Arc::clone(network),
            slots: (0..connections.max(1)).map(|_| Slot::default()).collect(),
            turn: AtomicUsize::new(0),
            streams,
        };
        Self {
            routers: addresses.into_iter().map(router).collect(),
            current: AtomicUsize::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.routers.len()
    }

    /// The router in use, with the position that [`Routers::leave`] wants.
    pub(crate) fn current(&self) -> (usize, &Router) {
        let position = self.current.load(Ordering::Relaxed);
        (position, &self.routers[position % self.routers.len()])
    }

    /// Moves on from a router, unless another request has already done so.
    pub(crate) fn leave(&self, position: usize) {
        let next = position.wrapping_add(1);
        // Losing this race means that the move is done.
        let _ = self
            .current
            .compare_exchange(position, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// All addresses, for messages.
    pub(crate) fn addresses(&self) -> String {
        let all: Vec<_> = self
            .routers
            .iter()
            .map(|router| router.address.to_string())
            .collect();
        all.join(", ")
    }
}

impl Router {
    /// A connection to this router, opened if need be. An error means that nothing was sent.
    pub(crate) async fn connection(&self) -> Result<Connection, String> {
        let slot = match self.slots.as_slice() {
            [only] => only,
            slots => &slots[self.turn.fetch_add(1, Ordering::Relaxed) % slots.len()],
        };
        if let Some(connection) = slot.usable() {
            return Ok(connection);
        }
        let _opening = slot.opening.lock().await;
        if let Some(connection) = slot.usable() {
            return Ok(connection);
        }
        let connection = Connection::open(&*self.network, &self.address, self.streams).await?;
        *slot.lock() = Some(connection.clone());
        Ok(connection)
    }
}

impl Slot {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        // Nothing panics while the lock is held, and an option can't be half written.
        self.open
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn usable(&self) -> Option<Connection> {
        self.lock()
            .as_ref()
            .filter(|connection| !connection.is_closed())
            .cloned()
    }
}
