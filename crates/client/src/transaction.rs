//! Transactions: up to a hundred items over any tables and shards, all of them or none.

use std::collections::BTreeSet;

use api::v1::operation::Kind as Question;
use api::v1::operation_result::Kind as Answer;
use api::{convert, v1};
use bytes::Bytes;
use model::Condition;
use model::limits::{MAX_BATCH_BYTES, MAX_TOKEN_BYTES};

use crate::client::item_of;
use crate::history::Kind;
use crate::operation::malformed;
use crate::{Client, Error, Item};

/// One put of a transaction. A triple of table, key and value is one without a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactItem {
    /// Name of the table.
    pub table: String,
    /// 1 byte to 2 KiB.
    pub key: Bytes,
    /// Up to 400 KiB.
    pub value: Bytes,
    /// If it does not hold, the whole transaction is cancelled.
    pub condition: Condition,
}

impl TransactItem {
    /// A put without a condition.
    pub fn new(table: impl Into<String>, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            table: table.into(),
            key: key.into(),
            value: value.into(),
            condition: Condition::Always,
        }
    }

    /// The same put under a condition.
    #[must_use]
    pub fn on(mut self, condition: Condition) -> Self {
        self.condition = condition;
        self
    }
}

impl<T: Into<String>, K: Into<Bytes>, V: Into<Bytes>> From<(T, K, V)> for TransactItem {
    fn from((table, key, value): (T, K, V)) -> Self {
        Self::new(table, key, value)
    }
}

impl Client {
    /// Writes 1 to 100 items of 4 MiB together: all of them or none. No key may stand twice.
    ///
    /// A token (1 to 36 bytes) makes the transaction safe to send again, by this call and by the caller: with the same
    /// items it takes effect once, until 10 minutes after its end. With other items it is
    /// [`Reason::IdempotencyMismatch`](crate::Reason::IdempotencyMismatch). Without a token a transaction whose answer
    /// was lost is not sent again: it ends as [`Reason::OutcomeUnknown`](crate::Reason::OutcomeUnknown).
    ///
    /// None is drawn where none is given, unlike in DynamoDB's SDKs: every token has to be remembered, and takes away the
    /// shorter way of a transaction whose keys all lie in one shard.
    ///
    /// # Errors
    ///
    /// [`Reason::TransactionCancelled`](crate::Reason::TransactionCancelled): nothing was written.
    /// [`Error::cancellation_reasons`] says why.
    pub async fn transact_put<I: Into<TransactItem>>(
        &self,
        items: impl IntoIterator<Item = I>,
        token: Option<&str>,
    ) -> Result<(), Error> {
        let items = items.into_iter().map(|item| message(item.into()));
        let items = items.collect::<Result<Vec<_>, _>>()?;
        let bytes = items.iter().map(|item| item.key.len() + item.value.len());
        let keys = items.iter().map(|item| (&*item.table, &*item.key));
        check("items", bytes.sum(), keys)?;
        let message = v1::TransactPutRequest {
            client_request_token: token.map(check_token).transpose()?.unwrap_or_default(),
            items,
        };
        let kind = match token {
            Some(_) => Kind::Write,
            None => Kind::Once,
        };
        let question = Question::TransactPut(message);
        let answer = self.operate(kind, question, |answer| match answer {
            Answer::TransactPut(_) => Some(()),
            _ => None,
        });
        answer.await
    }

    /// Reads 1 to 100 items that show one state of the system, in the order of the keys; `None` where there is no item.
    /// No key may stand twice.
    ///
    /// # Errors
    ///
    /// [`Reason::TransactionConflict`](crate::Reason::TransactionConflict): the items were written all the time; try
    /// again.
    pub async fn transact_get<T, K>(
        &self,
        keys: impl IntoIterator<Item = (T, K)>,
    ) -> Result<Vec<Option<Item>>, Error>
    where
        T: Into<String>,
        K: Into<Bytes>,
    {
        let keys = keys.into_iter().map(|(table, key)| {
            Ok(v1::KeyOf {
                table: table.into(),
                key: convert::key(key.into())?.partition,
            })
        });
        let keys = keys.collect::<Result<Vec<_>, Error>>()?;
        let bytes = keys.iter().map(|key| key.key.len()).sum();
        check(
            "keys",
            bytes,
            keys.iter().map(|key| (&*key.table, &*key.key)),
        )?;
        let asked = keys.len();
        let question = Question::TransactGet(v1::TransactGetRequest { keys });
        let answer = self.operate(Kind::Read, question, |answer| match answer {
            Answer::TransactGet(answer) => Some(answer.items),
            _ => None,
        });
        let items = answer.await?;
        if items.len() != asked {
            let message = format!("{} items for {asked} keys", items.len());
            return Err(malformed(Kind::Read, message, &self.routers().addresses()));
        }
        Ok(items.into_iter().map(item_of).collect())
    }
}

fn message(item: TransactItem) -> Result<v1::TransactPutItem, Error> {
    Ok(v1::TransactPutItem {
        table: item.table,
        key: convert::key(item.key)?.partition,
        value: convert::value(item.value)?,
        condition: convert::condition_message(item.condition),
    })
}

/// Refuses here what every router refuses, and what might not even fit into a message.
fn check<'a>(
    field: &str,
    bytes: usize,
    mut keys: impl ExactSizeIterator<Item = (&'a str, &'a [u8])>,
) -> Result<(), Error> {
    convert::batch_len(field, keys.len())?;
    let mut seen = BTreeSet::new();
    if !keys.all(|key| seen.insert(key)) {
        let message = "a key stands twice in one transaction: give each once";
        return Err(api::Error::invalid(field, message).into());
    }
    if bytes > MAX_BATCH_BYTES {
        let message =
            format!("a transaction has at most {MAX_BATCH_BYTES} bytes, this one has {bytes}");
        return Err(api::Error::invalid(field, message).into());
    }
    Ok(())
}

/// An empty one would be none, and the caller would rely on it.
fn check_token(token: &str) -> Result<String, Error> {
    if (1..=MAX_TOKEN_BYTES).contains(&token.len()) {
        return Ok(token.to_owned());
    }
    let message = format!(
        "a token has 1 to {MAX_TOKEN_BYTES} bytes, this one has {}",
        token.len()
    );
    Err(api::Error::invalid("client_request_token", message).into())
}
