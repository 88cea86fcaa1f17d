//! What callers are told of what became of their commands.

use api::{Error, Reason};
use model::{Lsn, NodeId};

use super::Replies;
use crate::machine::{self, Outcome, Refusal};
use crate::operation::Answer;

/// Answers those who wait, by the outcomes of their commands.
pub(super) fn answer(applied: Vec<machine::Applied>, replies: Replies, leader: Option<NodeId>) {
    let mut applied = applied.into_iter().peekable();
    for (index, waiters) in replies {
        while applied.peek().is_some_and(|entry| entry.index < index) {
            applied.next();
        }
        // Dropped where the entry is not among the applied ones: a snapshot has taken its place.
        let Some(entry) = applied.next_if(|entry| entry.index == index) else {
            continue;
        };
        for (outcome, reply) in entry.outcomes.into_iter().zip(waiters) {
            if let Some(reply) = reply {
                reply.answer(leader, outcome_answer(outcome));
            }
        }
    }
}

fn outcome_answer(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Written { version } => Answer::Applied { version },
        Outcome::Deleted | Outcome::Sealed | Outcome::Committed | Outcome::Decided => {
            Answer::Applied { version: 0 }
        }
        Outcome::Prepared => Answer::Prepared,
        Outcome::Rejected(objections) => Answer::Rejected(objections),
        Outcome::State(state) => Answer::State(state),
        Outcome::Checkpoint { index, .. } => Answer::Applied { version: index.0 },
        Outcome::Refused(Refusal::Expired) => Answer::Failed(expired()),
        Outcome::Refused(Refusal::Sealed) => Answer::Failed(being_deleted()),
        Outcome::Refused(Refusal::TransactionConflict(transaction)) => {
            let message = "the item is part of a transaction that is not decided yet; retry";
            let error = Error::new(Reason::TransactionConflict, message);
            Answer::Failed(error.with("transaction", transaction))
        }
        Outcome::Refused(Refusal::ConditionFailed(version)) => {
            Answer::Failed(condition_failed(version))
        }
    }
}

/// The item was not as the caller wanted it. It is told how it was.
fn condition_failed(version: Option<Lsn>) -> Error {
    let failed = |message: String| Error::new(Reason::ConditionFailed, message);
    let Some(Lsn(version)) = version else {
        return failed("the condition does not hold: there is no such item".into());
    };
    let message = format!("the condition does not hold: the item has version {version}");
    failed(message).with("version", version)
}

/// An earlier attempt may have been applied and forgotten since. No further attempt can be.
fn expired() -> Error {
    Error::outcome_unknown("the write's request_id is older than what the shard remembers")
        .with("expired", true)
}

pub(super) fn being_deleted() -> Error {
    Error::new(Reason::TableNotFound, "the table is being deleted")
}
