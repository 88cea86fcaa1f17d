//! The same token again.
//!
//! | the token's record says | so |
//! |---|---|
//! | other contents | `IDEMPOTENCY_MISMATCH` |
//! | ended | it has happened: success |
//! | on its way, its router lives | wait for it |
//! | on its way, its router is gone | take it over, then look again |
//! | nothing: it was cancelled, or swept | begin anew |
//!
//! Two requests are the same if their items are: tables by their ids, keys, values and conditions, in their order. A table
//! that was made again under its name is another one, so the same request is another as well.
//!
//! # Caveats
//!
//! How many tokens there are is counted every few seconds, and each router adds its own in between: the bound may be
//! overstepped by what all routers together begin in that time.

use std::sync::Arc;

use api::{Error, Reason};
use coordination::records::ContentsHash;
use coordination::registry::{self, list_tokens, read_token, read_transaction};
use coordination::tree::{Node, TokenHash};
use model::limits::{MAX_TOKEN_BYTES, MAX_TOKENS};
use model::{Condition, Participant, TransactionId, TransactionItem};
use tokio::time::{Duration, Instant, sleep};
use xxhash_rust::xxh3::xxh3_128;

use super::recover::Case;
use crate::directory::{read, unavailable};
use crate::state::{Session, State};

/// How many tokens there are, as far as this router knows.
#[derive(Debug, Default)]
pub(crate) struct TokenCount {
    counted_at: Option<Instant>,
    count: usize,
}

/// What a token that is taken means for the request that came with it.
pub(crate) enum Taken {
    /// Its transaction has happened.
    Done,
    /// It is free again.
    Free,
}

/// The token of a request, checked.
pub(crate) fn token_hash(token: &str) -> Result<Option<TokenHash>, Error> {
    match token.len() {
        0 => Ok(None),
        length if length > MAX_TOKEN_BYTES => {
            let message = format!("a token has at most {MAX_TOKEN_BYTES} bytes, not {length}");
            Err(Error::invalid("client_request_token", message))
        }
        _ => Ok(Some(TokenHash(xxh3_128(token.as_bytes())))),
    }
}

/// The hash of what a transaction writes. Its form is fixed: other versions compare with it.
pub(crate) fn contents_hash(
    items: &[TransactionItem],
    participants: &[Participant],
) -> ContentsHash {
    let mut bytes = Vec::new();
    let mut field = |field: &[u8]| {
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field);
    };
    for (item, participant) in items.iter().zip(participants) {
        field(&participant.table.0.to_be_bytes());
        field(&item.key.partition);
        field(&item.value);
        let (kind, version) = match item.condition {
            Condition::Always => (0, 0),
            Condition::Exists => (1, 0),
            Condition::NotExists => (2, 0),
            Condition::VersionIs(version) => (3, version),
        };
        field(&[kind]);
        field(&version.to_be_bytes());
    }
    ContentsHash(xxh3_128(&bytes))
}

impl State {
    /// Takes a place among the tokens, or refuses.
    pub(crate) async fn room_for_token(
        &self,
        session: &Session,
        deadline: Instant,
    ) -> Result<(), Error> {
        let interval = self.options.timing.transactions.token_count_interval;
        let now = Instant::now();
        let outdated = {
            let mut tokens = self.transactions.tokens.lock();
            let fresh = |at: Instant| now.duration_since(at) < interval;
            let outdated = !tokens.counted_at.is_some_and(fresh);
            if outdated {
                // The others go on with the old count meanwhile.
                tokens.counted_at = Some(now);
            }
            outdated
        };
        if outdated {
            let listed = tokio::time::timeout_at(deadline, list_tokens(&*session.store)).await;
            let listed = match listed {
                Ok(listed) => listed.map_err(unavailable),
                Err(_) => Err(unavailable("it did not answer in time")),
            };
            let mut tokens = self.transactions.tokens.lock();
            match listed {
                Ok(listed) => tokens.count = listed.len(),
                Err(error) => {
                    tokens.counted_at = None;
                    return Err(error);
                }
            }
        }
        let mut tokens = self.transactions.tokens.lock();
        if tokens.count >= MAX_TOKENS {
            return Err(Error::new(
                Reason::Overloaded,
                format!(
                    "{MAX_TOKENS} tokens are remembered already, each for 10 minutes: try again later, or without a token"
                ),
            )
            .retry_after(Duration::from_secs(10)));
        }
        tokens.count += 1;
        Ok(())
    }

    /// Finds out what a token that was taken means, however long that takes within the deadline.
    pub(crate) async fn await_token(
        self: &Arc<Self>,
        session: &Arc<Session>,
        (token, contents): (TokenHash, ContentsHash),
        deadline: Instant,
    ) -> Result<Taken, Error> {
        let (mut pause, most) = self.options.timing.transactions.token_poll;
        loop {
            let looked = self.look_at_token(session, token, contents);
            let looked = tokio::time::timeout_at(deadline, looked).await;
            match looked.map_err(|_| still_on_its_way())?? {
                Look::Clear(what) => return Ok(what),
                Look::Waits => {}
                Look::Orphan(case) => {
                    let recovery = self.recover(session, *case);
                    let recovery = tokio::time::timeout_at(deadline, recovery).await;
                    recovery.map_err(|_| still_on_its_way())?;
                }
            }
            if Instant::now() + pause >= deadline {
                return Err(still_on_its_way());
            }
            sleep(pause.mul_f64(rand::random_range(0.5..=1.0))).await;
            pause = (pause * 2).min(most);
        }
    }

    async fn look_at_token(
        &self,
        session: &Session,
        token: TokenHash,
        contents: ContentsHash,
    ) -> Result<Look, Error> {
        // The first attempt may have happened: without the store nobody can say.
        let unknown = |error: registry::Error| {
            Error::outcome_unknown(format_args!(
                "the token was used before, and what became of its transaction can't be read ({error})"
            ))
        };
        let store = &*session.store;
        read::sync(store).await.map_err(unknown)?;
        let Some(record) = read_token(store, token).await.map_err(unknown)? else {
            return Ok(Look::Clear(Taken::Free));
        };
        if record.value.contents != contents {
            return Err(Error::new(
                Reason::IdempotencyMismatch,
                "the token was used before with other items: take a new token for a new transaction",
            ));
        }
        if record.value.ended_millis.is_some() {
            return Ok(Look::Clear(Taken::Done));
        }
        let id: TransactionId = record.value.transaction;
        let entry = read_transaction(store, id).await.map_err(unknown)?;
        let Some(entry) = entry else {
            // Between two reads, or in a restored store.
            return Ok(Look::Waits);
        };
        let router = Node::Router(entry.value.router).path();
        let router = store.get(&router).await;
        let lives = router.map_err(|error| unknown(error.into()))?.is_some();
        Ok(if lives {
            Look::Waits
        } else {
            Look::Orphan(Box::new(Case::of_entry(id, &entry.value)))
        })
    }
}

enum Look {
    Clear(Taken),
    Waits,
    Orphan(Box<Case>),
}

fn still_on_its_way() -> Error {
    Error::outcome_unknown("a transaction with this token was on its way until the deadline")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use model::{Key, TableId};

    fn hash(table: u64, key: &'static str, value: &'static str, condition: Condition) -> u128 {
        let key = Key::new(Bytes::from_static(key.as_bytes())).unwrap();
        let participant = Participant {
            table: TableId(table),
            key: key.clone(),
        };
        let item = TransactionItem {
            key,
            value: Bytes::from_static(value.as_bytes()),
            condition,
        };
        contents_hash(&[item], &[participant]).0
    }

    #[test]
    fn contents_differ_by_each_of_their_parts() {
        let all = [
            hash(1, "ab", "c", Condition::Always),
            hash(2, "ab", "c", Condition::Always),
            hash(1, "a", "bc", Condition::Always),
            hash(1, "ab", "", Condition::Always),
            hash(1, "ab", "c", Condition::Exists),
            hash(1, "ab", "c", Condition::NotExists),
            hash(1, "ab", "c", Condition::VersionIs(0)),
            hash(1, "ab", "c", Condition::VersionIs(1)),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(all[0], hash(1, "ab", "c", Condition::Always));
    }

    #[test]
    fn tokens_have_1_to_36_bytes() {
        assert!(matches!(token_hash(""), Ok(None)));
        assert!(matches!(token_hash(&"x".repeat(36)), Ok(Some(_))));
        let error = token_hash(&"x".repeat(37)).unwrap_err();
        assert_eq!(error.metadata["field"], "client_request_token");
    }
}
