//! Drives a [`Recovery`]: what becomes of a transaction whose coordinator is gone, or stuck.

use std::sync::Arc;

use coordination::Coordination;
use coordination::records::{EntryRecord, EntryState, Record as _};
use coordination::registry::{
    self, Decided, create_cancelled, decide_transaction, finish_transaction, read_table,
    read_transaction,
};
use coordination::tree::Node;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use model::{Decision, Participant, RouterId, Timestamp, TransactionId, Undecided};
use parking_lot::Mutex;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};
use txn::recovery::{Effect, End, Event};
use txn::{Recovery, Standing};

use super::group::Named;
use super::plan::{Plan, group};
use super::stuck::Turn;
use crate::directory::read;
use crate::state::{Session, State};

/// What is known of a transaction that is to be recovered.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    id: TransactionId,
    timestamp: Option<Timestamp>,
    participants: Vec<Participant>,
}

impl Case {
    /// By its entry.
    pub(crate) fn of_entry(id: TransactionId, entry: &EntryRecord) -> Self {
        Self {
            id,
            timestamp: entry.timestamp,
            participants: entry.participants.clone(),
        }
    }
}

impl From<Undecided> for Case {
    /// By an intent.
    fn from(undecided: Undecided) -> Self {
        Self {
            id: undecided.transaction,
            timestamp: Some(undecided.timestamp),
            participants: undecided.participants,
        }
    }
}

/// Takes the transaction off the list of those that are being recovered.
struct Listed<'a> {
    list: &'a Mutex<std::collections::BTreeSet<TransactionId>>,
    id: TransactionId,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.list.lock().remove(&self.id);
    }
}

impl State {
    /// Recovers a transaction, as far as its shards and the ledger can be reached. What can't be finished is left as it
    /// is for the next time. Dropping the future is harmless.
    pub(crate) async fn recover(self: &Arc<Self>, session: &Arc<Session>, case: Case) -> End {
        let id = case.id;
        let list = &self.transactions.recovering;
        if !list.lock().insert(id) {
            return End::GivenUp;
        }
        let _listed = Listed { list, id };
        let Some(_room) = self.room_for_recovery(id).await else {
            return End::GivenUp;
        };
        let end = self.drive_recovery(session, case).await;
        match end {
            End::Finished(decision) => {
                self.transactions.counters.recovered();
                info!(transaction = %id, ?decision, "a transaction that was left behind is finished");
            }
            End::Nothing => debug!(transaction = %id, "a transaction was finished by others"),
            // Said where its participants are known.
            End::Undecidable => {}
            End::GivenUp => {
                debug!(transaction = %id, "a transaction can't be finished now: later again");
            }
        }
        let mut stuck = self.transactions.stuck.lock();
        match end {
            End::Finished(_) | End::Nothing => stuck.freed(id),
            End::GivenUp | End::Undecidable => stuck.failed(id, Instant::now()),
        }
        end
    }

    /// Room for a recovery. `None`: it has failed before, and others come first now.
    async fn room_for_recovery(&self, id: TransactionId) -> Option<SemaphorePermit<'_>> {
        let transactions = &self.transactions;
        let standing = transactions.stuck.lock().standing(id, Instant::now());
        match standing {
            Turn::First => transactions.recovery_room.acquire().await.ok(),
            Turn::Again => transactions.retry_room.try_acquire().ok(),
            Turn::Later => None,
        }
    }

    async fn drive_recovery(self: &Arc<Self>, session: &Arc<Session>, case: Case) -> End {
        let plan = match self.plan_of_participants(session, &case.participants).await {
            Ok(plan) => plan,
            Err(reason) => {
                debug!(transaction = %case.id, %reason, "the shards of a transaction can't be found");
                return End::GivenUp;
            }
        };
        let mut recovery = Recovery::new(plan.groups.len());
        let hands = Arc::new(Hands {
            state: Arc::clone(self),
            session: Arc::clone(session),
            case,
            plan,
            entry: Mutex::new(None),
        });
        let mut doing: FuturesUnordered<BoxFuture<'static, Event>> = FuturesUnordered::new();
        let mut event = Event::Begin;
        loop {
            for effect in recovery.step(event) {
                if let Effect::End(end) = effect {
                    if end == End::Undecidable {
                        ask_an_operator(&hands.case);
                    }
                    return end;
                }
                let hands = Arc::clone(&hands);
                doing.push(Box::pin(async move { hands.carry_out(effect).await }));
            }
            match doing.next().await {
                Some(next) => event = next,
                // Can't be: a recovery that waits for nothing has ended.
                None => return End::GivenUp,
            }
        }
    }

    /// The shards of these participants, as far as their tables exist.
    async fn plan_of_participants(
        &self,
        session: &Session,
        participants: &[Participant],
    ) -> Result<Plan, String> {
        let mut placed = Vec::with_capacity(participants.len());
        let mut synced = false;
        for participant in participants {
            let mut table = self.directory.snapshot().by_id(participant.table).cloned();
            if table.is_none() {
                if !std::mem::replace(&mut synced, true) {
                    let sync = read::sync(&*session.store).await;
                    sync.map_err(|error| error.to_string())?;
                }
                let read = read_table(&*session.store, participant.table).await;
                table = read.map_err(|error| error.to_string())?.map(Arc::new);
            }
            placed.push((participant.clone(), table));
        }
        group(placed).map_err(|error| error.to_string())
    }
}

/// Says how a transaction is decided by hand. Nobody else can: one end loses a write that its caller was told of, the other one brings
/// a write back that was not to be.
fn ask_an_operator(case: &Case) {
    let entry = EntryRecord {
        state: EntryState::Committed,
        router: RouterId(0),
        started_millis: 0,
        timestamp: case.timestamp,
        token: None,
        participants: case.participants.clone(),
    };
    error!(
        transaction = %case.id,
        znode = Node::Transaction(case.id).path(),
        content = %String::from_utf8_lossy(&entry.encode()),
        "the coordination store has lost a transaction that one shard holds prepared and another one may have committed long \
         ago: its items stay locked until somebody creates this znode, with `committed` or `cancelled`"
    );
}

/// What carries the effects of one recovery out.
struct Hands {
    state: Arc<State>,
    session: Arc<Session>,
    case: Case,
    plan: Plan,
    /// As it was read, or made here.
    entry: Mutex<Option<EntryRecord>>,
}

impl Hands {
    async fn carry_out(&self, effect: Effect) -> Event {
        match effect {
            Effect::Read => self.read().await,
            Effect::Inquire { group } => self.inquire(group).await,
            Effect::Write(decision) => {
                let entry = self.entry();
                let ledger = &self.session.ledger;
                let timestamp = self.case.timestamp;
                let decided =
                    decide_transaction(ledger, self.case.id, &entry, decision, timestamp).await;
                self.decided(decided)
            }
            Effect::CreateCancelled => {
                let entry = EntryRecord {
                    state: EntryState::Cancelled,
                    router: self.session.router,
                    started_millis: self.state.now_millis(),
                    timestamp: self.case.timestamp,
                    token: None,
                    participants: self.case.participants.clone(),
                };
                let made = create_cancelled(&self.session.ledger, self.case.id, &entry).await;
                *self.entry.lock() = Some(entry);
                self.decided(made)
            }
            Effect::Apply { group, decision } => self.apply(group, decision).await,
            Effect::Remove => {
                let now = self.state.now_millis();
                let (ledger, entry) = (&self.session.ledger, self.entry());
                match finish_transaction(ledger, self.case.id, &entry, now).await {
                    Ok(()) => Event::Removed,
                    Err(error) => {
                        debug!(transaction = %self.case.id, %error, "the entry was not removed");
                        Event::RemoveFailed
                    }
                }
            }
            // Ends before it comes here.
            Effect::End(_) => Event::RemoveFailed,
        }
    }

    fn entry(&self) -> EntryRecord {
        let entry = self.entry.lock().clone();
        entry.unwrap_or_else(|| EntryRecord {
            state: EntryState::Pending,
            router: self.session.router,
            started_millis: self.state.now_millis(),
            timestamp: self.case.timestamp,
            token: None,
            participants: self.case.participants.clone(),
        })
    }

    fn named(&self) -> Named {
        let entry = self.entry.lock();
        let recorded = entry.as_ref().and_then(|entry| entry.timestamp);
        Named {
            id: self.case.id,
            timestamp: recorded.or(self.case.timestamp),
        }
    }

    async fn read(&self) -> Event {
        let store: &dyn Coordination = &*self.session.store;
        let read = async {
            read::sync(store).await?;
            read_transaction(store, self.case.id).await
        };
        match read.await {
            Ok(entry) => {
                let entry = entry.map(|entry| entry.value);
                let standing = entry.as_ref().map(|entry| match entry.state.decision() {
                    None => Standing::Pending,
                    Some(decision) => Standing::Decided(decision),
                });
                *self.entry.lock() = entry;
                Event::Read(standing)
            }
            Err(error) => {
                if matches!(error, registry::Error::Record(_)) {
                    warn!(transaction = %self.case.id, %error, "a transaction can't be recovered");
                }
                Event::ReadFailed
            }
        }
    }

    async fn inquire(&self, index: usize) -> Event {
        let Some(group) = self.plan.groups.get(index) else {
            return Event::TableDeleted { group: index };
        };
        let (named, participants) = (self.named(), &self.case.participants);
        match self.state.inquire(group, named, participants).await {
            Ok(state) => Event::Answered {
                group: index,
                state,
            },
            Err(failure) if failure.deleted => Event::TableDeleted { group: index },
            Err(failure) => {
                let reason = failure.error;
                debug!(transaction = %self.case.id, shard = %group.shard, %reason, "a shard can't be asked");
                Event::InquiryFailed { group: index }
            }
        }
    }

    async fn apply(&self, index: usize, decision: Decision) -> Event {
        let Some(group) = self.plan.groups.get(index) else {
            return Event::TableDeleted { group: index };
        };
        // What is removed afterwards is decided, whatever it was when it was read.
        if let Some(entry) = &mut *self.entry.lock() {
            entry.state = decision.into();
        }
        match self.state.decide(group, self.named(), decision).await {
            Ok(()) => Event::Applied { group: index },
            Err(failure) => {
                let reason = failure.error;
                debug!(transaction = %self.case.id, shard = %group.shard, %reason, "a shard has not applied the decision");
                Event::ApplyFailed { group: index }
            }
        }
    }

    fn decided(&self, decided: Result<Decided, registry::Error>) -> Event {
        match decided {
            Ok(Decided::Written) => Event::Written,
            Ok(Decided::Otherwise(found)) => Event::FoundDecided(found),
            Ok(Decided::Gone) => Event::EntryGone,
            Err(error) => {
                debug!(transaction = %self.case.id, %error, "a transaction was not cancelled");
                Event::WriteFailed
            }
        }
    }
}
