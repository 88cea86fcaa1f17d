//! Trees that belong to a user, and connections with certificates on both sides.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coordination::conformance::{Fixture, run};
use coordination::records::{MemberRecord, RouterRecord};
use coordination::registry::{self, Election};
use coordination::testing::{Authority, ZooKeeperServer};
use coordination::zookeeper::{ConnectOptions, Credentials, Tls, ZooKeeper};
use coordination::{Coordination, CreateMode, Error, SharedCoordination};
use model::{NodeId, RouterId};
use tokio::time::Instant;
use zookeeper_client as zk;

fn with_user(hosts: impl Into<String>, credentials: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(hosts);
    options.credentials = Some(Credentials::parse(credentials).unwrap());
    options
}

fn with_tls(hosts: impl Into<String>, tls: Tls) -> ConnectOptions {
    let mut options = ConnectOptions::new(hosts);
    options.tls = Some(tls);
    options
}

async fn connect(options: &ConnectOptions) -> ZooKeeper {
    ZooKeeper::connect(options.clone()).await.unwrap()
}

async fn refused(mut options: ConnectOptions) -> String {
    // Whatever else the machine is doing.
    options.connect_timeout = Duration::from_secs(60);
    let started = Instant::now();
    let error = ZooKeeper::connect(options).await.err();
    // Not only when all patience is at its end.
    assert!(started.elapsed() < Duration::from_secs(50), "{error:?}");
    assert!(matches!(error, Some(Error::Refused { .. })), "{error:?}");
    error.unwrap().to_string()
}

/// Every znode below a chroot, with its access control list as `scheme:id:permissions`.
async fn lists(client: &zk::Client, root: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let (acls, _) = client.get_acl(&path).await.unwrap();
        let shown = acls.iter().map(|acl| {
            let (scheme, id, permission) = (acl.scheme(), acl.id(), acl.permission());
            format!("{scheme}:{id}:{permission}")
        });
        found.push((path.clone(), shown.collect()));
        let children = client.list_children(&path).await.unwrap();
        open.extend(children.iter().map(|child| format!("{path}/{child}")));
    }
    found
}

/// What all roles do at their start.
async fn furnish(session: SharedCoordination) -> Election {
    registry::initialise(&*session).await.unwrap();
    let member = MemberRecord {
        id: NodeId(1),
        address: "127.0.0.1:1".into(),
        zone: None,
        tenure: None,
        void_to: None,
    };
    registry::register_member(&*session, &member).await.unwrap();
    let router = RouterRecord {
        address: "127.0.0.1:2".into(),
    };
    let registered = registry::register_router(&*session, RouterId(2), &router).await;
    registered.unwrap();
    Election::join(session, RouterId(2)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_znode_of_a_tree_with_a_user_belongs_to_that_user_alone() {
    let server = ZooKeeperServer::start().await;
    let hosts = format!("{}/deep/ours", server.hosts());
    let options = with_user(&hosts, "super:test");
    let session: SharedCoordination = Arc::new(connect(&options).await);
    let election = furnish(Arc::clone(&session)).await;

    let connector = zk::Client::connector().with_auth("digest", b"super:test");
    let raw = connector.connect(&server.hosts()).await.unwrap();
    let lists = lists(&raw, "/deep").await;
    let all = ["digest:super:D/InIHSb7yEEbrWz8b9l71RjZJU=:ALL".to_owned()];
    for (path, list) in &lists {
        assert_eq!(*list, all, "{path}");
    }
    let paths: BTreeSet<_> = lists.iter().map(|(path, _)| path.as_str()).collect();
    for path in [
        "/deep",
        "/deep/ours",
        "/deep/ours/cluster",
        "/deep/ours/members/0000000000000001",
        "/deep/ours/routers/0000000000000002",
    ] {
        assert!(paths.contains(path), "{path}: {paths:?}");
    }
    assert!(paths.iter().any(|path| path.contains("/controller/")));

    // The same user is at home, from any process.
    let other = connect(&options).await;
    let cluster = registry::read_cluster(&other).await.unwrap();
    assert!(cluster.is_some());
    other.set("/cluster", "x".into(), 0).await.unwrap();
    election.resign().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_password_or_nobody_is_refused_at_once_and_changes_nothing() {
    let server = ZooKeeperServer::start().await;
    let hosts = format!("{}/ours", server.hosts());
    let ours = with_user(&hosts, "us:right");
    let session: SharedCoordination = Arc::new(connect(&ours).await);
    let cluster = registry::initialise(&*session).await.unwrap();
    let before = server.monitor().await["znode_count"];
    for options in [
        with_user(&hosts, "us:wrong"),
        with_user(&hosts, "them:right"),
        ConnectOptions::new(&hosts),
    ] {
        let reason = refused(options).await;
        assert!(
            reason.contains("/ours")
                && reason.contains("NoAuth")
                && reason.contains("--zookeeper-auth-file")
                && !reason.contains("right"),
            "{reason}"
        );
    }
    // A tree whose root is open, and all else in it not.
    let raw = zk::Client::connector().with_auth("digest", b"us:right");
    let raw = raw.connect(&server.hosts()).await.unwrap();
    let open = zk::Acls::anyone_all();
    raw.set_acl("/ours", &open, None).await.unwrap();
    let reason = refused(with_user(&hosts, "us:wrong")).await;
    assert!(reason.contains("/ours/cluster"), "{reason}");
    assert_eq!(registry::initialise(&*session).await, Ok(cluster));
    assert_eq!(server.monitor().await["znode_count"], before);
}

/// The operator's way from a tree of anyone's to one of a user's, as in `docs/zookeeper.md`: first the
/// credentials everywhere, then the lists of what is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_of_anyone_s_is_used_with_credentials_and_what_is_new_in_it_is_the_user_s() {
    let server = ZooKeeperServer::start().await;
    let hosts = format!("{}/ours", server.hosts());
    let before = connect(&ConnectOptions::new(&hosts)).await;
    let cluster = registry::initialise(&before).await.unwrap();
    let session = connect(&with_user(&hosts, "us:right")).await;
    assert_eq!(registry::initialise(&session).await, Ok(cluster));
    let path = "/tables/new";
    let created = session.create(path, Bytes::new(), CreateMode::Persistent);
    created.await.unwrap();
    let set = before.set(path, "x".into(), 0).await.unwrap_err();
    assert!(matches!(set, Error::Refused { .. }), "{set}");
    assert!(set.to_string().contains(path), "{set}");
    let read = before.get(path).await.unwrap_err();
    assert!(matches!(read, Error::Refused { .. }), "{read}");
}

/// All that the store promises holds for a user's tree over TLS.
struct SecureFixture {
    hosts: String,
    tls: Tls,
}

#[async_trait]
impl Fixture for SecureFixture {
    async fn session(&self, store: u32) -> SharedCoordination {
        let hosts = format!("{}/conformance/{store}", self.hosts);
        let mut options = with_tls(hosts, self.tls.clone());
        options.credentials = Some(Credentials::parse("us:right").unwrap());
        Arc::new(connect(&options).await)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zookeeper_with_users_and_tls_conforms() {
    let authority = Authority::new();
    let server = ZooKeeperServer::start_with_tls(&authority).await;
    run(Arc::new(SecureFixture {
        hosts: server.secure_hosts(),
        tls: authority.client(),
    }))
    .await;
}

/// ZooKeeper takes a certificate for an identity too. It gets no rights by that: other processes have other
/// certificates.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_and_a_user_znodes_belong_to_the_user_and_not_to_the_certificate() {
    let authority = Authority::new();
    let server = ZooKeeperServer::start_with_tls(&authority).await;
    let hosts = format!("{}/ours", server.secure_hosts());
    let mut options = with_tls(&hosts, authority.client());
    options.credentials = Some(Credentials::parse("super:test").unwrap());
    let session: SharedCoordination = Arc::new(connect(&options).await);
    registry::initialise(&*session).await.unwrap();
    let raw = zk::Client::connector().with_auth("digest", b"super:test");
    let raw = raw.connect(&server.hosts()).await.unwrap();
    for (path, list) in lists(&raw, "/ours").await {
        assert_eq!(
            list,
            ["digest:super:D/InIHSb7yEEbrWz8b9l71RjZJU=:ALL"],
            "{path}"
        );
    }
    let reason = refused(with_tls(&hosts, authority.client())).await;
    assert!(reason.contains("NoAuth"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_do_not_fit_are_refused_and_said_to_be() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = ZooKeeperServer::start_with_tls(&ours).await;
    let good = ours.client();

    // The server does not know who vouches for us.
    let (cert, key) = theirs.issue("client");
    let stranger = Tls {
        ca: ours.certificate(),
        cert,
        key,
    };
    let reason = refused(with_tls(server.secure_hosts(), stranger)).await;
    assert!(reason.contains("refuses our certificate"), "{reason}");
    assert!(reason.contains(&server.secure_hosts()), "{reason}");

    // We don't know who vouches for the server.
    let distrustful = Tls {
        ca: theirs.certificate(),
        ..good.clone()
    };
    let reason = refused(with_tls(server.secure_hosts(), distrustful)).await;
    assert!(reason.contains("UnknownIssuer"), "{reason}");

    // The server's certificate is for its address, not for this name.
    let named = server.secure_hosts().replace("127.0.0.1", "localhost");
    let reason = refused(with_tls(named, good.clone())).await;
    assert!(reason.contains("not valid for name"), "{reason}");

    // Its other port does not speak TLS, and this one nothing else.
    let reason = refused(with_tls(server.hosts(), good.clone())).await;
    assert!(reason.contains("port for TLS"), "{reason}");
    let mut plain = ConnectOptions::new(server.secure_hosts());
    plain.connect_timeout = Duration::from_secs(2);
    let error = ZooKeeper::connect(plain).await.err().unwrap();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");

    // Without a certificate the server does not talk to anybody.
    let ca = std::fs::read_to_string(&good.ca).unwrap();
    let anonymous = zk::TlsOptions::new().with_pem_ca(&ca).unwrap();
    let connector = zk::Client::connector().with_session_timeout(Duration::from_secs(1));
    let connector = connector.with_fail_eagerly().with_tls(anonymous);
    let connected = connector.secure_connect(&server.secure_hosts()).await;
    assert!(connected.is_err());

    // And all that was no fault of the server's.
    connect(&with_tls(server.secure_hosts(), good)).await;
}

#[tokio::test]
async fn a_server_with_tls_that_is_not_there_is_unavailable_and_not_refused() {
    let authority = Authority::new();
    let mut options = with_tls("127.0.0.1:1,127.0.0.1:2", authority.client());
    options.connect_timeout = Duration::from_secs(2);
    let error = ZooKeeper::connect(options).await.err().unwrap();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    let said = error.to_string();
    assert!(
        said.contains("127.0.0.1:1: ") && said.contains("127.0.0.1:2: "),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_session_has_the_certificates_that_are_there_then() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = ZooKeeperServer::start_with_tls(&ours).await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let options = with_tls(
        server.secure_hosts(),
        Tls {
            ca: file("ca"),
            cert: file("cert"),
            key: file("key"),
        },
    );
    let install = |tls: Tls| {
        std::fs::copy(ours.certificate(), file("ca")).unwrap();
        std::fs::copy(tls.cert, file("cert")).unwrap();
        std::fs::copy(tls.key, file("key")).unwrap();
    };
    install(theirs.client());
    refused(options.clone()).await;
    install(ours.client());
    connect(&options).await;
}

#[tokio::test]
async fn files_that_are_no_certificates_are_named() {
    let authority = Authority::new();
    let good = authority.client();
    let empty = tempfile::NamedTempFile::new().unwrap();
    let empty = empty.path().to_owned();
    let missing = Path::new("/nonexistent/file.pem").to_owned();
    let (_, other_key) = authority.issue("another");
    for (tls, named) in [
        (
            Tls {
                ca: empty.clone(),
                ..good.clone()
            },
            &empty,
        ),
        (
            Tls {
                ca: missing.clone(),
                ..good.clone()
            },
            &missing,
        ),
        (
            Tls {
                cert: empty.clone(),
                ..good.clone()
            },
            &empty,
        ),
        (
            Tls {
                cert: good.key.clone(),
                ..good.clone()
            },
            &good.key,
        ),
        (
            Tls {
                key: empty.clone(),
                ..good.clone()
            },
            &empty,
        ),
        (
            Tls {
                key: good.cert.clone(),
                ..good.clone()
            },
            &good.cert,
        ),
        (
            Tls {
                key: other_key.clone(),
                ..good.clone()
            },
            &other_key,
        ),
    ] {
        let options = with_tls("127.0.0.1:1", tls);
        let error = options.check().unwrap_err();
        assert!(matches!(error, Error::InvalidOptions { .. }), "{error}");
        let named = named.display().to_string();
        assert!(error.to_string().contains(&named), "{error}");
        let refused = ZooKeeper::connect(options).await.err();
        assert_eq!(refused, Some(error));
    }
    assert_eq!(with_tls("127.0.0.1:1", good).check(), Ok(()));
}
