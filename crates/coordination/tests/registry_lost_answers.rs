//! Every write of the registry, with each of its answers lost: before, after and long before it is carried
//! out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use coordination::embedded::Embedded;
use coordination::records::{LiveNodeRecord, MemberRecord, RouterRecord};
use coordination::registry::{
    self, Creation, Restoration, Versioned, condemn_table, confirm_destroyed, create_table,
    find_table, forget_node, initialise, read_cluster, read_live_nodes, read_members, read_routers,
    read_table, read_tombstones, register_live_node, register_member, register_router,
    remove_table, restore_table, set_table_state,
};
use coordination::{Coordination, SharedCoordination};
use model::{HashRange, NodeId, RouterId, Shard, Table, TableId, TableState};
use support::{Fate, Lossy};

/// Up to three writes that go wrong, one after the other, in every combination.
fn scripts() -> Vec<Vec<Fate>> {
    let bad = [Fate::LostAnswer, Fate::LostRequest, Fate::Late];
    let mut scripts = vec![vec![]];
    let mut longest = scripts.clone();
    for _ in 0..3 {
        longest = longest
            .iter()
            .flat_map(|script| bad.map(|fate| [script.as_slice(), &[fate]].concat()))
            .collect();
        scripts.extend(longest.clone());
    }
    // And one that goes wrong only at its second step.
    scripts.extend(bad.map(|fate| vec![Fate::Fine, fate]));
    scripts
}

struct Stage {
    _directory: tempfile::TempDir,
    store: SharedCoordination,
    lossy: Lossy,
}

/// A store that was initialised, and a session with it that meets the script.
async fn stage(script: &[Fate]) -> Stage {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path()).unwrap().session();
    initialise(&*store).await.unwrap();
    let lossy = Lossy::new(store.clone(), script);
    Stage {
        _directory: directory,
        store,
        lossy,
    }
}

fn table(id: u64) -> Table {
    Table {
        id: TableId(id),
        name: "people".parse().unwrap(),
        state: TableState::Creating,
        never_available: false,
        replicas: 3,
        created_millis: 0,
        shards: HashRange::divide(2)
            .into_iter()
            .map(|range| Shard {
                range,
                nodes: vec![NodeId(1), NodeId(2), NodeId(3)],
            })
            .collect(),
    }
}

async fn created(store: &dyn Coordination, id: u64) -> Versioned<Table> {
    let cluster = read_cluster(store).await.unwrap().unwrap();
    let creation = create_table(store, &table(id), cluster.version).await;
    assert_eq!(creation, Ok(Creation::Created));
    read_table(store, TableId(id)).await.unwrap().unwrap()
}

/// Nodes 1 to 3 have joined.
async fn members(store: &dyn Coordination) {
    for id in 1..=3 {
        let member = MemberRecord {
            id: NodeId(id),
            address: format!("h:{id}"),
            zone: None,
            tenure: None,
            void_to: None,
        };
        register_member(store, &member).await.unwrap();
    }
}

async fn removed(store: &dyn Coordination, table: &Versioned<Table>) {
    let deleting = set_table_state(store, table, TableState::Deleting)
        .await
        .unwrap();
    remove_table(store, &deleting, &BTreeSet::new(), &BTreeSet::new())
        .await
        .unwrap();
}

#[tokio::test]
async fn initialise_ends_with_one_cluster() {
    for script in scripts() {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(directory.path()).unwrap().session();
        let lossy = Lossy::new(store.clone(), &script);
        let id = initialise(&lossy).await.unwrap();
        lossy.land().await;
        assert_eq!(initialise(&*store).await, Ok(id), "{script:?}");
    }
}

#[tokio::test]
async fn create_ends_with_one_table_of_its_own_id() {
    for script in scripts() {
        let stage = stage(&script).await;
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        let creation = create_table(&stage.lossy, &table(7), cluster.version).await;
        assert_eq!(creation, Ok(Creation::Created), "{script:?}");
        // What lands late finds its place taken.
        assert!(stage.lossy.land().await.iter().all(Result::is_err));
        let found = find_table(&*stage.store, &table(7).name)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((found.value, found.version), (table(7), 0));
    }
}

#[tokio::test]
async fn an_attempt_to_create_that_lands_late_does_not_raise_a_table_that_was_deleted() {
    let stage = stage(&[Fate::Late]).await;
    let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
    let creation = create_table(&stage.lossy, &table(7), cluster.version).await;
    assert_eq!(creation, Ok(Creation::Created));
    let table = read_table(&*stage.store, TableId(7))
        .await
        .unwrap()
        .unwrap();
    removed(&*stage.store, &table).await;
    assert!(stage.lossy.land().await.iter().all(Result::is_err));
    assert_eq!(find_table(&*stage.store, &table.value.name).await, Ok(None));
}

#[tokio::test]
async fn after_a_removal_a_create_starts_over_with_a_new_id() {
    for script in scripts() {
        let stage = stage(&script).await;
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        let other = created(&*stage.store, 1).await;
        removed(&*stage.store, &other).await;
        let creation = create_table(&stage.lossy, &table(7), cluster.version).await;
        assert_eq!(creation, Ok(Creation::ClusterMoved), "{script:?}");
        stage.lossy.land().await;
        assert_eq!(find_table(&*stage.store, &other.value.name).await, Ok(None));
        created(&*stage.store, 8).await;
    }
}

#[tokio::test]
async fn a_name_that_another_table_has_is_taken() {
    for script in scripts() {
        let stage = stage(&script).await;
        created(&*stage.store, 1).await;
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        let creation = create_table(&stage.lossy, &table(7), cluster.version).await;
        assert_eq!(creation, Ok(Creation::NameTaken(TableId(1))), "{script:?}");
        stage.lossy.land().await;
        assert_eq!(read_table(&*stage.store, TableId(7)).await, Ok(None));
    }
}

#[tokio::test]
async fn a_state_is_set_once() {
    for script in scripts() {
        let stage = stage(&script).await;
        let creating = created(&*stage.store, 7).await;
        let available = set_table_state(&stage.lossy, &creating, TableState::Available).await;
        let available = available.unwrap();
        assert_eq!(
            (available.value.state, available.version),
            (TableState::Available, 1)
        );
        stage.lossy.land().await;
        let read = read_table(&*stage.store, TableId(7)).await;
        assert_eq!(read, Ok(Some(available)), "{script:?}");
    }
}

#[tokio::test]
async fn a_removal_leaves_its_tombstones_and_moves_the_cluster_once() {
    for script in scripts() {
        let stage = stage(&script).await;
        members(&*stage.store).await;
        let creating = created(&*stage.store, 7).await;
        let deleting = set_table_state(&*stage.store, &creating, TableState::Deleting).await;
        let deleting = deleting.unwrap();
        let unconfirmed = BTreeSet::from([NodeId(1), NodeId(2)]);
        remove_table(&stage.lossy, &deleting, &unconfirmed, &BTreeSet::new())
            .await
            .unwrap();
        stage.lossy.land().await;
        assert_eq!(find_table(&*stage.store, &table(7).name).await, Ok(None));
        assert_eq!(read_table(&*stage.store, TableId(7)).await, Ok(None));
        let tombstones = read_tombstones(&*stage.store).await.unwrap();
        assert_eq!(tombstones, [(TableId(7), unconfirmed)].into(), "{script:?}");
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        assert_eq!(cluster.version, 1);
    }
}

#[tokio::test]
async fn the_last_confirmation_leaves_nothing_behind() {
    for script in scripts() {
        let stage = stage(&script).await;
        members(&*stage.store).await;
        let creating = created(&*stage.store, 7).await;
        let deleting = set_table_state(&*stage.store, &creating, TableState::Deleting).await;
        let unconfirmed = BTreeSet::from([NodeId(1), NodeId(2)]);
        remove_table(
            &*stage.store,
            &deleting.unwrap(),
            &unconfirmed,
            &BTreeSet::new(),
        )
        .await
        .unwrap();
        confirm_destroyed(&*stage.store, TableId(7), NodeId(1))
            .await
            .unwrap();
        confirm_destroyed(&stage.lossy, TableId(7), NodeId(2))
            .await
            .unwrap();
        // Again: it is gone already.
        confirm_destroyed(&*stage.store, TableId(7), NodeId(2))
            .await
            .unwrap();
        stage.lossy.land().await;
        let left = stage.store.children("/deleted").await;
        assert_eq!(left, Ok(Some(vec![])), "{script:?}");
    }
}

#[tokio::test]
async fn nodes_and_routers_are_registered_once() {
    for script in scripts() {
        let member = MemberRecord {
            id: NodeId(1),
            address: "h:1".into(),
            zone: None,
            tenure: None,
            void_to: None,
        };
        let live = LiveNodeRecord {
            id: NodeId(1),
            address: "h:1".into(),
            incarnation: 1,
            started_millis: 0,
            host: "h".into(),
            data_dir: "/d".into(),
        };
        let router = RouterRecord {
            address: "h:2".into(),
        };
        let old = LiveNodeRecord {
            incarnation: 0,
            ..live.clone()
        };
        let Stage { store, lossy, .. } = stage(&script).await;
        register_member(&lossy, &member).await.unwrap();
        lossy.land().await;
        let members = read_members(&*store).await.unwrap();
        assert_eq!(members.entries[&NodeId(1)].value, member);

        let Stage { store, lossy, .. } = stage(&script).await;
        register_router(&lossy, RouterId(5), &router).await.unwrap();
        lossy.land().await;
        let routers = read_routers(&*store).await.unwrap();
        assert_eq!(routers.entries[&RouterId(5)].value, router);

        // In the place of an old znode of its own.
        let Stage { store, lossy, .. } = stage(&script).await;
        register_live_node(&*store, &old, Duration::ZERO)
            .await
            .unwrap();
        register_live_node(&lossy, &live, Duration::ZERO)
            .await
            .unwrap();
        lossy.land().await;
        let nodes = read_live_nodes(&*store).await.unwrap();
        assert_eq!(nodes.entries[&NodeId(1)].value, live, "{script:?}");
    }
}

/// An attempt that was certainly not sent says nothing about the one before it.
#[tokio::test]
async fn a_lost_answer_before_an_outage_leaves_the_outcome_unknown() {
    for (script, unknown) in [
        (vec![Fate::Down], false),
        (vec![Fate::Late, Fate::Down], true),
        (vec![Fate::LostAnswer, Fate::Down], false),
    ] {
        let stage = stage(&script).await;
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        match create_table(&stage.lossy, &table(7), cluster.version).await {
            Ok(creation) => assert_eq!(creation, Creation::Created),
            Err(error) => assert_eq!(error.outcome_unknown(), unknown, "{script:?}"),
        }
    }
}

#[tokio::test]
async fn five_lost_answers_leave_the_outcome_unknown() {
    for fate in [Fate::LostRequest, Fate::Late] {
        let stage = stage(&[fate; 5]).await;
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        let creation = create_table(&stage.lossy, &table(7), cluster.version).await;
        let error: registry::Error = creation.unwrap_err();
        assert!(error.outcome_unknown(), "{error}");
    }
}

#[tokio::test]
async fn a_node_is_forgotten_with_all_that_waits_for_it() {
    for script in scripts() {
        let stage = stage(&script).await;
        members(&*stage.store).await;
        for (id, unconfirmed) in [(7, vec![1]), (8, vec![1, 2]), (9, vec![2])] {
            let creating = created(&*stage.store, id).await;
            let deleting = set_table_state(&*stage.store, &creating, TableState::Deleting).await;
            let unconfirmed = unconfirmed.into_iter().map(NodeId).collect();
            remove_table(
                &*stage.store,
                &deleting.unwrap(),
                &unconfirmed,
                &BTreeSet::new(),
            )
            .await
            .unwrap();
        }
        let forgotten = forget_node(&stage.lossy, NodeId(1)).await.unwrap();
        assert!(forgotten.member, "{script:?}");
        assert_eq!(forgotten.tombstones, [TableId(7), TableId(8)].into());
        stage.lossy.land().await;
        let again = forget_node(&*stage.store, NodeId(1)).await.unwrap();
        assert_eq!(again, registry::Forgotten::default());
        let left = read_members(&*stage.store).await.unwrap().entries;
        assert_eq!(left.into_keys().collect::<Vec<_>>(), [NodeId(2), NodeId(3)]);
        let left = read_tombstones(&*stage.store).await.unwrap();
        let of_two: BTreeSet<_> = [NodeId(2)].into();
        let expected = [
            (TableId(7), BTreeSet::new()),
            (TableId(8), of_two.clone()),
            (TableId(9), of_two),
        ];
        assert_eq!(left, expected.into(), "{script:?}");
    }
}

#[tokio::test]
async fn a_restoration_that_lands_late_raises_nothing_that_was_deleted_since() {
    for script in scripts() {
        let stage = stage(&script).await;
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        let end = restore_table(&stage.lossy, &table(7), cluster.version).await;
        assert_eq!(end, Ok(Restoration::Restored), "{script:?}");
        let restored = read_table(&*stage.store, TableId(7)).await;
        removed(&*stage.store, &restored.unwrap().unwrap()).await;
        stage.lossy.land().await;
        assert_eq!(read_table(&*stage.store, TableId(7)).await, Ok(None));
        assert_eq!(find_table(&*stage.store, &table(7).name).await, Ok(None));
    }
}

#[tokio::test]
async fn what_was_dropped_is_not_restored_and_what_was_restored_is_not_dropped() {
    for script in scripts() {
        let stage = stage(&script).await;
        members(&*stage.store).await;
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        let nodes = BTreeSet::from([NodeId(1), NodeId(2), NodeId(9)]);
        let name = table(7).name;
        let condemned = condemn_table(&stage.lossy, TableId(7), &name, &nodes).await;
        let two = BTreeSet::from([NodeId(1), NodeId(2)]);
        assert_eq!(condemned, Ok(Some(two.clone())), "{script:?}");
        stage.lossy.land().await;
        let left = read_tombstones(&*stage.store).await.unwrap();
        assert_eq!(left, [(TableId(7), two.clone())].into(), "{script:?}");
        let refused = restore_table(&*stage.store, &table(7), cluster.version).await;
        assert_eq!(refused, Ok(Restoration::Removed(two.clone())));
        // The last one is no member, so it has no tombstone, but it was noted.
        for node in nodes.clone() {
            confirm_destroyed(&*stage.store, TableId(7), node)
                .await
                .unwrap();
        }
        // Asked for before the drop, it comes after it.
        let late = restore_table(&*stage.store, &table(7), cluster.version).await;
        assert_eq!(late, Ok(Restoration::ClusterMoved), "{script:?}");

        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        let restored = restore_table(&*stage.store, &table(8), cluster.version).await;
        assert_eq!(restored, Ok(Restoration::Restored));
        let refused = condemn_table(&*stage.store, TableId(8), &name, &nodes).await;
        assert_eq!(refused, Ok(None));
        assert_eq!(read_tombstones(&*stage.store).await, Ok([].into()));
    }
}
