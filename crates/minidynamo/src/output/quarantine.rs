//! What data nodes keep out.

use api::v1::{DropQuarantinedResponse, ListQuarantinedResponse};

use super::table::{self, Column, alarm, cell};
use super::units;

/// A line per table, and below why it can't be kept, where that is so.
pub fn tables(quarantined: &ListQuarantinedResponse) -> String {
    let mut shown = table::new(&[
        Column::Text("TABLE ID"),
        Column::Text("NAME"),
        Column::Text("SHARDS"),
        Column::Number("ITEMS"),
        Column::Number("SIZE"),
        Column::Text("CAN BE KEPT"),
        Column::Text("REPLICAS ON"),
    ]);
    for table in &quarantined.tables {
        let nodes = table.nodes.iter();
        let nodes: Vec<_> = nodes
            .map(|node| format!("{} ({})", node.id, node.replicas))
            .collect();
        shown.add_row([
            cell(&table.id),
            cell(&table.name),
            cell(format!("{} of {}", table.found_shards, table.shards)),
            cell(table.items),
            cell(units::bytes(table.bytes)),
            if table.obstacle.is_empty() {
                cell("yes")
            } else {
                alarm("NO")
            },
            cell(nodes.join(", ")),
        ]);
    }
    let refused = quarantined.tables.iter();
    let refused = refused.filter(|table| !table.obstacle.is_empty());
    let obstacles = refused.map(|table| format!("\n{}: {}\n", table.id, table.obstacle));
    table::render(&shown) + &obstacles.collect::<String>()
}

/// Who has destroyed what it had, and who still has to.
pub fn dropped(table: &str, done: &DropQuarantinedResponse) -> String {
    let destroyed = match done.destroyed.as_slice() {
        [] => format!("no data node has destroyed its replicas of table {table} yet\n"),
        nodes => format!(
            "the quarantined replicas of table {table} are destroyed on data node {}\n",
            nodes.join(", ")
        ),
    };
    let waiting = match done.waiting.as_slice() {
        [] => String::new(),
        nodes => format!(
            "they will be, once it can, on data node {}\n",
            nodes.join(", ")
        ),
    };
    let forgotten = match done.forgotten.as_slice() {
        [] => String::new(),
        nodes => format!(
            "they are not on data node {}, which was forgotten meanwhile: drop them again if it returns\n",
            nodes.join(", ")
        ),
    };
    destroyed + &waiting + &forgotten
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use api::v1::{QuarantinedNode, QuarantinedTable};

    pub(in crate::output) fn example() -> ListQuarantinedResponse {
        let node = |id: &str| QuarantinedNode {
            id: id.to_owned(),
            address: "127.0.0.1:1".to_owned(),
            replicas: 4,
            items: 10,
            bytes: 512,
        };
        ListQuarantinedResponse {
            tables: vec![
                QuarantinedTable {
                    id: "00000000000000ab".to_owned(),
                    name: "people".to_owned(),
                    shards: 4,
                    found_shards: 4,
                    nodes: vec![node("1"), node("2")],
                    items: 10,
                    bytes: 512,
                    obstacle: String::new(),
                },
                QuarantinedTable {
                    id: "00000000000000cd".to_owned(),
                    name: "old".to_owned(),
                    shards: 8,
                    found_shards: 4,
                    nodes: vec![node("2")],
                    items: 10,
                    bytes: 512,
                    obstacle: "no majority".to_owned(),
                },
            ],
            silent: vec!["3".to_owned()],
        }
    }

    #[test]
    fn tables_stand_in_lines_and_obstacles_below() {
        assert_eq!(
            tables(&example()),
            "\
TABLE ID          NAME    SHARDS  ITEMS   SIZE  CAN BE KEPT  REPLICAS ON
00000000000000ab  people  4 of 4     10  512 B  yes          1 (4), 2 (4)
00000000000000cd  old     4 of 8     10  512 B  NO           2 (4)

00000000000000cd: no majority
"
        );
    }

    #[test]
    fn who_drops_replicas_is_told_where_they_still_are() {
        let done = DropQuarantinedResponse {
            destroyed: vec!["1".to_owned(), "2".to_owned()],
            waiting: vec!["3".to_owned()],
            forgotten: vec!["4".to_owned()],
        };
        assert_eq!(
            dropped("ab", &done),
            "the quarantined replicas of table ab are destroyed on data node 1, 2\n\
             they will be, once it can, on data node 3\n\
             they are not on data node 4, which was forgotten meanwhile: drop them again if it returns\n"
        );
    }
}
