//! Drives a [`Coordinator`] in a task of its own: carries its effects out and tells it what came of them.
//!
//! The caller waits for the answer and nothing else depends on it: the task goes on until the last shard has applied
//! the decision, or this router's session is over and others take the transaction over.
//!
//! | effect | carried out by |
//! |---|---|
//! | create, write, remove | [`registry`](coordination::registry), through the session's joined writes |
//! | stamp | the router's hybrid logical clock |
//! | prepare, apply | the attempts at the group's shard, which are safe to repeat |
//!
//! Of the caller's time the prepares get the greater part; the rest is for the decision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::{Error, Reason};
use coordination::records::{ContentsHash, EntryRecord, EntryState, TokenRecord};
use coordination::registry::{
    self, Beginning, Decided, begin_transaction, decide_transaction, finish_transaction,
};
use coordination::tree::TokenHash;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use model::{Decision, Objection, Timestamp, TransactionId, TransactionItem};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};
use txn::Coordinator;
use txn::coordinator::{Answer, Effect, Event, Vote};

use super::group::{Named, misfit};
use super::plan::Plan;
use crate::directory::unavailable;
use crate::state::{Session, State};
use links::Success;

/// What is to be written.
pub(crate) struct Work {
    pub(crate) plan: Plan,
    /// In the order of the request.
    pub(crate) items: Vec<TransactionItem>,
    pub(crate) token: Option<(TokenHash, ContentsHash)>,
    /// Attempts before this one whose timestamps were too old.
    pub(crate) retries: u32,
    pub(crate) deadline: Instant,
}

/// How a transaction has ended, as far as its caller is concerned.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It has happened, everywhere.
    Committed,
    /// It has not happened and will not.
    Cancelled {
        /// In the order of the request.
        objections: Vec<Option<Objection>>,
        /// What has failed, where there is no objection.
        error: Option<Error>,
    },
    /// Nothing was begun.
    NotBegun(Error),
    /// Nothing was begun: its token has been used.
    TokenTaken,
    /// It may have happened, or may yet.
    Unknown {
        /// It has or will.
        committed: bool,
    },
}

impl State {
    /// Coordinates a transaction.
    pub(crate) async fn coordinate(
        self: &Arc<Self>,
        session: &Arc<Session>,
        work: Work,
    ) -> Outcome {
        let Ok(room) = Arc::clone(&self.transactions.room).try_acquire_owned() else {
            let error = Error::new(
                Reason::Overloaded,
                "this router drives as many transactions as it may: try again later",
            );
            return Outcome::NotBegun(error.retry_after(Duration::from_millis(200)));
        };
        let (reply, answer) = oneshot::channel();
        let driver = Driver::new(Arc::clone(self), Arc::clone(session), work);
        tokio::spawn(driver.run(reply, room));
        // Without one the task has ended with its runtime.
        answer
            .await
            .unwrap_or(Outcome::Unknown { committed: false })
    }

    /// Resolves when this is not the router's session any more.
    async fn session_is_over(&self, session: &Session) {
        let mut current = self.session.subscribe();
        let ours = |current: &Option<Arc<Session>>| {
            let current = current.as_ref();
            current.is_some_and(|current| current.router == session.router)
        };
        // The sender lives as long as the state does.
        let _ = current.wait_for(|current| !ours(current)).await;
    }
}

/// What the tasks of one transaction share. The items are not among it: they are let go of when all have voted, while the
/// decision may take as long as a shard is without a leader.
struct Shared {
    state: Arc<State>,
    session: Arc<Session>,
    plan: Plan,
    token: Option<(TokenHash, ContentsHash)>,
}

/// What came of an effect.
struct Done {
    event: Event,
    note: Note,
}

/// What the machine need not know of it.
enum Note {
    None,
    Failed(Error),
    TokenTaken,
}

impl From<Event> for Done {
    fn from(event: Event) -> Self {
        Self {
            event,
            note: Note::None,
        }
    }
}

struct Driver {
    shared: Arc<Shared>,
    coordinator: Coordinator,
    items: Arc<[TransactionItem]>,
    retries: u32,
    deadline: Instant,
    /// Of the entry's creation.
    started_millis: u64,
    timestamp: Option<Timestamp>,
    prepare_until: Instant,
    /// A group has refused: until when the others' reasons are waited for.
    hasten_at: Option<Instant>,
    doing: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Failures so far, by group and of the ledger.
    tries: BTreeMap<Option<usize>, u32>,
    decision: Decision,
    /// Why groups did not prepare.
    errors: BTreeMap<usize, Error>,
    not_begun: Option<Outcome>,
}

impl Driver {
    fn new(state: Arc<State>, session: Arc<Session>, work: Work) -> Self {
        let id = TransactionId(rand::random());
        Self {
            coordinator: Coordinator::new(id, work.plan.groups.len()),
            started_millis: state.now_millis(),
            items: work.items.into(),
            retries: work.retries,
            deadline: work.deadline,
            timestamp: None,
            prepare_until: work.deadline,
            hasten_at: None,
            doing: FuturesUnordered::new(),
            tries: BTreeMap::new(),
            decision: Decision::Cancelled,
            errors: BTreeMap::new(),
            not_begun: None,
            shared: Arc::new(Shared {
                state,
                session,
                plan: work.plan,
                token: work.token,
            }),
        }
    }

    async fn run(mut self, reply: oneshot::Sender<Outcome>, room: OwnedSemaphorePermit) {
        let shared = Arc::clone(&self.shared);
        let over = shared.state.session_is_over(&shared.session);
        tokio::pin!(over);
        let deadline = sleep_until(self.deadline);
        tokio::pin!(deadline);
        let mut in_time = true;
        let mut reply = Some(reply);
        let mut event = Event::Begin;
        loop {
            for effect in self.coordinator.step(event) {
                match effect {
                    Effect::Answer(answer) => {
                        if let Some(reply) = reply.take() {
                            // Who asked may have gone.
                            let _ = reply.send(self.outcome(answer));
                        }
                    }
                    Effect::Stamp => self.stamp(),
                    effect => self.begin(&effect),
                }
            }
            if self.coordinator.is_ended() {
                break;
            }
            if !self.items.is_empty() && !self.coordinator.needs_items() {
                self.items = Arc::new([]);
            }
            let creating = self.coordinator.is_creating();
            let hasten_at = self.hasten_at.unwrap_or(self.deadline);
            event = tokio::select! {
                biased;
                () = &mut over => Event::SessionLost,
                // It will ask again, maybe somebody else: nothing may come of this attempt then.
                () = hung_up(&mut reply), if creating && in_time => {
                    in_time = false;
                    Event::Deadline
                }
                Some(done) = self.doing.next() => self.take_note(done),
                () = sleep_until(hasten_at), if self.hasten_at.is_some() => {
                    self.hasten_at = None;
                    Event::Hasten
                }
                () = &mut deadline, if in_time => {
                    in_time = false;
                    Event::Deadline
                }
            };
        }
        drop(room);
    }

    fn stamp(&mut self) {
        let state = &self.shared.state;
        let mut clock = state.transactions.clock.lock();
        self.timestamp = Some(clock.draw(state.now_millis(), self.retries));
        drop(clock);
        let now = Instant::now();
        let left = self.deadline.saturating_duration_since(now);
        let most = state.options.timing.transactions.prepare_timeout;
        self.prepare_until = now + left.mul_f64(0.7).min(most);
    }

    /// The entry, as it is made.
    fn entry(&self) -> EntryRecord {
        let shared = &self.shared;
        EntryRecord {
            state: EntryState::Pending,
            router: shared.session.router,
            started_millis: self.started_millis,
            timestamp: None,
            token: shared.token.map(|(hash, _)| hash),
            participants: shared.plan.participants.clone(),
        }
    }

    /// How long to wait before something that has failed is tried again; nothing at first.
    fn pause(&self, of: Option<usize>) -> Duration {
        let (first, most) = self.shared.state.options.timing.transactions.backoff;
        match self.tries.get(&of) {
            None | Some(0) => Duration::ZERO,
            Some(tries) => (first * 2u32.saturating_pow((tries - 1).min(10))).min(most),
        }
    }

    /// Begins to carry an effect out.
    fn begin(&mut self, effect: &Effect) {
        let shared = Arc::clone(&self.shared);
        let id = self.coordinator.id();
        let named = Named {
            id,
            timestamp: self.timestamp,
        };
        let doing: BoxFuture<'static, Done> = match *effect {
            Effect::Create(id) => {
                let entry = self.entry();
                Box::pin(async move { shared.create(id, &entry).await })
            }
            Effect::Prepare { group } => {
                let timestamp = self.timestamp.unwrap_or_default();
                let (items, until) = (Arc::clone(&self.items), self.prepare_until);
                Box::pin(async move { shared.prepare(group, (id, timestamp), &items, until).await })
            }
            Effect::Write(decision) => {
                self.decision = decision;
                let (entry, pause) = (self.entry(), self.pause(None));
                Box::pin(async move {
                    sleep(pause).await;
                    shared.write(named, &entry, decision).await.into()
                })
            }
            Effect::Apply { group, decision } => {
                self.decision = decision;
                let pause = self.pause(Some(group));
                Box::pin(async move {
                    sleep(pause).await;
                    shared.apply(group, named, decision).await.into()
                })
            }
            Effect::Remove => {
                let entry = EntryRecord {
                    state: self.decision.into(),
                    ..self.entry()
                };
                let pause = self.pause(None);
                Box::pin(async move {
                    sleep(pause).await;
                    shared.remove(id, &entry).await.into()
                })
            }
            // Done before they come here.
            Effect::Stamp | Effect::Answer(_) => return,
        };
        self.doing.push(doing);
    }

    /// Keeps what the machine need not know.
    fn take_note(&mut self, Done { event, note }: Done) -> Event {
        if refuses(&event) && self.coordinator.needs_items() {
            let wait = self.shared.state.options.timing.transactions.reasons_wait;
            self.hasten_at.get_or_insert(Instant::now() + wait);
        }
        match &event {
            Event::ApplyFailed { group } => *self.tries.entry(Some(*group)).or_default() += 1,
            Event::WriteFailed | Event::RemoveFailed => {
                *self.tries.entry(None).or_default() += 1;
            }
            Event::Written | Event::FoundDecided(_) => drop(self.tries.remove(&None)),
            Event::Rejected { objections, .. } => self.shared.state.observe(objections),
            _ => {}
        }
        match (note, &event) {
            (Note::TokenTaken, _) => self.not_begun = Some(Outcome::TokenTaken),
            (Note::Failed(error), Event::PrepareFailed { group, .. }) => {
                self.errors.insert(*group, error);
            }
            (Note::Failed(error), _) => self.not_begun = Some(Outcome::NotBegun(error)),
            (Note::None, _) => {}
        }
        event
    }

    fn outcome(&mut self, answer: Answer) -> Outcome {
        match answer {
            Answer::Committed => Outcome::Committed,
            Answer::Unknown { committed } => Outcome::Unknown { committed },
            Answer::NotBegun => self.not_begun.take().unwrap_or_else(|| {
                Outcome::NotBegun(unavailable("the transaction was not begun in time"))
            }),
            Answer::Cancelled => self.cancelled(),
        }
    }

    fn cancelled(&mut self) -> Outcome {
        let Plan {
            groups,
            participants,
        } = &self.shared.plan;
        let mut objections = vec![None; participants.len()];
        for (group, vote) in groups.iter().zip(self.coordinator.votes()) {
            for (index, &position) in group.positions.iter().enumerate() {
                if let Some(place) = objections.get_mut(position) {
                    *place = match vote {
                        Vote::Rejected(of_group) => of_group.get(index).copied().flatten(),
                        Vote::TableDeleted => Some(Objection::Invalid),
                        Vote::Awaited | Vote::Prepared | Vote::Untouched | Vote::Doubtful => None,
                    };
                }
            }
        }
        // An unknown outcome of a prepare is none of the transaction, which is certainly cancelled.
        let certain = |error: &Error| error.reason.certainly_not_applied();
        let error = std::mem::take(&mut self.errors).into_values();
        Outcome::Cancelled {
            objections,
            error: { error }.find(certain),
        }
    }
}

impl Shared {
    async fn create(&self, id: TransactionId, entry: &EntryRecord) -> Done {
        let token = self.token.map(|(_, contents)| TokenRecord {
            transaction: id,
            contents,
            started_millis: entry.started_millis,
            ended_millis: None,
        });
        match begin_transaction(&self.session.ledger, id, entry, token.as_ref()).await {
            Ok(Beginning::Begun) => Event::Confirmed.into(),
            Ok(Beginning::Lost) => {
                let next = TransactionId(rand::random());
                debug!(transaction = %id, %next, "whether the ledger has the entry is not known: beginning again");
                Event::Lost { next }.into()
            }
            Ok(Beginning::TokenTaken) => Done {
                event: Event::NotCreated,
                note: Note::TokenTaken,
            },
            Err(error) => Done {
                event: Event::NotCreated,
                note: Note::Failed(ledger_error(&error)),
            },
        }
    }

    async fn prepare(
        &self,
        index: usize,
        named: (TransactionId, Timestamp),
        items: &[TransactionItem],
        until: Instant,
    ) -> Done {
        let Some(group) = self.plan.groups.get(index) else {
            return Event::TableDeleted { group: index }.into();
        };
        let prepared = self
            .state
            .prepare(group, named, items, &self.plan.participants, until)
            .await;
        let failure = match prepared {
            Ok(Success::Prepared) => return Event::Prepared { group: index }.into(),
            Ok(Success::Rejected(objections)) => {
                return Event::Rejected {
                    group: index,
                    objections,
                }
                .into();
            }
            Ok(_) => misfit("prepare"),
            Err(failure) if failure.deleted => return Event::TableDeleted { group: index }.into(),
            Err(failure) => failure,
        };
        Done {
            event: Event::PrepareFailed {
                group: index,
                certain: failure.is_certain(),
            },
            note: Note::Failed(failure.error),
        }
    }

    async fn write(&self, named: Named, entry: &EntryRecord, decision: Decision) -> Event {
        let ledger = &self.session.ledger;
        match decide_transaction(ledger, named.id, entry, decision, named.timestamp).await {
            Ok(Decided::Written) => Event::Written,
            Ok(Decided::Otherwise(found)) => Event::FoundDecided(found),
            Ok(Decided::Gone) => {
                warn!(transaction = %named.id, "a transaction was decided and finished by others");
                Event::EntryGone
            }
            Err(error) => {
                debug!(transaction = %named.id, %error, "the decision is not in the ledger yet");
                Event::WriteFailed
            }
        }
    }

    async fn apply(&self, index: usize, named: Named, decision: Decision) -> Event {
        let Some(group) = self.plan.groups.get(index) else {
            return Event::TableDeleted { group: index };
        };
        match self.state.decide(group, named, decision).await {
            Ok(()) => Event::Applied { group: index },
            Err(failure) => {
                let reason = failure.error;
                debug!(transaction = %named.id, shard = %group.shard, %reason, "a shard has not applied the decision yet");
                Event::ApplyFailed { group: index }
            }
        }
    }

    async fn remove(&self, id: TransactionId, entry: &EntryRecord) -> Event {
        let now = self.state.now_millis();
        match finish_transaction(&self.session.ledger, id, entry, now).await {
            Ok(()) => Event::Removed,
            Err(error) => {
                debug!(transaction = %id, %error, "the entry is in the ledger still");
                Event::RemoveFailed
            }
        }
    }
}

/// Resolves when nobody waits for the answer any more.
async fn hung_up(reply: &mut Option<oneshot::Sender<Outcome>>) {
    match reply {
        Some(reply) => reply.closed().await,
        None => std::future::pending().await,
    }
}

/// Whether it keeps the transaction from being committed.
fn refuses(event: &Event) -> bool {
    matches!(
        event,
        Event::Rejected { .. } | Event::TableDeleted { .. } | Event::PrepareFailed { .. }
    )
}

/// For what could not be begun: nothing is prepared without an entry, so it is certainly not applied.
fn ledger_error(error: &registry::Error) -> Error {
    match error {
        registry::Error::Store(coordination::Error::TooLarge { .. }) => {
            Error::invalid("items", error)
        }
        registry::Error::Record(_) => Error::new(Reason::Corruption, error.to_string()),
        _ => unavailable(error),
    }
}

impl State {
    /// Moves the clock past what a shard has found too new.
    pub(crate) fn observe(&self, objections: &[Option<Objection>]) {
        for objection in objections.iter().flatten() {
            if let Objection::TimestampTooOld(timestamp) = objection {
                let now = self.now_millis();
                self.transactions.clock.lock().observe(now, *timestamp);
            }
        }
    }
}
