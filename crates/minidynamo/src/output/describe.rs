//! One table with its shards.

use api::v1::{ReplicaDescription, ReplicaState, ShardDescription, TableDescription, TableState};
use comfy_table::Cell;

use super::table::{self, Column, alarm, cell};
use super::{list, units};

/// The table in one line.
pub fn headline(table: &TableDescription) -> String {
    let summary = table.summary.clone().unwrap_or_default();
    format!(
        "table {}: {}, {}, {} each, created {}, id {}\n",
        summary.name,
        list::state(summary.state()),
        units::count(summary.shards, "shard"),
        units::count(summary.replicas, "replica"),
        units::time(summary.created_at_millis),
        summary.id,
    )
}

/// The table, and a line per shard.
pub fn table(table: &TableDescription) -> String {
    let verified = table
        .shards
        .iter()
        .any(|shard| shard.verification.is_some());
    let mut columns = vec![
        Column::Number("SHARD"),
        Column::Text("HASHES"),
        Column::Text("LEADER"),
        Column::Number("TERM"),
        Column::Number("ITEMS"),
        Column::Number("SIZE"),
        Column::Text("OTHER REPLICAS"),
    ];
    if verified {
        columns.push(Column::Text("VERIFIED"));
    }
    let mut shown = table::new(&columns);
    for shard in &table.shards {
        shown.add_row(row(shard, verified));
    }
    let (headline, standing) = (headline(table), standing(table));
    format!("{headline}{standing}\n{}", table::render(&shown))
}

/// A line for what is not as it should be, or on its way.
fn standing(table: &TableDescription) -> String {
    let summary = table.summary.clone().unwrap_or_default();
    let of = |number: u32| format!("{number} of {}", units::count(summary.shards, "shard"));
    match (&table.progress, summary.state()) {
        (Some(progress), TableState::Deleting) => {
            let mut parts = vec![format!("{} sealed", of(progress.sealed_shards))];
            if !progress.unconfirmed.is_empty() {
                let nodes = progress.unconfirmed.join(", ");
                parts.push(format!("not confirmed yet by data node {nodes}"));
            }
            if !progress.waits_for.is_empty() {
                let nodes = progress.waits_for.join(", ");
                parts.push(format!(
                    "WAITS for data node {nodes}, which could still serve the other shards: start it, or `forget-node` it if it will never return"
                ));
            }
            parts.join("; ") + "\n"
        }
        (Some(progress), _) => format!("{} led\n", of(progress.led_shards)),
        (None, _) if table.under_replicated_shards > 0 => {
            format!("{} UNDER-REPLICATED\n", of(table.under_replicated_shards))
        }
        (None, _) => String::new(),
    }
}

fn row(shard: &ShardDescription, verified: bool) -> Vec<Cell> {
    let leader = shard
        .replicas
        .iter()
        .find(|replica| !shard.leader.is_empty() && replica.node == shard.leader);
    // What the leader holds is what the shard holds; without one, the replica that is furthest.
    let reference = leader.or_else(|| {
        shard
            .replicas
            .iter()
            .max_by_key(|replica| replica.applied_index)
    });
    let mut cells = vec![
        cell(shard.index),
        cell(format!(
            "{:016x}..={:016x}",
            shard.first_hash, shard.last_hash
        )),
        match leader {
            Some(leader) => cell(&leader.address),
            None if shard.leader.is_empty() => alarm("NONE"),
            None => cell(&shard.leader),
        },
        cell(shard.term),
        cell(reference.map_or(0, |replica| replica.items)),
        cell(units::bytes(reference.map_or(0, |replica| replica.bytes))),
        others(shard),
    ];
    if verified {
        cells.push(verification(shard));
    }
    cells
}

/// The replicas besides the leader, with a word on those that are not as they should be.
fn others(shard: &ShardDescription) -> Cell {
    let others = shard
        .replicas
        .iter()
        .filter(|replica| shard.leader.is_empty() || replica.node != shard.leader);
    let mut troubled = false;
    let texts: Vec<_> = others
        .map(|replica| match trouble(replica) {
            None => replica.address.clone(),
            Some(word) => {
                troubled = true;
                let because = if replica.detail.is_empty() { "" } else { ": " };
                let known = [&replica.address, &replica.node];
                // Nobody knows the address of a node that was forgotten.
                let place = known[usize::from(replica.address.is_empty())];
                format!("{place} ({word}{because}{})", replica.detail)
            }
        })
        .collect();
    let text = texts.join(", ");
    if troubled { alarm(text) } else { cell(text) }
}

fn trouble(replica: &ReplicaDescription) -> Option<&'static str> {
    match replica.state() {
        ReplicaState::Follower | ReplicaState::Leader => None,
        ReplicaState::Candidate => Some("STANDS FOR ELECTION"),
        ReplicaState::Unspecified | ReplicaState::Unreachable => Some("UNREACHABLE"),
        ReplicaState::Absent => Some("ABSENT"),
        ReplicaState::Stopped => Some("STOPPED"),
        ReplicaState::Lost => Some("LOST"),
    }
}

fn verification(shard: &ShardDescription) -> Cell {
    let Some(result) = shard.verification else {
        return alarm("NO");
    };
    if result.equal {
        return cell(format!("equal at index {}", result.index));
    }
    let mut hashes: Vec<_> = shard
        .replicas
        .iter()
        .map(|replica| replica.content_hash.as_str())
        .filter(|hash| !hash.is_empty())
        .collect();
    hashes.sort_unstable();
    hashes.dedup();
    if hashes.len() > 1 {
        alarm(format!("DIFFERENT at index {}", result.index))
    } else {
        alarm("NOT ALL REACHED")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use api::v1::{Progress, TableSummary, Verification};

    fn replica(node: &str, port: u16, state: ReplicaState) -> ReplicaDescription {
        ReplicaDescription {
            node: node.to_owned(),
            address: format!("127.0.0.1:{port}"),
            state: state as i32,
            applied_index: 40,
            last_index: 41,
            items: 7,
            bytes: 2048,
            ..Default::default()
        }
    }

    pub(in crate::output) fn example() -> TableDescription {
        TableDescription {
            summary: Some(TableSummary {
                name: "people".to_owned(),
                id: "00000000000000ab".to_owned(),
                state: TableState::Available as i32,
                shards: 2,
                replicas: 3,
                created_at_millis: 1000,
            }),
            shards: vec![
                ShardDescription {
                    index: 0,
                    first_hash: 0,
                    last_hash: u64::MAX / 2,
                    replicas: vec![
                        replica("a", 1, ReplicaState::Follower),
                        replica("b", 2, ReplicaState::Leader),
                        replica("c", 3, ReplicaState::Unreachable),
                    ],
                    leader: "b".to_owned(),
                    term: 3,
                    verification: None,
                },
                ShardDescription {
                    index: 1,
                    first_hash: u64::MAX / 2 + 1,
                    last_hash: u64::MAX,
                    replicas: vec![ReplicaDescription {
                        detail: "a sync failed".to_owned(),
                        ..replica("a", 1, ReplicaState::Stopped)
                    }],
                    leader: String::new(),
                    term: 0,
                    verification: None,
                },
            ],
            progress: None,
            under_replicated_shards: 2,
        }
    }

    #[test]
    fn a_table_on_its_way_says_how_far_it_is() {
        let mut description = example();
        description.progress = Some(Progress {
            led_shards: 1,
            sealed_shards: 2,
            unconfirmed: vec!["a".to_owned(), "c".to_owned()],
            waits_for: Vec::new(),
        });
        let mut second_line = |state: TableState| {
            let summary = description.summary.as_mut().unwrap();
            summary.state = state.into();
            table(&description).lines().nth(1).unwrap().to_owned()
        };
        assert_eq!(second_line(TableState::Creating), "1 of 2 shards led");
        assert_eq!(
            second_line(TableState::Deleting),
            "2 of 2 shards sealed; not confirmed yet by data node a, c"
        );
        description.progress = Some(Progress {
            sealed_shards: 1,
            waits_for: vec!["b".to_owned()],
            ..Progress::default()
        });
        let text = table(&description);
        let line = text.lines().nth(1).unwrap();
        assert!(
            line.starts_with("1 of 2 shards sealed; WAITS for data node b, which")
                && line.contains("forget-node"),
            "{line}"
        );
    }

    #[test]
    fn a_replica_of_a_forgotten_node_is_lost() {
        let mut description = example();
        let lost = &mut description.shards[0].replicas[2];
        lost.set_state(ReplicaState::Lost);
        lost.address.clear();
        assert!(table(&description).contains("127.0.0.1:1, c (LOST)"));
    }

    #[test]
    fn shards_stand_in_lines_and_troubles_in_capitals() {
        assert_eq!(
            table(&example()),
            "\
table people: available, 2 shards, 3 replicas each, created 1970-01-01 00:00:01 UTC, id 00000000000000ab
2 of 2 shards UNDER-REPLICATED

SHARD  HASHES                               LEADER       TERM  ITEMS     SIZE  OTHER REPLICAS
    0  0000000000000000..=7fffffffffffffff  127.0.0.1:2     3      7  2.0 KiB  127.0.0.1:1, 127.0.0.1:3 (UNREACHABLE)
    1  8000000000000000..=ffffffffffffffff  NONE            0      7  2.0 KiB  127.0.0.1:1 (STOPPED: a sync failed)
"
        );
    }

    #[test]
    fn verification_tells_differing_from_unreached() {
        let mut description = example();
        let result = |equal| Some(Verification { index: 40, equal });
        description.shards[0].verification = result(true);
        description.shards[1].verification = result(false);
        let text = table(&description);
        assert!(text.contains("equal at index 40"), "{text}");
        assert!(text.contains("NOT ALL REACHED"), "{text}");
        let replicas = &mut description.shards[0].replicas;
        replicas[0].content_hash = "1".to_owned();
        replicas[1].content_hash = "2".to_owned();
        description.shards[0].verification = result(false);
        assert!(table(&description).contains("DIFFERENT at index 40"));
    }
}
