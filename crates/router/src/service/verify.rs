//! `DescribeTable` with `verify`: compares the content hashes of all replicas at one index.
//!
//! A checkpoint with a fresh id goes through each shard's Raft log. Each replica keeps a view of its content at
//! that entry, hashes it, and tells the hash to who asks with the id.

use std::time::Duration;

use api::internal::{Checkpoint, VerifyRequest, VerifyResponse, operation};
use api::v1::{ReplicaDescription, TableDescription, Verification};
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use model::{NodeId, Shard, ShardId};
use tokio::time::{Instant, sleep};

use crate::attempt::policy::Kind;
use crate::attempt::run::{End, Request, Reread};
use crate::directory::TableEntry;
use crate::state::State;
use links::Success;

/// Shards that are verified at the same time.
const CONCURRENT_SHARDS: usize = 16;
/// For the checkpoint of a shard to commit.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two questions to a replica that has not got there yet.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Failed calls to a replica before it counts as out of reach.
const MAX_FAILURES: u32 = 3;

/// Fills the verifications and content hashes of a description in.
pub(crate) async fn verify(
    state: &State,
    entry: &TableEntry,
    description: &mut TableDescription,
    deadline: Instant,
) {
    let mut verifications = Vec::with_capacity(description.shards.len());
    for ((id, shard), description) in entry.value.shard_ids().zip(&mut description.shards) {
        let replicas = &mut description.replicas;
        let verified = verify_shard(state, id, shard, replicas, deadline);
        verifications.push(async {
            description.verification = Some(verified.await);
        });
    }
    stream::iter(verifications)
        .buffer_unordered(CONCURRENT_SHARDS)
        .collect::<()>()
        .await;
}

async fn verify_shard(
    state: &State,
    id: ShardId,
    shard: &Shard,
    replicas: &mut [ReplicaDescription],
    deadline: Instant,
) -> Verification {
    // 0 is the regular comparison.
    let verify_id = rand::random::<u64>().max(1);
    let index = match checkpoint(state, id, shard, verify_id, deadline).await {
        Ok(index) => index,
        Err(reason) => {
            for replica in replicas {
                replica.detail = format!("not verified: {reason}");
            }
            return Verification::default();
        }
    };
    let request = VerifyRequest {
        table: id.table.0,
        shard: id.index,
        verify_id,
    };
    let questions = shard
        .nodes
        .iter()
        .map(|&node| hash_of(state, node, request, deadline));
    let answers = join_all(questions).await;
    let first = answers.first().and_then(|answer| answer.as_ref().ok());
    let equal = first.is_some_and(|first| {
        let same = |other: &VerifyResponse| other.hash == first.hash && other.index == first.index;
        answers.iter().all(|other| other.as_ref().is_ok_and(same))
    });
    for (replica, answer) in replicas.iter_mut().zip(answers) {
        match answer {
            Ok(answer) => replica.content_hash = hexadecimal(&answer.hash),
            Err(reason) => replica.detail = format!("not verified: {reason}"),
        }
    }
    Verification { index, equal }
}

async fn checkpoint(
    state: &State,
    shard: ShardId,
    placed: &Shard,
    verify_id: u64,
    deadline: Instant,
) -> Result<u64, String> {
    let request = Request {
        kind: Kind::Write,
        shard,
        replicas: &placed.nodes,
        operation: operation::Kind::Checkpoint(Checkpoint { verify_id }),
        deadline: deadline.min(Instant::now() + CHECKPOINT_TIMEOUT),
    };
    match state.means().run(request, async || Reread::Same).await {
        End::Answer(Ok(Success::Applied { version })) => Ok(version),
        End::Answer(Ok(_)) => Err(super::misfit("checkpoint").to_string()),
        End::Answer(Err(error)) => Err(error.to_string()),
        End::Restart => Err("the table was replaced meanwhile".to_owned()),
    }
}

/// Asks a replica until it has got to the checkpoint.
async fn hash_of(
    state: &State,
    node: NodeId,
    request: VerifyRequest,
    deadline: Instant,
) -> Result<VerifyResponse, String> {
    let mut failures = 0;
    let mut last = "it has not got to the checkpoint in time".to_owned();
    while Instant::now() < deadline {
        let left = deadline.saturating_duration_since(Instant::now());
        let ask = async |mut client: links::Client| client.verify(request).await;
        match state.nodes.call(node, left, ask).await {
            Ok(answer) if answer.index > 0 => return Ok(answer),
            Ok(_) => {}
            Err(status) => {
                status.message().clone_into(&mut last);
                failures += 1;
                if failures >= MAX_FAILURES {
                    break;
                }
            }
        }
        sleep(ASK_EVERY).await;
    }
    Err(last)
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
