//! The list of data nodes.

use api::v1::{ForgetNodeResponse, NodeDescription, NodeStatus};
use comfy_table::Cell;

use super::table::{self, Column, alarm, cell};
use super::units;

/// A line per node.
pub fn list(nodes: &[NodeDescription]) -> String {
    let mut shown = table::new(&[
        Column::Text("DATA NODE"),
        Column::Text("ADDRESS"),
        Column::Text("ZONE"),
        Column::Text("STATE"),
        Column::Text("SINCE"),
        Column::Number("PLACED"),
        Column::Number("HELD"),
        Column::Number("QUARANTINED"),
        Column::Number("TOMBSTONES"),
    ]);
    for node in nodes {
        let status = node.status.clone().unwrap_or_default();
        let held = if status.reachable {
            cell(status.replicas)
        } else {
            cell("?")
        };
        let quarantined = match status.quarantined {
            _ if !status.reachable => cell("?"),
            0 => cell(0),
            many => alarm(many),
        };
        let since = match node.live_since_millis {
            0 => String::new(),
            millis => units::time(millis),
        };
        shown.add_row([
            cell(&status.id),
            cell(&status.address),
            cell(&status.zone),
            state(node, &status),
            cell(since),
            cell(node.placed),
            held,
            quarantined,
            cell(node.tombstones),
        ]);
    }
    table::render(&shown)
}

fn state(node: &NodeDescription, status: &NodeStatus) -> Cell {
    match (node.member, status.live) {
        (false, false) => alarm("FORGOTTEN"),
        (false, true) => alarm("NO MEMBER YET"),
        (true, live) => match (live, status.reachable) {
            (true, true) => cell("up"),
            (true, false) => alarm("NOT ANSWERING"),
            (false, true) => alarm("NOT REGISTERED"),
            (false, false) => alarm("DOWN"),
        },
    }
}

/// What it means that a node is forgotten.
pub fn forgotten(node: &str, done: &ForgetNodeResponse) -> String {
    if done.already {
        let lost = units::count(done.lost_replicas, "replica");
        return format!("data node {node} was forgotten before; {lost} lost with it\n");
    }
    let mut parts = vec![format!("data node {node} is forgotten")];
    if done.lost_replicas > 0 {
        let lost = units::count(done.lost_replicas, "replica");
        parts.push(format!(
            "{lost} lost with it, see describe-table and status"
        ));
    }
    if done.tombstones > 0 {
        let tables = units::count(done.tombstones, "deleted table");
        parts.push(format!(
            "if it returns all the same, what it has of {tables} will be quarantined"
        ));
    }
    parts.join("; ") + "\n"
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::output) fn example() -> Vec<NodeDescription> {
        let node = |id: &str, live, reachable| NodeStatus {
            id: id.to_owned(),
            address: format!("127.0.0.1:{id}"),
            zone: "b".to_owned(),
            live,
            reachable,
            replicas: 12,
            quarantined: 2,
            ..NodeStatus::default()
        };
        vec![
            NodeDescription {
                status: Some(node("1", true, true)),
                member: true,
                live_since_millis: 1000,
                placed: 12,
                tombstones: 0,
            },
            NodeDescription {
                status: Some(node("2", false, false)),
                member: true,
                live_since_millis: 0,
                placed: 12,
                tombstones: 3,
            },
            NodeDescription {
                status: Some(NodeStatus {
                    id: "3".to_owned(),
                    ..NodeStatus::default()
                }),
                placed: 4,
                ..NodeDescription::default()
            },
        ]
    }

    #[test]
    fn nodes_stand_in_lines_and_troubles_in_capitals() {
        assert_eq!(
            list(&example()),
            "\
DATA NODE  ADDRESS      ZONE  STATE      SINCE                    PLACED  HELD  QUARANTINED  TOMBSTONES
1          127.0.0.1:1  b     up         1970-01-01 00:00:01 UTC      12    12            2           0
2          127.0.0.1:2  b     DOWN                                    12     ?            ?           3
3                             FORGOTTEN                                4     ?            ?           0
"
        );
    }

    #[test]
    fn who_forgets_a_node_is_told_what_that_means() {
        let mut done = ForgetNodeResponse {
            lost_replicas: 4,
            tombstones: 1,
            already: false,
        };
        assert_eq!(
            forgotten("3", &done),
            "data node 3 is forgotten; 4 replicas lost with it, see describe-table and status; if it returns all the \
             same, what it has of 1 deleted table will be quarantined\n"
        );
        done.already = true;
        assert!(forgotten("3", &done).contains("forgotten before; 4 replicas"));
        let nothing = forgotten("3", &ForgetNodeResponse::default());
        assert_eq!(nothing, "data node 3 is forgotten\n");
    }
}
