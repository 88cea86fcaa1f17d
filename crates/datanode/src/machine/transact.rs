//! What a shard does as a participant of transactions.
//!
//! A transaction over several shards has two phases. **Prepare** checks the items of this shard and leaves an *intent* on
//! each, or objects and leaves nothing. **Decide** makes the intents the state, or takes them away. In between nobody
//! else writes these items, and whoever reads them sees what they were before. That is the life of an item, with what moves
//! it on:
//!
//! ```text
//!                  prepare                              decide: commit
//!        ┌────────────────────────▶ placeholder ──────────────────────────────┐
//!        │                               │                                    │
//!     absent ◀───────────────────────────┘                                    ▼
//!      │  ▲            decide: cancel                                       item ◀──┐ put
//!      │  └────────────────────────────── delete ───────────────────────────│ │▲────┘
//!      └───────────────────────────────── put ──────────────────────────────▶ ││
//!                                                                  prepare    ││ decide: either
//!                                                                             ▼│
//!                                                                      item + intent
//! ```
//!
//! | | value that readers see | timestamp, lsn | put, delete, other transactions |
//! |---|---|---|---|
//! | absent | none | `max_delete_timestamp`, the recent deletes | go through |
//! | placeholder | none | as if absent | refused: `TransactionConflict` |
//! | item | its own | its own | go through |
//! | item + intent | its own, as before the prepare | its own | refused |
//!
//! A prepare changes neither value nor timestamp nor lsn, and a cancellation leaves no trace, so that neither is seen by a
//! reader. A commit gives the item the transaction's timestamp and a new lsn.
//!
//! Beside the intents a prepare leaves one record ([`PreparedRecord`]) under the transaction's id, with its keys here and
//! all its participants. By it, of which the machine keeps a copy in memory, a repeated prepare is known, a decision finds its items, and a leader finds what
//! nobody decides.
//!
//! # What makes each of them happen once
//!
//! Prepares and decisions may come late, twice, or in the wrong order.
//!
//! | comes | and the shard | so |
//! |---|---|---|
//! | a prepare | has the record | prepared, as the first time |
//! | a prepare | knows the decision from its [window](super::window) | refused |
//! | a prepare | may have forgotten the decision, for it is older than the window | refused |
//! | a decision | has no record | done already: nothing happens, but the decision is remembered |
//!
//! The timestamps would be enough for committed transactions, for a key's timestamp never falls; a cancelled one
//! has left none.
//!
//! # Caveats
//!
//! * What an inquiry is told comes from the record and the window for
//!   [`model::limits::REQUEST_WINDOW_MILLIS`] from the transaction's timestamp on, by the clocks of the shard's leaders, and less if the
//!   shard ends more than [`model::limits::REQUEST_WINDOW_ENTRIES`] writes in that time; of one that is decided later than that
//!   they know nothing at all. After that an item that is older than the transaction tells that it was not committed; if there is none the answer is
//!   [`TransactionState::Forgotten`]. The ledger keeps the decision for as long as any shard may ask; this is for when the ledger is lost.
//! * An objection because of an intent comes before all others, and one because of a condition before one because of the
//!   timestamp: only an item without intent has a state that is anybody's.

use std::collections::BTreeSet;

use bytes::Bytes;
use model::{
    Condition, Intent, Item, Key, Lsn, Objection, Participant, RequestId, Timestamp, TransactionId,
    TransactionItem, TransactionState,
};
use storage::keys;
use storage::meta::{PreparedRecord, Rejection, Remembered};

use super::apply::{Step, Stored};
use super::error::{Broken, damaged};
use super::outcome::{Outcome, Refusal};
use super::summary::Old;
use super::window::Seen;

/// Items of a transaction with what there is under the key of each.
type Loaded<T> = Vec<(Bytes, Option<T>)>;

impl Step<'_> {
    /// A whole transaction in one command: it is never pending. How it ends is remembered, a refusal too, so that a
    /// repetition is told the same.
    pub(super) fn transact_write(
        &mut self,
        transaction: TransactionId,
        issued_millis: u64,
        items: Vec<TransactionItem>,
    ) -> Result<Outcome, Broken> {
        if let Some(objections) = doubled_keys(&items) {
            return Ok(Outcome::Rejected(objections));
        }
        let identity = RequestId::of_transaction(issued_millis, transaction);
        match self.window.look(identity, self.now_millis) {
            Seen::Known(Remembered::Committed) => return Ok(Outcome::Committed),
            Seen::Known(Remembered::Rejected(rejection)) => {
                return Ok(Outcome::Rejected(rejection.objections()));
            }
            Seen::Known(_) | Seen::Expired => return Ok(Outcome::Refused(Refusal::Expired)),
            Seen::New if self.meta.sealed => return Ok(Outcome::Refused(Refusal::Sealed)),
            Seen::New => {}
        }
        let (loaded, objections) = self.examine(&items, Self::look, |_| None)?;
        if objections.iter().any(Option::is_some) {
            let rejection = Box::new(Rejection::of(&objections));
            self.window
                .remember(identity, Remembered::Rejected(rejection));
            return Ok(Outcome::Rejected(objections));
        }
        for (item, (at, old)) in items.into_iter().zip(loaded) {
            self.write(at, old, item.value);
        }
        self.window.remember(identity, Remembered::Committed);
        Ok(Outcome::Committed)
    }

    /// The first phase.
    pub(super) fn prepare(
        &mut self,
        transaction: TransactionId,
        timestamp: Timestamp,
        mut items: Vec<TransactionItem>,
        participants: Vec<Participant>,
    ) -> Result<Outcome, Broken> {
        if self.prepared.contains_key(&transaction) && !mutant!(OwnPrepareAConflict) {
            return Ok(Outcome::Prepared);
        }
        if let Some(objections) = doubled_keys(&items) {
            return Ok(Outcome::Rejected(objections));
        }
        if let Some(objection) = self.objection_to_all(transaction, timestamp) {
            return Ok(Outcome::Rejected(vec![Some(objection); items.len()]));
        }
        let max_delete = self.meta.max_delete_timestamp;
        let too_old = |old: Option<Old>| {
            let last = old.map_or(max_delete, |old| old.timestamp);
            let late = last >= timestamp && !mutant!(LatePrepareAccepted);
            late.then_some(Objection::TimestampTooOld(last))
        };
        let (mut loaded, objections) = self.examine(&items, Self::load, too_old)?;
        if objections.iter().any(Option::is_some) {
            if !mutant!(PrepareInPart) {
                return Ok(Outcome::Rejected(objections));
            }
            let mut fine = objections.iter().map(Option::is_none);
            items.retain(|_| fine.next().unwrap_or(false));
            let mut fine = objections.iter().map(Option::is_none);
            loaded.retain(|_| fine.next().unwrap_or(false));
        }
        let record = PreparedRecord {
            timestamp,
            keys: items.iter().map(|item| item.key.clone()).collect(),
            participants,
        };
        for (item, (at, old)) in items.into_iter().zip(loaded) {
            let intent = Intent {
                transaction,
                timestamp,
                value: item.value,
            };
            let before = old.as_ref().map(|stored| stored.old);
            self.replace(at, before, Some(with_intent(old, intent)));
        }
        self.replace_record(transaction, Some(record.encode()));
        self.transactions.push((transaction, true));
        Ok(Outcome::Prepared)
    }

    /// What speaks against a prepare whatever its items are.
    fn objection_to_all(
        &self,
        transaction: TransactionId,
        timestamp: Timestamp,
    ) -> Option<Objection> {
        if self.meta.sealed {
            return Some(Objection::Invalid);
        }
        if mutant!(LatePrepareAccepted) {
            return None;
        }
        let identity = RequestId::of_transaction(timestamp.millis(), transaction);
        match self.window.look(identity, self.now_millis) {
            Seen::New => None,
            Seen::Known(_) => Some(Objection::TimestampTooOld(timestamp)),
            Seen::Expired => {
                let oldest = self.window.oldest_new_millis(self.now_millis);
                Some(Objection::TimestampTooOld(Timestamp::from_millis(oldest)))
            }
        }
    }

    /// The second phase. Goes on after the shard is sealed: what is prepared must end.
    pub(super) fn decide(
        &mut self,
        transaction: TransactionId,
        timestamp: Timestamp,
        commit: bool,
    ) -> Result<Outcome, Broken> {
        let record = self.prepared.get(&transaction);
        let record = record.map(|bytes| PreparedRecord::decode(bytes));
        let record = record
            .transpose()
            .map_err(|error| damaged(self.shard, &error))?;
        let timestamp = match &record {
            Some(record) => record.timestamp,
            None => timestamp,
        };
        for key in record.iter().flat_map(|record| &record.keys) {
            let at = keys::item(self.shard, self.generation, key);
            self.decide_item(at, transaction, commit)?;
        }
        if record.is_some() {
            self.replace_record(transaction, None);
            self.transactions.push((transaction, false));
        }
        let identity = RequestId::of_transaction(timestamp.millis(), transaction);
        let is_new = self.window.look(identity, self.now_millis) == Seen::New;
        if timestamp > Timestamp::ZERO && is_new && !mutant!(DecideWithoutWindow) {
            let ended = if commit {
                Remembered::Committed
            } else {
                Remembered::Cancelled
            };
            self.window.remember(identity, ended);
        }
        Ok(Outcome::Decided)
    }

    fn decide_item(
        &mut self,
        at: Bytes,
        transaction: TransactionId,
        commit: bool,
    ) -> Result<(), Broken> {
        let old = self.load(&at)?;
        let own = |intent: &Intent| intent.transaction == transaction;
        let intent = old.as_ref().and_then(|old| old.item.intent.clone());
        let (Some(old), Some(intent)) = (old, intent.filter(own)) else {
            let lacking =
                format!("transaction {transaction} is prepared and an item has no intent");
            return Err(damaged(self.shard, &lacking).into());
        };
        let new = if commit {
            self.meta.last_lsn = self.meta.last_lsn.next();
            Some(Item {
                value: Some(intent.value),
                timestamp: intent.timestamp,
                lsn: self.meta.last_lsn,
                intent: None,
            })
        } else {
            let stays = old.item.value.is_some() || mutant!(CancelLeavesPlaceholder);
            stays.then(|| Item {
                intent: None,
                ..old.item.clone()
            })
        };
        self.replace(at, Some(old.old), new);
        Ok(())
    }

    /// What became of a transaction here: by the record and the window, and where the window has forgotten, by the items.
    pub(super) fn inquire(
        &self,
        transaction: TransactionId,
        timestamp: Timestamp,
        keys: &[Key],
    ) -> Result<Outcome, Broken> {
        let identity = RequestId::of_transaction(timestamp.millis(), transaction);
        let state = if self.prepared.contains_key(&transaction) {
            TransactionState::Prepared
        } else {
            match self.window.look(identity, self.now_millis) {
                Seen::Known(Remembered::Committed) => TransactionState::Committed,
                Seen::Known(Remembered::Cancelled | Remembered::Rejected(_)) => {
                    TransactionState::Cancelled
                }
                Seen::Known(_) | Seen::New => TransactionState::Unknown,
                Seen::Expired => self.told_by_items(timestamp, keys)?,
            }
        };
        Ok(Outcome::State(state))
    }

    /// A commit would have given all these items its timestamp, and a key's timestamp never falls. That one stands at it is no
    /// evidence: a plain write of the same millisecond may have the same one, and have kept the prepare out.
    fn told_by_items(
        &self,
        timestamp: Timestamp,
        keys: &[Key],
    ) -> Result<TransactionState, Broken> {
        for key in keys {
            let old = self.load(&keys::item(self.shard, self.generation, key))?;
            let visible = old.filter(|old| old.item.value.is_some());
            let last = visible.map_or(self.meta.max_delete_timestamp, |old| old.item.timestamp);
            if last < timestamp {
                return Ok(TransactionState::Unknown);
            }
        }
        Ok(TransactionState::Forgotten)
    }

    /// Looks items up and finds what there is against each; `more` objects where nothing else does.
    fn examine<T: AsRef<Old>>(
        &self,
        items: &[TransactionItem],
        look_up: impl Fn(&Self, &[u8]) -> Result<Option<T>, Broken>,
        more: impl Fn(Option<Old>) -> Option<Objection>,
    ) -> Result<(Loaded<T>, Vec<Option<Objection>>), Broken> {
        let mut loaded = Vec::with_capacity(items.len());
        let mut objections = Vec::with_capacity(items.len());
        for item in items {
            let at = keys::item(self.shard, self.generation, &item.key);
            let found = look_up(self, &at)?;
            let old = found.as_ref().map(|found| *found.as_ref());
            objections.push(objection(old, item.condition).or_else(|| more(old)));
            loaded.push((at, found));
        }
        Ok((loaded, objections))
    }

    fn replace_record(&mut self, transaction: TransactionId, new: Option<Bytes>) {
        let key = keys::Key::Prepared {
            shard: self.shard,
            generation: self.generation,
            transaction,
        };
        let at = key.encode();
        let old = match &new {
            Some(new) => self.prepared.insert(transaction, new.clone()),
            None => self.prepared.remove(&transaction),
        };
        let part = keys::generation_part(&at);
        self.meta
            .replace_record(part, old.as_deref(), new.as_deref());
        match new {
            Some(new) => self.batch.put(at, new),
            None => self.batch.delete(at),
        }
    }
}

/// What a prepare makes of an item, or of an absent key.
fn with_intent(old: Option<Stored>, intent: Intent) -> Item {
    let absent = || Item {
        value: None,
        timestamp: Timestamp::ZERO,
        lsn: Lsn(0),
        intent: None,
    };
    Item {
        intent: Some(intent),
        ..old.map_or_else(absent, |old| old.item)
    }
}

fn objection(old: Option<Old>, condition: Condition) -> Option<Objection> {
    if old.is_some_and(|old| old.prepared.is_some()) {
        return Some(Objection::TransactionConflict);
    }
    let version = old.and_then(|old| old.version).map(|lsn| lsn.0);
    (!condition.holds(version)).then_some(Objection::ConditionFailed)
}

/// An objection to each item whose key an earlier item has; none if there is no such item.
fn doubled_keys(items: &[TransactionItem]) -> Option<Vec<Option<Objection>>> {
    let mut seen = BTreeSet::new();
    let doubled = items.iter().map(|item| !seen.insert(&item.key));
    let objections: Vec<_> = doubled
        .map(|doubled| doubled.then_some(Objection::Invalid))
        .collect();
    objections.iter().any(Option::is_some).then_some(objections)
}
