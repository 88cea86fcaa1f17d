//! The conformance suite against both stores.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use coordination::conformance::{Fixture, run};
use coordination::embedded::Embedded;
use coordination::testing::{Ensemble, ZooKeeperServer};
use coordination::zookeeper::{ConnectOptions, ZooKeeper};
use coordination::{Joined, SharedCoordination};
use tempfile::TempDir;

/// One directory per store.
struct EmbeddedFixture {
    directory: TempDir,
    stores: Mutex<HashMap<u32, Embedded>>,
}

#[async_trait]
impl Fixture for EmbeddedFixture {
    async fn session(&self, store: u32) -> SharedCoordination {
        let mut stores = self.stores.lock().unwrap();
        let directory = self.directory.path().join(store.to_string());
        let store = stores
            .entry(store)
            .or_insert_with(|| Embedded::open(directory).unwrap());
        store.session()
    }
}

/// One chroot per store.
struct ZooKeeperFixture {
    hosts: String,
}

#[async_trait]
impl Fixture for ZooKeeperFixture {
    async fn session(&self, store: u32) -> SharedCoordination {
        let options = ConnectOptions::new(format!("{}/conformance/{store}", self.hosts));
        Arc::new(ZooKeeper::connect(options).await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_conforms() {
    run(Arc::new(EmbeddedFixture {
        directory: tempfile::tempdir().unwrap(),
        stores: Mutex::default(),
    }))
    .await;
}

/// Sessions that join their writes.
struct JoinedFixture<F>(F);

#[async_trait]
impl<F: Fixture> Fixture for JoinedFixture<F> {
    async fn session(&self, store: u32) -> SharedCoordination {
        Arc::new(Joined::new(self.0.session(store).await))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joined_writes_conform() {
    run(Arc::new(JoinedFixture(EmbeddedFixture {
        directory: tempfile::tempdir().unwrap(),
        stores: Mutex::default(),
    })))
    .await;
    let server = ZooKeeperServer::start().await;
    let hosts = server.hosts();
    run(Arc::new(JoinedFixture(ZooKeeperFixture { hosts }))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zookeeper_conforms() {
    let server = ZooKeeperServer::start().await;
    let hosts = server.hosts();
    run(Arc::new(ZooKeeperFixture { hosts })).await;
}

/// Sessions are spread over the servers, which lag behind each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zookeeper_of_three_servers_conforms() {
    let ensemble = Ensemble::start(3).await;
    let hosts = ensemble.hosts();
    run(Arc::new(ZooKeeperFixture { hosts })).await;
}
