//! The way of a request: sent by a client, perhaps lost, carried out by a server, answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::message::{Arrival, Event, Failure, Opened, Opening, Reply, Request, Value};
use super::model::Model;
use super::party::{Call, Client, Link, Registration};
use super::standing::Standing;
use crate::{Error, SessionState};

/// How late a late write is, in microseconds.
const LATE_BY: std::ops::RangeInclusive<u64> = 1_000..=3_000_000;

/// Of the writes that a cut has caught on their way, those that the client still sends, or the network still
/// delivers, after the repair.
const SURVIVES_A_CUT: f64 = 0.3;

/// Of the requests that go out on a broken connection, those by which the client notices that it is broken.
const NOTICES_BY_A_REQUEST: f64 = 0.5;

impl Model {
    // The client's end.

    /// Sends a session's request.
    pub(super) fn submit(&mut self, session: i64, request: Request) -> oneshot::Receiver<Reply> {
        let (answer, answered) = oneshot::channel();
        let call = self.number();
        let Some(client) = self.clients.get_mut(&session) else {
            let _ = answer.send(Err(Failure::Refused(Error::SessionExpired)));
            return answered;
        };
        let is_write = request.is_write();
        client.calls.insert(call, Call { answer, is_write });
        if client.link == Link::Up {
            self.send_request(session, call, request);
        } else {
            self.lost_on_the_way(session, request);
            if self.random.chance(NOTICES_BY_A_REQUEST) {
                self.notice_soon(session);
            }
        }
        answered
    }

    fn send_request(&mut self, session: i64, call: u64, request: Request) {
        let epoch = self.clients.get(&session).map_or(0, |client| client.epoch);
        if request.is_write() && self.random.chance(self.faults.late_write) {
            self.send_late(session, request);
            self.lose(session, call);
        } else if self.random.chance(self.faults.lose_request) {
            self.counts.count("lose_request");
            self.lose(session, call);
        } else {
            let lose_answer = self.random.chance(self.faults.lose_answer);
            let due = self.arrival();
            let arrival = Arrival {
                session,
                call: Some(call),
                epoch,
                request,
                lose_answer,
            };
            self.agenda.add(due, Event::Arrive(arrival));
        }
        if self.random.chance(self.faults.server_change) {
            self.change_server(session);
        }
    }

    /// Sends a write on a way of its own, which takes long and ends nobody knows when.
    fn send_late(&mut self, session: i64, request: Request) {
        self.counts.count("late_write");
        let due = self.now + self.random.within(&LATE_BY);
        let arrival = Arrival {
            session,
            call: None,
            epoch: 0,
            request,
            lose_answer: false,
        };
        self.agenda.add(due, Event::Arrive(arrival));
    }

    /// A request has met a cut. Its caller finds out with the client, or when it has waited long enough.
    fn lost_on_the_way(&mut self, session: i64, request: Request) {
        self.counts.count("lost_in_cut");
        if request.is_write() && self.random.chance(SURVIVES_A_CUT) {
            self.send_late(session, request);
        }
    }

    /// Asks for a new session; the receiver fails if that is lost. The ticket is for
    /// [`abandon`](Self::abandon).
    pub(super) fn open(&mut self, host: u64, process: u64) -> (u64, oneshot::Receiver<Opened>) {
        let (answer, answered) = oneshot::channel();
        let ticket = self.number();
        let sent = self.obstacles.connects(host) && !self.obstacles.is_killed(process);
        if sent && self.random.chance(self.faults.lose_request) {
            self.counts.count("lose_request");
        } else if sent {
            let lose_answer = self.random.chance(self.faults.lose_answer);
            let due = self.arrival();
            let opening = Opening {
                host,
                process,
                ticket,
                lose_answer,
                answer,
            };
            self.agenda.add(due, Event::Open(opening));
        }
        (ticket, answered)
    }

    /// Ends the session that this attempt has opened, if it has: nobody waits for it any more.
    pub(super) fn abandon(&mut self, ticket: u64) {
        let opened = self.clients.iter().find(|(_, c)| c.ticket == ticket);
        if let Some((session, _)) = opened {
            let session = *session;
            drop(self.close(session));
        }
    }

    /// Ends a session on its client's wish. `None`: it has ended already.
    pub(super) fn close(&mut self, session: i64) -> Option<oneshot::Receiver<()>> {
        let mut client = self.clients.remove(&session)?;
        client.end();
        // Should the wish be lost, the silence will do.
        self.fall_silent(session);
        let (done, closed) = oneshot::channel();
        if client.link == Link::Up {
            if self.random.chance(self.faults.lose_request) {
                self.counts.count("lose_request");
            } else {
                let host = client.host;
                let due = self.arrival();
                let close = Event::Close {
                    session,
                    host,
                    done,
                };
                self.agenda.add(due, close);
            }
        }
        Some(closed)
    }

    // The servers' end.

    pub(super) fn open_arrives(&mut self, opening: Opening) {
        let Opening {
            host,
            process,
            ticket,
            lose_answer,
            answer,
        } = opening;
        if !self.obstacles.connects(host) {
            return;
        }
        let session = self.begin_session();
        if lose_answer || self.obstacles.is_killed(process) || answer.is_closed() {
            if lose_answer {
                self.counts.count("lose_answer");
            }
            self.fall_silent(session);
            return;
        }
        let client = Client {
            host,
            process,
            ticket,
            standing: Arc::new(Standing::new(SessionState::Connected { session })),
            link: Link::Up,
            epoch: 0,
            calls: BTreeMap::new(),
            watches: BTreeMap::new(),
            held: Vec::new(),
            last_answer: 0,
        };
        self.clients.insert(session, client);
        let due = self.arrival();
        self.agenda.add(due, Event::Opened { session, answer });
    }

    pub(super) fn close_arrives(&mut self, session: i64, host: u64, done: oneshot::Sender<()>) {
        if self.obstacles.connects(host) {
            self.end_session(session);
            let due = self.arrival();
            self.agenda.add(due, Event::Closed { done });
        }
    }

    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let session = arrival.session;
        let late = arrival.call.is_none();
        if late && self.obstacles.outage {
            // Held up until somebody can carry it out.
            let due = self.now + self.random.within(&LATE_BY);
            self.agenda.add(due, Event::Arrive(arrival));
            return;
        }
        let client = self.clients.get(&session);
        let connects = client.is_none_or(|client| self.obstacles.connects(client.host));
        let current = client.is_some_and(|client| client.epoch == arrival.epoch);
        if !late && (!connects || self.obstacles.outage) {
            self.lost_on_the_way(session, arrival.request);
        } else if late || current || arrival.request.is_write() {
            self.carry_out(arrival);
        }
    }

    fn carry_out(&mut self, arrival: Arrival) {
        let Arrival {
            session,
            call,
            epoch,
            request,
            lose_answer,
        } = arrival;
        if self.live.contains_key(&session) && self.random.chance(self.faults.expire_session) {
            self.counts.count("expire_session");
            self.end_session(session);
        }
        let late_write = call.is_none();
        let reply = self.execute(session, request, late_write || lose_answer);
        if late_write && reply.is_ok() {
            self.counts.count("late_write_landed");
        }
        let Some(call) = call else {
            return;
        };
        if lose_answer {
            self.counts.count("lose_answer");
            self.lose(session, call);
        } else {
            self.answer(session, epoch, call, reply);
        }
    }

    /// Carries a request out. What is not confirmed need not be seen by its own session either.
    fn execute(&mut self, session: i64, request: Request, unconfirmed: bool) -> Reply {
        let Some(live) = self.live.get(&session) else {
            return Err(Failure::Refused(Error::SessionExpired));
        };
        match request {
            Request::Get { path } => {
                let znode = live.view.state().get(&path);
                self.count_if_behind(session);
                Ok(Value::Znode(znode))
            }
            Request::Children { path } => {
                let children = live.view.state().children(&path);
                self.count_if_behind(session);
                Ok(Value::Children(children))
            }
            Request::Multi { operations } => {
                let staged = self.committed.stage(session, operations);
                let (transaction, outcomes) = staged.map_err(Failure::Refused)?;
                self.commit(transaction);
                if !unconfirmed {
                    self.catch_up(session);
                }
                Ok(Value::Outcomes(outcomes))
            }
            Request::Sync => {
                self.catch_up(session);
                Ok(Value::Done)
            }
            Request::Watch { root, sender } => {
                let watch = self.number();
                if let Some(client) = self.clients.get_mut(&session) {
                    client.watches.insert(watch, Registration { root, sender });
                }
                Ok(Value::Done)
            }
        }
    }

    fn count_if_behind(&mut self, session: i64) {
        if self.live.get(&session).is_some_and(|l| l.view.is_behind()) {
            self.counts.count("server_lag");
        }
    }
}
