//! What stands in our tree and should not: contents that can't be read, and znodes of somebody else. Both are
//! named, neither is touched, and everything else goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coordination::embedded::Embedded;
use coordination::records::{LiveNodeRecord, MemberRecord, NameRecord, Record as _, RouterRecord};
use coordination::registry::{
    Creation, Election, Error, Versioned, confirm_destroyed, create_table, find_table, initialise,
    read_cluster, read_live_nodes, read_members, read_routers, read_table, read_tables,
    read_tombstones, register_live_node, register_member, register_router, remove_table,
    set_table_state, sweep_tombstones,
};
use coordination::testing::ZooKeeperServer;
use coordination::tree::Node;
use coordination::zookeeper::{ConnectOptions, ZooKeeper};
use coordination::{ANY_VERSION, Coordination, CreateMode, SharedCoordination};
use model::{HashRange, NodeId, RouterId, Shard, Table, TableId, TableState};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);
/// No JSON, JSON of the wrong shape, a newer format, nothing, and a lot of bytes that are no text.
const GARBAGE: [&[u8]; 5] = [
    b"garbage",
    br#"{"format":1,"what":"is this"}"#,
    br#"{"format":99}"#,
    b"",
    &[0xff; 4096],
];

/// Runs a test against both kinds of stores, each initialised.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(SharedCoordination) -> F) {
    let directory = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(directory.path()).unwrap();
    let server = ZooKeeperServer::start().await;
    let zookeeper = ZooKeeper::connect(ConnectOptions::new(server.hosts())).await;
    let sessions: [SharedCoordination; 2] = [embedded.session(), Arc::new(zookeeper.unwrap())];
    for session in sessions {
        initialise(&*session).await.unwrap();
        test(session).await;
    }
}

fn table(id: u64, name: &str) -> Table {
    let nodes: Vec<_> = (1..=3).map(NodeId).collect();
    let shard = |range| Shard {
        range,
        nodes: nodes.clone(),
    };
    Table {
        id: TableId(id),
        name: name.parse().unwrap(),
        state: TableState::Creating,
        never_available: false,
        replicas: 3,
        created_millis: 0,
        shards: HashRange::divide(2).into_iter().map(shard).collect(),
    }
}

async fn create(store: &dyn Coordination, table: &Table) -> Result<Creation, Error> {
    let cluster = read_cluster(store).await?.unwrap();
    create_table(store, table, cluster.version).await
}

async fn created(store: &dyn Coordination, id: u64, name: &str) -> Versioned<Table> {
    let table = table(id, name);
    assert_eq!(create(store, &table).await, Ok(Creation::Created));
    read_table(store, table.id).await.unwrap().unwrap()
}

/// The whole life of another table, to show that it goes on.
async fn other_tables_live(store: &dyn Coordination, id: u64) {
    let member = MemberRecord {
        id: NodeId(1),
        address: "h:1".into(),
        zone: None,
        tenure: None,
        void_to: None,
    };
    register_member(store, &member).await.unwrap();
    let table = created(store, id, "others").await;
    let table = set_table_state(store, &table, TableState::Deleting).await;
    let nodes = BTreeSet::from([NodeId(1)]);
    remove_table(store, &table.unwrap(), &nodes, &BTreeSet::new())
        .await
        .unwrap();
    let owed = read_tombstones(store).await.unwrap();
    assert_eq!(owed[&TableId(id)], nodes);
    let confirmed = confirm_destroyed(store, TableId(id), NodeId(1)).await;
    confirmed.unwrap();
    sweep_tombstones(store, &owed).await.unwrap();
    let name = "others".parse().unwrap();
    assert_eq!(find_table(store, &name).await, Ok(None));
}

async fn content(store: &dyn Coordination, path: &str) -> Bytes {
    store.get(path).await.unwrap().unwrap().data
}

async fn overwrite(store: &dyn Coordination, path: &str, content: &[u8]) {
    let content = Bytes::copy_from_slice(content);
    store.set(path, content, ANY_VERSION).await.unwrap();
}

/// The error is that of a record, and names its path.
#[track_caller]
fn names<T: std::fmt::Debug>(result: Result<T, Error>, path: &str) {
    let error = result.unwrap_err();
    assert!(
        matches!(&error, Error::Record(record) if record.path == path),
        "{error}"
    );
    assert!(error.to_string().contains(path), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_table_is_named_and_the_others_go_on() {
    on_both(|store| async move {
        let store = &*store;
        let people = created(store, 1, "people").await;
        let healthy = created(store, 2, "places").await;
        let path = Node::Table(TableId(1)).path();
        let of_another = healthy.value.encode();
        for (id, garbage) in (10..).zip(GARBAGE.into_iter().chain([&of_another[..]])) {
            overwrite(store, &path, garbage).await;
            names(read_table(store, TableId(1)).await, &path);
            names(find_table(store, &people.value.name).await, &path);
            let listing = read_tables(store).await.unwrap();
            let readable: Vec<_> = listing.entries.keys().collect();
            assert_eq!(readable, [&TableId(2)]);
            assert_eq!(listing.unreadable.len(), 1);
            assert_eq!(listing.unreadable[0].path, path);
            // Nobody takes its name, moves it or removes it by what it was.
            let again = create(store, &table(3, "people")).await;
            assert_eq!(again, Ok(Creation::NameTaken(TableId(1))));
            let moved = set_table_state(store, &people, TableState::Deleting).await;
            names(moved, &path);
            let mut deleting = people.clone();
            deleting.value.state = TableState::Deleting;
            let removed = remove_table(store, &deleting, &BTreeSet::new(), &BTreeSet::new()).await;
            names(removed, &path);
            other_tables_live(store, id).await;
            assert_eq!(content(store, &path).await, garbage);
        }
        // Put right by hand, it is there again.
        overwrite(store, &path, &people.value.encode()).await;
        let found = find_table(store, &people.value.name).await.unwrap();
        assert_eq!(found.unwrap().value, people.value);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_name_is_named_and_costs_neither_the_table_nor_the_others() {
    on_both(|store| async move {
        let store = &*store;
        let people = created(store, 1, "people").await;
        let deleting = set_table_state(store, &people, TableState::Deleting).await;
        let deleting = deleting.unwrap();
        let path = Node::Name(people.value.name.clone()).path();
        for (id, garbage) in (10..).zip(GARBAGE) {
            overwrite(store, &path, garbage).await;
            names(find_table(store, &people.value.name).await, &path);
            names(create(store, &table(3, "people")).await, &path);
            let removed = remove_table(store, &deleting, &BTreeSet::new(), &BTreeSet::new()).await;
            names(removed, &path);
            assert_eq!(read_table(store, TableId(3)).await, Ok(None));
            let there = read_table(store, TableId(1)).await.unwrap();
            assert_eq!(there.as_ref(), Some(&deleting));
            other_tables_live(store, id).await;
            assert_eq!(content(store, &path).await, garbage);
        }
        overwrite(store, &path, &NameRecord { table: TableId(1) }.encode()).await;
        let removed = remove_table(store, &deleting, &BTreeSet::new(), &BTreeSet::new()).await;
        assert_eq!(removed, Ok(()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_members_live_nodes_and_routers_are_named_and_not_replaced() {
    on_both(|store| async move {
        let store = &*store;
        let member = |id| MemberRecord {
            id: NodeId(id),
            address: format!("h:{id}"),
            zone: None,
            tenure: None,
            void_to: None,
        };
        let live = |id| LiveNodeRecord {
            id: NodeId(id),
            address: format!("h:{id}"),
            incarnation: 1,
            started_millis: 0,
            host: "h".into(),
            data_dir: "/d".into(),
        };
        let router = RouterRecord {
            address: "h:9".into(),
        };
        for id in [1, 2] {
            register_member(store, &member(id)).await.unwrap();
            let registered = register_live_node(store, &live(id), PATIENCE).await;
            registered.unwrap();
            let registered = register_router(store, RouterId(id), &router).await;
            registered.unwrap();
        }
        let paths = [
            Node::Member(NodeId(1)),
            Node::Live(NodeId(1)),
            Node::Router(RouterId(1)),
        ]
        .map(|node| node.path());
        for garbage in GARBAGE {
            for path in &paths {
                overwrite(store, path, garbage).await;
            }
            let members = read_members(store).await.unwrap();
            assert_eq!(members.entries.keys().collect::<Vec<_>>(), [&NodeId(2)]);
            assert_eq!(members.unreadable[0].path, paths[0]);
            let nodes = read_live_nodes(store).await.unwrap();
            assert_eq!(nodes.entries.keys().collect::<Vec<_>>(), [&NodeId(2)]);
            assert_eq!(nodes.unreadable[0].path, paths[1]);
            let routers = read_routers(store).await.unwrap();
            assert_eq!(routers.entries.keys().collect::<Vec<_>>(), [&RouterId(2)]);
            assert_eq!(routers.unreadable[0].path, paths[2]);

            // It might be a newer version's, so it is not even replaced by the node whose it is.
            names(register_member(store, &member(1)).await, &paths[0]);
            let registered = register_live_node(store, &live(1), PATIENCE).await;
            names(registered, &paths[1]);
            register_member(store, &member(2)).await.unwrap();
            for path in &paths {
                assert_eq!(content(store, path).await, garbage);
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_cluster_record_stops_administration_by_name_and_is_not_drawn_anew() {
    on_both(|store| async move {
        let store = &*store;
        let path = Node::Cluster.path();
        let people = created(store, 1, "people").await;
        let deleting = set_table_state(store, &people, TableState::Deleting).await;
        let deleting = deleting.unwrap();
        let good = content(store, &path).await;
        for garbage in GARBAGE {
            overwrite(store, &path, garbage).await;
            names(initialise(store).await, &path);
            names(create(store, &table(3, "places")).await, &path);
            let removed = remove_table(store, &deleting, &BTreeSet::new(), &BTreeSet::new()).await;
            names(removed, &path);
            assert_eq!(content(store, &path).await, garbage);
        }
        assert_eq!(read_table(store, TableId(1)).await, Ok(Some(deleting)));
        overwrite(store, &path, &good).await;
        initialise(store).await.unwrap();
        other_tables_live(store, 10).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn znodes_of_somebody_else_are_left_alone_and_named_where_ours_are_listed() {
    on_both(|shared| async move {
        let store = &*shared;
        created(store, 1, "people").await;
        let mut foreign = Vec::new();
        let lists = [Node::Tables, Node::Members, Node::Nodes, Node::Routers];
        let others = [
            Node::Names,
            Node::Deleted,
            Node::Controller,
            Node::Transactions,
            Node::Tokens,
        ];
        for parent in lists.iter().chain(&others) {
            foreign.push(format!("{parent}/not ours"));
            foreign.push(format!("{parent}/not ours/below"));
            // Almost an id.
            foreign.push(format!("{parent}/1"));
        }
        foreign.push("/zookeeper-of-others".to_owned());
        foreign.push(format!("{}/below", Node::Table(TableId(1))));
        for path in &foreign {
            let created = store.create(path, path.clone().into(), CreateMode::Persistent);
            created.await.unwrap();
        }

        initialise(store).await.unwrap();
        let named = [
            read_tables(store).await.unwrap().foreign,
            read_members(store).await.unwrap().foreign,
            read_live_nodes(store).await.unwrap().foreign,
            read_routers(store).await.unwrap().foreign,
        ];
        for (parent, mut named) in lists.iter().zip(named) {
            named.sort();
            assert_eq!(named, [format!("{parent}/1"), format!("{parent}/not ours")]);
        }
        assert_eq!(read_tables(store).await.unwrap().entries.len(), 1);
        other_tables_live(store, 10).await;
        let election = Election::join(Arc::clone(&shared), RouterId(7))
            .await
            .unwrap();
        let mut leadership = election.leadership();
        let leads = leadership.wait_for(|leadership| leadership.is_leader());
        assert!(timeout(PATIENCE, leads).await.unwrap().is_ok());
        election.resign().await;
        for path in &foreign {
            assert_eq!(content(store, path).await, *path);
        }

        // A tombstone's parent with a foreign child is not swept, and a table with one not removed.
        let deleted = Node::Tombstones(TableId(5)).path();
        let below = format!("{deleted}/not ours");
        for path in [&deleted, &below] {
            let created = store.create(path, "".into(), CreateMode::Persistent);
            created.await.unwrap();
        }
        let found = read_tombstones(store).await.unwrap();
        sweep_tombstones(store, &found).await.unwrap();
        assert_eq!(content(store, &below).await, "");
        let people = read_table(store, TableId(1)).await.unwrap().unwrap();
        let people = set_table_state(store, &people, TableState::Deleting).await;
        let people = people.unwrap();
        let removed = remove_table(store, &people, &BTreeSet::new(), &BTreeSet::new()).await;
        let path = Node::Table(TableId(1)).path();
        assert!(removed.unwrap_err().to_string().contains(&path));
        assert_eq!(read_table(store, TableId(1)).await, Ok(Some(people)));
    })
    .await;
}
