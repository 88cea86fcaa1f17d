//! Data nodes that go and come back: elsewhere, twice, at once, or with a farewell.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use api::v1::TableDescription;
use coordination::testing::Proxy;

use crate::support::{
    Cluster, ClusterOptions, Process, Scale, Workload, WorkloadOptions, assert_nothing_left,
    eventually, free_port,
};

const KEYS: usize = 20;

async fn cluster_with_data(options: ClusterOptions) -> Cluster {
    let cluster = options.start().await;
    cluster.tables(0).create("people", 4, 3).await.unwrap();
    for n in 0..KEYS {
        let key = format!("key{n}");
        cluster.kv(0).put("people", key, "value").await.unwrap();
    }
    cluster
}

fn load(writers: usize) -> WorkloadOptions {
    WorkloadOptions {
        tables: vec!["people".to_owned()],
        writers,
        keys: 100,
        value_bytes: 100,
        confirmed: usize::MAX,
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_come_back_at_other_addresses_are_found() {
    let mut cluster = cluster_with_data(ClusterOptions::new(3, 1)).await;
    // One after the other: routers and peers that have known the old address live on.
    for node in 0..3 {
        let before = cluster.nodes[node].address().to_owned();
        cluster.nodes[node].kill();
        cluster.move_node(node);
        cluster.nodes[node].start().await;
        assert_ne!(cluster.nodes[node].address(), before);
    }
    cluster.assert_verified("people").await;
    // All at once: nobody has kept an address that is right.
    cluster.nodes.iter_mut().for_each(Process::kill);
    (0..3).for_each(|node| cluster.move_node(node));
    cluster.start_all().await;
    cluster.assert_verified("people").await;
    let kv = cluster.kv(0);
    for n in 0..KEYS {
        let key = format!("key{n}");
        let read = kv.get("people", key.as_str()).await.unwrap();
        assert_eq!(read.as_deref(), Some("value"));
        kv.put("people", key, "value").await.unwrap();
    }
    let status = cluster.tables(0).status().await.unwrap();
    assert_eq!(status.nodes.len(), 3, "{:?}", status.nodes);
    assert_nothing_left(&mut cluster, &["people"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_data_directory_is_refused_and_the_original_goes_on() {
    let mut cluster = cluster_with_data(ClusterOptions::new(3, 1)).await;
    cluster.nodes[0].kill();
    let copied = cluster.directory.path().join("copied");
    copy(&cluster.data_dir(0), &copied);
    cluster.nodes[0].start().await;
    let original = cluster.direct(0).describe().await.unwrap();

    let mut workload = Workload::start(load(4), cluster.router_addresses());
    let arguments = [
        "datanode".to_owned(),
        format!("--zookeeper={}", cluster.connect_string()),
        format!("--data-dir={}", copied.display()),
        format!("--listen=127.0.0.1:{}", free_port()),
        "--admin-listen=127.0.0.1:0".to_owned(),
    ];
    let mut copy = Process::new(&cluster.directory, "copy", arguments);
    copy.spawn();
    let status = copy.wait_end(Duration::from_secs(40)).await;
    assert_eq!(status.code(), Some(1));
    let stderr = copy.stderr();
    let last = stderr.lines().last().unwrap_or_default();
    let data_dir = cluster.data_dir(0);
    for word in [data_dir.to_str().unwrap(), "copy of its directory"] {
        assert!(last.contains(word), "no {word:?} in {stderr}");
    }

    let now = workload.confirmed();
    workload.reach(now + 100, Duration::from_secs(20)).await;
    let history = workload.stop().await;
    assert_eq!(history.unconfirmed(), [].into(), "the copy was noticed");
    let now = cluster.direct(0).describe().await.unwrap();
    assert_eq!(now.node, original.node);
    assert_eq!(now.replica_count, original.replica_count);
    history.assert_kept(&cluster.kv(0)).await;
    cluster.assert_verified("people").await;
    assert_nothing_left(&mut cluster, &["people"]).await;
}

/// The original has no session any more, so nothing in ZooKeeper says that it runs, and it serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_refused_while_the_original_is_cut_off_from_zookeeper() {
    let options = ClusterOptions::new(2, 1).session_timeout("4s");
    let mut cluster = options.prepare().await;
    let connect = cluster.connect_string();
    let (server, chroot) = connect.split_once('/').unwrap();
    let port = server.rsplit(':').next().unwrap().parse().unwrap();
    let proxy = Proxy::to(port).await;
    let original = cluster.add_node_at(&format!("{}/{chroot}", proxy.hosts()), &[]);
    cluster.start_all().await;
    cluster.tables(0).create("people", 4, 3).await.unwrap();
    let kv = cluster.kv(0);
    for n in 0..KEYS {
        kv.put("people", format!("key{n}"), "value").await.unwrap();
    }
    // As its disk is at one moment: with everything that it knows of itself.
    let copied = cluster.directory.path().join("copied");
    cluster.nodes[original].pause();
    copy(&cluster.data_dir(original), &copied);
    cluster.nodes[original].resume();

    proxy.cut_off();
    let live = async |wanted: usize| {
        let tables = cluster.tables(0);
        eventually(
            &format!("{wanted} are live"),
            Duration::from_secs(30),
            || async {
                let status = tables.status().await.map_err(|error| error.to_string())?;
                let live = status.nodes.iter().filter(|node| node.live).count();
                (live == wanted).then_some(()).ok_or(format!("{live}"))
            },
        )
        .await;
    };
    live(2).await;
    let arguments = [
        "datanode".to_owned(),
        format!("--zookeeper={connect}"),
        format!("--data-dir={}", copied.display()),
        format!("--listen=127.0.0.1:{}", free_port()),
        "--admin-listen=127.0.0.1:0".to_owned(),
    ];
    let mut copy = Process::new(&cluster.directory, "copy", arguments);
    copy.spawn();
    let status = copy.wait_end(Duration::from_secs(40)).await;
    assert_eq!(status.code(), Some(1));
    let stderr = copy.stderr();
    let last = stderr.lines().last().unwrap_or_default();
    let data_dir = cluster.data_dir(original);
    for word in [data_dir.to_str().unwrap(), "copy of its directory"] {
        assert!(last.contains(word), "no {word:?} in {stderr}");
    }
    proxy.restore();
    live(3).await;
    for n in 0..KEYS {
        kv.put("people", format!("key{n}"), "later").await.unwrap();
    }
    cluster.assert_verified("people").await;
    assert_nothing_left(&mut cluster, &["people"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_moved_goes_on_and_the_one_it_was_moved_from_is_refused() {
    let mut cluster = cluster_with_data(ClusterOptions::new(3, 1)).await;
    cluster.nodes[0].kill();
    let (place, old) = (cluster.data_dir(0), cluster.directory.path().join("old"));
    // The moved one takes the place by its name; it is another directory all the same.
    fs::rename(&place, &old).unwrap();
    copy(&old, &place);
    cluster.move_node(0);
    cluster.start_all().await;
    cluster.assert_verified("people").await;
    cluster.nodes[0].kill();
    let arguments = [
        "datanode".to_owned(),
        format!("--zookeeper={}", cluster.connect_string()),
        format!("--data-dir={}", old.display()),
        format!("--listen=127.0.0.1:{}", free_port()),
        "--admin-listen=127.0.0.1:0".to_owned(),
    ];
    let mut left = Process::new(&cluster.directory, "old", arguments);
    left.spawn();
    let status = left.wait_end(Duration::from_secs(40)).await;
    assert_eq!(status.code(), Some(1));
    let stderr = left.stderr();
    assert!(stderr.contains("old copy of its directory"), "{stderr}");
    cluster.nodes[0].start().await;
    cluster.assert_verified("people").await;
    assert_nothing_left(&mut cluster, &["people"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_killed_is_ready_again_long_before_its_session_ends() {
    let options = ClusterOptions::new(3, 1).ensemble().session_timeout("60s");
    let mut cluster = cluster_with_data(options).await;
    for _ in 0..Scale::from_environment().count(2, 50) {
        cluster.nodes[0].kill();
        cluster.zookeeper.kill_leader().await;
        let killed = Instant::now();
        cluster.nodes[0].start().await;
        let took = killed.elapsed();
        eprintln!("ready again after {took:?}");
        assert!(took < Duration::from_secs(20), "{took:?}");
        cluster.zookeeper.start_again().await;
    }
    cluster.assert_verified("people").await;
    assert_nothing_left(&mut cluster, &["people"]).await;
}

/// How many shards the nodes that run lead.
async fn led(cluster: &Cluster) -> u32 {
    let mut led = 0;
    for node in (0..cluster.nodes.len()).filter(|&node| cluster.nodes[node].is_running()) {
        led += cluster.direct(node).describe().await.unwrap().leader_count;
    }
    led
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_stopped_under_load_has_handed_over_and_no_put_fails() {
    let options = ClusterOptions::new(3, 2).alone();
    let mut cluster = cluster_with_data(options).await;
    let people: TableDescription = cluster.tables(0).describe("people", false).await.unwrap();
    let shards = u32::try_from(people.shards.len()).unwrap();
    for round in 0..Scale::from_environment().count(3, 60) {
        let mut workload = Workload::start(load(8), cluster.router_addresses());
        workload.reach(300, Duration::from_secs(30)).await;
        let node = round % 3;
        let leads = cluster.direct(node).describe().await.unwrap().leader_count;
        cluster.nodes[node].terminate().await;
        // It is gone, and others lead already: no election is waited for. A leader that goes home at this moment is counted
        // twice, or not at all.
        let others_lead = || async {
            let led = led(&cluster).await;
            (led == shards).then_some(()).ok_or(led)
        };
        eventually("others lead", Duration::from_millis(300), others_lead).await;
        let now = workload.confirmed();
        workload.reach(now + 300, Duration::from_secs(30)).await;
        let history = workload.stop().await;
        assert_eq!(history.unconfirmed(), [].into(), "round {round}");
        let slowest = history.slowest();
        eprintln!("it led {leads} of {shards} shards; the slowest put took {slowest:?}");
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
        cluster.nodes[node].start().await;
        history.assert_kept(&cluster.kv(0)).await;
    }
    cluster.assert_verified("people").await;
    assert_nothing_left(&mut cluster, &["people"]).await;
}
