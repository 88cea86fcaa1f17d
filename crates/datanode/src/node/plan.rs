//! What a node must do so that it holds what it should: a pure function of what is wanted and what is held.
//!
//! Nodes converge, they don't obey. Whatever happened, and whatever they missed, the next comparison finds the
//! difference. **Only a tombstone destroys**: a table that is merely not listed, because the coordination store is empty,
//! older or another one, costs no byte.
//!
//! | the table is | nothing held | half made | held | destroyed before |
//! |---|---|---|---|---|
//! | listed, and this node has a place in the shard | create | create | start | nothing: it is never built again |
//! | listed as `deleting`, likewise | – | – | start | – |
//! | listed, but unreadable | – | – | start, or as it is | – |
//! | tombstoned | confirm | destroy, confirm | destroy, confirm | confirm |
//! | tombstoned or `deleting` as one that was never available, and used | confirm | destroy, confirm | quarantine, confirm | confirm |
//! | neither | – | report | quarantine | – |
//!
//! A node that holds nothing of a table in `deleting` may have said so already, and there will be no tombstone for it: what it
//! made now would stay for ever.
//!
//! A record that can't be read is no reason not to serve: which nodes are in its group, a replica knows from its own state, and
//! whether its table is being deleted, from its log. One that was running or kept out before stays that.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, ShardId, Table, TableId, TableState};

/// What the coordination store says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The listed tables.
    pub(super) tables: BTreeMap<TableId, Table>,
    /// Listed tables whose records can't be read.
    pub(super) unreadable: BTreeSet<TableId>,
    /// Removed tables for which this node has a tombstone.
    pub(super) tombstones: BTreeSet<TableId>,
    /// Of the tables that are listed as `deleting` or have a tombstone here: those that were never available as far as the
    /// store knows, and were used all the same, as this node's replicas show.
    pub(super) spared: BTreeSet<TableId>,
}

/// How a node stands to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The replica was being made when that failed or the process ended. It has never taken part.
    HalfMade,
    /// The replica is on disk and was not started.
    Dormant,
    /// The replica takes part.
    Running,
    /// The replica was taking part, and is kept out.
    Quarantined,
    /// The replica was being destroyed when the process ended.
    HalfDestroyed,
    /// The replica was here once and must never be again.
    Destroyed,
}

/// What there is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Replicas to be made, and the nodes of their shards.
    pub(super) create: BTreeMap<ShardId, Vec<NodeId>>,
    /// Replicas that are to take part.
    pub(super) start: BTreeSet<ShardId>,
    /// Replicas that are to be kept out.
    pub(super) quarantine: BTreeSet<ShardId>,
    /// Replicas that were never made to the end, of tables of which nothing is known.
    pub(super) half_made: BTreeSet<ShardId>,
    /// Replicas to be destroyed.
    pub(super) destroy: BTreeSet<ShardId>,
    /// Tables of which nothing is left here then: to be confirmed.
    pub(super) confirm: BTreeSet<TableId>,
}

/// Compares.
pub(super) fn plan(node: NodeId, wanted: &Wanted, held: &BTreeMap<ShardId, Standing>) -> Plan {
    let mut plan = Plan {
        confirm: wanted.tombstones.clone(),
        ..Plan::default()
    };
    let shards = wanted.tables.values().flat_map(Table::shard_ids);
    let ours: BTreeMap<ShardId, &Vec<NodeId>> = shards
        .filter(|(_, shard)| shard.nodes.contains(&node))
        .map(|(id, shard)| (id, &shard.nodes))
        .collect();
    for (&shard, &nodes) in &ours {
        let rebuilt =
            mutant!(DestroyedReplicaRebuilt) && held.get(&shard) == Some(&Standing::Destroyed);
        let lacks = rebuilt || matches!(held.get(&shard), None | Some(Standing::HalfMade));
        let table = wanted.tables.get(&shard.table);
        let stays = rebuilt || table.is_some_and(|table| table.state != TableState::Deleting);
        // A table that is listed and tombstoned can't be: the one is written with the other's removal.
        if lacks && stays && !wanted.tombstones.contains(&shard.table) {
            plan.create.insert(shard, nodes.clone());
        }
    }
    for (&shard, &standing) in held {
        let absent = mutant!(AbsenceDestroys) && !wanted.tables.contains_key(&shard.table);
        let tombstoned = absent || wanted.tombstones.contains(&shard.table);
        let spared = wanted.spared.contains(&shard.table);
        match standing {
            Standing::Destroyed => {}
            Standing::HalfDestroyed => {
                plan.destroy.insert(shard);
            }
            Standing::Running if spared => {
                plan.quarantine.insert(shard);
            }
            Standing::Dormant | Standing::Quarantined if spared => {}
            _ if tombstoned => {
                plan.destroy.insert(shard);
            }
            _ if wanted.unreadable.contains(&shard.table) => {
                if standing == Standing::Dormant {
                    plan.start.insert(shard);
                }
            }
            Standing::Dormant | Standing::Quarantined if ours.contains_key(&shard) => {
                plan.start.insert(shard);
            }
            Standing::Running if !ours.contains_key(&shard) => {
                plan.quarantine.insert(shard);
            }
            Standing::HalfMade if !wanted.tables.contains_key(&shard.table) => {
                plan.half_made.insert(shard);
            }
            Standing::HalfMade | Standing::Dormant | Standing::Quarantined | Standing::Running => {}
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{HashRange, Shard};

    const ME: NodeId = NodeId(1);

    fn shard(index: u32) -> ShardId {
        ShardId {
            table: TableId(7),
            index,
        }
    }

    /// Shard 0 has a replica here, shard 1 has none.
    fn table() -> Table {
        let places = [
            vec![NodeId(1), NodeId(2), NodeId(3)],
            vec![NodeId(2), NodeId(3), NodeId(4)],
        ];
        Table {
            id: TableId(7),
            name: "people".parse().unwrap(),
            state: TableState::Creating,
            never_available: false,
            replicas: 3,
            created_millis: 0,
            shards: HashRange::divide(2)
                .into_iter()
                .zip(places)
                .map(|(range, nodes)| Shard { range, nodes })
                .collect(),
        }
    }

    fn listed() -> Wanted {
        Wanted {
            tables: [(TableId(7), table())].into(),
            ..Wanted::default()
        }
    }

    fn tombstoned() -> Wanted {
        Wanted {
            tombstones: [TableId(7)].into(),
            ..Wanted::default()
        }
    }

    fn held(standing: Standing) -> BTreeMap<ShardId, Standing> {
        [(shard(0), standing)].into()
    }

    #[test]
    fn a_listed_shard_with_a_place_here_is_created_and_no_other() {
        for held in [BTreeMap::new(), held(Standing::HalfMade)] {
            let plan = plan(ME, &listed(), &held);
            assert_eq!(plan.create.keys().collect::<Vec<_>>(), [&shard(0)]);
        }
    }

    #[test]
    fn nothing_is_made_of_a_table_that_is_being_deleted() {
        let mut deleting = listed();
        for table in deleting.tables.values_mut() {
            table.state = TableState::Deleting;
        }
        for held in [BTreeMap::new(), held(Standing::HalfMade)] {
            assert_eq!(plan(ME, &deleting, &held), Plan::default());
        }
        assert_eq!(
            plan(ME, &deleting, &held(Standing::Dormant)).start,
            [shard(0)].into(),
            "what is there takes part in sealing it"
        );
    }

    #[test]
    fn what_is_on_disk_and_listed_is_started() {
        for standing in [Standing::Dormant, Standing::Quarantined] {
            assert_eq!(
                plan(ME, &listed(), &held(standing)).start,
                [shard(0)].into()
            );
        }
        assert_eq!(
            plan(ME, &listed(), &held(Standing::Running)),
            Plan::default()
        );
    }

    #[test]
    fn a_list_without_the_table_destroys_nothing() {
        let empty = Wanted::default();
        assert_eq!(plan(ME, &empty, &held(Standing::Dormant)), Plan::default());
        assert_eq!(
            plan(ME, &empty, &held(Standing::HalfMade)),
            Plan {
                half_made: [shard(0)].into(),
                ..Plan::default()
            },
            "somebody is told of it"
        );
        let plan = plan(ME, &empty, &held(Standing::Running));
        assert_eq!(
            plan,
            Plan {
                quarantine: [shard(0)].into(),
                ..Plan::default()
            }
        );
    }

    #[test]
    fn a_record_that_cant_be_read_stops_nothing_and_starts_what_was_found_on_disk() {
        let unreadable = Wanted {
            unreadable: [TableId(7)].into(),
            ..Wanted::default()
        };
        for standing in [Standing::Running, Standing::Quarantined, Standing::HalfMade] {
            let plan = plan(ME, &unreadable, &held(standing));
            assert_eq!(plan, Plan::default(), "{standing:?}");
        }
        assert_eq!(
            plan(ME, &unreadable, &held(Standing::Dormant)).start,
            [shard(0)].into()
        );
    }

    #[test]
    fn only_a_tombstone_destroys_and_it_is_confirmed() {
        for standing in [
            Standing::HalfMade,
            Standing::Dormant,
            Standing::Running,
            Standing::Quarantined,
        ] {
            let plan = plan(ME, &tombstoned(), &held(standing));
            assert_eq!(
                (plan.destroy.len(), plan.confirm.len()),
                (1, 1),
                "{standing:?}"
            );
        }
        let nothing_held = plan(ME, &tombstoned(), &BTreeMap::new());
        assert_eq!(
            nothing_held,
            Plan {
                confirm: [TableId(7)].into(),
                ..Plan::default()
            }
        );
    }

    #[test]
    fn a_destroyed_replica_is_never_built_again() {
        assert_eq!(
            plan(ME, &listed(), &held(Standing::Destroyed)),
            Plan::default()
        );
    }

    /// The store was restored from a backup of the moment when the table was being created: what was written since stays.
    #[test]
    fn what_was_used_is_quarantined_when_its_creation_is_undone() {
        let mut deleting = listed();
        for table in deleting.tables.values_mut() {
            table.state = TableState::Deleting;
            table.never_available = true;
        }
        for mut wanted in [deleting, tombstoned()] {
            wanted.spared = [TableId(7)].into();
            let of = |standing| plan(ME, &wanted, &held(standing));
            let running = of(Standing::Running);
            assert_eq!(running.quarantine, [shard(0)].into());
            for standing in [Standing::Running, Standing::Dormant, Standing::Quarantined] {
                let plan = of(standing);
                assert!(plan.destroy.is_empty() && plan.start.is_empty());
                assert_eq!(plan.confirm, wanted.tombstones, "nobody waits for it");
            }
        }
        let mut wanted = tombstoned();
        wanted.spared = [TableId(7)].into();
        let plan = plan(ME, &wanted, &held(Standing::HalfMade));
        assert_eq!(plan.destroy, [shard(0)].into(), "it has never taken part");
    }

    #[cfg(feature = "mutants")]
    #[test]
    fn the_mutants_are_noticed() {
        use mutants::{Mutant, is_noticed};
        assert!(is_noticed(
            Mutant::AbsenceDestroys,
            a_list_without_the_table_destroys_nothing
        ));
        assert!(is_noticed(
            Mutant::DestroyedReplicaRebuilt,
            a_destroyed_replica_is_never_built_again
        ));
    }

    #[test]
    fn a_destruction_that_was_cut_short_goes_on_whatever_is_listed() {
        let plan = plan(ME, &listed(), &held(Standing::HalfDestroyed));
        assert_eq!(
            plan,
            Plan {
                destroy: [shard(0)].into(),
                ..Plan::default()
            }
        );
    }
}
