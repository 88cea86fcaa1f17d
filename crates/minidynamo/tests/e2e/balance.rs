//! Leaders are spread over the nodes: after a creation, and again after a node was away.

use std::time::{Duration, Instant};

use crate::support::{Cluster, ClusterOptions, Workload, WorkloadOptions, eventually};

const SHARDS: u32 = 12;
/// Each of three nodes.
const SHARE: u32 = SHARDS / 3;

fn load() -> WorkloadOptions {
    WorkloadOptions {
        tables: vec!["people".to_owned()],
        writers: 8,
        keys: 100,
        value_bytes: 100,
        confirmed: usize::MAX,
    }
}

/// How many shards each node that runs leads.
async fn led(cluster: &Cluster) -> Result<Vec<u32>, String> {
    let mut led = Vec::new();
    for node in (0..cluster.nodes.len()).filter(|&node| cluster.nodes[node].is_running()) {
        let described = cluster.direct(node).describe().await;
        led.push(described.map_err(|error| error.to_string())?.leader_count);
    }
    Ok(led)
}

/// Waits until the nodes that run lead as many shards as `wanted` says.
async fn until_led(cluster: &Cluster, what: &str, wanted: impl Fn(&[u32]) -> bool) {
    let begin = Instant::now();
    let at_first = led(cluster).await;
    let now = eventually(what, Duration::from_secs(60), || async {
        let led = led(cluster).await?;
        wanted(&led).then(|| led.clone()).ok_or(format!("{led:?}"))
    });
    let now = now.await;
    let took = begin.elapsed();
    eprintln!("{what}: {at_first:?} became {now:?} within {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_leads_its_share_after_a_creation_and_again_after_it_was_away() {
    let mut cluster = ClusterOptions::new(3, 2).alone().start().await;
    let tables = cluster.tables(0);
    tables.create("people", SHARDS, 3).await.unwrap();
    let mut workload = Workload::start(load(), cluster.router_addresses());
    let level = |led: &[u32]| led == [SHARE; 3];
    until_led(&cluster, "leaders are level after the creation", level).await;
    let slowest = workload.history().slowest();
    eprintln!("the slowest put meanwhile took {slowest:?}");
    // Nothing that ends with an election timeout would be this fast, for certain; a transfer takes some milliseconds.
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");

    cluster.nodes[0].kill();
    let all = |led: &[u32]| led.iter().sum::<u32>() == SHARDS;
    until_led(&cluster, "the other two lead all", all).await;
    cluster.nodes[0].start().await;
    let back = Instant::now();
    until_led(&cluster, "leaders are level after its return", level).await;
    let now = workload.confirmed();
    workload.reach(now + 300, Duration::from_secs(30)).await;

    let history = workload.stop().await;
    assert_eq!(history.unconfirmed(), [].into());
    let slowest = history.slowest_since(back);
    eprintln!("the slowest put after its return took {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    history.assert_kept(&cluster.kv(0)).await;
    cluster.assert_verified("people").await;
}
