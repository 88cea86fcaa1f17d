//! What the coordination store does to a node that serves: its session ends, its records are damaged.

use std::sync::Arc;
use std::time::Duration;

use api::internal::operation_result::Kind;
use coordination::tree::Node;
use coordination::{ANY_VERSION, Connect, Error, SessionState, SharedCoordination};
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::support::{Cluster, TestTable, get, put};

const SOON: Duration = Duration::from_secs(20);

/// A way to the store whose sessions can be ended by others, and which can be closed.
struct Fickle {
    inner: Arc<dyn Connect>,
    closed: Mutex<bool>,
    session: Mutex<Option<SharedCoordination>>,
}

impl Fickle {
    fn new(inner: Arc<dyn Connect>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            closed: Mutex::new(false),
            session: Mutex::default(),
        })
    }

    fn session(&self) -> SharedCoordination {
        self.session.lock().clone().unwrap()
    }

    /// Ends the session, as the store does after a long silence.
    async fn expire(&self) -> i64 {
        let session = self.session();
        let id = session.session().borrow().connected().unwrap();
        session.close().await;
        id
    }
}

#[async_trait::async_trait]
impl Connect for Fickle {
    async fn connect(&self) -> Result<SharedCoordination, Error> {
        if *self.closed.lock() {
            let reason = "closed on purpose".to_owned();
            return Err(Error::Unavailable { reason });
        }
        let session = self.inner.connect().await?;
        *self.session.lock() = Some(session.clone());
        Ok(session)
    }
}

async fn serves(cluster: &Cluster, table: &TestTable) {
    for node in cluster.nodes() {
        let shard = table.shard_of("key");
        let written = cluster.operate(node, shard, put("key", "value")).await;
        assert!(matches!(written, Kind::Applied(_)), "{written:?}");
        let read = cluster.operate(node, shard, get("key", true)).await;
        assert!(
            matches!(&read, Kind::Found(found) if found.value == "value"),
            "{read:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_session_has_ended_serves_on_and_registers_under_a_new_one() {
    let mut cluster = Cluster::start(2).await;
    let mut options = cluster.options(2);
    let fickle = Fickle::new(options.coordination);
    options.coordination = fickle.clone();
    cluster.start_with(options).await;
    let table = cluster.create_table("people", 1, 3).await;
    cluster.wait_for_leaders(&table).await;
    serves(&cluster, &table).await;

    *fickle.closed.lock() = true;
    let ended = fickle.expire().await;
    let mut health = cluster.health_of(2);
    let waits = health.wait_for(|health| health.reason.contains("closed on purpose"));
    let waits = timeout(SOON, waits).await.unwrap().unwrap().clone();
    assert!(waits.ready, "what it holds it serves: {waits:?}");
    assert_eq!(cluster.registrar_of(2).await, None);
    serves(&cluster, &table).await;

    *fickle.closed.lock() = false;
    let well = health.wait_for(|health| health.ready && health.reason.is_empty());
    timeout(SOON, well).await.unwrap().unwrap();
    let now = cluster.registrar_of(2).await.unwrap();
    assert_ne!(now, ended);
    assert_eq!(
        *fickle.session().session().borrow(),
        SessionState::Connected { session: now }
    );
    serves(&cluster, &table).await;
    // It hears of what is new.
    let other = cluster.create_table("places", 2, 3).await;
    cluster.wait_for_leaders(&other).await;
    serves(&cluster, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_record_is_damaged_is_served_on_after_a_restart_too() {
    let mut cluster = Cluster::start(3).await;
    let table = cluster.create_table("people", 2, 3).await;
    cluster.wait_for_leaders(&table).await;
    serves(&cluster, &table).await;
    let session = cluster.session().await;
    let path = Node::Table(table.table.id).path();
    let good = session.get(&path).await.unwrap().unwrap().data;
    let set = session.set(&path, "garbage".into(), ANY_VERSION).await;
    set.unwrap();
    let mode = coordination::CreateMode::Persistent;
    for path in ["/tables/not ours", "/deleted/not ours"] {
        session.create(path, "?".into(), mode).await.unwrap();
    }
    // The others' life goes on, so what is damaged has been seen.
    let other = cluster.create_table("places", 1, 3).await;
    cluster.wait_for_leaders(&other).await;
    serves(&cluster, &other).await;
    serves(&cluster, &table).await;
    // Whose voice counts in its groups, nodes that start and find it so know from what they have.
    cluster.restart().await;
    for table in [&other, &table] {
        cluster.wait_for_leaders(table).await;
        serves(&cluster, table).await;
    }
    let found = session.get(&path).await.unwrap().unwrap().data;
    assert_eq!(found, "garbage");
    session.set(&path, good, ANY_VERSION).await.unwrap();
    cluster.wait_for_leaders(&table).await;
    for node in cluster.nodes() {
        let read = cluster.operate(node, table.shard_of("key"), get("key", true));
        let read = read.await;
        assert!(
            matches!(&read, Kind::Found(found) if found.value == "value"),
            "{read:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_address_is_damaged_keeps_its_session_and_says_it_again_once_that_is_gone() {
    let cluster = Cluster::start(3).await;
    let registrar = cluster.registrar_of(2).await;
    let session = cluster.session().await;
    let node = cluster.nodes().into_iter().nth(2).unwrap();
    let path = Node::Member(node).path();
    let set = session.set(&path, "garbage".into(), ANY_VERSION).await;
    set.unwrap();
    // Seen by then: the table is built after it.
    let table = cluster.create_table("people", 1, 3).await;
    cluster.wait_for_leaders(&table).await;
    serves(&cluster, &table).await;
    assert_eq!(cluster.registrar_of(2).await, registrar);
    let found = session.get(&path).await.unwrap().unwrap().data;
    assert_eq!(found, "garbage");
    session.delete(&path, ANY_VERSION).await.unwrap();
    timeout(SOON, async {
        while !cluster.is_there(&path).await {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(cluster.registrar_of(2).await, registrar);
}
