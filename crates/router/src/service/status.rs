//! `Cluster.Status`: who is there, and which shards can't serve.

use std::collections::BTreeSet;

use api::internal::{DescribeResponse, ReplicaStatus};
use api::v1::{
    NodeStatus, ReplicaState, RouterStatus, ShardProblem, StatusRequest, StatusResponse,
    TransactionCounters,
};
use api::{Error, Reason};
use coordination::records::{EntryState, MemberRecord};
use coordination::registry;
use coordination::tree::Node;
use model::{NodeId, RouterId, ShardId, Table, TableState};
use std::collections::HashMap;
use tokio::time::{Instant, timeout_at};

use super::progress::is_whole;
use crate::directory::{read, unavailable};
use crate::state::{Session, State};
use crate::survey::Answers;

/// Shows the cluster.
pub(crate) async fn status(
    state: &State,
    _request: StatusRequest,
    deadline: Instant,
) -> Result<StatusResponse, Error> {
    let session = state.connected()?;
    let cluster = match timeout_at(deadline, read_cluster(&session)).await {
        Ok(read) => read.map_err(unavailable)?,
        Err(_) => return Err(unavailable("it did not answer in time")),
    };
    let members: BTreeSet<NodeId> = cluster.members.iter().map(|member| member.id).collect();
    let answers = state.survey(members, None).await;
    let nodes = cluster.members.iter().map(|member| {
        let answer = answers
            .get(&member.id)
            .and_then(|answer| answer.as_ref().ok());
        node_status(member, cluster.live.contains(&member.id), answer)
    });
    let nodes: Vec<NodeStatus> = nodes.collect();
    let snapshot = state.directory.snapshot();
    let mut tables: Vec<&Table> = snapshot.tables().map(|entry| &entry.value).collect();
    tables.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let shards = judge(&tables, &answers);
    let in_state = |state| tables.iter().filter(|table| table.state == state).count() as u32;
    let down = nodes.iter().filter(|node| !node.live || !node.reachable);
    Ok(StatusResponse {
        cluster_id: session.cluster.to_string(),
        routers: cluster.routers,
        tables: tables.len() as u32,
        shards: tables.iter().map(|table| table.shards.len() as u32).sum(),
        problems: shards.problems,
        creating_tables: in_state(TableState::Creating),
        available_tables: in_state(TableState::Available),
        deleting_tables: in_state(TableState::Deleting),
        under_replicated_shards: shards.under_replicated,
        quarantined_replicas: nodes.iter().map(|node| node.quarantined).sum(),
        down_nodes: down.count() as u32,
        transactions: Some(TransactionCounters {
            in_doubt: cluster.in_doubt.len() as u32,
            oldest_in_doubt_millis: cluster
                .in_doubt
                .iter()
                .map(|started| state.now_millis().saturating_sub(*started))
                .max()
                .unwrap_or_default(),
            ..state.transactions.counters.show()
        }),
        nodes,
    })
}

/// What the coordination store says of the cluster's processes.
struct Processes {
    routers: Vec<RouterStatus>,
    members: Vec<MemberRecord>,
    live: BTreeSet<NodeId>,
    /// When the transactions began that the ledger has pending.
    in_doubt: Vec<u64>,
}

async fn read_cluster(session: &Session) -> Result<Processes, registry::Error> {
    let store = &*session.store;
    read::sync(store).await?;
    let routers = registry::read_routers(store).await?.entries;
    let controller = controller(session).await?;
    let routers = routers.into_iter().map(|(router, record)| RouterStatus {
        id: router.to_string(),
        address: record.value.address,
        controller: controller == Some(router),
    });
    let members = registry::read_members(store).await?.entries.into_values();
    let live = registry::read_live_nodes(store).await?.entries.into_keys();
    Ok(Processes {
        routers: routers.collect(),
        members: members.map(|member| member.value).collect(),
        live: live.collect(),
        in_doubt: in_doubt(session).await?,
    })
}

async fn in_doubt(session: &Session) -> Result<Vec<u64>, registry::Error> {
    let store = &*session.store;
    let ids = registry::list_transactions(store).await?;
    let entries = registry::read_transactions(store, ids).await?;
    let pending = entries
        .into_iter()
        .filter(|(_, entry)| entry.value.state == EntryState::Pending);
    Ok(pending
        .map(|(_, entry)| entry.value.started_millis)
        .collect())
}

/// Whose candidate is the lowest.
async fn controller(session: &Session) -> Result<Option<RouterId>, registry::Error> {
    let parent = Node::Controller.path();
    let names = session.store.children(&parent).await?.unwrap_or_default();
    let candidates =
        names
            .iter()
            .filter_map(|name| match Node::parse(&format!("{parent}/{name}")) {
                Ok(Node::Candidate(candidate)) => Some(candidate),
                Ok(_) | Err(_) => None,
            });
    Ok(candidates.min().map(|candidate| candidate.router))
}

/// A node as the store and, if it has answered, the node itself describe it.
pub(crate) fn node_status(
    member: &MemberRecord,
    live: bool,
    answer: Option<&DescribeResponse>,
) -> NodeStatus {
    let status = NodeStatus {
        id: member.id.to_string(),
        address: member.address.clone(),
        zone: member.zone.clone().unwrap_or_default(),
        live,
        reachable: answer.is_some(),
        ..NodeStatus::default()
    };
    let Some(answer) = answer else {
        return status;
    };
    NodeStatus {
        replicas: answer.replica_count,
        leaders: answer.leader_count,
        items: answer.items,
        bytes: answer.bytes,
        quarantined: answer.quarantined,
        ..status
    }
}

/// The shards of available tables that are not as they should be.
#[derive(Default)]
struct Shards {
    /// Those that can't serve writes and consistent reads.
    problems: Vec<ShardProblem>,
    /// How many serve without all of their replicas.
    under_replicated: u32,
}

fn judge(tables: &[&Table], answers: &Answers) -> Shards {
    let statuses: HashMap<(NodeId, u64, u32), &ReplicaStatus> = answers
        .iter()
        .filter_map(|(&node, answer)| Some((node, answer.as_ref().ok()?)))
        .flat_map(|(node, answer)| {
            let replicas = answer.replicas.iter();
            replicas.map(move |replica| ((node, replica.table, replica.shard), replica))
        })
        .collect();
    let mut shards = Shards::default();
    for table in tables {
        if table.state != TableState::Available {
            continue;
        }
        for (id, shard) in table.shard_ids() {
            let key = |node: &NodeId| (*node, id.table.0, id.index);
            let replicas: Vec<Option<&ReplicaStatus>> = shard
                .nodes
                .iter()
                .map(|node| statuses.get(&key(node)).copied())
                .collect();
            if let Some((reason, detail)) = problem(&replicas) {
                let problem = shard_problem(table, id, reason, detail);
                shards.problems.push(problem);
            } else if !replicas
                .iter()
                .all(|replica| replica.is_some_and(|replica| is_whole(replica.state())))
            {
                shards.under_replicated += 1;
            }
        }
    }
    shards
}

fn shard_problem(table: &Table, id: ShardId, reason: Reason, detail: String) -> ShardProblem {
    ShardProblem {
        table: table.name.to_string(),
        shard: id.index,
        reason: reason.as_str().to_owned(),
        detail,
    }
}

/// What is wrong with a shard, from what its replicas say; `None` stands for one that does not answer.
fn problem(replicas: &[Option<&ReplicaStatus>]) -> Option<(Reason, String)> {
    let answering: Vec<&ReplicaStatus> = replicas.iter().copied().flatten().collect();
    let serves =
        |replica: &&&ReplicaStatus| replica.state() == ReplicaState::Leader && !replica.no_quorum;
    if answering.iter().any(|replica| serves(&replica)) {
        return None;
    }
    let stopped = answering
        .iter()
        .filter(|replica| replica.state() == ReplicaState::Stopped);
    let stopped: Vec<&str> = stopped.map(|replica| replica.detail.as_str()).collect();
    let working = answering.len() - stopped.len();
    let majority = replicas.len() / 2 + 1;
    let counted = format!("{working} of {} replicas work and answer", replicas.len());
    if let Some(detail) = stopped.first()
        && working < majority
    {
        return Some((Reason::Corruption, format!("{counted}: {detail}")));
    }
    let no_quorum = answering.iter().any(|replica| replica.no_quorum);
    if working < majority || no_quorum {
        return Some((Reason::NoQuorum, counted));
    }
    Some((Reason::NoLeader, counted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(state: ReplicaState, no_quorum: bool) -> ReplicaStatus {
        ReplicaStatus {
            state: state.into(),
            no_quorum,
            detail: if state == ReplicaState::Stopped {
                "hash differs".to_owned()
            } else {
                String::new()
            },
            ..ReplicaStatus::default()
        }
    }

    #[test]
    fn a_shard_is_judged_by_what_its_replicas_say() {
        use ReplicaState::{Candidate, Follower, Leader, Stopped};
        let leader = replica(Leader, false);
        let lonely = replica(Leader, true);
        let follower = replica(Follower, false);
        let candidate = replica(Candidate, false);
        let stopped = replica(Stopped, false);
        let cases = [
            ([Some(&leader), Some(&follower), Some(&follower)], None),
            ([Some(&leader), Some(&follower), None], None),
            (
                [Some(&lonely), Some(&follower), Some(&follower)],
                Some(Reason::NoQuorum),
            ),
            (
                [Some(&follower), Some(&candidate), Some(&follower)],
                Some(Reason::NoLeader),
            ),
            ([Some(&follower), None, None], Some(Reason::NoQuorum)),
            ([None, None, None], Some(Reason::NoQuorum)),
            (
                [Some(&stopped), Some(&stopped), Some(&follower)],
                Some(Reason::Corruption),
            ),
            ([Some(&stopped), Some(&leader), Some(&follower)], None),
        ];
        for (replicas, expected) in cases {
            let found = problem(&replicas).map(|(reason, _)| reason);
            assert_eq!(found, expected, "{replicas:?}");
        }
    }
}
