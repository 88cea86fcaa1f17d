//! Transactions of all sorts over the tables of a workload: several items, with and without conditions, with and without
//! tokens, and reads of several items at once.

use std::collections::BTreeSet;

use client::{CancellationReason, Error, Item, Reason, TransactItem as Put};
use history::{Call, Outcome, Refusal, Response, Token, TransactItem};

use super::conflicts::Conflict;
use super::{Place, Worker, Workload, asked_of};

/// What the clients do in transactions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Transactions {
    /// Of all operations, the share of transactions that write.
    pub puts: f64,
    /// Of all operations, the share of transactions that read.
    pub gets: f64,
    /// Items of one, at the most.
    pub items: u64,
    /// Of their items, and of puts and deletes alone, the share that has a condition.
    pub conditions: f64,
    /// Of those that write, the share that has a token and is sent twice.
    pub tokens: f64,
}

impl Worker {
    /// Some transaction that writes.
    pub(super) async fn transact_put_some(&mut self, workload: &Workload) {
        let mut items = Vec::new();
        for (table, key) in self.places(workload) {
            let condition = self.condition(workload, &table, &key);
            let value = self.value(workload.value_bytes);
            items.push(Put::new(table, key, value).on(condition));
        }
        let token = self.dice.chance(workload.transactions.tokens);
        let token = token.then(|| self.token());
        let _ = self.transact_put(items, token.as_deref()).await;
    }

    /// Some transaction that reads.
    pub(super) async fn transact_get_some(&mut self, workload: &Workload) {
        let doors = self.any_door(workload);
        let places = doors.unwrap_or_else(|| self.places(workload));
        let _ = self.transact_get(places).await;
    }

    /// Different keys, anywhere.
    fn places(&mut self, workload: &Workload) -> Vec<Place> {
        let count = self.dice.between(1, workload.transactions.items.max(1));
        let mut places = BTreeSet::new();
        for _ in 0..count {
            if let Some(table) = self.dice.pick(&workload.tables) {
                let table = table.name.clone();
                places.insert((table, self.any_key(workload)));
            }
        }
        places.into_iter().collect()
    }

    /// A name that no other transaction has.
    pub(super) fn token(&mut self) -> String {
        self.values += 1;
        format!("{}-{}", self.number, self.values)
    }

    /// Writes all of these or nothing. With a token it is asked for twice, however the first time ended.
    pub(super) async fn transact_put(
        &self,
        items: Vec<Put>,
        token: Option<&str>,
    ) -> Result<(), Error> {
        let record = self.record.begin(self.number, self.call_of(&items));
        let place = record.place();
        let first = self.client.transact_put(items.clone(), token).await;
        let Some(token) = token else {
            self.note_conflict(place, &first);
            self.ended(record, first.clone());
            return first;
        };
        match &first {
            // Whatever the second answer is, the first one says it all.
            Ok(()) => {
                self.ended(record, first.clone());
                let again = self.client.transact_put(items, Some(token)).await;
                self.compare_answers(token, &first, &again);
                first
            }
            // The token is free again, so the second is a transaction of its own.
            Err(error) if error.certainly_not_applied() => {
                self.ended(record, first.clone());
                let record = self.record.begin(self.number, self.call_of(&items));
                let again = self.client.transact_put(items, Some(token)).await;
                self.compare_answers(token, &first, &again);
                self.ended(record, again.clone());
                again
            }
            // A success settles it. What the second one denies the first may bring about yet, if it comes late.
            Err(_) => {
                let again = self.client.transact_put(items, Some(token)).await;
                self.compare_answers(token, &first, &again);
                let settled = again.or(first);
                self.ended(record, settled.clone());
                settled
            }
        }
    }

    fn call_of(&self, items: &[Put]) -> Call {
        let items = items.iter().map(|item| {
            let table = self.incarnations.get(&item.table).unwrap_or(&item.table);
            TransactItem {
                table: table.clone(),
                key: item.key.clone(),
                value: Some(item.value.clone()),
                condition: asked_of(item.condition),
            }
        });
        Call::TransactPut {
            items: items.collect(),
        }
    }

    fn ended(&self, record: Token, answer: Result<(), Error>) {
        let versions = Vec::new();
        self.wrote(record, answer.map(|()| Response::TransactPut { versions }));
    }

    /// Keeps the items that a transaction without a token was cancelled for because others were in its way.
    fn note_conflict(&self, place: usize, answer: &Result<(), Error>) {
        let reasons = answer.as_ref().err().and_then(Error::cancellation_reasons);
        let reasons = reasons.unwrap_or_default().into_iter().enumerate();
        let conflict = Some(CancellationReason::TransactionConflict);
        let met = reasons.filter(|(_, reason)| *reason == conflict);
        let conflicts = met.map(|(item, _)| Conflict { place, item });
        self.record.conflicts.lock().extend(conflicts);
    }

    /// A transaction that has happened does so once, whoever asks again.
    fn compare_answers(&self, token: &str, first: &Result<(), Error>, again: &Result<(), Error>) {
        let wrong = match again {
            Err(error) => {
                error.reason() == Some(Reason::IdempotencyMismatch)
                    || first.is_ok() && error.reason() == Some(Reason::TransactionCancelled)
            }
            Ok(()) => false,
        };
        if wrong {
            let what = format!("token {token}: the first answer was {first:?}, then {again:?}");
            self.record.complain("tokens-hold", what);
        }
    }

    /// Reads all of these at one moment.
    pub(super) async fn transact_get(
        &mut self,
        places: Vec<Place>,
    ) -> Result<Vec<Option<Item>>, Error> {
        let call = Call::TransactGet {
            keys: places.clone(),
        };
        let record = self.record.begin(self.number, call);
        let answer = self.client.transact_get(places).await;
        let outcome = match &answer {
            Ok(found) => {
                let items = found.iter().map(|item| {
                    let item = item.as_ref();
                    item.map(|item| (item.value.clone(), item.version))
                });
                let items = items.collect();
                Outcome::Done(Response::TransactGet { items })
            }
            Err(_) => Outcome::Refused(Refusal::Other),
        };
        self.record.end(self.number, record, outcome);
        answer
    }
}
