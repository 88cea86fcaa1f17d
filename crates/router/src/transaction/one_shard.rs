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
use crate::attempt::policy::{ALONE, Kind};
use crate::state::State;

/// It has just been issued, so that it can't be old by a clock that is right.
const CLOCKS_DIFFER: &str = "issued long ago by the clock of the shard's leader, far ahead of this router's: set the clocks";

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
            Err(failure) if failure.error.metadata.contains_key(ALONE) => {
                return Err(Error::invalid("issued_at_millis", CLOCKS_DIFFER));
            }
            Err(failure) => return Err(failure.error),
        };
        Ok(OneShard::Ended(outcome))
    }
}
