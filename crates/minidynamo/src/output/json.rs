//! JSON for scripts: compact, keys in a fixed order.
//!
//! 64-bit hashes are hexadecimal texts, because most readers of JSON keep numbers to 2^53 only.

use std::collections::BTreeMap;

use api::v1;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::Item;
use serde::Serialize;

use super::list;

mod operators;

pub use operators::{dropped, forgotten, nodes, quarantined};

/// A line for one key that was read. Without an item: `found` is false and nothing follows.
pub fn item(table: &str, key: &[u8], item: Option<&Item>) -> String {
    let text = item.map(|item| Text::new(&item.value));
    render(&ItemLine {
        table,
        key: Text::new(key).plain,
        key_base64: Text::new(key).base64,
        found: Some(item.is_some()),
        value: text.as_ref().and_then(|text| text.plain),
        value_base64: text.and_then(|text| text.base64),
        version: item.map(|item| item.version),
    })
}

/// A line for one key that was written.
pub fn written(table: &str, key: &[u8], version: u64) -> String {
    render(&ItemLine {
        table,
        key: Text::new(key).plain,
        key_base64: Text::new(key).base64,
        found: None,
        value: None,
        value_base64: None,
        version: Some(version),
    })
}

/// The list of tables.
pub fn tables(tables: &[v1::TableSummary]) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        tables: Vec<Summary<'a>>,
    }
    render(&Document {
        tables: tables.iter().map(Summary::from).collect(),
    })
}

/// One table with its shards.
pub fn table(table: &v1::TableDescription) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        name: &'a str,
        id: &'a str,
        state: &'a str,
        replicas: u32,
        created_at_millis: u64,
        shards: Vec<Shard<'a>>,
        under_replicated_shards: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        progress: Option<Progress<'a>>,
    }
    #[derive(Serialize)]
    struct Progress<'a> {
        led_shards: u32,
        sealed_shards: u32,
        unconfirmed: &'a [String],
        waits_for: &'a [String],
    }
    let summary = table.summary.clone().unwrap_or_default();
    render(&Document {
        name: &summary.name,
        id: &summary.id,
        state: list::state(summary.state()),
        replicas: summary.replicas,
        created_at_millis: summary.created_at_millis,
        shards: table.shards.iter().map(Shard::from).collect(),
        under_replicated_shards: table.under_replicated_shards,
        progress: table.progress.as_ref().map(|progress| Progress {
            led_shards: progress.led_shards,
            sealed_shards: progress.sealed_shards,
            unconfirmed: &progress.unconfirmed,
            waits_for: &progress.waits_for,
        }),
    })
}

/// The state of the cluster.
pub fn status(status: &v1::StatusResponse) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        cluster_id: &'a str,
        tables: u32,
        shards: u32,
        routers: Vec<Router<'a>>,
        nodes: Vec<Node<'a>>,
        problems: Vec<Problem<'a>>,
        tables_by_state: TablesByState,
        under_replicated_shards: u32,
        quarantined_replicas: u32,
        down_nodes: u32,
        /// Null where the router does not say.
        transactions: Option<Transactions<'a>>,
    }
    #[derive(Serialize)]
    struct TablesByState {
        creating: u32,
        available: u32,
        deleting: u32,
    }
    #[derive(Serialize)]
    struct Router<'a> {
        id: &'a str,
        address: &'a str,
        controller: bool,
    }
    #[derive(Serialize)]
    struct Problem<'a> {
        table: &'a str,
        shard: u32,
        reason: &'a str,
        detail: &'a str,
    }
    render(&Document {
        cluster_id: &status.cluster_id,
        tables: status.tables,
        shards: status.shards,
        routers: status
            .routers
            .iter()
            .map(|router| Router {
                id: &router.id,
                address: &router.address,
                controller: router.controller,
            })
            .collect(),
        nodes: status.nodes.iter().map(Node::from).collect(),
        problems: status
            .problems
            .iter()
            .map(|problem| Problem {
                table: &problem.table,
                shard: problem.shard,
                reason: &problem.reason,
                detail: &problem.detail,
            })
            .collect(),
        tables_by_state: TablesByState {
            creating: status.creating_tables,
            available: status.available_tables,
            deleting: status.deleting_tables,
        },
        under_replicated_shards: status.under_replicated_shards,
        quarantined_replicas: status.quarantined_replicas,
        down_nodes: status.down_nodes,
        transactions: status.transactions.as_ref().map(Transactions::from),
    })
}

/// Compact JSON of a document of ours.
pub(crate) fn render(document: &impl Serialize) -> String {
    // Plain structs with texts for keys have no failing case.
    serde_json::to_string(document).unwrap_or_default()
}

/// Bytes as text, or in base64 where they are not UTF-8.
struct Text<'a> {
    plain: Option<&'a str>,
    base64: Option<String>,
}

impl<'a> Text<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let plain = std::str::from_utf8(bytes).ok();
        Self {
            plain,
            base64: plain.is_none().then(|| STANDARD.encode(bytes)),
        }
    }
}

#[derive(Serialize)]
struct ItemLine<'a> {
    table: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

#[derive(Serialize)]
struct Summary<'a> {
    name: &'a str,
    id: &'a str,
    state: &'a str,
    shards: u32,
    replicas: u32,
    created_at_millis: u64,
}

impl<'a> From<&'a v1::TableSummary> for Summary<'a> {
    fn from(table: &'a v1::TableSummary) -> Self {
        Self {
            name: &table.name,
            id: &table.id,
            state: list::state(table.state()),
            shards: table.shards,
            replicas: table.replicas,
            created_at_millis: table.created_at_millis,
        }
    }
}

#[derive(Serialize)]
struct Shard<'a> {
    index: u32,
    first_hash: String,
    last_hash: String,
    /// Id of the node that leads; null where none is known.
    leader: Option<&'a str>,
    term: u64,
    replicas: Vec<Replica<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<Verification>,
}

#[derive(Serialize)]
struct Verification {
    index: u64,
    equal: bool,
}

impl<'a> From<&'a v1::ShardDescription> for Shard<'a> {
    fn from(shard: &'a v1::ShardDescription) -> Self {
        Self {
            index: shard.index,
            first_hash: format!("{:016x}", shard.first_hash),
            last_hash: format!("{:016x}", shard.last_hash),
            leader: (!shard.leader.is_empty()).then_some(&shard.leader),
            term: shard.term,
            replicas: shard.replicas.iter().map(Replica::from).collect(),
            verification: shard.verification.map(|result| Verification {
                index: result.index,
                equal: result.equal,
            }),
        }
    }
}

#[derive(Serialize)]
struct Replica<'a> {
    node: &'a str,
    address: &'a str,
    state: &'a str,
    applied_index: u64,
    last_index: u64,
    items: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    content_hash: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

impl<'a> From<&'a v1::ReplicaDescription> for Replica<'a> {
    fn from(replica: &'a v1::ReplicaDescription) -> Self {
        Self {
            node: &replica.node,
            address: &replica.address,
            state: match replica.state() {
                v1::ReplicaState::Unspecified => "unknown",
                v1::ReplicaState::Unreachable => "unreachable",
                v1::ReplicaState::Absent => "absent",
                v1::ReplicaState::Follower => "follower",
                v1::ReplicaState::Leader => "leader",
                v1::ReplicaState::Candidate => "candidate",
                v1::ReplicaState::Stopped => "stopped",
                v1::ReplicaState::Lost => "lost",
            },
            applied_index: replica.applied_index,
            last_index: replica.last_index,
            items: replica.items,
            bytes: replica.bytes,
            content_hash: &replica.content_hash,
            detail: &replica.detail,
        }
    }
}

#[derive(Serialize)]
struct Node<'a> {
    id: &'a str,
    address: &'a str,
    zone: &'a str,
    live: bool,
    reachable: bool,
    replicas: u32,
    leaders: u32,
    items: u64,
    bytes: u64,
    quarantined: u32,
}

impl<'a> From<&'a v1::NodeStatus> for Node<'a> {
    fn from(node: &'a v1::NodeStatus) -> Self {
        Self {
            id: &node.id,
            address: &node.address,
            zone: &node.zone,
            live: node.live,
            reachable: node.reachable,
            replicas: node.replicas,
            leaders: node.leaders,
            items: node.items,
            bytes: node.bytes,
            quarantined: node.quarantined,
        }
    }
}

/// Of the router that answers, since its start; the last two of the whole cluster.
#[derive(Serialize)]
struct Transactions<'a> {
    started: u64,
    committed: u64,
    /// By reason, in the order of their names.
    cancelled: BTreeMap<&'a str, u64>,
    recovered: u64,
    in_doubt: u32,
    oldest_in_doubt_millis: u64,
}

impl<'a> From<&'a v1::TransactionCounters> for Transactions<'a> {
    fn from(counters: &'a v1::TransactionCounters) -> Self {
        let cancelled = counters.cancelled.iter();
        Self {
            started: counters.started,
            committed: counters.committed,
            cancelled: cancelled.map(|(reason, many)| (&**reason, *many)).collect(),
            recovered: counters.recovered,
            in_doubt: counters.in_doubt,
            oldest_in_doubt_millis: counters.oldest_in_doubt_millis,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{describe, status};

    fn found(value: &'static [u8]) -> Item {
        Item {
            value: value.into(),
            version: 7,
        }
    }

    #[test]
    fn an_item_is_one_line_in_the_order_of_the_contract() {
        assert_eq!(
            item("t", b"k", Some(&found(b"v"))),
            r#"{"table":"t","key":"k","found":true,"value":"v","version":7}"#
        );
        assert_eq!(
            item("t", b"k", Some(&found(b"a\n\"b\""))),
            r#"{"table":"t","key":"k","found":true,"value":"a\n\"b\"","version":7}"#
        );
    }

    #[test]
    fn what_is_not_utf8_stands_in_base64() {
        assert_eq!(
            item("t", b"\xff", Some(&found(b"\xfe\xff"))),
            r#"{"table":"t","key_base64":"/w==","found":true,"value_base64":"/v8=","version":7}"#
        );
    }

    #[test]
    fn an_absent_item_and_a_write_leave_out_what_they_have_not() {
        assert_eq!(
            item("t", b"k", None),
            r#"{"table":"t","key":"k","found":false}"#
        );
        assert_eq!(
            written("t", b"k", 8),
            r#"{"table":"t","key":"k","version":8}"#
        );
    }

    #[test]
    fn a_list_of_tables_is_one_document() {
        let summary = describe::tests::example().summary.unwrap();
        assert_eq!(
            tables(&[summary]),
            r#"{"tables":[{"name":"people","id":"00000000000000ab","state":"available","shards":2,"replicas":3,"created_at_millis":1000}]}"#
        );
    }

    #[test]
    fn a_table_is_one_document() {
        let mut description = describe::tests::example();
        description.shards.truncate(1);
        description.shards[0].replicas.truncate(1);
        description.shards[0].verification = Some(v1::Verification {
            index: 40,
            equal: true,
        });
        assert_eq!(
            table(&description),
            concat!(
                r#"{"name":"people","id":"00000000000000ab","state":"available","replicas":3,"#,
                r#""created_at_millis":1000,"shards":[{"index":0,"first_hash":"0000000000000000","#,
                r#""last_hash":"7fffffffffffffff","leader":"b","term":3,"replicas":[{"node":"a","#,
                r#""address":"127.0.0.1:1","state":"follower","applied_index":40,"last_index":41,"#,
                r#""items":7,"bytes":2048}],"verification":{"index":40,"equal":true}}],"#,
                r#""under_replicated_shards":2}"#
            )
        );
    }

    #[test]
    fn a_status_is_one_document() {
        let mut example = status::tests::example();
        example.nodes.truncate(1);
        assert_eq!(
            super::status(&example),
            concat!(
                r#"{"cluster_id":"00000000000000cc","tables":1,"shards":12,"#,
                r#""routers":[{"id":"00000000000000aa","address":"127.0.0.1:7400","controller":true}],"#,
                r#""nodes":[{"id":"0000000000000001","address":"127.0.0.1:1","zone":"","live":true,"#,
                r#""reachable":true,"replicas":12,"leaders":4,"items":100,"bytes":1536,"quarantined":0}],"#,
                r#""problems":[{"table":"people","shard":4,"reason":"NO_QUORUM","#,
                r#""detail":"1 of 3 replicas answers"}],"#,
                r#""tables_by_state":{"creating":0,"available":1,"deleting":0},"#,
                r#""under_replicated_shards":3,"quarantined_replicas":0,"down_nodes":1,"#,
                r#""transactions":{"started":10,"committed":6,"cancelled":{"CONDITION_FAILED":1,"#,
                r#""TRANSACTION_CONFLICT":2},"recovered":1,"in_doubt":1,"oldest_in_doubt_millis":2500}}"#
            )
        );
        example.transactions = None;
        assert!(super::status(&example).ends_with(r#""transactions":null}"#));
    }
}
