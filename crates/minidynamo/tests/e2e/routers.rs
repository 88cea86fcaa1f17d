//! Routers keep nothing, and ZooKeeper is not on the way of data.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    ClusterOptions, Output, Process, Scale, Workload, WorkloadOptions, eventually,
};

fn load(confirmed: usize) -> WorkloadOptions {
    WorkloadOptions {
        tables: vec!["people".to_owned()],
        writers: 8,
        keys: 100,
        value_bytes: 100,
        confirmed,
    }
}

/// Lets the writers work for some time and checks that they do: something is confirmed in every second.
async fn works_for(workload: &mut Workload, length: Duration) {
    let end = Instant::now() + length;
    while Instant::now() < end {
        let second = Instant::now() + Duration::from_secs(1);
        workload
            .reach(workload.confirmed() + 1, Duration::from_secs(1))
            .await;
        tokio::time::sleep_until(second.min(end)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routers_killed_and_restarted_under_load_lose_nothing() {
    let rounds = Scale::from_environment().count(4, 200);
    let mut cluster = ClusterOptions::new(3, 2).start().await;
    cluster.tables(0).create("people", 4, 3).await.unwrap();
    let mut workload = Workload::start(load(usize::MAX), cluster.router_addresses());
    for round in 0..rounds {
        let router = &mut cluster.routers[round % 2];
        workload
            .reach(workload.confirmed() + 300, Duration::from_secs(30))
            .await;
        router.kill();
        workload
            .reach(workload.confirmed() + 300, Duration::from_secs(30))
            .await;
        router.start().await;
    }
    let history = workload.stop().await;
    history.assert_kept(&cluster.kv(0)).await;
    cluster.assert_verified("people").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_zookeeper_existing_tables_are_read_and_written() {
    let mut cluster = ClusterOptions::new(3, 2).start().await;
    cluster.tables(0).create("people", 4, 3).await.unwrap();
    let mut workload = Workload::start(load(usize::MAX), cluster.router_addresses());
    workload.reach(200, Duration::from_secs(30)).await;

    cluster.zookeeper.kill();
    // Longer than any session lives.
    let length = Scale::from_environment().seconds(10, 120);
    works_for(&mut workload, length).await;
    let history = workload.history();
    assert_eq!(history.unconfirmed(), [].into(), "ZooKeeper was missed");

    let create = ["create-table", "others", "1", "3"];
    let created = cluster.cli().run(&create).await;
    created.assert_failed(5, "COORDINATION_UNAVAILABLE");

    // Even a leader may die meanwhile.
    cluster.nodes[0].kill();
    let now = workload.confirmed();
    workload.reach(now + 500, Duration::from_secs(30)).await;
    let history = workload.stop().await;
    history.assert_kept(&cluster.kv(0)).await;

    cluster.zookeeper.start_again().await;
    cluster.start_all().await;
    eventually("a table is created", Duration::from_secs(30), || {
        let tables = cluster.tables(1);
        async move { tables.create("others", 1, 3).await }
    })
    .await;
    cluster.kv(0).put("others", "key", "value").await.unwrap();
    cluster.assert_verified("people").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_without_requests_sees_a_new_table_within_a_second() {
    let mut cluster = ClusterOptions::new(3, 2).alone().start().await;
    cluster.tables(0).create("people", 2, 3).await.unwrap();
    let created = Instant::now();
    // Asked, a router would look into ZooKeeper; so it is asked only when there is nothing to look into any more.
    tokio::time::sleep_until(created + Duration::from_secs(1)).await;
    cluster.zookeeper.pause();
    let written = cluster.kv(1).put("people", "key", "value").await;
    cluster.zookeeper.resume();
    written.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_steady_load_reads_nothing_from_zookeeper() {
    let cluster = ClusterOptions::new(3, 2).start().await;
    cluster.tables(0).create("people", 4, 3).await.unwrap();
    let mut workload = Workload::start(load(usize::MAX), cluster.router_addresses());
    workload.reach(500, Duration::from_secs(30)).await;

    let length = Scale::from_environment().seconds(10, 60);
    let before = cluster.zookeeper.counters().await;
    let already = workload.confirmed();
    works_for(&mut workload, length).await;
    let after = cluster.zookeeper.counters().await;
    let confirmed = workload.confirmed() - already;
    workload.stop().await;

    assert_eq!(after.sessions, 5, "three data nodes and two routers");
    assert_eq!(after.data_reads, before.data_reads);
    // A session pings now and then, at most once a second; asking for the counters is a request too.
    let packets = after.packets_received - before.packets_received;
    let pings = after.sessions * (length.as_secs() + 2) + 2;
    assert!(
        packets <= pings,
        "{packets} packets, {pings} pings at the most, {confirmed} writes"
    );
    assert!(confirmed > 500, "only {confirmed} writes: not a load");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_runs_on_a_read_only_file_system() {
    let mut cluster = ClusterOptions::new(3, 0).start().await;
    cluster.add_router(&[]);
    let probe = cluster.directory.path().join("probe");
    let probe = probe.to_str().unwrap();
    let wrapper = without_writable_files(probe).await;
    let router = cluster.routers.pop().unwrap();
    let mut router: Process = router.under(&wrapper);
    router.start().await;
    cluster.routers.push(router);
    cluster.tables(0).create("people", 2, 3).await.unwrap();
    let kv = cluster.kv(0);
    kv.put("people", "key", "value").await.unwrap();
    let read = kv.get("people", "key").await.unwrap();
    assert_eq!(read.as_deref(), Some("value"));
    cluster.routers[0].terminate().await;
}

/// Every file system read-only, in a mount namespace of the process's own. Then it makes sure.
const READ_ONLY: &str = "for at in $(awk '{print $5}' /proc/self/mountinfo); do \
     case $at in /proc*|/sys*|/dev*) continue;; esac; \
     mount -o remount,bind,ro \"$at\" || exit 1; done; \
     touch \"$0\" 2>/dev/null && exit 1; exec \"$@\"";

/// A program that runs another one where no file can be written. The log is open already.
async fn without_writable_files(probe: &str) -> Vec<&str> {
    let script = ["sh", "-c", READ_ONLY, probe];
    let namespaces = [
        &["unshare", "--mount"][..],
        &["unshare", "--map-root-user", "--mount"],
    ];
    for namespace in namespaces {
        let wrapper = [namespace, &script].concat();
        let mut command = tokio::process::Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg("true");
        if Output::of_command(command).await.code == 0 {
            return wrapper;
        }
    }
    eprintln!("no mount namespaces here: files can be made, but nothing written to them");
    let no_bytes = "ulimit -f 0; exec \"$@\" 2>/dev/null";
    vec!["sh", "-c", no_bytes, probe]
}
