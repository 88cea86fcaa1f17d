//! Connections that break and come back, clients that go silent, and who notices when.
//!
//! | | the client | the servers |
//! |---|---|---|
//! | the connection breaks | notices after 2/5 to 2/3 of the session timeout, or by a request that it sends: `Disconnected` | end the session one timeout after they last heard of it, up to a third of it before the break |
//! | it can connect again | `Connected`, perhaps to another server; then all watches say `Everything` | wait a whole timeout again |
//! | the session has ended meanwhile | `Expired` | |

use super::message::{Delivery, Event};
use super::model::{Model, micros};
use super::party::Link;

/// Until a client that has lost its connection has another one, in microseconds.
const RECONNECTS_WITHIN: std::ops::RangeInclusive<u64> = 5_000..=250_000;

/// Between a client's new connection and its watches being set again.
const WATCHES_AGAIN_WITHIN: std::ops::RangeInclusive<u64> = 0..=50_000;

impl Model {
    /// The connection is gone, and what is on its way on it; the client does not know yet.
    fn break_link(&mut self, session: i64) {
        let Some(client) = self.clients.get_mut(&session) else {
            return;
        };
        if client.link != Link::Up {
            return;
        }
        client.link = Link::Down { noticed: false };
        client.epoch += 1;
        client.held.clear();
        let epoch = client.epoch;
        let timeout = micros(self.options.session_timeout);
        let due = self.now + self.random.within(&(timeout * 2 / 5..=timeout * 2 / 3));
        self.agenda.add(due, Event::Notice { session, epoch });
        self.fall_silent(session);
    }

    /// The servers hear no more of a session; the last ping may have been a third of the timeout ago.
    pub(super) fn fall_silent(&mut self, session: i64) {
        if self.live.get(&session).is_none_or(|live| live.silent) {
            return;
        }
        let timeout = micros(self.options.session_timeout);
        let heard_ago = self.random.within(&(0..=timeout / 3));
        self.expire_after(session, timeout - heard_ago);
    }

    fn expire_after(&mut self, session: i64, delay: u64) {
        if let Some(live) = self.live.get_mut(&session) {
            live.silent = true;
            live.generation += 1;
            let generation = live.generation;
            self.agenda.add(
                self.now + delay,
                Event::Expire {
                    session,
                    generation,
                },
            );
        }
    }

    fn heard_of(&mut self, session: i64) {
        if let Some(live) = self.live.get_mut(&session) {
            live.silent = false;
            live.generation += 1;
        }
    }

    /// Breaks a connection so that the client notices at once and goes on with another server.
    pub(super) fn change_server(&mut self, session: i64) {
        self.counts.count("server_change");
        self.break_link(session);
        self.notice_soon(session);
    }

    /// Lets a client whose connection is broken notice it, or try again if it has.
    pub(super) fn notice_soon(&mut self, session: i64) {
        let due = self.arrival();
        if let Some(client) = self.clients.get(&session) {
            let epoch = client.epoch;
            match client.link {
                Link::Up => {}
                Link::Down { noticed: false } => {
                    self.agenda.add(due, Event::Notice { session, epoch });
                }
                Link::Down { noticed: true } => self.reconnect_soon(session, epoch),
            }
        }
    }

    fn reconnect_soon(&mut self, session: i64, epoch: u64) {
        let due = self.now + self.random.within(&RECONNECTS_WITHIN);
        self.agenda.add(due, Event::Reconnect { session, epoch });
    }

    pub(super) fn notice(&mut self, session: i64, epoch: u64) {
        let Some(client) = self.clients.get_mut(&session) else {
            return;
        };
        let news = client.link == Link::Down { noticed: false } && client.epoch == epoch;
        if news && !self.obstacles.is_paused(client.process) {
            client.disconnect();
            self.reconnect_soon(session, epoch);
        }
    }

    pub(super) fn reconnect(&mut self, session: i64, epoch: u64) {
        let max_lag = self.max_lag();
        let Some(client) = self.clients.get_mut(&session) else {
            return;
        };
        let waits = client.link == Link::Down { noticed: true } && client.epoch == epoch;
        let can = self.obstacles.connects(client.host) && !self.obstacles.is_paused(client.process);
        // Otherwise the repair makes it try again.
        if !waits || !can {
            return;
        }
        let Some(live) = self.live.get_mut(&session) else {
            self.send(session, Delivery::Expired);
            return;
        };
        client.link = Link::Up;
        client.epoch += 1;
        let epoch = client.epoch;
        live.view.change_server(self.now, max_lag, &mut self.random);
        self.heard_of(session);
        self.wake_when_due(session);
        self.send(session, Delivery::Connected);
        // Only now: who reads because of this must not miss what comes after its reading.
        let due = self.arrival() + self.random.within(&WATCHES_AGAIN_WITHIN);
        let delivery = Delivery::Everything;
        self.agenda.add(
            due,
            Event::Deliver {
                session,
                epoch,
                delivery,
            },
        );
    }

    /// The client's part of a session is no more, and closes nothing.
    pub(super) fn forget(&mut self, session: i64) {
        if self.clients.remove(&session).is_some() {
            self.fall_silent(session);
        }
    }

    // What the owner does to hosts, processes and servers.

    pub(super) fn cut(&mut self, host: u64, cut: bool) {
        let changes = if cut {
            self.obstacles.cut.insert(host)
        } else {
            self.obstacles.cut.remove(&host)
        };
        if !changes {
            return;
        }
        let sessions = self.sessions_of(|client| client.host == host);
        if cut {
            self.counts.count("cut");
            for session in sessions {
                self.break_link(session);
            }
        } else {
            for session in sessions {
                self.notice_soon(session);
            }
        }
    }

    pub(super) fn outage(&mut self, down: bool) {
        if self.obstacles.outage == down {
            return;
        }
        self.obstacles.outage = down;
        let sessions = self.sessions_of(|_| true);
        if down {
            self.counts.count("outage");
            for session in sessions {
                self.break_link(session);
            }
        } else {
            // A new leader gives every session a whole timeout.
            let timeout = micros(self.options.session_timeout);
            let live: Vec<_> = self.live.keys().copied().collect();
            for session in live {
                self.expire_after(session, timeout);
            }
            for session in sessions {
                self.notice_soon(session);
            }
        }
    }

    pub(super) fn pause(&mut self, process: u64, paused: bool) {
        let sessions = self.sessions_of(|client| client.process == process);
        if paused {
            if self.obstacles.is_paused(process) {
                return;
            }
            self.counts.count("pause");
            self.obstacles.paused.insert(process, self.now);
            for session in sessions {
                self.fall_silent(session);
            }
        } else if let Some(since) = self.obstacles.paused.remove(&process) {
            let paused_for = self.now.saturating_sub(since);
            for session in sessions {
                self.go_on(session, paused_for);
            }
        }
    }

    /// A client whose process goes on after a pause takes what has arrived, or finds its connection broken.
    fn go_on(&mut self, session: i64, paused_for: u64) {
        let too_long = paused_for >= micros(self.options.session_timeout) * 2 / 5;
        if too_long || !self.live.contains_key(&session) {
            self.break_link(session);
        }
        let Some(client) = self.clients.get_mut(&session) else {
            return;
        };
        if client.link != Link::Up {
            self.notice_soon(session);
            return;
        }
        // Before anything that is still on its way.
        for (epoch, delivery) in std::mem::take(&mut client.held) {
            let event = Event::Deliver {
                session,
                epoch,
                delivery,
            };
            self.agenda.add(self.now, event);
        }
        self.heard_of(session);
    }

    pub(super) fn kill(&mut self, process: u64) {
        if self.obstacles.killed.insert(process) {
            self.counts.count("kill");
            self.obstacles.paused.remove(&process);
            let sessions = self.sessions_of(|client| client.process == process);
            for session in sessions {
                self.forget(session);
            }
        }
    }

    fn sessions_of(&self, wanted: impl Fn(&super::party::Client) -> bool) -> Vec<i64> {
        let wanted = self.clients.iter().filter(|(_, client)| wanted(client));
        wanted.map(|(session, _)| *session).collect()
    }
}
