//! The model: clients, servers and the wire between them, as one state machine that its owner drives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::EnsembleOptions;
use super::agenda::Agenda;
use super::faults::{Counts, Faults};
use super::message::{Delivery, Event, Opened, Reply};
use super::party::{Client, Live, Obstacles};
use super::random::Random;
use crate::tree_state::{Edit, State, Transaction};
use crate::{ANY_VERSION, Operation, Znode, path};

use super::view::View;

/// Between a loss and the caller's knowing of it, besides the way there and back.
const LOSS_SHOWS_WITHIN: std::ops::RangeInclusive<u64> = 0..=300_000;

/// See [`super::Ensemble`], which holds it behind a lock.
pub(super) struct Model {
    pub(super) options: EnsembleOptions,
    pub(super) faults: Faults,
    pub(super) counts: Counts,
    pub(super) random: Random,
    pub(super) agenda: Agenda<Event>,
    /// True time, in microseconds; while an event is handled, that of the event.
    pub(super) now: u64,
    /// All writes so far: the one order.
    pub(super) committed: State,
    /// The last that any server may be, from which new sessions begin.
    laggard: View,
    /// The servers' side.
    pub(super) live: BTreeMap<i64, Live>,
    /// The clients' side.
    pub(super) clients: BTreeMap<i64, Client>,
    pub(super) obstacles: Obstacles,
    /// Session ids are never used again.
    session_ids: BTreeSet<i64>,
    /// Numbers calls, watches and attempts to connect.
    numbers: u64,
}

impl Model {
    pub(super) fn new(seed: u64, options: EnsembleOptions) -> Self {
        Self {
            options,
            faults: Faults::default(),
            counts: Counts::default(),
            random: Random::new(seed),
            agenda: Agenda::new(),
            now: 0,
            committed: State::new(),
            laggard: View::of(State::new()),
            live: BTreeMap::new(),
            clients: BTreeMap::new(),
            obstacles: Obstacles::default(),
            session_ids: BTreeSet::new(),
            numbers: 0,
        }
    }

    pub(super) fn advance(&mut self, now: u64) {
        while let Some((due, event)) = self.agenda.take_due(now) {
            self.now = self.now.max(due);
            self.handle(event);
        }
        self.now = self.now.max(now);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Open(opening) => self.open_arrives(opening),
            Event::Opened { session, answer } => self.opened_arrives(session, answer),
            Event::Arrive(arrival) => self.arrive(arrival),
            Event::Close {
                session,
                host,
                done,
            } => self.close_arrives(session, host, done),
            Event::Closed { done } => {
                // An error means that nobody waits for it.
                let _ = done.send(());
            }
            Event::Deliver {
                session,
                epoch,
                delivery,
            } => self.deliver(session, epoch, delivery),
            Event::CatchUp { session } => self.move_on(session),
            Event::Expire {
                session,
                generation,
            } => self.time_out(session, generation),
            Event::Notice { session, epoch } => self.notice(session, epoch),
            Event::Reconnect { session, epoch } => self.reconnect(session, epoch),
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn max_lag(&self) -> u64 {
        micros(self.faults.server_lag)
    }

    pub(super) fn after(&self, delay: u64) -> u64 {
        self.now + delay
    }

    /// When something that is sent now arrives.
    pub(super) fn arrival(&mut self) -> u64 {
        self.now + self.random.within(&self.options.latency_micros)
    }

    // Sessions, on the servers' side.

    /// A new session, on a server that may be behind.
    pub(super) fn begin_session(&mut self) -> i64 {
        let session = self.draw_session_id();
        let mut view = self.laggard.clone();
        let max_lag = self.max_lag();
        view.change_server(self.now, max_lag, &mut self.random);
        let live = Live {
            view,
            silent: false,
            generation: 0,
        };
        self.live.insert(session, live);
        self.wake_when_due(session);
        session
    }

    fn draw_session_id(&mut self) -> i64 {
        loop {
            // Positive, and not 0, which would mean "persistent".
            let id = (self.random.next() >> 1).cast_signed();
            if id != 0 && self.session_ids.insert(id) {
                return id;
            }
        }
    }

    /// Ends a session: its ephemeral znodes go, and its client is told, if it is connected.
    pub(super) fn end_session(&mut self, session: i64) {
        if self.live.remove(&session).is_none() {
            return;
        }
        let end = self.committed.stage_end(session);
        self.commit(end);
        if let Some(client) = self.clients.get(&session) {
            let epoch = client.epoch;
            let due = self.arrival() + self.random.within(&(0..=500_000));
            self.agenda.add(
                due,
                Event::Deliver {
                    session,
                    epoch,
                    delivery: Delivery::Expired,
                },
            );
        }
    }

    fn time_out(&mut self, session: i64, generation: u64) {
        let silent = self
            .live
            .get(&session)
            .is_some_and(|live| live.generation == generation);
        // Without a majority nobody decides anything.
        if silent && !self.obstacles.outage {
            self.counts.count("session_timeout");
            self.end_session(session);
        }
    }

    // Writes, and who sees them when.

    /// What a write does to everybody else: sooner or later they see it.
    pub(super) fn commit(&mut self, transaction: Transaction) {
        if transaction.edits.is_empty() {
            return;
        }
        let transaction = Arc::new(transaction);
        let max_lag = self.max_lag();
        self.laggard.follow_by(&transaction, self.now, max_lag);
        self.laggard.move_on(self.now);
        let sessions: Vec<_> = self.live.keys().copied().collect();
        for session in sessions {
            if let Some(live) = self.live.get_mut(&session) {
                live.view
                    .follow(&transaction, self.now, max_lag, &mut self.random);
            }
            self.wake_when_due(session);
        }
    }

    /// Takes a znode away on nobody's behalf.
    pub(super) fn take_away(&mut self, path: &str) -> bool {
        let nobody = 0;
        let delete = vec![Operation::delete(path, ANY_VERSION)];
        let Ok((transaction, _)) = self.committed.stage(nobody, delete) else {
            return false;
        };
        self.counts.count("lose");
        self.commit(transaction);
        true
    }

    /// Shows a session what it is due to see.
    fn move_on(&mut self, session: i64) {
        if let Some(live) = self.live.get_mut(&session)
            && live.view.wake_at.is_some_and(|at| at <= self.now)
        {
            live.view.wake_at = None;
            self.wake_when_due(session);
        }
    }

    pub(super) fn wake_when_due(&mut self, session: i64) {
        let Some(live) = self.live.get_mut(&session) else {
            return;
        };
        let shown = live.view.move_on(self.now);
        if let Some(due) = live.view.next_due()
            && live.view.wake_at.is_none_or(|at| due < at)
        {
            live.view.wake_at = Some(due);
            self.agenda.add(due, Event::CatchUp { session });
        }
        self.tell_watches(session, &shown);
    }

    /// Shows a session all that is committed.
    pub(super) fn catch_up(&mut self, session: i64) {
        if let Some(live) = self.live.get_mut(&session) {
            let shown = live.view.catch_up();
            self.tell_watches(session, &shown);
        }
    }

    /// Tells of changes, and not before the session can read them: else nothing would make it read again.
    fn tell_watches(&mut self, session: i64, shown: &[Arc<Transaction>]) {
        if shown.is_empty() {
            return;
        }
        let Some(client) = self.clients.get_mut(&session) else {
            return;
        };
        client.watches.retain(|_, watch| !watch.sender.is_closed());
        let max_lag = micros(self.faults.server_lag);
        for edit in shown.iter().flat_map(|transaction| &transaction.edits) {
            let (Edit::Create { path, .. } | Edit::Set { path, .. } | Edit::Delete { path }) = edit;
            for (watch, registration) in &client.watches {
                if path::is_within(path, &registration.root) {
                    let delivery = Delivery::Changed {
                        watch: *watch,
                        path: path.clone(),
                    };
                    let way = self.random.within(&self.options.latency_micros);
                    let late = self.random.within(&(0..=max_lag));
                    self.agenda.add(
                        self.now + way + late,
                        Event::Deliver {
                            session,
                            epoch: client.epoch,
                            delivery,
                        },
                    );
                }
            }
        }
    }

    // What servers send.

    /// Sends something that no later answer overtakes.
    pub(super) fn send(&mut self, session: i64, delivery: Delivery) {
        let due = self.arrival();
        if let Some(client) = self.clients.get_mut(&session) {
            let due = due.max(client.last_answer);
            client.last_answer = due;
            let epoch = client.epoch;
            self.agenda.add(
                due,
                Event::Deliver {
                    session,
                    epoch,
                    delivery,
                },
            );
        }
    }

    /// Answers a call on the connection on which it came.
    pub(super) fn answer(&mut self, session: i64, epoch: u64, call: u64, reply: Reply) {
        let same = self.clients.get(&session).map(|client| client.epoch) == Some(epoch);
        if same {
            self.send(session, Delivery::Answer { call, reply });
        }
    }

    /// Tells the caller, after some time, that nobody knows what became of its request.
    pub(super) fn lose(&mut self, session: i64, call: u64) {
        let due = self.arrival() + self.random.within(&LOSS_SHOWS_WITHIN);
        if let Some(client) = self.clients.get(&session) {
            let epoch = client.epoch;
            let reply = Err(super::message::Failure::Lost);
            self.agenda.add(
                due,
                Event::Deliver {
                    session,
                    epoch,
                    delivery: Delivery::Answer { call, reply },
                },
            );
        }
    }

    fn deliver(&mut self, session: i64, epoch: u64, delivery: Delivery) {
        let Some(client) = self.clients.get_mut(&session) else {
            return;
        };
        if client.epoch != epoch || !self.obstacles.connects(client.host) {
            return;
        }
        if self.obstacles.is_paused(client.process) {
            client.held.push((epoch, delivery));
            return;
        }
        let expired = matches!(delivery, Delivery::Expired);
        client.receive(session, delivery);
        if expired {
            self.clients.remove(&session);
        }
    }

    fn opened_arrives(&mut self, session: i64, answer: oneshot::Sender<Opened>) {
        let Some(client) = self.clients.get(&session) else {
            return;
        };
        if self.obstacles.is_paused(client.process) {
            let due = self.after(50_000);
            self.agenda.add(due, Event::Opened { session, answer });
            return;
        }
        let opened = Opened {
            session,
            standing: Arc::clone(&client.standing),
        };
        if !self.obstacles.connects(client.host) || answer.send(opened).is_err() {
            self.forget(session);
        }
    }

    /// The committed tree.
    pub(super) fn tree(&self) -> BTreeMap<String, Znode> {
        let paths = self.committed.export().into_iter().map(|(path, _)| path);
        paths
            .filter_map(|path| Some((path.clone(), self.committed.get(path)?)))
            .collect()
    }
}

/// A duration in the model's unit.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
