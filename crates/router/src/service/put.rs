//! `KeyValue.Put`.

use api::internal::{Put, operation};
use api::v1::{PutRequest, PutResponse};
use api::{Error, convert};
use tokio::time::Instant;

use crate::attempt::policy::Kind;
use crate::data::DataOperation;
use crate::state::State;
use links::Success;

/// Writes one item.
pub(crate) async fn put(
    state: &State,
    request: PutRequest,
    deadline: Instant,
) -> Result<PutResponse, Error> {
    let key = convert::key(request.key)?;
    let value = convert::value(request.value)?;
    let id = request
        .request_id
        .filter(|_| !mutant!(FreshIdentityPerCall))
        .unwrap_or_else(|| state.next_request_id().into());
    let operation = operation::Kind::Put(Put {
        key: key.partition.clone(),
        value,
        request_id: Some(id),
        condition: request.condition,
    });
    let data = DataOperation {
        kind: Kind::Write,
        table: &request.table,
        key: &key,
        operation,
        deadline,
    };
    match state.execute(data).await? {
        Success::Applied { version } => Ok(PutResponse { version }),
        _ => Err(super::misfit("put")),
    }
}
