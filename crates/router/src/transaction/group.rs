//! One operation on one group of a transaction: sent to the shard until it answers, the table is proven to be deleted,
//! or time is up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::Error;
use api::internal::{Decide, Inquire, Prepare, operation};
use api::{Reason, convert};
use links::Success;
use model::{
    Decision, Participant, TableId, TableState, Timestamp, TransactionId, TransactionItem,
    TransactionState,
};
use tokio::time::Instant;

use super::deleted::Standing;
use super::plan::Group;
use crate::attempt::policy::Kind;
use crate::attempt::run::{End, Request, Reread};
use crate::directory::{TableEntry, not_found};
use crate::state::State;

/// Why an operation on a group has failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// As for a single operation: `OUTCOME_UNKNOWN`, or certainly not applied.
    pub(crate) error: Error,
    /// The table is proven to be deleted, or on its way beyond the point of no return.
    pub(crate) deleted: bool,
}

impl Failure {
    /// Nothing was applied, and nothing will be.
    pub(crate) fn is_certain(&self) -> bool {
        self.error.reason.certainly_not_applied()
    }
}

/// A transaction of which some shards are told something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named {
    pub(crate) id: TransactionId,
    /// `None`: not known.
    pub(crate) timestamp: Option<Timestamp>,
}

impl Named {
    fn message_timestamp(self) -> u64 {
        self.timestamp.map_or(0, |timestamp| timestamp.0)
    }
}

impl State {
    /// Has the group's shard carry an operation out.
    pub(crate) async fn operate(
        &self,
        kind: Kind,
        group: &Group,
        operation: operation::Kind,
        deadline: Instant,
    ) -> Result<Success, Failure> {
        let placed = group.table.as_ref().and_then(|table| {
            let shard = table.value.shards.get(group.shard.index as usize)?;
            Some((table, shard))
        });
        let Some((table, shard)) = placed else {
            return Err(self.no_table(group.shard.table, deadline).await);
        };
        let request = Request {
            kind,
            shard: group.shard,
            replicas: &shard.nodes,
            operation,
            deadline,
        };
        let deleted = AtomicBool::new(false);
        let reread = || async {
            if !self.is_missing(table, deadline).await {
                return Reread::Same;
            }
            match self.standing(group.shard.table, deadline).await {
                Standing::Listed => return Reread::Same,
                Standing::Deleted => deleted.store(true, Ordering::Relaxed),
                Standing::Unclear => {}
            }
            Reread::Gone(not_found(&table.value.name))
        };
        let End::Answer(answer) = self.means().run(request, reread).await else {
            // Only a table that was replaced restarts a request, and to this one every other table is none.
            return Err(misfit("look at the table"));
        };
        answer.map_err(|error| Failure {
            error: error
                .with("table", &table.value.name)
                .with("shard", group.shard.index),
            deleted: deleted.load(Ordering::Relaxed),
        })
    }

    /// For a group whose table has no record.
    async fn no_table(&self, table: TableId, deadline: Instant) -> Failure {
        let deleted = matches!(self.standing(table, deadline).await, Standing::Deleted);
        let message = if deleted {
            format!("the table with the id {table} is deleted")
        } else {
            format!("the table with the id {table} is not listed, and not known to be deleted")
        };
        Failure {
            error: Error::new(Reason::TableNotFound, message),
            deleted,
        }
    }

    /// Whether the store has no such table any more under its name, or one that is being deleted. No, if it says nothing.
    async fn is_missing(&self, table: &Arc<TableEntry>, deadline: Instant) -> bool {
        let patience = Instant::now() + self.options.timing.attempt_timeout;
        let name = table.value.name.clone();
        match self.directory.look_up(name, deadline.min(patience)).await {
            Ok(Some(found)) if found.value.id == table.value.id => {
                found.value.state == TableState::Deleting
            }
            Ok(_) => true,
            Err(_) => false,
        }
    }

    /// The first phase on one group. `items` are those of the whole transaction.
    pub(crate) async fn prepare(
        &self,
        group: &Group,
        (id, timestamp): (TransactionId, Timestamp),
        items: &[TransactionItem],
        participants: &[Participant],
        deadline: Instant,
    ) -> Result<Success, Failure> {
        let prepare = operation::Kind::Prepare(Prepare {
            transaction: convert::transaction_bytes(id),
            timestamp: timestamp.0,
            items: items_of(group, items),
            participants: participants.iter().cloned().map(Into::into).collect(),
        });
        self.operate(Kind::Write, group, prepare, deadline).await
    }

    /// The second phase on one group: whether it has applied the decision, or its table is deleted.
    pub(crate) async fn decide(
        &self,
        group: &Group,
        transaction: Named,
        decision: Decision,
    ) -> Result<(), Failure> {
        let decide = operation::Kind::Decide(Decide {
            transaction: convert::transaction_bytes(transaction.id),
            timestamp: transaction.message_timestamp(),
            commit: decision == Decision::Committed,
        });
        let deadline = Instant::now() + self.options.timing.transactions.decide_timeout;
        match self.operate(Kind::Write, group, decide, deadline).await {
            Ok(Success::Applied { .. }) => Ok(()),
            Ok(_) => Err(misfit("decision")),
            Err(failure) if failure.deleted => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// What a group knows of a transaction.
    pub(crate) async fn inquire(
        &self,
        group: &Group,
        transaction: Named,
        participants: &[Participant],
    ) -> Result<TransactionState, Failure> {
        let keys = group.positions.iter();
        let keys = keys.filter_map(|&position| participants.get(position));
        let inquire = operation::Kind::Inquire(Inquire {
            transaction: convert::transaction_bytes(transaction.id),
            timestamp: transaction.message_timestamp(),
            keys: keys.map(|key| key.key.partition.clone()).collect(),
        });
        let deadline = Instant::now() + self.options.timing.transactions.decide_timeout;
        let kind = Kind::ConsistentRead;
        match self.operate(kind, group, inquire, deadline).await? {
            Success::State(state) => Ok(state),
            _ => Err(misfit("inquiry")),
        }
    }
}

/// A group's part of a transaction's items.
pub(crate) fn items_of(
    group: &Group,
    items: &[TransactionItem],
) -> Vec<api::internal::TransactionItem> {
    let positions = group.positions.iter();
    let own = positions.filter_map(|&position| items.get(position));
    own.cloned().map(Into::into).collect()
}

/// An answer that does not belong to the question.
pub(crate) fn misfit(operation: &str) -> Failure {
    Failure {
        error: crate::service::misfit(operation),
        deleted: false,
    }
}
