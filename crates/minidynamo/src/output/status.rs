//! The cluster: routers, data nodes, and what can't serve.

use std::time::Duration;

use api::v1::{NodeStatus, StatusResponse, TransactionCounters};
use comfy_table::Cell;

use super::table::{self, Column, alarm, cell};
use super::units;

/// A headline, the counters of transactions, and up to three tables.
pub fn cluster(status: &StatusResponse) -> String {
    let down = status.nodes.iter().filter(|node| !is_up(node)).count();
    let mut health = match status.problems.len() {
        0 if status.shards == 0 => "no shard yet".to_owned(),
        0 => "every shard can serve".to_owned(),
        1 => "1 SHARD CAN'T SERVE".to_owned(),
        many => format!("{many} SHARDS CAN'T SERVE"),
    };
    if status.under_replicated_shards > 0 {
        let many = status.under_replicated_shards;
        health = format!("{health}, {many} UNDER-REPLICATED");
    }
    if down > 0 {
        let of = status.nodes.len();
        health = format!("{health}, {down} OF {of} DATA NODES DOWN");
    }
    if status.quarantined_replicas > 0 {
        let replicas = units::count(status.quarantined_replicas, "REPLICA");
        health = format!("{health}, {} QUARANTINED", replicas.to_uppercase());
    }
    let mut parts = vec![format!(
        "cluster {}: {}, {}, {health}\n",
        status.cluster_id,
        tables(status),
        units::count(status.shards, "shard"),
    )];
    parts.extend(status.transactions.as_ref().map(transactions));
    parts.push(routers(status));
    parts.push(nodes(status));
    if !status.problems.is_empty() {
        parts.push(problems(status));
    }
    parts.join("\n")
}

/// How many there are, and of those on their way how many in which state.
fn tables(status: &StatusResponse) -> String {
    let tables = units::count(status.tables, "table");
    match (status.creating_tables, status.deleting_tables) {
        (0, 0) => tables,
        (creating, 0) => format!("{tables} ({creating} creating)"),
        (0, deleting) => format!("{tables} ({deleting} deleting)"),
        (creating, deleting) => format!("{tables} ({creating} creating, {deleting} deleting)"),
    }
}

/// What the router that answers has seen of transactions, and which of all routers are still open.
fn transactions(counters: &TransactionCounters) -> String {
    let mut reasons: Vec<_> = counters.cancelled.iter().collect();
    reasons.sort();
    let cancelled: u64 = counters.cancelled.values().sum();
    let reasons: Vec<_> = reasons
        .iter()
        .map(|(reason, many)| format!("{many} {reason}"))
        .collect();
    let because = match reasons.as_slice() {
        [] => String::new(),
        reasons => format!(" ({})", reasons.join(", ")),
    };
    let age = Duration::from_millis(counters.oldest_in_doubt_millis);
    let oldest = if counters.in_doubt > 0 {
        format!(", the oldest for {age:.1?}")
    } else {
        String::new()
    };
    format!(
        "transactions of this router: {} started, {} committed, {cancelled} cancelled{because}, {} recovered\n\
         transactions of all routers: {} in doubt{oldest}\n",
        counters.started, counters.committed, counters.recovered, counters.in_doubt,
    )
}

fn routers(status: &StatusResponse) -> String {
    let mut shown = table::new(&[
        Column::Text("ROUTER"),
        Column::Text("ADDRESS"),
        Column::Text("ROLE"),
    ]);
    for router in &status.routers {
        shown.add_row([
            cell(&router.id),
            cell(&router.address),
            cell(if router.controller { "controller" } else { "" }),
        ]);
    }
    table::render(&shown)
}

fn nodes(status: &StatusResponse) -> String {
    let zones = status.nodes.iter().any(|node| !node.zone.is_empty());
    let mut columns = vec![
        Column::Text("DATA NODE"),
        Column::Text("ADDRESS"),
        Column::Text("STATE"),
        Column::Number("REPLICAS"),
        Column::Number("LEADERS"),
        Column::Number("ITEMS"),
        Column::Number("SIZE"),
    ];
    if zones {
        columns.insert(2, Column::Text("ZONE"));
    }
    let mut shown = table::new(&columns);
    for node in &status.nodes {
        let mut row = vec![
            cell(&node.id),
            cell(&node.address),
            state(node),
            cell(node.replicas),
            cell(node.leaders),
            cell(node.items),
            cell(units::bytes(node.bytes)),
        ];
        if zones {
            row.insert(2, cell(&node.zone));
        }
        shown.add_row(row);
    }
    table::render(&shown)
}

fn is_up(node: &NodeStatus) -> bool {
    node.live && node.reachable
}

fn state(node: &NodeStatus) -> Cell {
    let word = match (node.live, node.reachable) {
        (true, true) => "up",
        (true, false) => "NOT ANSWERING",
        (false, true) => "NOT REGISTERED",
        (false, false) => "DOWN",
    };
    match node.quarantined {
        0 if is_up(node) => cell(word),
        0 => alarm(word),
        many => alarm(format!("{word}, {many} QUARANTINED")),
    }
}

fn problems(status: &StatusResponse) -> String {
    let mut shown = table::new(&[
        Column::Text("PROBLEM"),
        Column::Text("TABLE"),
        Column::Number("SHARD"),
        Column::Text("DETAIL"),
    ]);
    for problem in &status.problems {
        shown.add_row([
            alarm(&problem.reason),
            cell(&problem.table),
            cell(problem.shard),
            cell(&problem.detail),
        ]);
    }
    table::render(&shown)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use api::v1::{RouterStatus, ShardProblem};

    pub(in crate::output) fn example() -> StatusResponse {
        let node = |id: &str, port: u16, live, reachable| NodeStatus {
            id: id.to_owned(),
            address: format!("127.0.0.1:{port}"),
            zone: String::new(),
            live,
            reachable,
            replicas: 12,
            leaders: 4,
            items: 100,
            bytes: 1536,
            quarantined: 0,
        };
        StatusResponse {
            cluster_id: "00000000000000cc".to_owned(),
            routers: vec![RouterStatus {
                id: "00000000000000aa".to_owned(),
                address: "127.0.0.1:7400".to_owned(),
                controller: true,
            }],
            nodes: vec![
                node("0000000000000001", 1, true, true),
                node("0000000000000002", 2, false, false),
            ],
            tables: 1,
            shards: 12,
            problems: vec![ShardProblem {
                table: "people".to_owned(),
                shard: 4,
                reason: "NO_QUORUM".to_owned(),
                detail: "1 of 3 replicas answers".to_owned(),
            }],
            creating_tables: 0,
            available_tables: 1,
            deleting_tables: 0,
            under_replicated_shards: 3,
            quarantined_replicas: 0,
            down_nodes: 1,
            transactions: Some(TransactionCounters {
                started: 10,
                committed: 6,
                cancelled: [("TRANSACTION_CONFLICT", 2), ("CONDITION_FAILED", 1)]
                    .map(|(reason, many)| (reason.to_owned(), many))
                    .into(),
                recovered: 1,
                in_doubt: 1,
                oldest_in_doubt_millis: 2500,
            }),
        }
    }

    #[test]
    fn troubles_are_named_in_the_headline_and_in_their_lines() {
        assert_eq!(
            cluster(&example()),
            "\
cluster 00000000000000cc: 1 table, 12 shards, 1 SHARD CAN'T SERVE, 3 UNDER-REPLICATED, 1 OF 2 DATA NODES DOWN

transactions of this router: 10 started, 6 committed, 3 cancelled (1 CONDITION_FAILED, 2 TRANSACTION_CONFLICT), 1 recovered
transactions of all routers: 1 in doubt, the oldest for 2.5s

ROUTER            ADDRESS         ROLE
00000000000000aa  127.0.0.1:7400  controller

DATA NODE         ADDRESS      STATE  REPLICAS  LEADERS  ITEMS     SIZE
0000000000000001  127.0.0.1:1  up           12        4    100  1.5 KiB
0000000000000002  127.0.0.1:2  DOWN         12        4    100  1.5 KiB

PROBLEM    TABLE   SHARD  DETAIL
NO_QUORUM  people      4  1 of 3 replicas answers
"
        );
    }

    #[test]
    fn a_healthy_cluster_is_said_to_be_one() {
        let mut status = example();
        status.problems.clear();
        status.under_replicated_shards = 0;
        status.nodes.pop();
        status.nodes[0].zone = "east".to_owned();
        let text = cluster(&status);
        assert!(
            text.starts_with(
                "cluster 00000000000000cc: 1 table, 12 shards, every shard can serve\n"
            )
        );
        assert!(text.contains("ZONE") && text.contains("east"));
        assert!(!text.contains("PROBLEM"));
    }

    #[test]
    fn where_nothing_is_cancelled_or_in_doubt_nothing_more_is_said_of_it() {
        let mut status = example();
        status.transactions = Some(TransactionCounters::default());
        let text = cluster(&status);
        assert!(
            text.contains(": 0 started, 0 committed, 0 cancelled, 0 recovered\n"),
            "{text}"
        );
        assert!(text.contains(": 0 in doubt\n"), "{text}");
        status.transactions = None;
        assert!(!cluster(&status).contains("transactions"));
    }

    #[test]
    fn tables_on_their_way_and_what_is_quarantined_show_in_the_headline() {
        let mut status = example();
        (status.tables, status.creating_tables) = (4, 2);
        status.quarantined_replicas = 1;
        let text = cluster(&status);
        assert!(text.contains(": 4 tables (2 creating), 12"), "{text}");
        assert!(text.contains("DOWN, 1 REPLICA QUARANTINED\n"), "{text}");
        status.deleting_tables = 1;
        status.quarantined_replicas = 2;
        let text = cluster(&status);
        assert!(text.contains("(2 creating, 1 deleting)"), "{text}");
        assert!(text.contains("2 REPLICAS QUARANTINED\n"), "{text}");
    }
}
