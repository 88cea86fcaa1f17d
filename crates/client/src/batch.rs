//! Batches: up to a hundred items in one call, each with a result of its own.
//!
//! Whatever of a batch may be sent again is sent again as a smaller batch, within the same deadline.

use std::future::Future;
use std::time::Duration;

use api::{convert, v1};
use bytes::Bytes;
use model::Condition;
use model::limits::MAX_BATCH_BYTES;
use tokio::time::Instant;

use crate::client::item_of;
use crate::history::{Failure, History, Kind, Next};
use crate::operation::malformed;
use crate::retry::{Answered, call};
use crate::{Client, Consistency, Error, Item};

/// The results of the items, in the order of the request.
type Results<T> = Vec<Result<T, Error>>;

impl Client {
    /// Reads up to 100 items. Not atomic: each key has its own result, in the order given.
    ///
    /// The outer error means that the call as a whole was not answered.
    pub async fn batch_get<T, K>(
        &self,
        keys: impl IntoIterator<Item = (T, K)>,
        consistency: Consistency,
    ) -> Result<Results<Option<Item>>, Error>
    where
        T: Into<String>,
        K: Into<Bytes>,
    {
        let keys: Vec<_> = keys
            .into_iter()
            .map(|(table, key)| v1::KeyOf {
                table: table.into(),
                key: key.into(),
            })
            .collect();
        convert::batch_len("keys", keys.len())?;
        check_bytes("keys", keys.iter().map(|key| key.key.len()).sum())?;
        self.batch(Kind::Read, keys, |keys, timeout| {
            let message = v1::BatchGetRequest {
                keys,
                consistent: consistency == Consistency::Strong,
            };
            async move {
                let answer = call(self.routers(), Kind::Read, timeout, |attempt| {
                    let request = attempt.request(message.clone());
                    async move { attempt.key_value().batch_get(request).await }
                });
                let Answered {
                    answer,
                    earlier_may_be_applied,
                } = answer.await?;
                Ok(Answered {
                    answer: answer.results.into_iter().map(of_get).collect(),
                    earlier_may_be_applied,
                })
            }
        })
        .await
    }

    /// Writes up to 100 items of 4 MiB together. Not atomic: each item has its own result, its new version,
    /// in the order given.
    ///
    /// The outer error speaks for all items.
    pub async fn batch_put<T, K, V>(
        &self,
        items: impl IntoIterator<Item = (T, K, V)>,
    ) -> Result<Results<u64>, Error>
    where
        T: AsRef<str>,
        K: Into<Bytes>,
        V: Into<Bytes>,
    {
        let items = items
            .into_iter()
            .map(|(table, key, value)| {
                self.put_request(table.as_ref(), key.into(), value.into(), Condition::Always)
            })
            .collect::<Result<Vec<_>, _>>()?;
        convert::batch_len("items", items.len())?;
        let bytes = items.iter().map(|item| item.key.len() + item.value.len());
        check_bytes("items", bytes.sum())?;
        self.batch(Kind::Write, items, |items, timeout| {
            let message = v1::BatchPutRequest { items };
            async move {
                let answer = call(self.routers(), Kind::Write, timeout, |attempt| {
                    let request = attempt.request(message.clone());
                    async move { attempt.key_value().batch_put(request).await }
                });
                let Answered {
                    answer,
                    earlier_may_be_applied,
                } = answer.await?;
                Ok(Answered {
                    answer: answer.results.into_iter().map(of_put).collect(),
                    earlier_may_be_applied,
                })
            }
        })
        .await
    }

    /// Sends entries, and again those that may be sent again.
    async fn batch<M, T, F, Answer>(
        &self,
        kind: Kind,
        entries: Vec<M>,
        send: F,
    ) -> Result<Results<T>, Error>
    where
        M: Clone,
        F: Fn(Vec<M>, Duration) -> Answer,
        Answer: Future<Output = Result<Answered<Vec<Result<T, api::Error>>>, Error>>,
    {
        let started = Instant::now();
        let deadline = started + self.data_timeout();
        let mut results: Vec<Option<Result<T, Error>>> = entries.iter().map(|_| None).collect();
        let mut pending: Vec<(usize, History)> = (0..entries.len())
            .map(|index| (index, History::new(kind, self.routers().len())))
            .collect();
        let mut first = true;
        loop {
            let chosen = pending.iter().map(|(index, _)| entries[*index].clone());
            let remaining = deadline.saturating_duration_since(Instant::now());
            let answered = match send(chosen.collect(), remaining).await {
                Ok(answered) if answered.answer.len() == pending.len() => answered,
                Ok(answered) => {
                    let (got, expected) = (answered.answer.len(), pending.len());
                    let message = format!("{got} results for {expected} items");
                    let error = malformed(kind, message, &self.routers().addresses());
                    return self.finish(results, pending, &error, started, first);
                }
                Err(error) => return self.finish(results, pending, &error, started, first),
            };
            first = false;
            let mut longest_wait = Duration::ZERO;
            let mut again = Vec::new();
            for ((index, mut history), answer) in pending.into_iter().zip(answered.answer) {
                if answered.earlier_may_be_applied {
                    history.doubt();
                }
                match answer {
                    Ok(value) => results[index] = Some(Ok(value)),
                    Err(error) => match history.failed(Failure::Service(error)) {
                        Next::Again { wait, .. } => {
                            longest_wait = longest_wait.max(wait);
                            again.push((index, history));
                        }
                        Next::End => {
                            results[index] = Some(Err(self.error_of(history, started)));
                        }
                    },
                }
            }
            pending = again;
            if pending.is_empty() || Instant::now() + longest_wait >= deadline {
                break;
            }
            tokio::time::sleep(longest_wait).await;
        }
        for (index, history) in pending {
            results[index] = Some(Err(self.error_of(history, started)));
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// The end of a batch whose call failed as a whole.
    fn finish<T>(
        &self,
        mut results: Vec<Option<Result<T, Error>>>,
        pending: Vec<(usize, History)>,
        error: &Error,
        started: Instant,
        first: bool,
    ) -> Result<Results<T>, Error> {
        if first {
            return Err(error.clone());
        }
        for (index, history) in pending {
            // What an earlier attempt left open stays open, whatever this one says.
            let earlier = self.error_of(history, started);
            let open = !earlier.certainly_not_applied();
            results[index] = Some(Err(if open { earlier } else { error.clone() }));
        }
        Ok(results.into_iter().flatten().collect())
    }

    fn error_of(&self, history: History, started: Instant) -> Error {
        history.into_error(&self.routers().addresses(), started.elapsed())
    }
}

fn check_bytes(field: &str, bytes: usize) -> Result<(), Error> {
    if bytes <= MAX_BATCH_BYTES {
        return Ok(());
    }
    let message = format!("a batch has at most {MAX_BATCH_BYTES} bytes, this one has {bytes}");
    Err(api::Error::invalid(field, message).into())
}

fn of_get(result: v1::BatchGetResult) -> Result<Option<Item>, api::Error> {
    match result.result {
        Some(v1::batch_get_result::Result::Item(item)) => Ok(item_of(item)),
        Some(v1::batch_get_result::Result::Error(error)) => Err(error.into()),
        None => Err(api::Error::outcome_unknown("an empty result")),
    }
}

fn of_put(result: v1::BatchPutResult) -> Result<u64, api::Error> {
    match result.result {
        Some(v1::batch_put_result::Result::Item(item)) => Ok(item.version),
        Some(v1::batch_put_result::Result::Error(error)) => Err(error.into()),
        None => Err(api::Error::outcome_unknown("an empty result")),
    }
}
