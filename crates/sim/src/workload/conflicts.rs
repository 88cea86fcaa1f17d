//! Conflicts have a cause: a transaction that is cancelled with `TRANSACTION_CONFLICT` on a key has met another one there.
//!
//! Another one may have held an intent on the key while this one lived, if it had begun before this one ended, and
//!
//! | its outcome | held until |
//! |---|---|
//! | done | its answer: every shard has applied it by then |
//! | cancelled, refused otherwise, or unknown | the end of the run: a shard may not have been told, and without a majority it can't be for as long as faults go on |
//!
//! That is generous, so it says something only where clients have keys of their own, or very many. And it is asked only of those that were
//! answered well before their deadline: what a router has to answer at its deadline, while a shard is still being told, the client sends
//! again with what is left of the time, and may meet its own first attempt.

use bytes::Bytes;
use history::{Call, History, Operation, Outcome};

/// Who waits for longer may have been answered at a deadline, microseconds.
const PROMPT: u64 = 2_000_000;

/// A transaction that was cancelled because of a conflict.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conflict {
    /// Its place in the history.
    pub(super) place: usize,
    /// Which of its items it was.
    pub(super) item: usize,
}

impl Conflict {
    /// What there is to say if nobody can have been in its way.
    pub(super) fn without_cause(self, history: &History) -> Option<String> {
        let cancelled = history.operations().get(self.place)?;
        let (table, key) = item_of(cancelled, self.item)?;
        let lasted = cancelled.returned?.saturating_sub(cancelled.invoked);
        if lasted > PROMPT {
            return None;
        }
        let mut others = history.operations().iter();
        let caused = others.any(|other| {
            other != cancelled && writes(other, table, key) && may_have_met(other, cancelled)
        });
        (!caused).then(|| {
            format!(
                "transaction c{} #{} was cancelled because of another one on {table}/{}, and there was none",
                cancelled.client,
                cancelled.sequence,
                String::from_utf8_lossy(key)
            )
        })
    }
}

fn item_of(operation: &Operation, item: usize) -> Option<(&String, &Bytes)> {
    match &operation.call {
        Call::TransactPut { items } => items.get(item).map(|item| (&item.table, &item.key)),
        _ => None,
    }
}

fn writes(operation: &Operation, table: &String, key: &Bytes) -> bool {
    match &operation.call {
        Call::TransactPut { items } => items
            .iter()
            .any(|item| item.table == *table && item.key == *key),
        _ => false,
    }
}

fn may_have_met(other: &Operation, cancelled: &Operation) -> bool {
    let began_before = cancelled
        .returned
        .is_none_or(|returned| other.invoked <= returned);
    let held_until = match (&other.outcome, other.returned) {
        (Outcome::Done(_), Some(returned)) => returned,
        _ => u64::MAX,
    };
    began_before && held_until >= cancelled.invoked
}

#[cfg(test)]
mod tests {
    use history::{Refusal, Response, TransactItem};

    use super::*;

    fn put(key: &'static str, (invoked, returned): (u64, u64), outcome: Outcome) -> Operation {
        let items = vec![TransactItem::put("t", key, "v")];
        Operation {
            client: 1,
            sequence: invoked,
            invoked,
            returned: Some(returned),
            call: Call::TransactPut { items },
            outcome,
        }
    }

    fn done() -> Outcome {
        let versions = Vec::new();
        Outcome::Done(Response::TransactPut { versions })
    }

    fn cancelled() -> Outcome {
        Outcome::Refused(Refusal::Cancelled)
    }

    /// Whether a conflict on `a` from 100 to 110 has a cause, if this was done as well.
    fn has_cause(other: Operation) -> bool {
        let history = History::new(vec![other, put("a", (100, 110), cancelled())]);
        let operations = history.operations().iter();
        let place = operations.clone().position(|one| one.invoked == 100);
        let conflict = Conflict {
            place: place.unwrap(),
            item: 0,
        };
        conflict.without_cause(&history).is_none()
    }

    #[test]
    fn a_cause_is_whoever_may_have_held_an_intent_meanwhile() {
        assert!(has_cause(put("a", (90, 101), done())));
        assert!(has_cause(put("a", (105, 120), done())));
        assert!(has_cause(put("a", (1, 9), Outcome::Unknown)));
        assert!(has_cause(put("a", (1, 9), cancelled())));
        assert!(!has_cause(put("a", (1, 9), done())));
        assert!(!has_cause(put("a", (111, 120), done())));
        assert!(!has_cause(put("b", (90, 120), done())));
    }

    #[test]
    fn who_was_answered_at_its_deadline_may_have_met_itself() {
        let lasted = |micros| {
            let history = History::new(vec![put("a", (100, 100 + micros), cancelled())]);
            let conflict = Conflict { place: 0, item: 0 };
            conflict.without_cause(&history).is_some()
        };
        assert!(lasted(PROMPT));
        assert!(!lasted(PROMPT + 1));
    }
}
