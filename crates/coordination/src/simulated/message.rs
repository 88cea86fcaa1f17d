//! What travels between clients and servers, and all that can be about to happen.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::standing::Standing;
use crate::{Error, Operation, Outcome, WatchSender, Znode};

/// What a session asks a server for.
pub(super) enum Request {
    Get { path: String },
    Children { path: String },
    Multi { operations: Vec<Operation> },
    Sync,
    Watch { root: String, sender: WatchSender },
}

impl Request {
    pub(super) fn is_write(&self) -> bool {
        matches!(self, Self::Multi { .. })
    }
}

/// What it gets; each kind of request has its kind.
pub(super) enum Value {
    Znode(Option<Znode>),
    Children(Option<Vec<String>>),
    Outcomes(Vec<Outcome>),
    Done,
}

/// Why it does not get it.
pub(super) enum Failure {
    /// Something was lost on the way, there or back; or the session has ended with a write under way.
    Lost,
    /// The servers or the client say no, and the request was not carried out.
    Refused(Error),
}

pub(super) type Reply = Result<Value, Failure>;

/// A request on its way to a server.
pub(super) struct Arrival {
    pub(super) session: i64,
    /// The call that waits for the answer; `None` for a late write, which nobody waits for.
    pub(super) call: Option<u64>,
    /// The connection that it was sent on.
    pub(super) epoch: u64,
    pub(super) request: Request,
    pub(super) lose_answer: bool,
}

/// What a server sends to a client.
pub(super) enum Delivery {
    Answer {
        call: u64,
        reply: Reply,
    },
    /// A znode below a watch's root has changed.
    Changed {
        watch: u64,
        path: String,
    },
    /// All watches are set again after a reconnect.
    Everything,
    Connected,
    Expired,
}

/// What a client gets when its session is open.
pub(super) struct Opened {
    pub(super) session: i64,
    pub(super) standing: Arc<Standing>,
}

/// An attempt to open a session.
pub(super) struct Opening {
    pub(super) host: u64,
    pub(super) process: u64,
    /// Which attempt this is.
    pub(super) ticket: u64,
    pub(super) lose_answer: bool,
    pub(super) answer: oneshot::Sender<Opened>,
}

/// All that can be about to happen.
pub(super) enum Event {
    /// The wish for a session arrives at a server.
    Open(Opening),
    /// The news of a new session arrives at its client.
    Opened {
        session: i64,
        answer: oneshot::Sender<Opened>,
    },
    /// A request arrives at a server.
    Arrive(Arrival),
    /// The wish to end a session arrives at a server.
    Close {
        session: i64,
        host: u64,
        done: oneshot::Sender<()>,
    },
    /// The news of that arrives at its client.
    Closed { done: oneshot::Sender<()> },
    /// Something arrives at a client, on the connection on which it was sent.
    Deliver {
        session: i64,
        epoch: u64,
        delivery: Delivery,
    },
    /// A server has more to show to a session.
    CatchUp { session: i64 },
    /// A session that was silent since this generation has timed out.
    Expire { session: i64, generation: u64 },
    /// A client notices that its connection is broken.
    Notice { session: i64, epoch: u64 },
    /// A client tries to connect again.
    Reconnect { session: i64, epoch: u64 },
}
