//! The two ends of a session: what its client knows, and what the servers know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::message::{Delivery, Failure, Reply};
use super::standing::Standing;
use super::view::View;
use crate::{Error, SessionState, WatchSender};

/// A session as the servers know it, while it lives.
pub(super) struct Live {
    pub(super) view: View,
    /// The servers don't hear of the client, so the session is about to time out.
    pub(super) silent: bool,
    /// Grows whenever the servers hear of the client again, or are to wait a whole timeout again.
    pub(super) generation: u64,
}

/// The connection as the client knows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    /// Broken, which the client has noticed or not.
    Down {
        noticed: bool,
    },
}

/// A session as its client knows it, until it is told that the session has ended.
pub(super) struct Client {
    pub(super) host: u64,
    pub(super) process: u64,
    /// The attempt that opened it.
    pub(super) ticket: u64,
    pub(super) standing: Arc<Standing>,
    pub(super) link: Link,
    /// Numbers the connections. What was sent on one of them reaches nobody on the next.
    pub(super) epoch: u64,
    pub(super) calls: BTreeMap<u64, Call>,
    pub(super) watches: BTreeMap<u64, Registration>,
    /// What has arrived while the process is paused.
    pub(super) held: Vec<(u64, Delivery)>,
    /// When the last answer arrives: answers of one connection don't overtake each other, for else a
    /// session would see the tree go back.
    pub(super) last_answer: u64,
}

/// A call that waits.
pub(super) struct Call {
    pub(super) answer: oneshot::Sender<Reply>,
    pub(super) is_write: bool,
}

/// A watch.
pub(super) struct Registration {
    pub(super) root: String,
    pub(super) sender: WatchSender,
}

impl Client {
    /// Takes in what a server has sent.
    pub(super) fn receive(&mut self, session: i64, delivery: Delivery) {
        match delivery {
            Delivery::Answer { call, reply } => {
                if let Some(call) = self.calls.remove(&call) {
                    // An error means that the caller has gone.
                    let _ = call.answer.send(reply);
                }
            }
            Delivery::Changed { watch, path } => {
                if let Some(watch) = self.watches.get(&watch) {
                    watch.sender.path(&path);
                }
            }
            Delivery::Everything => {
                for watch in self.watches.values() {
                    watch.sender.everything();
                }
            }
            Delivery::Connected => {
                self.standing.set(SessionState::Connected { session });
            }
            Delivery::Expired => self.end(),
        }
    }

    /// Notices that the connection is broken: nobody knows what became of the calls.
    pub(super) fn disconnect(&mut self) {
        self.link = Link::Down { noticed: true };
        self.standing.set(SessionState::Disconnected);
        for call in std::mem::take(&mut self.calls).into_values() {
            let _ = call.answer.send(Err(Failure::Lost));
        }
    }

    /// The session is over, for the client.
    pub(super) fn end(&mut self) {
        self.standing.set(SessionState::Expired);
        for call in std::mem::take(&mut self.calls).into_values() {
            let failure = if call.is_write {
                Failure::Lost
            } else {
                Failure::Refused(Error::SessionExpired)
            };
            let _ = call.answer.send(Err(failure));
        }
        for watch in std::mem::take(&mut self.watches).into_values() {
            watch.sender.end();
        }
    }
}

/// Who can't talk to the servers.
#[derive(Default)]
pub(super) struct Obstacles {
    /// The majority of the servers is down.
    pub(super) outage: bool,
    /// Hosts that are cut off.
    pub(super) cut: BTreeSet<u64>,
    /// Processes that are paused, and since when.
    pub(super) paused: BTreeMap<u64, u64>,
    /// Processes that are gone for good.
    pub(super) killed: BTreeSet<u64>,
}

impl Obstacles {
    /// Whether messages get from this host to working servers, and back.
    pub(super) fn connects(&self, host: u64) -> bool {
        !self.outage && !self.cut.contains(&host)
    }

    pub(super) fn is_paused(&self, process: u64) -> bool {
        self.paused.contains_key(&process)
    }

    pub(super) fn is_killed(&self, process: u64) -> bool {
        self.killed.contains(&process)
    }
}
