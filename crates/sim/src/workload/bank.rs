//! A bank: accounts in all tables, tellers who transfer between them, and a sum that never changes.
//!
//! ```text
//! teller   TransactGet a, b      TransactPut a - 7, b + 7     each on the condition of the version that was read
//! auditor  TransactGet of all                                 the sum is what it was
//! ```
//!
//! The history's checkers see the same operations; this is the property that everybody understands.

use std::time::Duration;

use bytes::Bytes;
use client::{Condition, Error, Item, TransactItem as Put};

use super::{Place, Worker, Workload};

/// What each account has at first.
const BEGINNING: u64 = 100;

/// The key of an account.
pub fn account(number: u64) -> Bytes {
    Bytes::from(format!("account-{number}"))
}

impl Workload {
    /// Every account.
    fn accounts_everywhere(&self) -> Vec<Place> {
        let tables = self.tables.iter();
        let of = |name: &String| {
            let name = name.clone();
            let accounts = 0..self.accounts;
            accounts.map(move |number| (name.clone(), account(number)))
        };
        tables.flat_map(|table| of(&table.name)).collect()
    }
}

impl Worker {
    /// Opens the accounts, all of them or none.
    pub(crate) async fn open_accounts(&mut self, workload: &Workload) {
        let places = workload.accounts_everywhere();
        if places.is_empty() {
            return;
        }
        loop {
            let mut items = Vec::new();
            for (table, key) in &places {
                let value = self.balance(BEGINNING);
                let item = Put::new(table.clone(), key.clone(), value);
                items.push(item.on(Condition::NotExists));
            }
            let opened = self.transact_put(items, None).await;
            if opened.is_ok() || self.are_open(&places).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Whether an attempt to open them has succeeded after all.
    async fn are_open(&mut self, places: &[Place]) -> bool {
        let found = self.transact_get(places.to_vec()).await;
        found.is_ok_and(|found| found.iter().all(Option::is_some))
    }

    /// Transfers, and audits now and then, until it is told to stop.
    pub async fn tell(mut self, workload: Workload) {
        let places = workload.accounts_everywhere();
        while !self.record.stopped() {
            let think = self.dice.around(workload.think_millis);
            tokio::time::sleep(Duration::from_millis(think)).await;
            if self.dice.chance(0.2) {
                self.audit(&places).await;
            } else {
                let _ = self.transfer(&places).await;
            }
        }
    }

    /// The sum is what it was.
    pub(crate) async fn audit(&mut self, places: &[Place]) {
        let Ok(found) = self.transact_get(places.to_vec()).await else {
            return;
        };
        let balances: Option<Vec<u64>> =
            found.iter().map(|item| balance_of(item.as_ref())).collect();
        let sum = balances
            .as_ref()
            .map(|balances| balances.iter().sum::<u64>());
        if sum != Some(BEGINNING * places.len() as u64) {
            let what = format!(
                "{} accounts of {BEGINNING} come to {sum:?}: {balances:?}",
                places.len()
            );
            self.complain("bank-sum", what);
        }
    }

    /// Audits, however often that takes until there is an answer.
    pub(crate) async fn final_audit(&mut self, workload: &Workload) {
        let places = workload.accounts_everywhere();
        while !places.is_empty() && self.transact_get(places.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if !places.is_empty() {
            self.audit(&places).await;
        }
    }

    async fn transfer(&mut self, places: &[Place]) -> Result<(), Error> {
        let (Some(from), Some(to)) = (
            self.dice.pick(places).cloned(),
            self.dice.pick(places).cloned(),
        ) else {
            return Ok(());
        };
        if from == to {
            return Ok(());
        }
        let found = self.transact_get(vec![from.clone(), to.clone()]).await?;
        let [Some(source), Some(target)] = &found[..] else {
            self.complain("bank-sum", format!("an account is missing: {found:?}"));
            return Ok(());
        };
        let balances = (balance_of(Some(source)), balance_of(Some(target)));
        let (Some(has), Some(receives)) = balances else {
            return Ok(());
        };
        let amount = self.dice.between(0, has.min(20));
        let mut items = Vec::new();
        for ((table, key), balance, version) in [
            (from, has - amount, source.version),
            (to, receives + amount, target.version),
        ] {
            let item = Put::new(table, key, self.balance(balance));
            items.push(item.on(Condition::VersionIs(version)));
        }
        let token = self.dice.chance(0.1).then(|| self.token());
        self.transact_put(items, token.as_deref()).await
    }

    /// A balance that nobody else writes in the same words.
    fn balance(&mut self, balance: u64) -> Bytes {
        self.values += 1;
        Bytes::from(format!("{balance} {}-{}", self.number, self.values))
    }
}

fn balance_of(item: Option<&Item>) -> Option<u64> {
    let text = std::str::from_utf8(&item?.value).ok()?;
    text.split(' ').next()?.parse().ok()
}
