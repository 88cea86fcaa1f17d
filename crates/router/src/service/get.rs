//! `KeyValue.Get`.

use api::internal::{Get, operation};
use api::v1::{GetRequest, GetResponse};
use api::{Error, convert};
use tokio::time::Instant;

use crate::attempt::policy::Kind;
use crate::data::DataOperation;
use crate::state::State;
use links::Success;

/// Reads one item.
pub(crate) async fn get(
    state: &State,
    request: GetRequest,
    deadline: Instant,
) -> Result<GetResponse, Error> {
    let key = convert::key(request.key)?;
    let kind = if request.consistent {
        Kind::ConsistentRead
    } else {
        Kind::EventualRead
    };
    let operation = operation::Kind::Get(Get {
        key: key.partition.clone(),
        consistent: request.consistent,
    });
    let data = DataOperation {
        kind,
        table: &request.table,
        key: &key,
        operation,
        deadline,
    };
    match state.execute(data).await? {
        Success::Found { value, version } => Ok(GetResponse {
            found: true,
            value,
            version,
        }),
        Success::Absent => Ok(GetResponse::default()),
        _ => Err(super::misfit("get")),
    }
}
