//! What goes wrong by itself, and how often it did.

use std::collections::BTreeMap;
use std::time::Duration;

/// Faults that happen by themselves. Probabilities are per request, from 0 to 1; the default is none.
///
/// A write whose request or answer is lost ends with [`Error::ConnectionLoss`](crate::Error). Reads, watches
/// and attempts to connect are sent again by the client, so for them a loss costs time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Faults {
    /// The request is lost on its way and never carried out.
    pub lose_request: f64,
    /// The request is carried out, its answer is lost.
    pub lose_answer: f64,
    /// A write seems lost to its caller, and is carried out up to three seconds later, if its session
    /// lives then.
    pub late_write: f64,
    /// The servers end the session instead of carrying the request out. The client learns of it up to half
    /// a second later.
    pub expire_session: f64,
    /// The connection breaks and the client goes on with another server, which may lag more or less. What
    /// the session has seen never goes back.
    pub server_change: f64,
    /// How far the server that a client is connected to lags behind the others, at the most. Each session
    /// has a lag of its own below this, which changes every second or so.
    pub server_lag: Duration,
}

/// How often each kind of fault has happened.
#[derive(Default)]
pub(super) struct Counts {
    counts: BTreeMap<&'static str, u64>,
}

impl Counts {
    pub(super) fn count(&mut self, kind: &'static str) {
        *self.counts.entry(kind).or_default() += 1;
    }

    pub(super) fn all(&self) -> BTreeMap<&'static str, u64> {
        self.counts.clone()
    }
}
