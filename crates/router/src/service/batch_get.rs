//! `KeyValue.BatchGet`: gets in parallel, a result for each.
//!
//! An answer has room for 4 MiB of values. What finds no room any more gets `OVERLOADED`, so that callers that
//! ask again for what failed get everything in the end.

use std::sync::atomic::{AtomicUsize, Ordering};

use api::v1::{
    BatchGetRequest, BatchGetResponse, BatchGetResult, GetRequest, GetResponse, batch_get_result,
};
use api::{Error, Reason, convert};
use futures::stream::{self, StreamExt as _};
use model::limits::MAX_BATCH_BYTES;
use tokio::time::Instant;

use crate::state::State;

/// Gets of one batch at the same time: a bound on what is read and then finds no room.
const CONCURRENT_GETS: usize = 32;

/// Reads up to 100 items.
pub(crate) async fn batch_get(
    state: &State,
    request: BatchGetRequest,
    deadline: Instant,
) -> Result<BatchGetResponse, Error> {
    convert::batch_len("keys", request.keys.len())?;
    let used = AtomicUsize::new(0);
    let mut gets = Vec::with_capacity(request.keys.len());
    for of in request.keys {
        let get = GetRequest {
            table: of.table,
            key: of.key,
            consistent: request.consistent,
        };
        gets.push(get_if_room(state, get, deadline, &used));
    }
    let gets = stream::iter(gets).buffered(CONCURRENT_GETS);
    let results = gets.map(|result| BatchGetResult {
        result: Some(match result {
            Ok(item) => batch_get_result::Result::Item(item),
            Err(error) => batch_get_result::Result::Error(error.into()),
        }),
    });
    Ok(BatchGetResponse {
        results: results.collect().await,
    })
}

async fn get_if_room(
    state: &State,
    get: GetRequest,
    deadline: Instant,
    used: &AtomicUsize,
) -> Result<GetResponse, Error> {
    if used.load(Ordering::Relaxed) >= MAX_BATCH_BYTES {
        return Err(full());
    }
    let item = super::get::get(state, get, deadline).await?;
    let before = used.fetch_add(item.value.len(), Ordering::Relaxed);
    if before + item.value.len() > MAX_BATCH_BYTES {
        return Err(full());
    }
    Ok(item)
}

fn full() -> Error {
    Error::new(
        Reason::Overloaded,
        "the answer to this batch is full: ask for this key again",
    )
}
