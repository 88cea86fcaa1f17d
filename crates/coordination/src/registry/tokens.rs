//! Client tokens that have served their time are removed.

use futures::{StreamExt as _, stream};
use model::limits::TOKEN_MILLIS;

use super::Error;
use super::attempts::Attempts;
use super::ledger::{list_tokens, read_token, read_transaction};
use super::reading::Versioned;
use crate::records::TokenRecord;
use crate::tree::{Node, TokenHash};
use crate::{Coordination, Operation};

/// Tokens looked at at the same time.
const PARALLEL: usize = 32;

/// Removes the tokens whose transactions ended longer ago than tokens are kept, and those that are as old and whose
/// transaction is not in the ledger: what a restored store has forgotten. Returns how many tokens are left.
///
/// `fence` is checked in each write; see [`Leadership::fence`](super::Leadership::fence). A token's path is used again
/// by its next transaction, so the version alone would not do for a delete that lands very late; the controller that
/// sent it is not the controller any more then, or its session has ended.
pub async fn sweep_tokens(
    store: &dyn Coordination,
    fence: &[Operation],
    now_millis: u64,
) -> Result<usize, Error> {
    let tokens = list_tokens(store).await?;
    let mut sweeps = stream::iter(tokens)
        .map(|token| sweep(store, fence, token, now_millis))
        .buffer_unordered(PARALLEL);
    let mut left = 0;
    while let Some(swept) = sweeps.next().await {
        match swept {
            Ok(swept) => left += usize::from(!swept),
            Err(Error::Record(error)) => {
                tracing::warn!(%error, "a token is left alone");
                left += 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(left)
}

/// Removes a token if its time is up, and says whether it is gone.
async fn sweep(
    store: &dyn Coordination,
    fence: &[Operation],
    token: TokenHash,
    now_millis: u64,
) -> Result<bool, Error> {
    let mut attempts = Attempts::new();
    loop {
        let record = read_token(store, token).await;
        let Some(record) = record.map_err(|error| attempts.honest_read(error))? else {
            return Ok(true);
        };
        let outdated = is_outdated(store, token, &record, now_millis).await;
        if !outdated.map_err(|error| attempts.honest_read(error))? {
            return Ok(false);
        }
        let mut operations = fence.to_vec();
        let delete = Operation::delete(Node::Token(token).path(), record.version);
        operations.push(delete);
        let Err(error) = store.multi(operations).await else {
            return Ok(true);
        };
        attempts.look(store, error).await?;
    }
}

async fn is_outdated(
    store: &dyn Coordination,
    token: TokenHash,
    record: &Versioned<TokenRecord>,
    now_millis: u64,
) -> Result<bool, Error> {
    let TokenRecord {
        transaction,
        started_millis,
        ended_millis,
        ..
    } = record.value;
    let since = ended_millis.unwrap_or(started_millis);
    if now_millis < since.saturating_add(TOKEN_MILLIS) {
        return Ok(false);
    }
    if ended_millis.is_some() {
        return Ok(true);
    }
    if read_transaction(store, transaction).await?.is_some() {
        return Ok(false);
    }
    // Unless the transaction was cancelled between the two reads, and the token is another's now, at the same version. Of one
    // whose entry is gone nobody but a sweep removes the token.
    let again = read_token(store, token).await?;
    Ok(again.as_ref() == Some(record))
}
