//! What all parts of a router share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::Error;
use coordination::{Coordination, Joined, SessionState};
use model::{ClusterId, RequestId, RouterId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::attempt::leaders::Leaders;
use crate::attempt::run::Means;
use crate::directory::{Directory, unavailable};
use crate::health::Health;
use crate::options::Options;
use crate::transaction::Transactions;
use links::Nodes;

/// A session with the coordination store, registered under an id of its own.
pub(crate) struct Session {
    pub(crate) router: RouterId,
    pub(crate) cluster: ClusterId,
    pub(crate) store: Arc<dyn Coordination>,
    /// The same, for the ledger of transactions: concurrent writes are joined.
    pub(crate) ledger: Joined,
}

/// A router's state. None of it is on disk; all of it can be rebuilt.
pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) directory: Directory,
    pub(crate) nodes: Nodes,
    pub(crate) leaders: Leaders,
    pub(crate) health: watch::Sender<Health>,
    pub(crate) session: watch::Sender<Option<Arc<Session>>>,
    pub(crate) transactions: Transactions,
    /// Cancelled when the router goes down and nobody listens any more: who is connected is told, and comes not again.
    pub(crate) closing: CancellationToken,
    /// Names this process as the issuer of writes.
    client: u64,
    /// Counts its writes.
    sequence: AtomicU64,
}

impl State {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            directory: Directory::new(),
            nodes: Nodes::new(
                Arc::clone(&options.environment.network),
                options.timing.links.clone(),
            ),
            leaders: Leaders::default(),
            health: watch::Sender::new(Health::starting()),
            session: watch::Sender::new(None),
            transactions: Transactions::new(),
            closing: CancellationToken::new(),
            client: rand::random(),
            sequence: AtomicU64::new(0),
            options,
        }
    }

    /// The time of day, milliseconds since the Unix epoch.
    pub(crate) fn now_millis(&self) -> u64 {
        self.options.environment.clock.now().wall_millis
    }

    /// An identity for a write whose caller gave none.
    pub(crate) fn next_request_id(&self) -> RequestId {
        RequestId {
            issued_millis: self.now_millis(),
            client: self.client,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The session for administration: only one that is in touch with the store.
    pub(crate) fn connected(&self) -> Result<Arc<Session>, Error> {
        let session = self.session.borrow().clone();
        let session = session
            .ok_or_else(|| unavailable("this router has no session with it at the moment"))?;
        let state = *session.store.session().borrow();
        match state {
            SessionState::Connected { .. } => Ok(session),
            SessionState::Disconnected => Err(unavailable("the connection is lost")),
            SessionState::Expired => Err(unavailable("the session has expired")),
        }
    }

    /// The means to send operations to data nodes.
    pub(crate) fn means(&self) -> Means<'_> {
        Means {
            nodes: &self.nodes,
            leaders: &self.leaders,
            timing: &self.options.timing,
        }
    }
}
