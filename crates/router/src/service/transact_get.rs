//! `KeyValue.TransactGet`: items that show one state of the system.
//!
//! Rounds of linearizable reads, until two in a row agree and saw no transaction on the way ([`txn::Rounds`]). Every round
//! names the lsns of the last one, so that a value that has not changed is sent once.

use api::internal::{TransactRead, TransactReadKey, operation};
use api::v1::{GetResponse, TransactGetRequest, TransactGetResponse};
use api::{Error, Reason, convert};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use links::{Content, ReadItem, Success};
use model::Key;
use model::limits::MAX_BATCH_BYTES;
use tokio::time::{Instant, sleep};
use txn::{Rounds, Seen, Verdict};

use crate::attempt::policy::Kind;
use crate::state::State;
use crate::transaction::plan::{Group, Plan};

/// Shards that are asked at the same time. A round over more of them takes as many ways longer.
const CONCURRENT_READS: usize = 32;

/// A key as the last round saw it.
#[derive(Debug, Clone, Default)]
struct Known {
    value: Option<Bytes>,
    lsn: u64,
    locked: bool,
}

/// Reads 1 to 100 items of 4 MiB together.
pub(crate) async fn transact_get(
    state: &State,
    request: TransactGetRequest,
    deadline: Instant,
) -> Result<TransactGetResponse, Error> {
    convert::batch_len("keys", request.keys.len())?;
    let mut keys = Vec::with_capacity(request.keys.len());
    for of in request.keys {
        keys.push((of.table, convert::key(of.key)?));
    }
    let named: Vec<(&str, &Key)> = keys
        .iter()
        .map(|(name, key)| (name.as_str(), key))
        .collect();
    // Pinned over all rounds: what one sees must be the same tables' as what the other saw.
    let plan = state.plan("keys", &named, deadline).await?;
    let mut known = vec![Known::default(); keys.len()];
    let mut rounds = Rounds::new(state.options.timing.transactions.read_pause);
    loop {
        round(state, &plan, &mut known, deadline).await?;
        let seen: Vec<Seen> = known
            .iter()
            .map(|known| Seen {
                lsn: known.lsn,
                locked: known.locked,
            })
            .collect();
        let pause = match rounds.round(&seen) {
            Verdict::Consistent => return Ok(answer(known)),
            Verdict::Again(pause) => pause.mul_f64(rand::random_range(0.5..=1.0)),
            Verdict::Conflict => return Err(conflict()),
        };
        if Instant::now() + pause >= deadline {
            return Err(conflict());
        }
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
}

/// Reads every key once. Ends when all answers are there.
async fn round(
    state: &State,
    plan: &Plan,
    known: &mut [Known],
    deadline: Instant,
) -> Result<(), Error> {
    let reads = plan.groups.iter().map(|group| {
        let keys = group.positions.iter().filter_map(|&position| {
            let key = plan.participants.get(position)?;
            Some(TransactReadKey {
                key: key.key.partition.clone(),
                known_lsn: known.get(position)?.lsn,
            })
        });
        let keys = keys.collect();
        let operation = operation::Kind::TransactRead(TransactRead { keys });
        async move {
            let kind = Kind::ConsistentRead;
            match state.operate(kind, group, operation, deadline).await {
                Ok(Success::Items(items)) if items.len() == group.positions.len() => {
                    Ok((group, items))
                }
                Ok(_) => Err(misfit(group)),
                Err(failure) => Err(failure.error),
            }
        }
    });
    let reads: Vec<_> = reads.collect();
    let mut answers = stream::iter(reads).buffer_unordered(CONCURRENT_READS);
    let mut bytes = 0;
    while let Some((group, items)) = answers.try_next().await? {
        for (&position, item) in group.positions.iter().zip(items) {
            if let Some(known) = known.get_mut(position) {
                take(known, item);
                bytes += known.value.as_ref().map_or(0, Bytes::len);
            }
        }
        // Not only at the end, because all of them may have ten times as much.
        if bytes > MAX_BATCH_BYTES {
            return Err(too_large());
        }
    }
    Ok(())
}

fn too_large() -> Error {
    let message = format!(
        "the values have more than {MAX_BATCH_BYTES} bytes together: read fewer keys at once"
    );
    Error::invalid("keys", message)
}

fn take(known: &mut Known, item: ReadItem) {
    match item.content {
        None => known.value = None,
        Some(Content::Value(value)) => known.value = Some(value),
        Some(Content::Unchanged) => {}
    }
    known.lsn = item.lsn;
    known.locked = item.locked;
}

fn answer(known: Vec<Known>) -> TransactGetResponse {
    let items = known.into_iter().map(|known| match known.value {
        Some(value) => GetResponse {
            found: true,
            value,
            version: known.lsn,
        },
        None => GetResponse::default(),
    });
    TransactGetResponse {
        items: items.collect(),
    }
}

fn conflict() -> Error {
    Error::new(
        Reason::TransactionConflict,
        "other writes touched these keys all the time, so that no two rounds of reads agreed: try again",
    )
}

fn misfit(group: &Group) -> Error {
    Error::new(
        Reason::NoQuorum,
        format!(
            "the answer of shard {} does not fit the question: try again",
            group.shard
        ),
    )
}
