//! A follower that was away for so long that only a snapshot brings it back.

use std::fs;
use std::path::Path;
use std::time::Duration;

use api::internal::ReplicaStatus;
use model::ShardId;

use crate::support::{
    Cluster, ClusterOptions, Scale, Shards, Workload, WorkloadOptions, eventually, now_and_then,
};

const VALUE_BYTES: usize = 200_000;

async fn replica(cluster: &Cluster, node: usize, shard: ShardId) -> Result<ReplicaStatus, String> {
    let described = cluster.direct(node).describe().await;
    let described = described.map_err(|status| status.to_string())?;
    let mut replicas = described.replicas.into_iter();
    let of_shard =
        |replica: &ReplicaStatus| (replica.table, replica.shard) == (shard.table.0, shard.index);
    replicas.find(of_shard).ok_or("no such replica".to_owned())
}

/// Bytes of all files below a directory, as far as they stay while it is looked at.
fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_log_is_gone_comes_back_by_snapshot_though_killed_twice_on_the_way() {
    let state_bytes = Scale::from_environment().count(100 << 20, 2 << 30);
    let keys = state_bytes / VALUE_BYTES + 1;
    let mut cluster = ClusterOptions::new(3, 1).alone().start().await;
    let table = cluster.tables(0).create("large", 1, 3).await.unwrap();
    let shard = table.all()[0];
    let kv = cluster.kv(0).within(Duration::from_secs(30));
    kv.put("large", "first", "value").await.unwrap();

    let mut away = 0;
    while replica(&cluster, away, shard).await.unwrap().leader
        == cluster.direct(away).describe().await.unwrap().node
    {
        away += 1;
    }
    let present = (away + 1) % 3;
    let left_at = replica(&cluster, away, shard).await.unwrap().last_index;
    cluster.nodes[away].kill();

    // Enough state, and after it writes until the log before it is gone.
    let options = WorkloadOptions {
        tables: vec!["large".to_owned()],
        writers: 4,
        keys: keys / 4 + 1,
        value_bytes: VALUE_BYTES,
        confirmed: usize::MAX,
    };
    let mut workload = Workload::start(options, cluster.router_addresses());
    let minutes = Duration::from_secs(120) * (keys / 500) as u32;
    workload.reach(keys + 8, minutes).await;
    let state = eventually("much state, and the log is gone", minutes, || async {
        let leader = replica(&cluster, present, shard).await?;
        let gone = leader.first_index > left_at + 1;
        if gone && leader.bytes >= state_bytes as u64 {
            return Ok(leader.bytes);
        }
        Err(format!("{leader:?}"))
    })
    .await;

    for kill in 0..2 {
        let before = bytes_below(&cluster.data_dir(away));
        cluster.nodes[away].start().await;
        // Killed as soon as some of the snapshot has arrived.
        let mut ticks = now_and_then();
        loop {
            ticks.tick().await;
            let received = bytes_below(&cluster.data_dir(away)).saturating_sub(before);
            let now = replica(&cluster, away, shard).await.unwrap();
            assert!(
                now.applied_index <= left_at,
                "installed before kill {kill}, after {received} bytes"
            );
            if received > 4 << 20 {
                eprintln!("kill {kill} after {received} bytes of {state}");
                break;
            }
        }
        cluster.nodes[away].kill();
    }
    cluster.nodes[away].start().await;
    eventually("it has caught up, writes going on", minutes, || async {
        let leader = replica(&cluster, present, shard).await?;
        let back = replica(&cluster, away, shard).await?;
        let installed = back.first_index > left_at + 1;
        let lag = leader.applied_index.saturating_sub(back.applied_index);
        (installed && lag < 100)
            .then_some(())
            .ok_or(format!("{back:?}, {lag} behind"))
    })
    .await;
    let went_on = workload.confirmed();
    workload.reach(went_on + 20, Duration::from_secs(30)).await;
    let history = workload.stop().await;
    history.assert_kept(&kv).await;
    cluster.assert_verified("large").await;
    // Its state counts: with it and one other the shard works.
    cluster.nodes[present].kill();
    eventually("a put that needs it", Duration::from_secs(10), || {
        kv.put("large", "last", "value")
    })
    .await;
}
