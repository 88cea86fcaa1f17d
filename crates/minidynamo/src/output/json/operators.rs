//! The documents of those who operate a cluster.

use api::v1;
use serde::Serialize;

use super::render;

/// All data nodes. `live_since_millis` is null for one that is not alive, `replicas` and `quarantined` for one that
/// does not answer.
pub fn nodes(nodes: &[v1::NodeDescription]) -> String {
    #[derive(Serialize)]
    struct Document {
        nodes: Vec<Node>,
    }
    #[derive(Serialize)]
    struct Node {
        id: String,
        address: String,
        zone: String,
        member: bool,
        live: bool,
        live_since_millis: Option<u64>,
        reachable: bool,
        placed: u32,
        lost: u32,
        replicas: Option<u32>,
        quarantined: Option<u32>,
        tombstones: u32,
    }
    let node = |node: &v1::NodeDescription| {
        let status = node.status.clone().unwrap_or_default();
        Node {
            member: node.member,
            live: status.live,
            live_since_millis: status.live.then_some(node.live_since_millis),
            reachable: status.reachable,
            placed: node.placed,
            lost: if node.member { 0 } else { node.placed },
            replicas: status.reachable.then_some(status.replicas),
            quarantined: status.reachable.then_some(status.quarantined),
            tombstones: node.tombstones,
            id: status.id,
            address: status.address,
            zone: status.zone,
        }
    };
    render(&Document {
        nodes: nodes.iter().map(node).collect(),
    })
}

/// What became of a node that is forgotten.
pub fn forgotten(node: &str, done: &v1::ForgetNodeResponse) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        node: &'a str,
        lost_replicas: u32,
        tombstones: u32,
        already: bool,
    }
    render(&Document {
        node,
        lost_replicas: done.lost_replicas,
        tombstones: done.tombstones,
        already: done.already,
    })
}

/// What data nodes keep out. `obstacle` says why a table can't be kept; it is missing where it can.
pub fn quarantined(quarantined: &v1::ListQuarantinedResponse) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        tables: Vec<Table<'a>>,
        silent_nodes: &'a [String],
    }
    #[derive(Serialize)]
    struct Table<'a> {
        id: &'a str,
        name: &'a str,
        shards: u32,
        found_shards: u32,
        items: u64,
        bytes: u64,
        nodes: Vec<Node<'a>>,
        #[serde(skip_serializing_if = "str::is_empty")]
        obstacle: &'a str,
    }
    #[derive(Serialize)]
    struct Node<'a> {
        id: &'a str,
        address: &'a str,
        replicas: u32,
        items: u64,
        bytes: u64,
    }
    fn describe(node: &v1::QuarantinedNode) -> Node<'_> {
        Node {
            id: &node.id,
            address: &node.address,
            replicas: node.replicas,
            items: node.items,
            bytes: node.bytes,
        }
    }
    let tables = quarantined.tables.iter().map(|table| Table {
        id: &table.id,
        name: &table.name,
        shards: table.shards,
        found_shards: table.found_shards,
        items: table.items,
        bytes: table.bytes,
        nodes: table.nodes.iter().map(describe).collect(),
        obstacle: &table.obstacle,
    });
    render(&Document {
        tables: tables.collect(),
        silent_nodes: &quarantined.silent,
    })
}

/// Who has destroyed what it kept out of a table, and who still has to.
pub fn dropped(table: &str, done: &v1::DropQuarantinedResponse) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        table_id: &'a str,
        destroyed: &'a [String],
        waiting: &'a [String],
        forgotten: &'a [String],
    }
    render(&Document {
        table_id: table,
        destroyed: &done.destroyed,
        waiting: &done.waiting,
        forgotten: &done.forgotten,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output;

    #[test]
    fn data_nodes_are_one_document() {
        assert_eq!(
            nodes(&output::nodes::tests::example()[..2]),
            concat!(
                r#"{"nodes":[{"id":"1","address":"127.0.0.1:1","zone":"b","member":true,"live":true,"#,
                r#""live_since_millis":1000,"reachable":true,"placed":12,"lost":0,"replicas":12,"#,
                r#""quarantined":2,"tombstones":0},{"id":"2","address":"127.0.0.1:2","zone":"b","#,
                r#""member":true,"live":false,"live_since_millis":null,"reachable":false,"placed":12,"#,
                r#""lost":0,"replicas":null,"quarantined":null,"tombstones":3}]}"#
            )
        );
        let forgotten = nodes(&output::nodes::tests::example()[2..]);
        assert!(forgotten.contains(r#""member":false"#) && forgotten.contains(r#""lost":4"#));
    }

    #[test]
    fn what_is_quarantined_is_one_document() {
        let mut example = output::quarantine::tests::example();
        example.tables.truncate(1);
        example.tables[0].nodes.truncate(1);
        assert_eq!(
            quarantined(&example),
            concat!(
                r#"{"tables":[{"id":"00000000000000ab","name":"people","shards":4,"found_shards":4,"#,
                r#""items":10,"bytes":512,"nodes":[{"id":"1","address":"127.0.0.1:1","replicas":4,"#,
                r#""items":10,"bytes":512}]}],"silent_nodes":["3"]}"#
            )
        );
    }

    #[test]
    fn what_was_done_is_one_document() {
        let done = v1::DropQuarantinedResponse {
            destroyed: vec!["1".to_owned()],
            waiting: vec![],
            forgotten: vec![],
        };
        assert_eq!(
            dropped("ab", &done),
            r#"{"table_id":"ab","destroyed":["1"],"waiting":[],"forgotten":[]}"#
        );
        assert_eq!(
            forgotten("1", &v1::ForgetNodeResponse::default()),
            r#"{"node":"1","lost_replicas":0,"tombstones":0,"already":false}"#
        );
    }
}
