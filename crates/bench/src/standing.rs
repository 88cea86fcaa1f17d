//! What is no question of load: memory, idle replicas, the death of a leader, a restart. Of our system only.

use std::time::Duration;

use bytes::Bytes;
use client::{Client, Consistency};
use load::{Plan, process};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::press::fill;
use crate::systems::Ours;

/// With so many items of this size memory and restarts are judged.
const ITEMS: u64 = 1_000_000;
const ITEM_SIZE: usize = 256;
/// Shards of the table that nobody uses; each node has a replica of each.
const IDLE_SHARDS: u32 = 1000;
const IDLE_TABLE: &str = "idle";
/// For what is under way after the last write: flushes, applying on followers.
const SETTLE: Duration = Duration::from_secs(3);
/// Until leaders have gone home, one at a time, and their shards rest.
const REST: Duration = Duration::from_secs(45);
/// How long idle nodes are watched.
const WATCH: Duration = Duration::from_secs(10);
/// So many keys lie in all shards of the table, as good as certainly.
const KEYS: u32 = 200;

/// What was measured. Values are of each node.
#[derive(Debug, Clone, Serialize)]
pub struct Standing {
    /// Items that the table holds.
    pub items: u64,
    /// Bytes of the value of each.
    pub value_size: usize,
    /// Resident bytes of the router with them.
    pub router_bytes: u64,
    /// … of the data nodes.
    pub node_bytes: Vec<u64>,
    /// Idle replicas on each node.
    pub idle_replicas: u32,
    /// The share of one core that they take, in percent.
    pub idle_percent: Vec<f64>,
    /// The resident bytes that they take.
    pub idle_bytes: Vec<u64>,
    /// Seconds from the death of a node until every shard has accepted a write.
    pub failover_seconds: Vec<f64>,
    /// Seconds from the start of a node with all items until it serves.
    pub restart_seconds: Vec<f64>,
}

/// Measures all of it; afterwards the table holds other items.
pub(crate) async fn measure(ours: &mut Ours, plan: Plan) -> Result<Standing, Failure> {
    eprintln!("watching {IDLE_SHARDS} idle replicas on each node");
    let (idle_percent, idle_bytes) = idle(ours).await?;
    eprintln!("writing {ITEMS} items of {ITEM_SIZE} B");
    let plan = Plan {
        keys: ITEMS,
        value_size: ITEM_SIZE,
        ..plan
    };
    fill(&plan, &ours.tables(Consistency::Eventual)).await?;
    sleep(SETTLE).await;
    let (router_bytes, node_bytes) = (resident(ours.router_pid())?, residents(ours)?);
    let (mut failover_seconds, mut restart_seconds) = (Vec::new(), Vec::new());
    for node in 0..ours.node_pids().len() {
        eprintln!("killing data node {}", node + 1);
        ours.kill_node(node);
        failover_seconds.push(until_all_shards_write(ours).await?.as_secs_f64());
        let begin = Instant::now();
        ours.start_node(node).await?;
        restart_seconds.push(begin.elapsed().as_secs_f64());
        ours.until_whole().await?;
    }
    Ok(Standing {
        items: ITEMS,
        value_size: ITEM_SIZE,
        router_bytes,
        node_bytes,
        idle_replicas: IDLE_SHARDS,
        idle_percent,
        idle_bytes,
        failover_seconds,
        restart_seconds,
    })
}

/// What a table that nobody uses adds to each node: percent of a core, and bytes.
async fn idle(ours: &Ours) -> Result<(Vec<f64>, Vec<u64>), Failure> {
    let client = ours.client();
    // As long as later, so that what the nodes still do about the items is over, too.
    sleep(REST).await;
    let (bytes_before, share_before) = (residents(ours)?, shares(ours).await?);
    let created = client.create_table(IDLE_TABLE, IDLE_SHARDS, 3).await;
    created.map_err(Failure::to("create a table of many shards"))?;
    sleep(REST).await;
    let (bytes, share) = (residents(ours)?, shares(ours).await?);
    let deleted = client.delete_table(IDLE_TABLE).await;
    deleted.map_err(Failure::to("delete the table of many shards"))?;
    let percent = share.iter().zip(share_before);
    let percent = percent.map(|(with, without)| 100.0 * (with - without));
    let bytes = bytes.iter().zip(bytes_before);
    let bytes = bytes.map(|(with, without)| with.saturating_sub(without));
    Ok((percent.collect(), bytes.collect()))
}

/// The share of one core that each node takes while nobody asks for anything.
async fn shares(ours: &Ours) -> Result<Vec<f64>, Failure> {
    let nodes = ours.node_pids();
    let used = || process::cpu(&nodes).map_err(Failure::to("see what the servers use"));
    let before = used()?;
    sleep(WATCH).await;
    let shares = used()?.into_iter().zip(before);
    let shares = shares.map(|(after, before)| after.saturating_sub(before).as_secs_f64());
    Ok(shares.map(|used| used / WATCH.as_secs_f64()).collect())
}

fn resident(pid: u32) -> Result<u64, Failure> {
    process::resident(pid).map_err(Failure::to("see the memory of a server"))
}

fn residents(ours: &Ours) -> Result<Vec<u64>, Failure> {
    ours.node_pids().into_iter().map(resident).collect()
}

/// How long it takes until a write in every shard is accepted; the client library sends each again until it is.
async fn until_all_shards_write(ours: &Ours) -> Result<Duration, Failure> {
    let client = ours.client();
    let begin = Instant::now();
    let puts = (0..KEYS).map(|number| put(client, number));
    futures::future::try_join_all(puts)
        .await
        .map_err(Failure::to("write after the death of a node"))?;
    Ok(begin.elapsed())
}

async fn put(client: &Client, number: u32) -> Result<(), client::Error> {
    let key = Bytes::from(format!("standing{number}"));
    client.put(Ours::TABLE, key, "x").await.map(|_| ())
}
