//! How far a table's creation or deletion is, from what its nodes say: any router can tell, not only the one that
//! drives it.

use std::collections::{BTreeSet, HashMap};

use api::internal::ReplicaStatus;
use api::v1::{Progress, ReplicaDescription, ReplicaState};
use model::{NodeId, Table, TableState};

use crate::survey::Answers;

/// What each replica said.
pub(crate) type Statuses<'a> = HashMap<(NodeId, u32), &'a ReplicaStatus>;

/// `None` for a table that is where it should be. `live` are the nodes that are alive, `lost` those that were forgotten.
pub(crate) fn progress(
    table: &Table,
    answers: &Answers,
    statuses: &Statuses<'_>,
    live: &BTreeSet<NodeId>,
    lost: &BTreeSet<NodeId>,
) -> Option<Progress> {
    match table.state {
        TableState::Available => None,
        TableState::Creating => Some(Progress {
            led_shards: led(table, statuses),
            ..Progress::default()
        }),
        TableState::Deleting => {
            let unfinished = unfinished(table, answers, statuses, lost);
            Some(Progress {
                led_shards: led(table, statuses),
                sealed_shards: table.shards.len() as u32 - unfinished.shards,
                unconfirmed: unconfirmed(table, answers, live),
                waits_for: unfinished.nodes.iter().map(ToString::to_string).collect(),
            })
        }
    }
}

fn led(table: &Table, statuses: &Statuses<'_>) -> u32 {
    let shards = table.shard_ids().filter(|(id, shard)| {
        let said = shard
            .nodes
            .iter()
            .filter_map(|&node| statuses.get(&(node, id.index)));
        said.into_iter()
            .any(|status| status.state() == ReplicaState::Leader)
    });
    shards.count() as u32
}

/// What keeps a deletion from its end.
#[derive(Default)]
struct Unfinished {
    /// So many shards may still be served.
    shards: u32,
    /// By these nodes, which don't answer. Those that do will destroy what they have.
    nodes: BTreeSet<NodeId>,
}

/// By the rule of the controller. One replica that is sealed says it of the shard: what is applied is committed. A table that
/// was never available needs no seals.
fn unfinished(
    table: &Table,
    answers: &Answers,
    statuses: &Statuses<'_>,
    lost: &BTreeSet<NodeId>,
) -> Unfinished {
    let mut unfinished = Unfinished::default();
    for (id, shard) in table.shard_ids().filter(|_| !table.never_available) {
        let status = |node: &NodeId| statuses.get(&(*node, id.index));
        let sealed = |node: &NodeId| status(node).is_some_and(|status| status.sealed);
        let answers = |node: &NodeId| answers.get(node).is_some_and(Result::is_ok);
        let gone =
            |node: &&NodeId| lost.contains(*node) || (answers(node) && status(node).is_none());
        let gone: BTreeSet<NodeId> = shard.nodes.iter().filter(gone).copied().collect();
        let left = shard.nodes.iter().filter(|node| !gone.contains(node));
        if left.clone().count() > shard.nodes.len() / 2 && !shard.nodes.iter().any(sealed) {
            unfinished.shards += 1;
            unfinished.nodes.extend(left.filter(|node| !answers(node)));
        }
    }
    unfinished
}

fn unconfirmed(table: &Table, answers: &Answers, live: &BTreeSet<NodeId>) -> Vec<String> {
    let has = |node: &NodeId| match answers.get(node) {
        Some(Ok(answer)) => answer.replicas.iter().any(|r| r.table == table.id.0),
        Some(Err(_)) | None => true,
    };
    let nodes = crate::directory::nodes_of(table);
    let waited_for = nodes.iter().filter(|node| live.contains(node) && has(node));
    waited_for.map(ToString::to_string).collect()
}

/// Whether a replica does its part.
pub(crate) fn is_whole(state: ReplicaState) -> bool {
    match state {
        ReplicaState::Follower | ReplicaState::Leader | ReplicaState::Candidate => true,
        ReplicaState::Unspecified
        | ReplicaState::Unreachable
        | ReplicaState::Absent
        | ReplicaState::Stopped
        | ReplicaState::Lost => false,
    }
}

/// Whether a shard lacks a replica.
pub(crate) fn is_under_replicated(replicas: &[ReplicaDescription]) -> bool {
    !replicas.iter().all(|replica| is_whole(replica.state()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::internal::DescribeResponse;
    use model::{HashRange, Shard, TableId};

    fn table(state: TableState) -> Table {
        let nodes = vec![NodeId(1), NodeId(2), NodeId(3)];
        let shards = HashRange::divide(2).into_iter().map(|range| Shard {
            range,
            nodes: nodes.clone(),
        });
        Table {
            id: TableId(7),
            name: "people".parse().unwrap(),
            state,
            never_available: false,
            replicas: 3,
            created_millis: 0,
            shards: shards.collect(),
        }
    }

    fn replica(shard: u32, leads: bool, sealed: bool) -> ReplicaStatus {
        let state = if leads {
            ReplicaState::Leader
        } else {
            ReplicaState::Follower
        };
        ReplicaStatus {
            table: 7,
            shard,
            state: state.into(),
            sealed,
            ..ReplicaStatus::default()
        }
    }

    fn holds(
        node: u64,
        replicas: Vec<ReplicaStatus>,
    ) -> (NodeId, Result<DescribeResponse, String>) {
        let answer = DescribeResponse {
            node,
            replicas,
            ..DescribeResponse::default()
        };
        (NodeId(node), Ok(answer))
    }

    fn told(state: TableState, answers: &Answers) -> Option<Progress> {
        let live = (1..=3).map(NodeId).collect();
        let statuses = super::super::describe_table::by_replica(answers, TableId(7));
        progress(&table(state), answers, &statuses, &live, &BTreeSet::new())
    }

    #[test]
    fn a_creation_counts_the_shards_that_are_led() {
        let answers: Answers = [
            holds(1, vec![replica(0, true, false)]),
            holds(2, vec![replica(0, false, false), replica(1, false, false)]),
            (NodeId(3), Err("down".to_owned())),
        ]
        .into();
        assert_eq!(told(TableState::Available, &answers), None);
        let progress = told(TableState::Creating, &answers).unwrap();
        assert_eq!(progress.led_shards, 1);
        assert_eq!(progress.unconfirmed, [""; 0]);
    }

    #[test]
    fn a_deletion_counts_what_is_sealed_and_names_who_holds_something() {
        let answers: Answers = [
            holds(1, vec![replica(0, true, true), replica(1, false, false)]),
            holds(2, vec![replica(0, false, true), replica(1, false, false)]),
            holds(3, vec![replica(0, false, false), replica(1, true, false)]),
        ]
        .into();
        let progress = told(TableState::Deleting, &answers).unwrap();
        assert_eq!((progress.sealed_shards, progress.unconfirmed.len()), (1, 3));
        assert_eq!(progress.waits_for, [""; 0], "all of them answer");
        let answers: Answers = [
            holds(1, vec![]),
            holds(2, vec![]),
            (NodeId(3), Err("slow".to_owned())),
        ]
        .into();
        let progress = told(TableState::Deleting, &answers).unwrap();
        assert_eq!(progress.sealed_shards, 2);
        assert_eq!(progress.unconfirmed, [NodeId(3).to_string()]);
        assert_eq!(progress.waits_for, [""; 0]);
    }

    #[test]
    fn a_deletion_names_the_nodes_that_could_still_serve() {
        let down = |node| (NodeId(node), Err("down".to_owned()));
        let answers: Answers = [holds(1, vec![]), down(2), down(3)].into();
        let progress = told(TableState::Deleting, &answers).unwrap();
        assert_eq!(progress.sealed_shards, 0);
        let both = [2, 3].map(|node| NodeId(node).to_string());
        assert_eq!(progress.waits_for, both);
        let statuses = HashMap::new();
        let judge = |table: &Table, lost| {
            super::progress(table, &answers, &statuses, &BTreeSet::new(), &lost).unwrap()
        };
        let mut table = table(TableState::Deleting);
        assert_eq!(judge(&table, [NodeId(3)].into()).sealed_shards, 2);
        table.never_available = true;
        assert_eq!(judge(&table, BTreeSet::new()).sealed_shards, 2);
    }
}
