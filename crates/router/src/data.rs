//! The data path: from a table's name and a key to an answer.

use std::sync::Arc;

use api::Error;
use api::internal::operation;
use model::{Key, TableState};
use tokio::time::Instant;

use crate::attempt::policy::Kind;
use crate::attempt::run::{End, Request, Reread};
use crate::directory::TableEntry;
use crate::state::State;
use links::Success;

/// An operation on one key of one table.
#[derive(Debug)]
pub(crate) struct DataOperation<'a> {
    pub(crate) kind: Kind,
    pub(crate) table: &'a str,
    pub(crate) key: &'a Key,
    pub(crate) operation: operation::Kind,
    pub(crate) deadline: Instant,
}

impl State {
    /// Finds the shard, has a replica carry the operation out, and begins again if the table has been replaced
    /// by another of its name meanwhile.
    pub(crate) async fn execute(&self, data: DataOperation<'_>) -> Result<Success, Error> {
        loop {
            let entry = self
                .directory
                .table_for_data(data.table, data.deadline)
                .await?;
            let shard = entry.value.shard_of(data.key.hash());
            let Some(placed) = entry.value.shards.get(shard.index as usize) else {
                // Can't be: records are validated when they are read.
                return Err(Error::new(
                    api::Reason::Corruption,
                    format!(
                        "the record of table {} has no shard for this key",
                        data.table
                    ),
                ));
            };
            let request = Request {
                kind: data.kind,
                shard,
                replicas: &placed.nodes,
                operation: data.operation.clone(),
                deadline: data.deadline,
            };
            let reread = || self.reread(&entry, data.deadline);
            match self.means().run(request, reread).await {
                End::Answer(answer) => {
                    return answer.map_err(|error| {
                        error.with("table", data.table).with("shard", shard.index)
                    });
                }
                End::Restart => {}
            }
        }
    }

    /// Looks at the table again because no replica knows it.
    async fn reread(&self, entry: &Arc<TableEntry>, deadline: Instant) -> Reread {
        let name = &entry.value.name;
        // A shorter time than the request has: if the store does not answer, the replicas are asked again.
        let patience = Instant::now() + self.options.timing.attempt_timeout;
        match self
            .directory
            .look_up(name.clone(), deadline.min(patience))
            .await
        {
            Ok(Some(found)) if found.value.id == entry.value.id => match found.value.state {
                TableState::Available | TableState::Creating => Reread::Same,
                TableState::Deleting => Reread::Gone(crate::directory::not_found(name)),
            },
            Ok(Some(_)) => Reread::Replaced,
            Ok(None) => Reread::Gone(crate::directory::not_found(name)),
            Err(_) => Reread::Same,
        }
    }
}
