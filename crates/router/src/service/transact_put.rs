//! `KeyValue.TransactPut`: all of the items or none.
//!
//! | the request | so |
//! |---|---|
//! | all keys in one shard, no token | one operation on that shard, without the ledger |
//! | anything else | coordinated in two phases |
//! | with a token that was used | waits for the first transaction, or says what came of it |
//!
//! A transaction that only came with too old a timestamp is tried again a few times, as a new one: the clock has moved past
//! what the shards have told.

use std::sync::Arc;

use api::v1::{TransactPutRequest, TransactPutResponse};
use api::{Error, Reason, convert};
use model::limits::{MAX_BATCH_BYTES, MAX_CLOCK_AHEAD_MILLIS};
use model::{Key, Objection, TransactionItem};
use tokio::time::Instant;

use crate::state::State;
use crate::transaction::coordinate::{Outcome, Work};
use crate::transaction::one_shard::OneShard;
use crate::transaction::tokens::{Taken, contents_hash, token_hash};

/// New attempts at a transaction whose timestamp was too old.
const MAX_RETRIES: u32 = 4;

/// Writes 1 to 100 items of 4 MiB together.
pub(crate) async fn transact_put(
    state: &Arc<State>,
    request: TransactPutRequest,
    deadline: Instant,
) -> Result<TransactPutResponse, Error> {
    convert::batch_len("items", request.items.len())?;
    let token = token_hash(&request.client_request_token)?;
    let mut tables = Vec::with_capacity(request.items.len());
    let mut items = Vec::with_capacity(request.items.len());
    for item in request.items {
        tables.push(item.table);
        items.push(TransactionItem {
            key: convert::key(item.key)?,
            value: convert::value(item.value)?,
            condition: convert::condition(item.condition.as_ref()),
        });
    }
    check_bytes(&items)?;
    let counters = &state.transactions.counters;
    let mut retries = 0;
    let mut started = false;
    loop {
        let keys: Vec<(&str, &Key)> = tables
            .iter()
            .zip(&items)
            .map(|(table, item)| (table.as_str(), &item.key))
            .collect();
        let plan = state.plan("items", &keys, deadline).await?;
        if !std::mem::replace(&mut started, true) {
            counters.started();
        }
        let work = Work {
            token: token.map(|token| (token, contents_hash(&items, &plan.participants))),
            items: items.clone(),
            plan,
            retries,
            deadline,
        };
        let Some(outcome) = attempt(state, work).await? else {
            continue;
        };
        match outcome {
            Outcome::Committed => {
                counters.committed();
                return Ok(TransactPutResponse {});
            }
            Outcome::Cancelled { objections, error } => {
                let again = error.is_none()
                    && only_too_old(&objections)
                    && retries < MAX_RETRIES
                    && Instant::now() + state.options.timing.transactions.least < deadline;
                if again {
                    retries += 1;
                    continue;
                }
                let error = cancelled(&objections, error);
                let error = clocks_compared(error, &objections, state.now_millis());
                counters.cancelled(first_reason(&objections, &error));
                return Err(error);
            }
            Outcome::NotBegun(error) => return Err(error),
            Outcome::TokenTaken => {}
            Outcome::Unknown { committed } => return Err(unknown(committed)),
        }
    }
}

/// One attempt. `None`: what stood in its way has changed, another one may succeed.
async fn attempt(state: &Arc<State>, work: Work) -> Result<Option<Outcome>, Error> {
    let ([group], None) = (&work.plan.groups[..], work.token) else {
        return with_ledger(state, work).await;
    };
    let deadline = work.deadline;
    match state
        .transact_in_one_shard(group, &work.items, deadline)
        .await?
    {
        OneShard::Ended(outcome) => Ok(Some(outcome)),
        OneShard::PlanAgain if Instant::now() < deadline => Ok(None),
        OneShard::PlanAgain => Err(Error::new(Reason::TableNotFound, "the table was deleted")),
    }
}

/// A transaction with a ledger entry. `None`: its token was taken, and is free now.
async fn with_ledger(state: &Arc<State>, work: Work) -> Result<Option<Outcome>, Error> {
    let least = state.options.timing.transactions.least;
    let deadline = work.deadline;
    if Instant::now() + least > deadline {
        let millis = least.as_millis();
        let message = format!(
            "a transaction over several shards, or with a token, needs {millis} ms or more: give it more time"
        );
        return Err(Error::invalid("deadline", message));
    }
    let session = state.connected()?;
    let token = work.token;
    if let Some(token) = token
        && let Err(error) = state.room_for_token(&session, deadline).await
    {
        if error.reason != Reason::Overloaded {
            return Err(error);
        }
        // One that is remembered needs no room.
        return match state.await_token(&session, token, deadline).await? {
            Taken::Done => Ok(Some(Outcome::Committed)),
            Taken::Free => Err(error),
        };
    }
    let outcome = state.coordinate(&session, work).await;
    match (outcome, token) {
        (Outcome::TokenTaken, Some(token)) => {
            match state.await_token(&session, token, deadline).await? {
                Taken::Done => Ok(Some(Outcome::Committed)),
                Taken::Free => Ok(None),
            }
        }
        (outcome, _) => Ok(Some(outcome)),
    }
}

fn check_bytes(items: &[TransactionItem]) -> Result<(), Error> {
    let bytes: usize = items.iter().map(TransactionItem::bytes).sum();
    if bytes <= MAX_BATCH_BYTES {
        return Ok(());
    }
    let message = format!(
        "the keys and values of a transaction have at most {MAX_BATCH_BYTES} bytes together, not {bytes}"
    );
    Err(Error::invalid("items", message))
}

fn only_too_old(objections: &[Option<Objection>]) -> bool {
    let mut objections = objections.iter().flatten().peekable();
    objections.peek().is_some()
        && objections.all(|objection| matches!(objection, Objection::TimestampTooOld(_)))
}

fn reason_of(objection: Option<Objection>) -> &'static str {
    match objection {
        None => "NONE",
        Some(Objection::ConditionFailed) => Reason::ConditionFailed.as_str(),
        Some(Objection::TransactionConflict) => Reason::TransactionConflict.as_str(),
        Some(Objection::TimestampTooOld(_)) => "TIMESTAMP_TOO_OLD",
        Some(Objection::Invalid) => Reason::InvalidRequest.as_str(),
    }
}

/// What is counted for it.
fn first_reason(objections: &[Option<Objection>], error: &Error) -> &'static str {
    let first = objections.iter().flatten().next().copied();
    match first {
        Some(objection) => reason_of(Some(objection)),
        None => error.reason.as_str(),
    }
}

/// The error for a transaction that certainly has not happened.
fn cancelled(objections: &[Option<Objection>], error: Option<Error>) -> Error {
    let reasons: Vec<_> = objections.iter().map(|o| reason_of(*o)).collect();
    let objected = objections.iter().filter(|o| o.is_some()).count();
    let message = match (objected, error) {
        // A shard that can't be reached is what the caller has to know of; nothing was applied.
        (0, Some(error)) => return error,
        (0, None) => {
            "the transaction was cancelled because it took too long: try it again".to_owned()
        }
        (objected, _) => format!(
            "the transaction was cancelled because of {objected} of its {} items: see `reasons`",
            objections.len()
        ),
    };
    Error::new(Reason::TransactionCancelled, message).with("reasons", reasons.join(","))
}

/// Says so, if it is because of a clock that no later attempt will do better.
fn clocks_compared(error: Error, objections: &[Option<Objection>], now_millis: u64) -> Error {
    let newest = objections
        .iter()
        .flatten()
        .filter_map(|objection| match objection {
            Objection::TimestampTooOld(timestamp) => Some(timestamp.millis()),
            _ => None,
        });
    let ahead = newest.max().unwrap_or_default().saturating_sub(now_millis);
    if ahead < MAX_CLOCK_AHEAD_MILLIS {
        return error;
    }
    let message = format!(
        "{}; the clock of this router is {ahead} ms behind a data node's: set the clocks",
        error.message
    );
    Error { message, ..error }.with("clock_behind_millis", ahead)
}

fn unknown(committed: bool) -> Error {
    if committed {
        let error = Error::outcome_unknown(
            "the transaction is committed, and not every shard has applied it yet",
        );
        return error.with("transaction", "committed");
    }
    Error::outcome_unknown("what became of the transaction was not known in time")
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Timestamp;

    #[test]
    fn a_cancelled_transaction_names_a_reason_for_each_item_in_order() {
        let objections = [
            None,
            Some(Objection::ConditionFailed),
            Some(Objection::TransactionConflict),
            Some(Objection::TimestampTooOld(Timestamp(1))),
            Some(Objection::Invalid),
        ];
        let error = cancelled(&objections, None);
        assert_eq!(
            error.metadata["reasons"],
            "NONE,CONDITION_FAILED,TRANSACTION_CONFLICT,TIMESTAMP_TOO_OLD,INVALID_REQUEST"
        );
        assert_eq!(first_reason(&objections, &error), "CONDITION_FAILED");
    }

    #[test]
    fn only_what_a_later_timestamp_mends_is_tried_again() {
        let old = Some(Objection::TimestampTooOld(Timestamp(1)));
        assert!(only_too_old(&[None, old]));
        assert!(!only_too_old(&[None]));
        assert!(!only_too_old(&[old, Some(Objection::ConditionFailed)]));
    }

    #[test]
    fn a_shard_out_of_reach_is_named_where_nothing_else_speaks_against_it() {
        let error = Error::new(Reason::NoQuorum, "alone");
        assert_eq!(
            cancelled(&[None, None], Some(error)).reason,
            Reason::NoQuorum
        );
    }
}
