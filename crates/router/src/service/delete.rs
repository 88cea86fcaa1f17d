//! `KeyValue.Delete`.

use api::internal::{Delete, operation};
use api::v1::{DeleteRequest, DeleteResponse};
use api::{Error, convert};
use tokio::time::Instant;

use crate::attempt::policy::Kind;
use crate::data::DataOperation;
use crate::state::State;
use links::Success;

/// Removes one item, whether it exists or not.
pub(crate) async fn delete(
    state: &State,
    request: DeleteRequest,
    deadline: Instant,
) -> Result<DeleteResponse, Error> {
    let key = convert::key(request.key)?;
    let id = request
        .request_id
        .filter(|_| !mutant!(FreshIdentityPerCall))
        .unwrap_or_else(|| state.next_request_id().into());
    let operation = operation::Kind::Delete(Delete {
        key: key.partition.clone(),
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
        Success::Applied { .. } => Ok(DeleteResponse {}),
        _ => Err(super::misfit("delete")),
    }
}
