//! Tables that data nodes have replicas of although they are neither listed nor deleted, put together from what the
//! replicas say.
//!
//! | found | the table can be kept |
//! |---|---|
//! | of each shard a majority of its nodes is alive with a replica that works | yes |
//! | less of some shard | no: those that are missing may know of writes that these don't |
//! | a replica that is sealed | no: the table was being deleted |
//! | replicas that contradict each other | no |
//! | a note that the table was removed, left when a node with a tombstone was forgotten | no |

use std::collections::{BTreeMap, BTreeSet};

use api::internal::QuarantinedReplica;
use api::v1::{QuarantinedNode, QuarantinedTable};
use api::{Error, Reason};
use coordination::registry::{self, Restoration};
use model::{HashRange, NodeId, Shard, Table, TableId, TableName, TableState, limits};

use crate::directory::{read, unavailable};
use crate::state::{Session, State};
use crate::survey::Answers;

/// Shards that an obstacle names; of the others it tells the number.
const NAMED_SHARDS: usize = 5;

/// What there is to say of a table that was removed while a node that has replicas of it was away.
pub(crate) const DELETED: &str =
    "was deleted on purpose, while data nodes that have replicas of it were away: drop it";

/// The replicas of one table.
pub(crate) type Replicas = Vec<(NodeId, QuarantinedReplica)>;

/// What the members say.
pub(crate) struct Survey {
    /// What is quarantined.
    pub(crate) tables: BTreeMap<TableId, Replicas>,
    /// The members, with their addresses.
    pub(crate) members: BTreeMap<NodeId, String>,
    /// Those that are alive.
    pub(crate) live: BTreeSet<NodeId>,
    /// Those that did not answer.
    pub(crate) silent: BTreeSet<NodeId>,
    /// Tables that were removed on purpose, and not everywhere yet, with the nodes that have still to destroy what they have.
    pub(crate) removed: BTreeMap<TableId, BTreeSet<NodeId>>,
}

/// Asks all members, after a `sync`.
pub(crate) async fn survey(
    state: &State,
    session: &Session,
    table: Option<TableId>,
) -> Result<Survey, Error> {
    let store = &*session.store;
    read::sync(store).await.map_err(unavailable)?;
    let members = registry::read_members(store).await.map_err(unavailable)?;
    let live = registry::read_live_nodes(store).await;
    let live = live.map_err(unavailable)?.entries.into_keys().collect();
    let members = members.entries.into_iter();
    let members: BTreeMap<_, _> = members.map(|(id, m)| (id, m.value.address)).collect();
    let answers = state.survey(members.keys().copied().collect(), table).await;
    let silent = answers.iter().filter(|(_, answer)| answer.is_err());
    let silent = silent.map(|(node, _)| *node).collect();
    let tables = gather(answers);
    let tombstones = registry::read_tombstones(store).await;
    let tombstones = tombstones.map_err(unavailable)?;
    let mut removed = BTreeMap::new();
    for &table in tombstones.keys().filter(|table| tables.contains_key(table)) {
        let removal = registry::removal_of(store, table).await;
        // What was undone may be kept once its nodes have told what they have of it.
        if let Some(Restoration::Removed(nodes)) = removal.map_err(unavailable)? {
            removed.insert(table, nodes);
        }
    }
    Ok(Survey {
        tables,
        members,
        live,
        silent,
        removed,
    })
}

fn gather(answers: Answers) -> BTreeMap<TableId, Replicas> {
    let mut tables: BTreeMap<TableId, Replicas> = BTreeMap::new();
    for (node, answer) in answers {
        for replica in answer.map(|a| a.quarantined_replicas).unwrap_or_default() {
            let table = TableId(replica.table);
            tables.entry(table).or_default().push((node, replica));
        }
    }
    tables
}

impl Survey {
    /// A table as an operator sees it.
    pub(crate) fn describe(&self, id: TableId, replicas: &Replicas) -> QuarantinedTable {
        let mut nodes: BTreeMap<NodeId, QuarantinedNode> = BTreeMap::new();
        let mut shards: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for (id, replica) in replicas {
            let node = nodes.entry(*id).or_insert_with(|| QuarantinedNode {
                id: id.to_string(),
                address: self.members.get(id).cloned().unwrap_or_default(),
                ..QuarantinedNode::default()
            });
            node.replicas += 1;
            node.items += replica.items;
            node.bytes += replica.bytes;
            let largest = shards.entry(replica.shard).or_default();
            *largest = (*largest).max((replica.items, replica.bytes));
        }
        let first = replicas.first().map(|(_, replica)| replica);
        let obstacle = if self.removed.contains_key(&id) {
            format!("table {id} {DELETED}")
        } else {
            let judged = table_of(id, None, replicas, &self.live);
            judged.err().map(|error| error.message).unwrap_or_default()
        };
        QuarantinedTable {
            id: id.to_string(),
            name: first.map(|r| r.table_name.clone()).unwrap_or_default(),
            shards: first.map(|r| r.table_shards).unwrap_or_default(),
            found_shards: shards.len() as u32,
            items: shards.values().map(|(items, _)| items).sum(),
            bytes: shards.values().map(|(_, bytes)| bytes).sum(),
            nodes: nodes.into_values().collect(),
            obstacle,
        }
    }
}

/// The table that these replicas are of, under the name that it had or another one, ready to be listed: available,
/// because a creation that takes too long would be undone, and its data with it.
pub(crate) fn table_of(
    id: TableId,
    name: Option<&TableName>,
    replicas: &Replicas,
    live: &BTreeSet<NodeId>,
) -> Result<Table, Error> {
    let refuse = |why: String| Error::new(Reason::ConditionFailed, why).with("table_id", id);
    let Some((_, first)) = replicas.first() else {
        return Err(refuse(format!("no replica of table {id} is quarantined")));
    };
    let mut shards: BTreeMap<u32, Vec<&(NodeId, QuarantinedReplica)>> = BTreeMap::new();
    for found in replicas {
        let (node, replica) = found;
        if (&replica.table_name, replica.table_shards) != (&first.table_name, first.table_shards) {
            return Err(refuse(format!(
                "the replicas of table {id} contradict each other: to one it is `{}` of {} shards, to another, on node {node}, `{}` of {}",
                first.table_name, first.table_shards, replica.table_name, replica.table_shards
            )));
        }
        if replica.sealed {
            return Err(refuse(format!(
                "table {id} was being deleted: shard {} is sealed on node {node}. Drop it",
                replica.shard
            )));
        }
        shards.entry(replica.shard).or_default().push(found);
    }
    if !(1..=limits::MAX_SHARDS).contains(&first.table_shards) {
        let shards = first.table_shards;
        return Err(refuse(format!("table {id} can't have {shards} shards")));
    }
    let mut placed = Vec::new();
    let mut lacking = Vec::new();
    for index in 0..first.table_shards {
        let found = shards.get(&index).map(Vec::as_slice).unwrap_or_default();
        match shard_of(index, found, live) {
            Ok(shard) => placed.push(shard),
            Err(Flaw::Lacking(what)) => lacking.push(what),
            Err(Flaw::Contradiction(what)) => return Err(refuse(what)),
        }
    }
    if !lacking.is_empty() {
        return Err(too_few(id, &lacking));
    }
    let name = match name {
        Some(name) => name.clone(),
        None => first
            .table_name
            .parse()
            .map_err(|e| refuse(format!("{e}")))?,
    };
    let table = Table {
        id,
        name,
        state: TableState::Available,
        never_available: false,
        replicas: placed.first().map_or(0, |shard| shard.nodes.len() as u32),
        created_millis: replicas
            .iter()
            .map(|(_, r)| r.created_millis)
            .min()
            .unwrap_or_default(),
        shards: placed,
    };
    table
        .validate()
        .map_err(|error| refuse(error.to_string()))?;
    Ok(table)
}

enum Flaw {
    Lacking(String),
    Contradiction(String),
}

fn shard_of(
    index: u32,
    found: &[&(NodeId, QuarantinedReplica)],
    live: &BTreeSet<NodeId>,
) -> Result<Shard, Flaw> {
    let Some((_, first)) = found.first() else {
        return Err(Flaw::Lacking(format!("{index} (no replica)")));
    };
    let place = |r: &QuarantinedReplica| (r.voters.clone(), r.first_hash, r.last_hash);
    if let Some((node, _)) = found.iter().find(|(_, r)| place(r) != place(first)) {
        return Err(Flaw::Contradiction(format!(
            "the replicas of shard {index} contradict each other about its nodes or its hashes: see node {node}"
        )));
    }
    let nodes: Vec<NodeId> = first.voters.iter().copied().map(NodeId).collect();
    let works = |(node, replica): &(NodeId, QuarantinedReplica)| {
        replica.fault.is_empty() && live.contains(node) && nodes.contains(node)
    };
    let working = found.iter().filter(|found| works(found)).count();
    if working <= nodes.len() / 2 {
        let of = nodes.len();
        return Err(Flaw::Lacking(format!("{index} ({working} of {of})")));
    }
    Ok(Shard {
        range: HashRange {
            first: first.first_hash,
            last: first.last_hash,
        },
        nodes,
    })
}

fn too_few(id: TableId, lacking: &[String]) -> Error {
    let named = lacking
        .iter()
        .take(NAMED_SHARDS)
        .cloned()
        .collect::<Vec<_>>();
    let more = match lacking.len().saturating_sub(NAMED_SHARDS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "table {id} has no majority of working replicas on live nodes of shard {}{more}: start the data nodes that have them",
        named.join(", ")
    );
    Error::new(Reason::TooFewNodes, message).with("table_id", id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TableId = TableId(7);

    fn replica(shard: u32) -> QuarantinedReplica {
        let range = HashRange::divide(2)[shard as usize];
        QuarantinedReplica {
            table: ID.0,
            shard,
            table_name: "people".to_owned(),
            table_shards: 2,
            first_hash: range.first,
            last_hash: range.last,
            voters: vec![1, 2, 3],
            created_millis: 9,
            items: 2,
            ..QuarantinedReplica::default()
        }
    }

    /// Both shards on nodes 1 and 2.
    fn found() -> Replicas {
        let places = [(1, 0), (1, 1), (2, 0), (2, 1)];
        places
            .map(|(node, shard)| (NodeId(node), replica(shard)))
            .into()
    }

    fn judge(replicas: &Replicas) -> Result<Table, Error> {
        let live = [NodeId(1), NodeId(2), NodeId(3)].into();
        table_of(ID, None, replicas, &live)
    }

    fn refused(change: impl Fn(&mut Replicas)) -> Error {
        let mut found = found();
        change(&mut found);
        judge(&found).unwrap_err()
    }

    fn all(found: &mut Replicas, change: fn(&mut QuarantinedReplica)) {
        for (_, replica) in found {
            change(replica);
        }
    }

    #[test]
    fn a_majority_of_each_shard_says_what_the_table_was() {
        let table = judge(&found()).unwrap();
        assert_eq!((table.id, table.name.as_str()), (ID, "people"));
        assert_eq!(table.state, TableState::Available);
        assert_eq!((table.replicas, table.created_millis), (3, 9));
        assert_eq!(table.shards[1].nodes, [NodeId(1), NodeId(2), NodeId(3)]);
    }

    #[test]
    fn less_than_a_majority_is_refused_by_the_shard_s_name() {
        let error = refused(|found| drop(found.pop()));
        assert_eq!(error.reason, Reason::TooFewNodes);
        assert!(error.message.contains("shard 1 (1 of 3):"), "{error}");
        let error = refused(|found| found.retain(|(_, r)| r.shard == 0));
        assert!(error.message.contains("shard 1 (no replica)"), "{error}");
        let error = refused(|found| found[0].1.fault = "no state".to_owned());
        assert!(error.message.contains("shard 0 (1 of 3)"), "{error}");
        // A node that answers but is not registered would not take part.
        let error = table_of(ID, None, &found(), &[NodeId(1)].into()).unwrap_err();
        assert!(
            error.message.contains("shard 0 (1 of 3), 1 (1 of 3)"),
            "{error}"
        );
    }

    #[test]
    fn what_was_being_deleted_or_makes_no_sense_is_refused() {
        let sealed = refused(|found| found[0].1.sealed = true);
        assert!(sealed.message.contains("being deleted"), "{sealed}");
        let changes: [fn(&mut Replicas); 6] = [
            |found| found[3].1.table_name = "others".to_owned(),
            |found| found[3].1.table_shards = 3,
            |found| found[3].1.voters = vec![1, 2, 4],
            |found| found[3].1.first_hash += 1,
            |found| all(found, |r| r.table_shards = u32::MAX),
            |found| all(found, |r| r.first_hash = 1),
        ];
        for change in changes {
            assert_eq!(refused(change).reason, Reason::ConditionFailed);
        }
        assert_eq!(
            judge(&Vec::new()).unwrap_err().reason,
            Reason::ConditionFailed
        );
    }
}
