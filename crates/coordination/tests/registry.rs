//! The registry over both stores, with many sessions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use coordination::embedded::Embedded;
use coordination::records::{LiveNodeRecord, MemberRecord, RecordFault};
use coordination::registry::{
    Creation, Election, Error, Leadership, Restoration, Versioned, condemn_table,
    confirm_destroyed, create_table, forget_node, initialise, is_undone, read_cluster,
    read_live_nodes, read_members, read_table, read_tables, read_tombstones, register_live_node,
    register_member, remove_table, restore_table, set_table_state, sweep_tombstones, tombstones_of,
};
use coordination::testing::{Proxy, ZooKeeperServer, eventually};
use coordination::tree::Node;
use coordination::zookeeper::{ConnectOptions, ZooKeeper};
use coordination::{
    Coordination, CreateMode, Error as StoreError, Operation, SessionState, SharedCoordination,
};
use futures::future::join_all;
use model::{HashRange, NodeId, RouterId, Shard, Table, TableId, TableState};
use tokio::sync::watch;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

/// Both kinds of stores, each with as many stores as are named.
#[derive(Clone)]
enum Stores {
    Embedded(Arc<Mutex<HashMap<u32, Embedded>>>, std::path::PathBuf),
    ZooKeeper(String),
}

impl Stores {
    async fn session(&self, store: u32) -> SharedCoordination {
        match self {
            Self::Embedded(stores, directory) => {
                let mut stores = stores.lock().unwrap();
                let open = || Embedded::open(directory.join(store.to_string())).unwrap();
                stores.entry(store).or_insert_with(open).session()
            }
            Self::ZooKeeper(hosts) => {
                let options = ConnectOptions::new(format!("{hosts}/{store}"));
                Arc::new(ZooKeeper::connect(options).await.unwrap())
            }
        }
    }

    /// A session with a store that was initialised.
    async fn ready(&self, store: u32) -> SharedCoordination {
        let session = self.session(store).await;
        initialise(&*session).await.unwrap();
        session
    }
}

/// Runs a test against both kinds.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(Stores) -> F) {
    let directory = tempfile::tempdir().unwrap();
    let embedded = Stores::Embedded(Arc::default(), directory.path().to_owned());
    test(embedded).await;
    let server = ZooKeeperServer::start().await;
    test(Stores::ZooKeeper(server.hosts())).await;
}

fn table(id: u64, name: &str) -> Table {
    Table {
        id: TableId(id),
        name: name.parse().unwrap(),
        state: TableState::Creating,
        never_available: false,
        replicas: 3,
        created_millis: 0,
        shards: HashRange::divide(4)
            .into_iter()
            .map(|range| Shard {
                range,
                nodes: vec![NodeId(1), NodeId(2), NodeId(3)],
            })
            .collect(),
    }
}

async fn create(store: &dyn Coordination, table: &Table) -> Creation {
    let cluster = read_cluster(store).await.unwrap().unwrap();
    create_table(store, table, cluster.version).await.unwrap()
}

fn member(id: u64) -> MemberRecord {
    MemberRecord {
        id: NodeId(id),
        address: format!("h:{id}"),
        zone: None,
        tenure: None,
        void_to: None,
    }
}

async fn created(store: &dyn Coordination, table: &Table) -> Versioned<Table> {
    assert_eq!(create(store, table).await, Creation::Created);
    read_table(store, table.id).await.unwrap().unwrap()
}

/// Five data nodes and three routers start at the same moment, on twenty empty stores.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_processes_that_start_at_once_agree_on_one_cluster_and_one_tree() {
    on_both(|stores| async move {
        for store in 0..20 {
            let sessions = join_all((0..8).map(|_| stores.session(store))).await;
            let start = tokio::sync::Barrier::new(sessions.len());
            let ids = join_all(sessions.iter().map(|session| async {
                start.wait().await;
                initialise(&**session).await.unwrap()
            }))
            .await;
            let distinct: BTreeSet<_> = ids.iter().collect();
            assert_eq!(distinct.len(), 1, "{ids:?}");
            for parent in Node::parents() {
                sessions[0].sync("/").await.unwrap();
                let znode = sessions[0].get(&parent.path()).await.unwrap();
                assert_eq!(znode.unwrap().stat.version, 0, "{parent}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn initialise_completes_a_tree_and_refuses_a_newer_one() {
    on_both(|stores| async move {
        let session = stores.ready(0).await;
        let id = initialise(&*session).await.unwrap();
        for path in ["/tokens", "/transactions/07"] {
            session.delete(path, 0).await.unwrap();
        }
        assert_eq!(initialise(&*session).await, Ok(id));
        assert!(session.get("/transactions/07").await.unwrap().is_some());

        let newer = r#"{"cluster_id":"0000000000000001","format":2}"#;
        session.set("/cluster", newer.into(), 0).await.unwrap();
        let error = initialise(&*session).await.unwrap_err();
        assert!(
            matches!(&error, Error::Record(record) if record.fault == RecordFault::NewerFormat(2)),
            "{error}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_creates_of_one_name_one_succeeds_and_the_others_know_by_whom() {
    on_both(|stores| async move {
        let sessions = join_all((0..4).map(|_| stores.ready(0))).await;
        for round in 0..5 {
            let name = format!("table{round}");
            let creations = join_all((0..).zip(&sessions).map(|(i, session)| {
                let table = table(round * 10 + i, &name);
                async move { create(&**session, &table).await }
            }))
            .await;
            let winner = creations
                .iter()
                .position(|c| *c == Creation::Created)
                .unwrap();
            let taken = Creation::NameTaken(TableId(round * 10 + winner as u64));
            for (i, creation) in creations.iter().enumerate() {
                assert!(i == winner || *creation == taken, "{creations:?}");
            }
        }
        sessions[0].sync("/").await.unwrap();
        let tables = read_tables(&*sessions[0]).await.unwrap();
        assert_eq!(tables.entries.len(), 5);
        assert_eq!(tables.unreadable, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_s_life_leaves_no_residue() {
    on_both(|stores| async move {
        let store = &*stores.ready(0).await;
        let creating = created(store, &table(7, "people")).await;
        let available = set_table_state(store, &creating, TableState::Available).await;
        let available = available.unwrap();
        for (from, to) in [
            (&available, TableState::Creating),
            (&available, TableState::Available),
        ] {
            let error = set_table_state(store, from, to).await.unwrap_err();
            assert!(matches!(error, Error::Backwards { .. }), "{error}");
        }
        // Somebody who has read it earlier.
        let late = set_table_state(store, &creating, TableState::Deleting).await;
        assert_eq!(late, Err(Error::Changed { table: TableId(7) }));
        let early = remove_table(store, &available, &BTreeSet::new(), &BTreeSet::new()).await;
        assert!(matches!(early, Err(Error::Backwards { .. })));

        let deleting = set_table_state(store, &available, TableState::Deleting).await;
        let deleting = deleting.unwrap();
        // Node 4 was forgotten: nobody waits for it.
        let unconfirmed = BTreeSet::from([NodeId(2), NodeId(3), NodeId(4)]);
        for id in 1..=3 {
            register_member(store, &member(id)).await.unwrap();
        }
        remove_table(store, &deleting, &unconfirmed, &BTreeSet::new())
            .await
            .unwrap();
        // Again: it is gone already.
        remove_table(store, &deleting, &unconfirmed, &BTreeSet::new())
            .await
            .unwrap();

        let again = created(store, &table(8, "people")).await;
        assert_eq!(tombstones_of(store, NodeId(1)).await.unwrap(), [].into());
        let owed = tombstones_of(store, NodeId(2)).await.unwrap();
        assert_eq!(owed, [TableId(7)].into());
        for node in [2, 3] {
            confirm_destroyed(store, TableId(7), NodeId(node))
                .await
                .unwrap();
        }
        // But what it may have is not forgotten.
        let noted = read_tombstones(store).await.unwrap();
        assert_eq!(noted, [(TableId(7), [].into())].into());
        confirm_destroyed(store, TableId(7), NodeId(4))
            .await
            .unwrap();
        assert_eq!(read_tombstones(store).await.unwrap(), [].into());
        let deleting = set_table_state(store, &again, TableState::Deleting).await;
        remove_table(
            store,
            &deleting.unwrap(),
            &BTreeSet::new(),
            &BTreeSet::new(),
        )
        .await
        .unwrap();
        for parent in [Node::Names, Node::Tables, Node::Deleted] {
            assert_eq!(store.children(&parent.path()).await, Ok(Some(vec![])));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_forgotten_only_while_it_is_not_alive() {
    on_both(|stores| async move {
        let session = stores.ready(0).await;
        let store = &*session;
        register_member(store, &member(1)).await.unwrap();
        let alive = stores.ready(0).await;
        let live = LiveNodeRecord {
            id: NodeId(1),
            address: "h:1".into(),
            incarnation: 1,
            started_millis: 0,
            host: "there".into(),
            data_dir: "/data".into(),
        };
        register_live_node(&*alive, &live, DEADLINE).await.unwrap();
        store.sync("/").await.unwrap();
        let refused = forget_node(store, NodeId(1)).await;
        assert!(matches!(&refused, Err(Error::StillAlive { host, .. }) if host == "there"));
        assert_eq!(read_members(store).await.unwrap().entries.len(), 1);
        alive.close().await;
        store.sync("/").await.unwrap();
        assert!(forget_node(store, NodeId(1)).await.unwrap().member);
        assert_eq!(read_members(store).await.unwrap().entries.len(), 0);
        let left = store.children(&Node::Nodes.path()).await;
        assert_eq!(left, Ok(Some(vec![])));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_restored_once_and_under_a_name_that_is_free() {
    on_both(|stores| async move {
        let store = &*stores.ready(0).await;
        created(store, &table(7, "people")).await;
        let version = read_cluster(store).await.unwrap().unwrap().version;
        let restore = async |table: &Table| restore_table(store, table, version).await.unwrap();
        let taken = restore(&table(8, "people")).await;
        assert_eq!(taken, Restoration::NameTaken(TableId(7)));
        assert_eq!(restore(&table(8, "others")).await, Restoration::Restored);
        assert_eq!(restore(&table(8, "others")).await, Restoration::Restored);
        assert_eq!(restore(&table(8, "third")).await, Restoration::Listed);
        let left = store.children(&Node::Deleted.path()).await;
        assert_eq!(left, Ok(Some(vec![])));
    })
    .await;
}

/// What is concluded from a node's having been forgotten must still hold when the table goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_not_removed_if_a_node_that_was_forgotten_is_back() {
    on_both(|stores| async move {
        let store = &*stores.ready(0).await;
        let creating = created(store, &table(7, "people")).await;
        let deleting = set_table_state(store, &creating, TableState::Deleting).await;
        let deleting = deleting.unwrap();
        register_member(store, &member(1)).await.unwrap();
        let unconfirmed = BTreeSet::from([NodeId(1), NodeId(2)]);
        let remove = async |forgotten: &[u64]| {
            let forgotten = forgotten.iter().copied().map(NodeId).collect();
            remove_table(store, &deleting, &unconfirmed, &forgotten).await
        };
        let refused = remove(&[1, 2]).await;
        assert_eq!(refused, Err(Error::NotForgotten { node: NodeId(1) }));
        let alive = stores.ready(0).await;
        let live = LiveNodeRecord {
            id: NodeId(2),
            address: "h:2".into(),
            incarnation: 1,
            started_millis: 0,
            host: "here".into(),
            data_dir: "/2".into(),
        };
        register_live_node(&*alive, &live, DEADLINE).await.unwrap();
        // Alive, and not yet a member again.
        assert!(remove(&[2]).await.is_err());
        assert!(read_table(store, TableId(7)).await.unwrap().is_some());
        alive.close().await;
        eventually("it is gone", DEADLINE, || async {
            let live = read_live_nodes(store).await.unwrap();
            live.entries.is_empty()
        })
        .await;
        remove(&[2]).await.unwrap();
        let tombstones = read_tombstones(store).await.unwrap();
        assert_eq!(tombstones, [(TableId(7), [NodeId(1)].into())].into());
        for parent in [Node::Members, Node::Nodes] {
            let children = store.children(&parent.path()).await.unwrap().unwrap();
            assert!(children.len() <= 1, "{children:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tombstones_of_an_undone_creation_say_so_until_it_is_dropped_on_purpose() {
    on_both(|stores| async move {
        let store = &*stores.ready(0).await;
        for id in 1..=3 {
            register_member(store, &member(id)).await.unwrap();
        }
        let none = BTreeSet::new();
        let both = BTreeSet::from([NodeId(2), NodeId(3)]);
        let undone = async |table, node| is_undone(store, TableId(table), NodeId(node)).await;
        let mut deleting = Vec::new();
        for (id, available) in [(7, false), (8, true)] {
            let mut table = created(store, &table(id, &format!("table-{id}"))).await;
            if available {
                let set = set_table_state(store, &table, TableState::Available).await;
                table = set.unwrap();
            }
            let set = set_table_state(store, &table, TableState::Deleting).await;
            let table = set.unwrap();
            assert_eq!(table.value.never_available, !available);
            let read = read_table(store, table.value.id).await.unwrap();
            assert_eq!(read.as_ref(), Some(&table));
            remove_table(store, &table, &both, &none).await.unwrap();
            deleting.push(table.value);
        }
        assert_eq!(undone(7, 2).await, Ok(true));
        assert_eq!(undone(7, 1).await, Ok(false), "it has none");
        assert_eq!(undone(8, 2).await, Ok(false));

        let version = read_cluster(store).await.unwrap().unwrap().version;
        let restore = async |table: &Table| restore_table(store, table, version).await.unwrap();
        assert_eq!(
            restore(&deleting[0]).await,
            Restoration::Undone(both.clone())
        );
        assert_eq!(
            restore(&deleting[1]).await,
            Restoration::Removed(both.clone())
        );

        let name = "table-7".parse().unwrap();
        let dropped = condemn_table(store, TableId(7), &name, &[NodeId(2)].into()).await;
        assert_eq!(dropped, Ok(Some([NodeId(2)].into())));
        assert_eq!(undone(7, 2).await, Ok(false));
        assert_eq!(
            undone(7, 3).await,
            Ok(true),
            "what others have was not meant"
        );
        let refused = restore(&deleting[0]).await;
        assert_eq!(refused, Restoration::Removed(both.clone()));

        // Nobody waits for a node that was forgotten, and what others have of an undone creation may still be kept.
        let undone_again = created(store, &table(9, "table-9")).await;
        let set = set_table_state(store, &undone_again, TableState::Deleting).await;
        let undone_again = set.unwrap();
        remove_table(store, &undone_again, &both, &none)
            .await
            .unwrap();
        confirm_destroyed(store, TableId(9), NodeId(2))
            .await
            .unwrap();
        forget_node(store, NodeId(3)).await.unwrap();
        let found = read_tombstones(store).await.unwrap();
        sweep_tombstones(store, &found).await.unwrap();
        let version = read_cluster(store).await.unwrap().unwrap().version;
        let kept = restore_table(store, &undone_again.value, version).await;
        assert_eq!(kept, Ok(Restoration::Restored));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_table_that_forgotten_nodes_could_bring_back_is_not_restored() {
    on_both(|stores| async move {
        let store = &*stores.ready(0).await;
        for id in 1..=3 {
            register_member(store, &member(id)).await.unwrap();
        }
        // One is forgotten before the table is removed, one after that, and one confirms in between.
        let created = created(store, &table(7, "people")).await;
        let available = set_table_state(store, &created, TableState::Available).await;
        let doomed = set_table_state(store, &available.unwrap(), TableState::Deleting).await;
        let doomed = doomed.unwrap();
        assert!(forget_node(store, NodeId(1)).await.unwrap().member);
        let all = [NodeId(1), NodeId(2), NodeId(3)].into();
        remove_table(store, &doomed, &all, &BTreeSet::new())
            .await
            .unwrap();
        confirm_destroyed(store, TableId(7), NodeId(3))
            .await
            .unwrap();
        let forgotten = forget_node(store, NodeId(2)).await.unwrap();
        assert_eq!(forgotten.tombstones, [TableId(7)].into());

        for id in 1..=2 {
            register_member(store, &member(id)).await.unwrap();
        }
        let found = read_tombstones(store).await.unwrap();
        assert_eq!(found, [(TableId(7), [].into())].into());
        sweep_tombstones(store, &found).await.unwrap();
        let version = read_cluster(store).await.unwrap().unwrap().version;
        let restored = restore_table(store, &table(7, "people"), version).await;
        assert_eq!(restored, Ok(Restoration::Removed([].into())));

        // Once both have destroyed what they have, nothing is left of it.
        let name = "people".parse().unwrap();
        for id in [1, 2] {
            let nodes = [NodeId(id)].into();
            let condemned = condemn_table(store, TableId(7), &name, &nodes).await;
            assert_eq!(condemned, Ok(Some(nodes)));
            let path = Node::Tombstones(TableId(7)).path();
            assert!(store.get(&path).await.unwrap().is_some());
            confirm_destroyed(store, TableId(7), NodeId(id))
                .await
                .unwrap();
        }
        assert_eq!(read_tombstones(store).await.unwrap(), [].into());
    })
    .await;
}

#[tokio::test]
async fn a_parent_of_tombstones_that_was_left_behind_is_swept() {
    let directory = tempfile::tempdir().unwrap();
    let store = &*Embedded::open(directory.path()).unwrap().session();
    initialise(store).await.unwrap();
    for path in ["/deleted/0000000000000001", "/deleted/0000000000000002"] {
        store
            .create(path, Bytes::new(), CreateMode::Persistent)
            .await
            .unwrap();
    }
    let tombstone = Node::Tombstone(TableId(2), NodeId(3));
    let mode = CreateMode::Persistent;
    store
        .create(&tombstone.path(), Bytes::new(), mode)
        .await
        .unwrap();
    let mut found = read_tombstones(store).await.unwrap();
    // As one reads that has looked just before the tombstone appeared.
    found.insert(TableId(2), [].into());
    sweep_tombstones(store, &found).await.unwrap();
    let left = read_tombstones(store).await.unwrap();
    assert_eq!(left, [(TableId(2), [NodeId(3)].into())].into());
}

#[tokio::test]
async fn a_record_that_can_t_be_read_does_not_hide_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let store = &*Embedded::open(directory.path()).unwrap().session();
    initialise(store).await.unwrap();
    created(store, &table(1, "one")).await;
    let bad = Node::Table(TableId(2)).path();
    store
        .create(&bad, r#"{"format":9}"#.into(), CreateMode::Persistent)
        .await
        .unwrap();
    // Put there by hand.
    store
        .create("/tables/readme", Bytes::new(), CreateMode::Persistent)
        .await
        .unwrap();
    let tables = read_tables(store).await.unwrap();
    assert_eq!(tables.entries.keys().collect::<Vec<_>>(), [&TableId(1)]);
    assert_eq!(tables.unreadable.len(), 1);
    assert_eq!(tables.unreadable[0].path, bad);
    assert_eq!(tables.unreadable[0].fault, RecordFault::NewerFormat(9));
}

fn live(incarnation: u64, host: &str) -> LiveNodeRecord {
    LiveNodeRecord {
        id: NodeId(1),
        address: "127.0.0.1:1".into(),
        incarnation,
        started_millis: 0,
        host: host.into(),
        data_dir: "/data".into(),
    }
}

async fn live_now(store: &dyn Coordination) -> Option<LiveNodeRecord> {
    store.sync("/").await.unwrap();
    let nodes = read_live_nodes(store).await.unwrap();
    nodes.entries.into_values().next().map(|node| node.value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_replaces_its_own_old_session_at_once_and_a_copy_elsewhere_is_refused() {
    on_both(|stores| async move {
        let (old, new) = (stores.ready(0).await, stores.ready(0).await);
        register_live_node(&*old, &live(1, "a"), Duration::ZERO)
            .await
            .unwrap();

        // The same directory: its process is dead, its session is not.
        register_live_node(&*new, &live(2, "a"), Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(live_now(&*new).await, Some(live(2, "a")));
        old.close().await;
        assert_eq!(live_now(&*new).await, Some(live(2, "a")));

        // A copy, while the original is alive.
        let copy = stores.ready(0).await;
        let patience = Duration::from_millis(100);
        let refused = register_live_node(&*copy, &live(3, "b"), patience).await;
        let alive = Error::NodeAlive {
            node: NodeId(1),
            host: "a".into(),
            data_dir: "/data".into(),
        };
        assert_eq!(refused, Err(alive));
        assert_eq!(live_now(&*copy).await, Some(live(2, "a")));

        // A directory that was moved waits for the session that it left behind.
        let moved = live(3, "b");
        let waiting = register_live_node(&*copy, &moved, DEADLINE);
        let (registered, ()) = tokio::join!(waiting, new.close());
        registered.unwrap();
        assert_eq!(live_now(&*copy).await, Some(moved));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_s_address_follows_it_and_outlives_its_session() {
    on_both(|stores| async move {
        let (node, router) = (stores.ready(0).await, stores.ready(0).await);
        for address in ["a:1", "b:2", "b:2"] {
            let member = MemberRecord {
                id: NodeId(1),
                address: address.into(),
                zone: Some("z".into()),
                tenure: None,
                void_to: None,
            };
            register_member(&*node, &member).await.unwrap();
        }
        node.close().await;
        router.sync("/").await.unwrap();
        let members = read_members(&*router).await.unwrap();
        let member = &members.entries[&NodeId(1)];
        assert_eq!((member.value.address.as_str(), member.version), ("b:2", 1));
    })
    .await;
}

async fn until(leadership: &mut watch::Receiver<Leadership>, leads: bool) -> Leadership {
    let reached = leadership.wait_for(|leadership| leadership.is_leader() == leads);
    *timeout(DEADLINE, reached).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_one_router_is_the_controller_and_the_next_one_follows_it() {
    on_both(|stores| async move {
        let mut routers = Vec::new();
        for router in 0..4 {
            let session = stores.ready(0).await;
            let election = Election::join(session.clone(), RouterId(router))
                .await
                .unwrap();
            routers.push((session, election));
        }
        // One closes its session, one resigns, one is dropped, the last one remains.
        for end in 0..4 {
            let (session, election) = routers.remove(0);
            let mut leadership = election.leadership();
            let leader = until(&mut leadership, true).await;
            for (_, other) in &routers {
                assert!(!other.leadership().borrow().is_leader());
            }
            let fence = leader.fence().unwrap();
            assert!(session.multi(vec![fence.clone()]).await.is_ok());
            match end {
                0 => {
                    session.close().await;
                    until(&mut leadership, false).await;
                }
                1 => election.resign().await,
                _ => drop(election),
            }
            until(&mut leadership, false).await;
            // The late write of a deposed controller fails.
            if let Some((other, _)) = routers.first() {
                let next = routers[0].1.leadership();
                until(&mut next.clone(), true).await;
                other.sync("/").await.unwrap();
                let late = vec![
                    fence,
                    Operation::create("/late", "", CreateMode::Persistent),
                ];
                let error = other.multi(late).await.unwrap_err();
                assert!(matches!(
                    error,
                    StoreError::NoNode {
                        operation: Some(0),
                        ..
                    }
                ));
            }
        }
        let session = stores.session(0).await;
        eventually("no candidate is left", DEADLINE, || async {
            session.sync("/").await.unwrap();
            session.children("/controller").await == Ok(Some(vec![]))
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_whose_candidate_was_deleted_by_hand_stands_again() {
    on_both(|stores| async move {
        let session = stores.ready(0).await;
        let election = Election::join(session.clone(), RouterId(1)).await.unwrap();
        let mut leadership = election.leadership();
        let Leadership::Leader(candidate) = until(&mut leadership, true).await else {
            panic!("it leads");
        };
        let path = Node::Candidate(candidate).path();
        session.delete(&path, 0).await.unwrap();
        let again = leadership.wait_for(|leadership| {
            matches!(leadership, Leadership::Leader(new) if new.number > candidate.number)
        });
        assert!(timeout(DEADLINE, again).await.unwrap().is_ok());
        election.resign().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_is_disconnected_does_not_lead_and_its_successor_does() {
    let server = ZooKeeperServer::start().await;
    let proxy = Proxy::to(server.port()).await;
    let mut options = ConnectOptions::new(proxy.hosts());
    options.session_timeout = Duration::from_secs(4);
    let cut: SharedCoordination = Arc::new(ZooKeeper::connect(options).await.unwrap());
    initialise(&*cut).await.unwrap();
    let options = ConnectOptions::new(server.hosts());
    let well: SharedCoordination = Arc::new(ZooKeeper::connect(options).await.unwrap());
    let election = Election::join(cut.clone(), RouterId(1)).await.unwrap();
    let mut first = election.leadership();
    let fence = until(&mut first, true).await.fence().unwrap();
    let second = Election::join(well.clone(), RouterId(2)).await.unwrap();
    let mut second_leads = second.leadership();

    proxy.cut_off();
    until(&mut first, false).await;
    assert_eq!(*cut.session().borrow(), SessionState::Disconnected);
    // Its session may still come back: nobody else leads before it has expired.
    until(&mut second_leads, true).await;
    let fenced = well.multi(vec![fence]).await;
    assert!(matches!(fenced, Err(StoreError::NoNode { .. })));
    proxy.restore();
    let mut state = cut.session();
    let expired = state.wait_for(|state| *state == SessionState::Expired);
    assert!(timeout(DEADLINE, expired).await.unwrap().is_ok());
    assert!(!first.borrow().is_leader());
    second.resign().await;
}
