//! The ledger of transactions: an entry for each that is on its way, decided by one compare-and-set.
//!
//! | step | write | after a lost answer, `sync` and a read find | so |
//! |---|---|---|---|
//! | [`begin_transaction`] | create the entry, and the token where there is one | our entry | it happened |
//! | | | no entry | [`Beginning::Lost`]: it may still land, so the id is given up for good |
//! | [`decide_transaction`] | set the entry, which has version 0; a cancellation frees the token | pending | try again: one of the two fails |
//! | | | a decision | that is the one, whoever wrote it |
//! | | | no entry | [`Decided::Gone`] |
//! | [`create_cancelled`] | create the entry and set it, in one step, so that it has version 1 | a decision | that is the one |
//! | [`finish_transaction`] | delete the entry; a token of a committed one gets the time of the end | no entry | it happened |
//!
//! An entry is made once per id, so versions 0 and 1 have each one meaning for it, and a write that lands late finds
//! another version or nothing. Tokens have paths that are used again; each of their writes goes in one `multi` with one
//! of the entry's, which lands once.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use model::{Decision, Timestamp, TransactionId};

use super::Error;
use super::attempts::Attempts;
use super::reading::{Versioned, children, read, read_each};
use crate::records::{EntryRecord, EntryState, Record as _, TokenRecord};
use crate::tree::{Node, TRANSACTION_BUCKETS, TokenHash};
use crate::{ANY_VERSION, Coordination, CreateMode, Operation, path};

/// Of an entry that is pending.
const PENDING: i32 = 0;
/// Of one that is decided.
const DECIDED: i32 = 1;
/// Of a token whose transaction is on its way.
const RUNNING: i32 = 0;
/// Reads in flight at the same time.
const PARALLEL_READS: usize = 64;

/// How the beginning of a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// The entry is there.
    Begun,
    /// The answer was lost, and the entry is not there. It may come: this id must not be used any more.
    Lost,
    /// Nothing was made: the token has been used.
    TokenTaken,
}

/// How an attempt to decide a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// It is decided so.
    Written,
    /// It was decided otherwise before.
    Otherwise(Decision),
    /// There is no such entry any more.
    Gone,
}

/// Makes the entry of a transaction, and its token if the entry names one. To be called **once per id**: it sends one
/// write. An error whose outcome is unknown gives the id up as [`Beginning::Lost`] does.
pub async fn begin_transaction(
    store: &dyn Coordination,
    id: TransactionId,
    entry: &EntryRecord,
    token: Option<&TokenRecord>,
) -> Result<Beginning, Error> {
    let node = Node::Transaction(id);
    let mut operations = vec![Operation::create(
        node.path(),
        entry.encode(),
        CreateMode::Persistent,
    )];
    if let (Some(hash), Some(record)) = (entry.token, token)
        && !mutant!(TokenForgotten)
    {
        let path = Node::Token(hash).path();
        let create = Operation::create(path, record.encode(), CreateMode::Persistent);
        operations.push(create);
    }
    match store.multi(operations).await {
        Ok(_) => Ok(Beginning::Begun),
        Err(crate::Error::NodeExists { path, .. }) if path != node.path() => {
            Ok(Beginning::TokenTaken)
        }
        Err(crate::Error::NodeExists { .. }) => Ok(Beginning::Lost),
        Err(error) if error.outcome_unknown() => {
            // What the look fails with says nothing about the write.
            let lost = |_| Error::Store(crate::Error::ConnectionLoss);
            store.sync(path::ROOT).await.map_err(lost)?;
            let znode = store.get(&node.path()).await.map_err(lost)?;
            Ok(znode.map_or(Beginning::Lost, |_| Beginning::Begun))
        }
        Err(error) => Err(error.into()),
    }
}

/// Decides a pending transaction, unless somebody has. `entry` is what it was begun with.
pub async fn decide_transaction(
    store: &dyn Coordination,
    id: TransactionId,
    entry: &EntryRecord,
    decision: Decision,
    timestamp: Option<Timestamp>,
) -> Result<Decided, Error> {
    let mut attempts = Attempts::new();
    let decided = EntryRecord {
        state: decision.into(),
        timestamp: timestamp.or(entry.timestamp),
        ..entry.clone()
    };
    let freed = entry.token.filter(|_| decision == Decision::Cancelled);
    let mut token = freed.map(|token| (token, RUNNING));
    loop {
        let version = if mutant!(DecisionUnchecked) {
            ANY_VERSION
        } else {
            PENDING
        };
        let path = Node::Transaction(id).path();
        let mut operations = vec![Operation::set(path, decided.encode(), version)];
        if let Some((token, version)) = token {
            operations.push(Operation::delete(Node::Token(token).path(), version));
        }
        let Err(error) = store.multi(operations).await else {
            return Ok(Decided::Written);
        };
        attempts.look(store, error).await?;
        let current = read_transaction(store, id).await;
        let current = current.map_err(|error| attempts.honest_read(error))?;
        match current.map(|current| current.value.state.decision()) {
            None => return Ok(Decided::Gone),
            Some(Some(found)) if found == decision => return Ok(Decided::Written),
            Some(Some(found)) => return Ok(Decided::Otherwise(found)),
            Some(None) => {}
        }
        let own = own_token(store, id, freed).await;
        token = own.map_err(|error| attempts.honest_read(error))?;
    }
}

/// Makes the entry of a transaction that has none and cancels it, in one step. An entry that is there all the same is
/// decided, if it is not yet.
pub async fn create_cancelled(
    store: &dyn Coordination,
    id: TransactionId,
    entry: &EntryRecord,
) -> Result<Decided, Error> {
    let cancelled = EntryRecord {
        state: EntryState::Cancelled,
        ..entry.clone()
    };
    let path = Node::Transaction(id).path();
    let mut attempts = Attempts::new();
    loop {
        let operations = vec![
            Operation::create(path.clone(), "", CreateMode::Persistent),
            Operation::set(path.clone(), cancelled.encode(), PENDING),
        ];
        let Err(error) = store.multi(operations).await else {
            return Ok(Decided::Written);
        };
        attempts.look(store, error).await?;
        let current = read_transaction(store, id).await;
        let current = current.map_err(|error| attempts.honest_read(error))?;
        match current.map(|current| (current.value.state.decision(), current.value)) {
            None => {}
            Some((Some(Decision::Cancelled), _)) => return Ok(Decided::Written),
            Some((Some(found), _)) => return Ok(Decided::Otherwise(found)),
            Some((None, found)) => {
                return decide_transaction(store, id, &found, Decision::Cancelled, None).await;
            }
        }
    }
}

/// Removes the entry of a transaction that every participant has applied. The token of a committed one stays, with the
/// time of the end: by the clock of whoever finishes it, but not before the transaction's own time, which shards have agreed to. An
/// entry that is gone already is a success.
pub async fn finish_transaction(
    store: &dyn Coordination,
    id: TransactionId,
    entry: &EntryRecord,
    now_millis: u64,
) -> Result<(), Error> {
    let mut attempts = Attempts::new();
    let mut version = DECIDED;
    let kept = entry.token.filter(|_| entry.state == EntryState::Committed);
    let mut token = running(store, kept).await?;
    loop {
        let path = Node::Transaction(id).path();
        let mut operations = vec![Operation::delete(path, version)];
        if let (Some(hash), Some(record)) = (kept, &token)
            && record.value.transaction == id
        {
            let stamped = entry.timestamp.map_or(0, Timestamp::millis);
            let earliest = record.value.started_millis.max(stamped);
            let ended = TokenRecord {
                ended_millis: Some(now_millis.max(earliest)),
                ..record.value.clone()
            };
            let path = Node::Token(hash).path();
            operations.push(Operation::set(path, ended.encode(), record.version));
        }
        let Err(error) = store.multi(operations).await else {
            return Ok(());
        };
        attempts.look(store, error).await?;
        let current = store.get(&Node::Transaction(id).path()).await;
        match current.map_err(|error| attempts.honest(error))? {
            None => return Ok(()),
            Some(current) => version = current.stat.version,
        }
        let read = running(store, kept).await;
        token = read.map_err(|error| attempts.honest_read(error))?;
    }
}

/// A token's record, as long as its transaction is on its way.
async fn running(
    store: &dyn Coordination,
    token: Option<TokenHash>,
) -> Result<Option<Versioned<TokenRecord>>, Error> {
    let Some(token) = token else {
        return Ok(None);
    };
    let record = read_token(store, token).await?;
    Ok(record.filter(|record| record.value.ended_millis.is_none()))
}

/// The version of a token, if it is this transaction's.
async fn own_token(
    store: &dyn Coordination,
    id: TransactionId,
    token: Option<TokenHash>,
) -> Result<Option<(TokenHash, i32)>, Error> {
    let Some(hash) = token else {
        return Ok(None);
    };
    let record = read_token(store, hash).await?;
    let own = record.filter(|record| record.value.transaction == id);
    Ok(own.map(|record| (hash, record.version)))
}

/// A transaction's entry.
pub async fn read_transaction(
    store: &dyn Coordination,
    id: TransactionId,
) -> Result<Option<Versioned<EntryRecord>>, Error> {
    read(store, &Node::Transaction(id)).await
}

/// A token.
pub async fn read_token(
    store: &dyn Coordination,
    token: TokenHash,
) -> Result<Option<Versioned<TokenRecord>>, Error> {
    read(store, &Node::Token(token)).await
}

/// The ids of all transactions in the ledger.
pub async fn list_transactions(store: &dyn Coordination) -> Result<BTreeSet<TransactionId>, Error> {
    let buckets = stream::iter(0..TRANSACTION_BUCKETS)
        .map(|bucket| async move { children(store, &Node::Bucket(bucket)).await })
        .buffer_unordered(PARALLEL_READS);
    let buckets: Vec<Vec<Node>> = buckets.try_collect().await?;
    let ids = buckets.into_iter().flatten().filter_map(|node| match node {
        Node::Transaction(id) => Some(id),
        _ => None,
    });
    Ok(ids.collect())
}

/// These transactions, in the order of their ids, as far as they are there and can be read.
pub async fn read_transactions(
    store: &dyn Coordination,
    ids: BTreeSet<TransactionId>,
) -> Result<Vec<(TransactionId, Versioned<EntryRecord>)>, Error> {
    let nodes: Vec<Node> = ids.iter().copied().map(Node::Transaction).collect();
    let found = read_each(store, &nodes).await?;
    let mut entries = Vec::new();
    for (id, entry) in ids.into_iter().zip(found) {
        match entry {
            Ok(entry) => entries.extend(entry.map(|entry| (id, entry))),
            Err(error) => tracing::warn!(%error, "an entry of the ledger is left out"),
        }
    }
    Ok(entries)
}

/// All tokens.
pub async fn list_tokens(store: &dyn Coordination) -> Result<BTreeSet<TokenHash>, Error> {
    let nodes = children(store, &Node::Tokens).await?.into_iter();
    let tokens = nodes.filter_map(|node| match node {
        Node::Token(token) => Some(token),
        _ => None,
    });
    Ok(tokens.collect())
}
