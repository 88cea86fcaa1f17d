//! A whole ensemble on simulated time, which goes wrong in every way that the contract of
//! [`Coordination`](crate::Coordination) allows (feature `testing`).
//!
//! Simulations run routers and data nodes in one thread, on simulated hosts with clocks of their own. A real
//! ZooKeeper can't live there. This store can: it is a model, a queue of things that are about to happen at
//! the servers and on the wire, and nothing in it happens but by [`Ensemble::advance`]. Everything follows
//! from the seed and the order of the calls: no threads, no real time, no other randomness.
//!
//! ```no_run
//! # use coordination::simulated::{Ensemble, EnsembleOptions, Faults};
//! # async fn example() -> Result<(), coordination::Error> {
//! let ensemble = Ensemble::new(7, EnsembleOptions::default());
//! let connect = ensemble.client(/* host */ 1, /* process */ 100);
//! // On the host: connect.connect().await. In the driver, every simulated millisecond:
//! ensemble.advance(1_000);
//! ensemble.set_faults(Faults { late_write: 0.05, ..Faults::default() });
//! ensemble.cut(1, true);
//! # Ok(())
//! # }
//! ```
//!
//! The writes of all sessions are carried out one after the other by the tree that the embedded store has too.
//! Each session reads from a copy of that tree that follows at a distance:
//!
//! ```text
//! committed   1 2 3 4 5 6 7 8
//! session a   1 2 3 4 5            its server lags: reads and watches know nothing of 6, 7 and 8
//! session b   1 2 3 4 5 6 7        7 was its own write: before that is confirmed, it sees it and all before
//! a, synced   1 2 3 4 5 6 7 8
//! ```
//!
//! A watch tells of a change when the session's copy has it, and later still.
//!
//! | done to it | happens |
//! |---|---|
//! | [`kill`](Ensemble::kill) | nothing of the process acts any more; its sessions time out; what it has sent arrives |
//! | [`pause`](Ensemble::pause) | neither heartbeats nor answers until it goes on; its sessions may time out unnoticed |
//! | [`cut`](Ensemble::cut) | every connection of the host breaks, its clients notice later; three of ten writes that the cut has caught are carried out after all |
//! | [`lose`](Ensemble::lose) | a znode is gone that somebody relies on, as after a restore from a backup |
//! | [`outage`](Ensemble::outage) | every connection breaks; nothing is decided, so no session times out; afterwards each has a whole timeout |
//! | [`set_faults`](Ensemble::set_faults) | losses, late writes, lost sessions, changes of servers, lag |
//!
//! # Caveats
//!
//! A client is told that its session has expired by a server only, as ZooKeeper's own client does it. The
//! client that production uses concludes it by itself after 7/5 of the session timeout without contact; after
//! an outage as long as that the old session lives beside its successor, which this model does not show.
//! Answers and requests have no size, and nothing is ever throttled. When several tasks wait on receivers of
//! one session's state, tokio wakes them in an order from a random generator of the thread's: whoever wants the
//! same run twice seeds that one too.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use self::faults::Faults;
use self::model::Model;
use crate::{Connect, Znode};

mod agenda;
mod client;
mod faults;
mod links;
mod message;
mod model;
mod party;
mod random;
mod requests;
mod standing;
mod view;

/// Times of servers and clients. The defaults are those of [`crate::zookeeper::ConnectOptions`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnsembleOptions {
    /// How long a session survives without contact, 6 s, by the servers' time.
    pub session_timeout: Duration,
    /// How long a call waits at the most, 4 s, by the client's host's time; never longer than the session
    /// timeout.
    pub request_timeout: Duration,
    /// How long an attempt to connect goes on, 10 s, by the client's host's time.
    pub connect_timeout: Duration,
    /// How long one message is on its way, 0.2 to 3 ms, in microseconds.
    pub latency_micros: RangeInclusive<u64>,
}

impl Default for EnsembleOptions {
    fn default() -> Self {
        Self {
            session_timeout: Duration::from_secs(6),
            request_timeout: Duration::from_secs(4),
            connect_timeout: Duration::from_secs(10),
            latency_micros: 200..=3_000,
        }
    }
}

/// The simulated ensemble: its servers, all its clients and the wire between them. Cheap to clone.
#[derive(Clone)]
pub struct Ensemble {
    model: Arc<Mutex<Model>>,
    options: Arc<EnsembleOptions>,
}

impl Ensemble {
    /// An empty store at time 0, without faults.
    pub fn new(seed: u64, options: EnsembleOptions) -> Self {
        Self {
            options: Arc::new(options.clone()),
            model: Arc::new(Mutex::new(Model::new(seed, options))),
        }
    }

    /// Moves true time forward to so many microseconds from 0, and lets all that is due by then happen in
    /// the order of its time. Time does not go back: an earlier one changes nothing. Cheap if nothing is due.
    pub fn advance(&self, now_micros: u64) {
        self.model.lock().advance(now_micros);
    }

    /// What a process on a host connects through. `process` is a number that no other start of any process
    /// has.
    pub fn client(&self, host: u64, process: u64) -> Arc<dyn Connect> {
        Arc::new(client::Connector {
            ensemble: self.clone(),
            host,
            process,
        })
    }

    /// The process was killed: nothing of it acts any more, not even what runs when it is dropped. Its
    /// sessions time out; what it has sent may still be carried out. Final.
    pub fn kill(&self, process: u64) {
        self.model.lock().kill(process);
    }

    /// Pauses a process, or lets it go on. Paused, it sends no heartbeats and gets no answers; what it sent
    /// before still arrives. That its session has timed out meanwhile it learns when it has gone on.
    pub fn pause(&self, process: u64, paused: bool) {
        self.model.lock().pause(process, paused);
    }

    /// Cuts a host off from the servers, or joins it again. Every cut, however short, breaks the host's
    /// connections: its clients are `Disconnected` sooner or later, at the latest just after the repair, and
    /// then `Connected` with the same session, or `Expired`.
    pub fn cut(&self, host: u64, cut: bool) {
        self.model.lock().cut(host, cut);
    }

    /// Faults that happen by themselves from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.model.lock().faults = faults;
    }

    /// Loses a znode without children, as if the servers had been restored from a backup that does not have it. Whether
    /// there was one.
    pub fn lose(&self, path: &str) -> bool {
        self.model.lock().take_away(path)
    }

    /// The majority of the servers is lost, or back.
    pub fn outage(&self, down: bool) {
        self.model.lock().outage(down);
    }

    /// How often each kind of fault has happened so far. Besides the names of [`Faults`]' fields:
    ///
    /// | name | counts |
    /// |---|---|
    /// | `server_lag` | reads that were answered by a server that was behind |
    /// | `late_write` | writes that were held up, by a fault or by a cut |
    /// | `late_write_landed` | those of them that were then carried out |
    /// | `lost_in_cut` | requests that a cut or an outage has caught |
    /// | `session_timeout` | sessions that ended because the servers heard nothing of them |
    /// | `lose`, `cut`, `outage`, `pause`, `kill` | calls of these methods that changed something |
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.model.lock().counts.all()
    }

    /// All znodes as they are committed now, for invariants at rest.
    pub fn tree(&self) -> BTreeMap<String, Znode> {
        self.model.lock().tree()
    }

    /// The sessions that live for the servers, in the order of their ids.
    pub fn sessions(&self) -> Vec<i64> {
        self.model.lock().live.keys().copied().collect()
    }
}
