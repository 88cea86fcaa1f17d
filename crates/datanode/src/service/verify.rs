//! `Verify`: the content of a replica at a checkpoint.
//!
//! The hash is the one that the replica has kept up to date write by write. It is only given out after all that is stored was
//! read and hashed again and came to the same, so it speaks for the disk as well.

use api::internal::{VerifyRequest, VerifyResponse};
use api::{Error, Reason};
use bytes::Bytes;
use model::{ShardId, TableId};
use storage::snapshot::verify_shard;
use tonic::Status;

use super::Service;

impl Service {
    pub(super) async fn verify_replica(
        &self,
        request: VerifyRequest,
    ) -> Result<VerifyResponse, Status> {
        let shard = ShardId {
            table: TableId(request.table),
            index: request.shard,
        };
        let Some(checkpoint) = self.hosted.checkpoint(shard, request.verify_id) else {
            return Ok(VerifyResponse::default());
        };
        let view = self.store.view();
        let verified = self.offload.run(move || verify_shard(&*view, shard)).await;
        let verified = match verified {
            Ok(Ok(verified)) => verified,
            Ok(Err(error)) => return Err(corrupt(error)),
            Err(error) => return Err(Status::aborted(error.to_string())),
        };
        if !verified.agrees() {
            return Err(corrupt("what is stored is not what was applied"));
        }
        Ok(VerifyResponse {
            index: checkpoint.index,
            hash: Bytes::copy_from_slice(&checkpoint.hash.to_be_bytes()),
            items: verified.items,
        })
    }
}

fn corrupt(detail: impl std::fmt::Display) -> Status {
    Error::new(
        Reason::Corruption,
        format!("the replica's data is damaged: {detail}"),
    )
    .into()
}
