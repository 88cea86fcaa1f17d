//! A transaction whose keys all lie in one shard, without a token: one Raft entry checks, decides and applies all of it.
//!
//! It needs no ledger and no session with the coordination store. Its id and the time of its issue are its identity, so
//! that a repetition, after a lost answer or a leader's death, is told what the first attempt was.

use api::Error;
use api::convert;
use api::internal::{TransactWrite, operation};
use links::Success;
use model::{TransactionId, TransactionItem};
use tokio::time::Instant;

use super::coordinate::Outcome;
use super::group::items_of;
use super::plan::Group;
use crate::attempt::policy::Kind;
use crate::state::State;

/// How it has ended.
pub(crate) enum OneShard {
    /// So.
    Ended(Outcome),
    /// The table was deleted before anything was applied: find out what its name stands for now.
    PlanAgain,
}

impl State {
    /// Carries it out.
    pub(crate) async fn transact_in_one_shard(
        &self,
        group: &Group,
        items: &[TransactionItem],
        deadline: Instant,
    ) -> Result<OneShard, Error> {
        let write = operation::Kind::TransactWrite(TransactWrite {
            transaction: convert::transaction_bytes(TransactionId(rand::random())),
            issued_at_millis: self.now_millis(),
            items: items_of(group, items),
        });
        let outcome = match self.operate(Kind::Write, group, write, deadline).await {
            Ok(Success::Applied { .. }) => Outcome::Committed,
            Ok(Success::Rejected(objections)) => Outcome::Cancelled {
                objections,
                error: None,
            },
            Ok(_) => return Err(crate::service::misfit("transaction")),
            Err(failure) if failure.deleted && failure.is_certain() => {
                return Ok(OneShard::PlanAgain);
            }
            Err(failure) => return Err(failure.error),
        };
        Ok(OneShard::Ended(outcome))
    }
}
