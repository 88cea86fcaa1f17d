//! What the pretended nodes make of transactions: a whole participant in a few lines.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use api::internal::{self, operation, operation_result};
use api::{Error, Reason, convert};
use bytes::Bytes;
use model::{Objection, Timestamp, TransactionState};

use super::{Inner, World};

/// A shard: table and index.
type Shard = (u64, u32);
/// A key in its shard.
pub(super) type Place = (u64, u32, Bytes);

/// A part of the protocol that can be held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Prepare,
    Decide,
}

#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// Held up on these shards: taken in and never answered nor carried out.
    held: Vec<(Shard, Phase)>,
    prepared: BTreeMap<(Shard, Bytes), Prepared>,
    finished: BTreeMap<(Shard, Bytes), bool>,
    timestamps: BTreeMap<Place, Timestamp>,
    /// Prepares that were accepted, so far.
    prepares: u64,
}

#[derive(Debug)]
struct Prepared {
    timestamp: Timestamp,
    items: Vec<internal::TransactionItem>,
    participants: Vec<internal::Participant>,
    since: Instant,
}

impl World {
    /// Holds a phase up on a shard, or lets it go on.
    pub fn hold(&self, table: u64, shard: u32, phase: Phase, held: bool) {
        let transactions = &mut self.inner.lock().transactions;
        transactions
            .held
            .retain(|held| *held != ((table, shard), phase));
        if held {
            transactions.held.push(((table, shard), phase));
        }
    }

    /// Transactions that are prepared on a shard.
    pub fn prepared(&self, table: u64, shard: u32) -> usize {
        let inner = self.inner.lock();
        let prepared = inner.transactions.prepared.keys();
        prepared.filter(|(at, _)| *at == (table, shard)).count()
    }

    /// Prepares that were accepted so far, on all shards.
    pub fn prepares(&self) -> u64 {
        self.inner.lock().transactions.prepares
    }

    /// Makes a key look as if it was written at this time.
    pub fn set_timestamp(&self, table: u64, shard: u32, key: &str, timestamp: Timestamp) {
        let place = (table, shard, Bytes::copy_from_slice(key.as_bytes()));
        let mut inner = self.inner.lock();
        inner.transactions.timestamps.insert(place, timestamp);
    }

    pub(super) fn is_held(&self, operation: &internal::Operation) -> bool {
        let phase = match operation.kind {
            Some(operation::Kind::Prepare(_)) => Phase::Prepare,
            Some(operation::Kind::Decide(_)) => Phase::Decide,
            _ => return false,
        };
        let shard = (operation.table, operation.shard);
        self.inner
            .lock()
            .transactions
            .held
            .contains(&(shard, phase))
    }
}

impl Inner {
    pub(super) fn is_locked(&self, shard: Shard, key: &Bytes) -> bool {
        let mut prepared = self.transactions.prepared.iter();
        prepared.any(|((at, _), prepared)| {
            *at == shard && prepared.items.iter().any(|item| item.key == *key)
        })
    }

    pub(super) fn version(&self, (table, index): Shard, key: &Bytes) -> Option<u64> {
        let item = self.items.get(&(table, index, key.clone()));
        item.map(|(_, version)| *version)
    }

    fn objections(
        &self,
        shard: Shard,
        items: &[internal::TransactionItem],
        timestamp: Option<Timestamp>,
    ) -> Vec<Option<Objection>> {
        let objection = |item: &internal::TransactionItem| {
            if self.is_locked(shard, &item.key) {
                return Some(Objection::TransactionConflict);
            }
            let condition = convert::condition(item.condition.as_ref());
            if !condition.holds(self.version(shard, &item.key)) {
                return Some(Objection::ConditionFailed);
            }
            let place = (shard.0, shard.1, item.key.clone());
            let last = *self.transactions.timestamps.get(&place)?;
            (timestamp? <= last).then_some(Objection::TimestampTooOld(last))
        };
        items.iter().map(objection).collect()
    }

    fn set(&mut self, shard: Shard, item: &internal::TransactionItem) {
        self.version += 1;
        self.applications += 1;
        let place = (shard.0, shard.1, item.key.clone());
        let value = (item.value.clone(), self.version);
        self.items.insert(place, value);
    }

    pub(super) fn transact(
        &mut self,
        shard: Shard,
        kind: &operation::Kind,
    ) -> Result<operation_result::Kind, Error> {
        let applied = operation_result::Kind::Applied(internal::Applied { version: 0 });
        match kind {
            operation::Kind::TransactWrite(write) => {
                let identity = (shard, write.transaction.clone());
                if self.transactions.finished.contains_key(&identity) {
                    return Ok(applied);
                }
                self.refuse_if_sealed(shard)?;
                let objections = self.objections(shard, &write.items, None);
                if objections.iter().any(Option::is_some) {
                    return Ok(rejected(objections));
                }
                for item in &write.items {
                    self.set(shard, item);
                }
                self.transactions.finished.insert(identity, true);
                Ok(applied)
            }
            operation::Kind::Prepare(prepare) => Ok(self.prepare(shard, prepare)),
            operation::Kind::Decide(decide) => {
                let identity = (shard, decide.transaction.clone());
                let prepared = self.transactions.prepared.remove(&identity);
                if let Some(prepared) = prepared.filter(|_| decide.commit) {
                    for item in &prepared.items {
                        self.set(shard, item);
                        let place = (shard.0, shard.1, item.key.clone());
                        let timestamps = &mut self.transactions.timestamps;
                        timestamps.insert(place, prepared.timestamp);
                    }
                }
                let finished = &mut self.transactions.finished;
                finished.entry(identity).or_insert(decide.commit);
                Ok(applied)
            }
            operation::Kind::Inquire(inquire) => {
                let identity = (shard, inquire.transaction.clone());
                let finished = self.transactions.finished.get(&identity);
                let state = match finished {
                    _ if self.transactions.prepared.contains_key(&identity) => {
                        TransactionState::Prepared
                    }
                    Some(true) => TransactionState::Committed,
                    Some(false) => TransactionState::Cancelled,
                    None => TransactionState::Unknown,
                };
                Ok(operation_result::Kind::State(state.into()))
            }
            operation::Kind::TransactRead(read) => {
                self.refuse_if_sealed(shard)?;
                let items = read.keys.iter().map(|key| self.read(shard, key)).collect();
                Ok(operation_result::Kind::Items(internal::TransactItems {
                    items,
                }))
            }
            _ => Err(Error::invalid("kind", "none of a transaction")),
        }
    }

    fn prepare(&mut self, shard: Shard, prepare: &internal::Prepare) -> operation_result::Kind {
        let identity = (shard, prepare.transaction.clone());
        let prepared = operation_result::Kind::Prepared(internal::Prepared {});
        if self.transactions.prepared.contains_key(&identity) {
            return prepared;
        }
        let timestamp = Timestamp(prepare.timestamp);
        let items = &prepare.items;
        if self.transactions.finished.contains_key(&identity) {
            let late = Objection::TimestampTooOld(timestamp);
            return rejected(vec![Some(late); items.len()]);
        }
        if self.sealed.contains(&shard) {
            return rejected(vec![Some(Objection::Invalid); items.len()]);
        }
        let objections = self.objections(shard, items, Some(timestamp));
        if objections.iter().any(Option::is_some) {
            return rejected(objections);
        }
        self.transactions.prepares += 1;
        let content = Prepared {
            timestamp,
            items: items.clone(),
            participants: prepare.participants.clone(),
            since: Instant::now(),
        };
        self.transactions.prepared.insert(identity, content);
        prepared
    }

    fn read(&self, shard: Shard, key: &internal::TransactReadKey) -> internal::TransactItem {
        let locked = self.is_locked(shard, &key.key);
        match self.items.get(&(shard.0, shard.1, key.key.clone())) {
            None => internal::TransactItem {
                locked,
                ..internal::TransactItem::default()
            },
            Some((value, version)) => {
                let unchanged = *version == key.known_lsn;
                internal::TransactItem {
                    found: true,
                    value: if unchanged {
                        Bytes::new()
                    } else {
                        value.clone()
                    },
                    lsn: *version,
                    locked,
                    unchanged,
                }
            }
        }
    }

    fn refuse_if_sealed(&self, shard: Shard) -> Result<(), Error> {
        if self.sealed.contains(&shard) {
            return Err(Error::new(Reason::TableNotFound, "sealed"));
        }
        Ok(())
    }

    /// What has been prepared for so long.
    pub(super) fn undecided(&self, after: Duration) -> Vec<internal::UndecidedTransaction> {
        let prepared = self.transactions.prepared.iter();
        let old = prepared.filter(|(_, prepared)| prepared.since.elapsed() >= after);
        old.map(
            |((_, transaction), prepared)| internal::UndecidedTransaction {
                transaction: transaction.clone(),
                timestamp: prepared.timestamp.0,
                participants: prepared.participants.clone(),
                age_millis: prepared.since.elapsed().as_millis() as u64,
            },
        )
        .collect()
    }
}

fn rejected(objections: Vec<Option<Objection>>) -> operation_result::Kind {
    let objections = objections.into_iter().map(Into::into).collect();
    operation_result::Kind::Rejected(internal::Rejected { objections })
}
