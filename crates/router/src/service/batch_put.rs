//! `KeyValue.BatchPut`: puts in parallel, a result for each. Not atomic.

use api::v1::{BatchPutRequest, BatchPutResponse, BatchPutResult, PutRequest, batch_put_result};
use api::{Error, convert};
use futures::future::join_all;
use model::limits::MAX_BATCH_BYTES;
use tokio::time::Instant;

use crate::state::State;

/// Writes up to 100 items of 4 MiB together.
pub(crate) async fn batch_put(
    state: &State,
    request: BatchPutRequest,
    deadline: Instant,
) -> Result<BatchPutResponse, Error> {
    convert::batch_len("items", request.items.len())?;
    check_bytes(&request.items)?;
    let puts = request
        .items
        .into_iter()
        .map(|item| super::put::put(state, item, deadline));
    let results = join_all(puts).await.into_iter().map(|result| {
        let result = match result {
            Ok(item) => batch_put_result::Result::Item(item),
            Err(error) => batch_put_result::Result::Error(error.into()),
        };
        BatchPutResult {
            result: Some(result),
        }
    });
    Ok(BatchPutResponse {
        results: results.collect(),
    })
}

fn check_bytes(items: &[PutRequest]) -> Result<(), Error> {
    let bytes: usize = items
        .iter()
        .map(|item| item.key.len() + item.value.len())
        .sum();
    if bytes <= MAX_BATCH_BYTES {
        return Ok(());
    }
    let message = format!(
        "the keys and values of a batch have at most {MAX_BATCH_BYTES} bytes together, not {bytes}"
    );
    Err(Error::invalid("items", message))
}
