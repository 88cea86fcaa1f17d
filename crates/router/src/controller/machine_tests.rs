//! Golden scripts: events on the left, the trace of effects on the right.

use super::*;
use coordination::registry::Versioned;
use model::{HashRange, Shard, Table};

const TABLE: TableId = TableId(1);
const A: NodeId = NodeId(0xa);
const B: NodeId = NodeId(0xb);
const C: NodeId = NodeId(0xc);

fn entry(id: TableId, shards: u32, state: TableState, version: i32) -> Arc<TableEntry> {
    let shards = HashRange::divide(shards).into_iter().map(|range| Shard {
        range,
        nodes: vec![A, B, C],
    });
    Arc::new(Versioned {
        value: Table {
            id,
            name: format!("table-{}", id.0).parse().unwrap(),
            state,
            never_available: false,
            replicas: 3,
            created_millis: 0,
            shards: shards.collect(),
        },
        version,
    })
}

fn known(tables: &[&Arc<TableEntry>], live: &[NodeId]) -> Event {
    known_of(tables, live, &[A, B, C])
}

fn known_of(tables: &[&Arc<TableEntry>], live: &[NodeId], members: &[NodeId]) -> Event {
    Event::Known {
        tables: tables.iter().map(|&table| Arc::clone(table)).collect(),
        nodes: Known {
            live: live.iter().copied().collect(),
            members: members.iter().copied().collect(),
        },
    }
}

fn polled(node: NodeId, leads: &[u32]) -> Event {
    Event::Polled {
        table: TABLE,
        node,
        leads: leads.iter().copied().collect(),
    }
}

fn sealed(index: u32) -> Event {
    let shard = ShardId {
        table: TABLE,
        index,
    };
    Event::SealEnded {
        shard,
        sealed: true,
    }
}

/// Whether it is sealed is not known: nobody answered, or the answer was lost.
fn not_sealed(index: u32) -> Event {
    let shard = ShardId {
        table: TABLE,
        index,
    };
    Event::SealEnded {
        shard,
        sealed: false,
    }
}

fn destroyed(node: NodeId) -> Event {
    Event::Destroyed { table: TABLE, node }
}

fn destroy_failed(node: NodeId) -> Event {
    Event::DestroyFailed { table: TABLE, node }
}

/// A machine whose every effect is written down.
struct Script {
    machine: Machine,
    trace: Vec<String>,
}

impl Script {
    fn new() -> Self {
        let millis = Duration::from_millis;
        let patience = Patience {
            creating_timeout: millis(60_000),
            creating_poll: (millis(100), millis(200)),
            destroy_timeout: millis(5000),
        };
        Self {
            machine: Machine::new(patience),
            trace: Vec::new(),
        }
    }

    fn at(&mut self, millis: u64, event: Event) -> &mut Self {
        let effects = self.machine.step(Duration::from_millis(millis), event);
        let effects = effects.iter().map(short);
        self.trace.extend(effects.map(|e| format!("{millis} {e}")));
        self
    }

    fn wakes_at(&mut self, millis: Option<u64>) -> &mut Self {
        let expected = millis.map(Duration::from_millis);
        assert_eq!(self.machine.wake_at(), expected);
        self
    }

    fn trace(&mut self, expected: &[&str]) -> &mut Self {
        assert_eq!(std::mem::take(&mut self.trace), expected);
        self
    }
}

fn short(effect: &Effect) -> String {
    let node = |node: &NodeId| format!("{:x}", node.0);
    match effect {
        Effect::Poll { node: n, .. } => format!("poll {}", node(n)),
        Effect::SetState { version, state, .. } => format!("set {state} if {version}"),
        Effect::Seal { shard } => format!("seal {}", shard.index),
        Effect::Destroy { node: n, .. } => format!("destroy {}", node(n)),
        Effect::Remove {
            version,
            tombstones,
            forgotten,
            ..
        } => {
            let list =
                |nodes: &BTreeSet<NodeId>| nodes.iter().map(node).collect::<Vec<_>>().join(" ");
            let forgotten = if forgotten.is_empty() {
                String::new()
            } else {
                format!(", forgotten [{}]", list(forgotten))
            };
            let tombstones = list(tombstones);
            format!("remove if {version}, tombstones [{tombstones}]{forgotten}")
        }
        Effect::Waits { shards, nodes, .. } => {
            let nodes: Vec<_> = nodes.iter().map(node).collect();
            format!("{shards} shards wait for {}", nodes.join(" "))
        }
    }
}

#[test]
fn a_table_becomes_available_when_every_shard_has_had_a_leader() {
    let table = entry(TABLE, 3, TableState::Creating, 0);
    Script::new()
        .at(0, known(&[&table], &[A, B, C]))
        .trace(&["0 poll a", "0 poll b", "0 poll c"])
        .at(10, polled(A, &[0]))
        .at(
            10,
            Event::PollFailed {
                table: TABLE,
                node: B,
            },
        )
        .wakes_at(Some(60_000))
        .at(10, polled(C, &[2]))
        .trace(&[])
        .wakes_at(Some(110))
        .at(110, Event::Time)
        .trace(&["110 poll a", "110 poll b", "110 poll c"])
        // Shards 0 and 2 have had their leaders; shard 0's has moved meanwhile.
        .at(120, polled(B, &[0, 1]))
        .trace(&["120 set available if 0"])
        .wakes_at(None);
}

#[test]
fn an_available_table_costs_nothing() {
    let table = entry(TABLE, 3, TableState::Available, 1);
    Script::new()
        .at(0, known(&[&table], &[A, B, C]))
        .at(100_000, Event::Time)
        .trace(&[])
        .wakes_at(None);
}

#[test]
fn a_table_that_gets_no_leaders_is_given_up() {
    let creating = entry(TABLE, 1, TableState::Creating, 0);
    let mut deleting = entry(TABLE, 1, TableState::Deleting, 1);
    Arc::make_mut(&mut deleting).value.never_available = true;
    let mut script = Script::new();
    script
        .at(0, known(&[&creating], &[A]))
        .at(5, polled(A, &[]))
        .trace(&["0 poll a", "0 poll b", "0 poll c"])
        .at(60_000, Event::Time)
        .trace(&["60000 set deleting if 0"])
        .at(60_010, known(&[&deleting], &[A]))
        .trace(&["60010 destroy a"]);
}

#[test]
fn a_deletion_seals_then_destroys_then_removes() {
    let table = entry(TABLE, 2, TableState::Deleting, 4);
    Script::new()
        .at(0, known(&[&table], &[A, B, C]))
        .trace(&["0 seal 0", "0 seal 1"])
        .at(10, sealed(1))
        .trace(&[])
        .at(20, sealed(0))
        .trace(&["20 destroy a", "20 destroy b", "20 destroy c"])
        .at(30, destroyed(A))
        .at(31, destroyed(C))
        .trace(&[])
        .at(32, destroyed(B))
        .trace(&["32 remove if 4, tombstones []"])
        .wakes_at(None)
        .at(40, known(&[], &[A, B, C]))
        .trace(&[]);
}

#[test]
fn a_node_that_is_not_alive_gets_a_tombstone_at_once() {
    let table = entry(TABLE, 1, TableState::Deleting, 1);
    Script::new()
        .at(0, known(&[&table], &[A, B]))
        .at(10, sealed(0))
        .trace(&["0 seal 0", "10 destroy a", "10 destroy b"])
        .at(20, destroyed(A))
        // b dies before it has confirmed.
        .at(30, known(&[&table], &[A]))
        .trace(&["30 remove if 1, tombstones [b c]"]);
}

#[test]
fn a_live_node_that_does_not_answer_is_asked_again_and_then_left_a_tombstone() {
    let table = entry(TABLE, 1, TableState::Deleting, 1);
    let mut script = Script::new();
    script
        .at(0, known(&[&table], &[A, B, C]))
        .at(0, sealed(0))
        .at(5, destroyed(A))
        .at(5, destroyed(B))
        .at(10, destroy_failed(C))
        .trace(&["0 seal 0", "0 destroy a", "0 destroy b", "0 destroy c"])
        .wakes_at(Some(210))
        .at(210, Event::Time)
        .trace(&["210 destroy c"])
        .wakes_at(Some(5000))
        .at(5000, Event::Time)
        .trace(&["5000 remove if 1, tombstones [c]"]);
}

#[test]
fn a_write_that_failed_is_tried_again_until_the_store_shows_another_version() {
    let table = entry(TABLE, 1, TableState::Creating, 0);
    let condemned = entry(TABLE, 1, TableState::Deleting, 1);
    Script::new()
        .at(0, known(&[&table], &[A, B, C]))
        .at(1, polled(A, &[0]))
        .at(2, Event::WriteFailed { table: TABLE })
        .wakes_at(Some(202))
        .at(202, Event::Time)
        .trace(&[
            "0 poll a",
            "0 poll b",
            "0 poll c",
            "1 set available if 0",
            "202 set available if 0",
        ])
        // Somebody has deleted it before it was available.
        .at(210, known(&[&condemned], &[A, B, C]))
        .at(211, Event::WriteFailed { table: TABLE })
        .trace(&["210 seal 0"]);
}

#[test]
fn late_answers_of_an_earlier_stage_change_nothing() {
    let table = entry(TABLE, 1, TableState::Deleting, 1);
    Script::new()
        .at(0, known(&[&table], &[A]))
        .at(1, polled(A, &[0]))
        .at(1, destroyed(A))
        .at(1, destroy_failed(B))
        .trace(&["0 seal 0"])
        .at(2, sealed(0))
        .at(2, sealed(0))
        .trace(&["2 destroy a"]);
}

#[test]
fn a_successor_begins_the_deletion_again_and_finishes_it() {
    let table = entry(TABLE, 1, TableState::Deleting, 1);
    let all = [A, B, C];
    Script::new().at(0, known(&[&table], &all)).at(1, sealed(0));
    // The first controller is gone; every step may be repeated.
    Script::new()
        .at(0, known(&[&table], &all))
        .at(1, sealed(0))
        .at(2, destroyed(A))
        .at(2, destroyed(B))
        .at(2, destroyed(C))
        .trace(&[
            "0 seal 0",
            "1 destroy a",
            "1 destroy b",
            "1 destroy c",
            "2 remove if 1, tombstones []",
        ]);
}

/// A shard that could not be sealed may be served to a router that knows nothing, by nodes that this one can't reach.
#[test]
fn a_shard_that_is_not_sealed_is_waited_for_and_tried_again_less_and_less_often() {
    let table = entry(TABLE, 2, TableState::Deleting, 1);
    Script::new()
        .at(0, known(&[&table], &[A]))
        .at(0, sealed(0))
        .at(3000, not_sealed(1))
        .trace(&["0 seal 0", "0 seal 1", "3000 destroy a"])
        .at(3010, destroyed(A))
        .trace(&[])
        .wakes_at(Some(4000))
        .at(4000, Event::Time)
        .trace(&["4000 1 shards wait for b c", "4000 seal 1"])
        .wakes_at(None)
        .at(5000, not_sealed(1))
        .trace(&[])
        .wakes_at(Some(6000))
        .at(6000, Event::Time)
        .trace(&["6000 1 shards wait for b c", "6000 seal 1"])
        .at(6100, not_sealed(1))
        .wakes_at(Some(10_000))
        .at(1_000_000, Event::Time)
        .trace(&["1000000 1 shards wait for b c", "1000000 seal 1"])
        // It is: b and c are reached again.
        .at(1_000_001, sealed(1))
        .trace(&["1000001 remove if 1, tombstones [b c]"]);
}

#[test]
fn replicas_that_are_gone_finish_a_shard_once_the_rest_is_no_majority() {
    let table = entry(TABLE, 2, TableState::Deleting, 1);
    let mut script = Script::new();
    script
        .at(0, known(&[&table], &[A]))
        .at(1, not_sealed(0))
        .at(1, not_sealed(1))
        .at(2, destroyed(A))
        .trace(&["0 seal 0", "0 seal 1", "1 destroy a"])
        // b is back: it destroys what it has, and c alone serves nobody.
        .at(500, known(&[&table], &[A, B]))
        .trace(&[
            "500 2 shards wait for b c",
            "500 seal 0",
            "500 seal 1",
            "500 destroy b",
        ])
        .at(510, destroyed(B))
        .trace(&["510 remove if 1, tombstones [c]"])
        // What is still on the way changes nothing.
        .at(520, not_sealed(0))
        .at(530, not_sealed(1))
        .trace(&[])
        .wakes_at(None);
}

#[test]
fn nodes_that_are_forgotten_finish_a_shard_unless_they_have_come_back_by_then() {
    let table = entry(TABLE, 1, TableState::Deleting, 1);
    let mut script = Script::new();
    script
        .at(0, known(&[&table], &[A]))
        .at(1, not_sealed(0))
        .at(2, destroyed(A))
        .trace(&["0 seal 0", "1 destroy a"])
        .at(10, known_of(&[&table], &[A], &[A, C]))
        // Tombstones are for members; the store knows best who that is.
        .trace(&["10 remove if 1, tombstones [b c], forgotten [b]"])
        // It is alive, and will be a member again.
        .at(20, Event::WriteFailed { table: TABLE })
        .wakes_at(Some(220))
        .at(30, known_of(&[&table], &[A, B], &[A, C]))
        .trace(&["30 1 shards wait for b c", "30 seal 0", "30 destroy b"])
        .at(40, not_sealed(0))
        .at(220, Event::Time)
        .trace(&[])
        .at(230, destroyed(B))
        .trace(&["230 remove if 1, tombstones [c]"]);
}

#[test]
fn a_live_node_that_can_not_destroy_is_asked_for_ever_while_a_shard_needs_it() {
    let table = entry(TABLE, 1, TableState::Deleting, 1);
    let mut script = Script::new();
    script
        .at(0, known(&[&table], &[A, B]))
        .at(0, not_sealed(0))
        .at(1, destroyed(A))
        .at(1, destroy_failed(B))
        .trace(&["0 seal 0", "0 destroy a", "0 destroy b"])
        .wakes_at(Some(201))
        .at(201, Event::Time)
        .trace(&["201 destroy b"])
        .at(300, destroy_failed(B))
        .wakes_at(Some(700))
        .at(900, Event::Time)
        .trace(&["900 destroy b"])
        .at(60_000, destroy_failed(B))
        .at(60_800, Event::Time)
        .at(60_900, destroyed(B))
        .trace(&[
            "60000 1 shards wait for b c",
            "60000 seal 0",
            "60800 destroy b",
            "60900 remove if 1, tombstones [c]",
        ]);
}

/// Nobody was ever served, and who drew dead nodes does not clean up by hand.
#[test]
fn a_table_that_was_never_available_needs_no_seals() {
    let mut table = entry(TABLE, 2, TableState::Deleting, 1);
    Arc::make_mut(&mut table).value.never_available = true;
    Script::new()
        .at(0, known_of(&[&table], &[A], &[A, B, C]))
        .trace(&["0 destroy a"])
        .at(10, destroyed(A))
        .trace(&["10 remove if 1, tombstones [b c]"]);
}

#[test]
fn shards_that_wait_leave_most_of_the_room_for_seals_to_other_tables() {
    let large = entry(TABLE, 4096, TableState::Deleting, 1);
    let mut script = Script::new();
    script.at(0, known(&[&large], &[]));
    for index in 0..4096 {
        script.at(1, not_sealed(index));
    }
    script.trace.clear();
    let other = entry(TableId(2), 300, TableState::Deleting, 1);
    script.at(5000, known(&[&large, &other], &[]));
    let seals = script.trace.iter().filter(|e| e.contains("seal"));
    assert_eq!(seals.count(), 32 + 256);
}

#[test]
fn seals_of_a_large_table_are_bounded_and_all_of_them_happen_once() {
    let table = entry(TABLE, 4096, TableState::Deleting, 1);
    let mut machine = Script::new().machine;
    let mut waiting: Vec<u32> = Vec::new();
    let mut sealed_once = BTreeSet::new();
    let mut event = known(&[&table], &[]);
    loop {
        for effect in machine.step(Duration::ZERO, event) {
            match effect {
                Effect::Seal { shard } => {
                    assert!(sealed_once.insert(shard.index));
                    waiting.push(shard.index);
                }
                Effect::Remove { tombstones, .. } => {
                    assert_eq!(sealed_once.len(), 4096);
                    assert_eq!(tombstones.len(), 3);
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(waiting.len() <= 256);
        event = sealed(waiting.pop().unwrap());
    }
}

#[test]
fn the_end_of_one_table_leaves_its_room_for_seals_to_the_others() {
    let large = entry(TABLE, 4096, TableState::Deleting, 1);
    let other = entry(TableId(2), 1, TableState::Deleting, 1);
    let mut script = Script::new();
    script.at(0, known(&[&large, &other], &[A]));
    assert_eq!(script.trace.len(), 256);
    script.trace.clear();
    // The large one is gone: another controller has finished it.
    script.at(1, known(&[&other], &[A])).trace(&["1 seal 0"]);
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutants_are_noticed() {
    use mutants::{Mutant, is_noticed};
    assert!(is_noticed(
        Mutant::AvailableWithoutLeaders,
        a_table_becomes_available_when_every_shard_has_had_a_leader
    ));
    assert!(is_noticed(
        Mutant::SealSkipped,
        a_deletion_seals_then_destroys_then_removes
    ));
    assert!(is_noticed(
        Mutant::SealGivenUp,
        a_shard_that_is_not_sealed_is_waited_for_and_tried_again_less_and_less_often
    ));
    assert!(is_noticed(
        Mutant::FailurePassesForDone,
        a_live_node_that_does_not_answer_is_asked_again_and_then_left_a_tombstone
    ));
    assert!(is_noticed(
        Mutant::TombstonesForgotten,
        a_node_that_is_not_alive_gets_a_tombstone_at_once
    ));
}
