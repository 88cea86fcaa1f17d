//! `KeyValue.BatchGet`: gets in parallel, a result for each.
//!
//! An answer has room for 4 MiB of values. What finds no room any more gets `OVERLOADED`, so that callers that
//! ask again for what failed get everything in the end.

use api::v1::{
    BatchGetRequest, BatchGetResponse, BatchGetResult, GetRequest, GetResponse, batch_get_result,
};
use api::{Error, Reason, convert};
use futures::future::join_all;
use model::limits::MAX_BATCH_BYTES;
use tokio::time::Instant;

use crate::state::State;

/// Reads up to 100 items.
pub(crate) async fn batch_get(
    state: &State,
    request: BatchGetRequest,
    deadline: Instant,
) -> Result<BatchGetResponse, Error> {
    convert::batch_len("keys", request.keys.len())?;
    let gets = request.keys.into_iter().map(|of| {
        let get = GetRequest {
            table: of.table,
            key: of.key,
            consistent: request.consistent,
        };
        super::get::get(state, get, deadline)
    });
    let mut room = MAX_BATCH_BYTES;
    let results = join_all(gets).await.into_iter().map(|result| {
        let result = result.and_then(|item| take_room(&mut room, item));
        let result = match result {
            Ok(item) => batch_get_result::Result::Item(item),
            Err(error) => batch_get_result::Result::Error(error.into()),
        };
        BatchGetResult {
            result: Some(result),
        }
    });
    Ok(BatchGetResponse {
        results: results.collect(),
    })
}

fn take_room(room: &mut usize, item: GetResponse) -> Result<GetResponse, Error> {
    match room.checked_sub(item.value.len()) {
        Some(left) => {
            *room = left;
            Ok(item)
        }
        None => Err(Error::new(
            Reason::Overloaded,
            "the answer to this batch is full: ask for this key again",
        )),
    }
}
