//! A shard without a majority.

use std::time::{Duration, Instant};

use api::Reason;

use crate::support::{Cluster, ClusterOptions, Failure, Kv, eventually};

/// How soon every new request is refused, whether the lost nodes' connections are closed or just silent.
const DETECTED: Duration = Duration::from_secs(3);
/// How soon each such answer comes, counted from its request.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Checks an answer: `NO_QUORUM`, and not after some deadline.
fn refused_at_once<T: std::fmt::Debug>(
    asked: Instant,
    answer: &Result<T, Failure>,
) -> Result<(), String> {
    let took = asked.elapsed();
    match answer {
        Err(failure) if failure.reason() == Some(Reason::NoQuorum) && took < AT_ONCE => Ok(()),
        _ => Err(format!("after {took:?}: {answer:?}")),
    }
}

async fn put_and_get_are_refused(kv: &Kv, key: &str) -> Result<(), String> {
    let asked = Instant::now();
    refused_at_once(asked, &kv.get("people", key).await)?;
    let asked = Instant::now();
    refused_at_once(asked, &kv.put("people", key, "refused").await)
}

/// The same, asked as long as the answers may still take their time: then the next request may do better.
async fn put_and_get_are_soon_refused(kv: &Kv, key: &str) -> Result<(), String> {
    let both = tokio::time::timeout(3 * AT_ONCE, put_and_get_are_refused(kv, key));
    both.await.map_err(|_| "no answer at once".to_owned())?
}

async fn without_a_majority(
    cluster: &mut Cluster,
    take: impl Fn(&mut Cluster),
    give: impl AsyncFn(&mut Cluster),
) {
    cluster.tables(0).create("people", 4, 3).await.unwrap();
    let kv = cluster.kv(0);
    let keys: Vec<_> = (0..16).map(|n| format!("key{n}")).collect();
    for key in &keys {
        kv.put("people", key.as_str(), "confirmed").await.unwrap();
    }
    let survivor = cluster.direct(0);
    eventually(
        "the survivor has applied all of it",
        Duration::from_secs(5),
        || async {
            let items = survivor
                .describe()
                .await
                .map_err(|status| status.to_string())?
                .items;
            if items == keys.len() as u64 {
                Ok(())
            } else {
                Err(format!("{items} items"))
            }
        },
    )
    .await;

    let taken = Instant::now();
    take(cluster);
    for key in &keys {
        let rest = DETECTED.saturating_sub(taken.elapsed()).max(2 * AT_ONCE);
        eventually("NO_QUORUM", rest, || put_and_get_are_soon_refused(&kv, key)).await;
    }
    for key in &keys {
        // From now on always.
        put_and_get_are_refused(&kv, key).await.unwrap();
        let read = kv.get_eventual("people", key.as_str()).await.unwrap();
        assert_ne!(read.as_deref(), Some("refused"));
        assert!(read.is_some());
    }
    let put = cluster
        .cli()
        .run(&["put", "people", "key0", "refused"])
        .await;
    put.assert_failed(5, "NO_QUORUM");

    give(cluster).await;
    for key in &keys {
        eventually("a put after their return", Duration::from_secs(15), || {
            kv.put("people", key.as_str(), "again")
        })
        .await;
        let read = kv.get("people", key.as_str()).await.unwrap();
        assert_eq!(read.as_deref(), Some("again"));
    }
    cluster.assert_verified("people").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_of_three_nodes_killed_only_eventual_reads_are_answered() {
    let mut cluster = ClusterOptions::new(3, 1).alone().start().await;
    let take = |cluster: &mut Cluster| {
        cluster.nodes[1].kill();
        cluster.nodes[2].kill();
    };
    without_a_majority(&mut cluster, take, async |cluster| {
        cluster.start_all().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_of_three_nodes_paused_only_eventual_reads_are_answered() {
    let mut cluster = ClusterOptions::new(3, 1).alone().start().await;
    let take = |cluster: &mut Cluster| {
        cluster.nodes[1].pause();
        cluster.nodes[2].pause();
    };
    let give = async |cluster: &mut Cluster| {
        cluster.nodes[1].resume();
        cluster.nodes[2].resume();
    };
    without_a_majority(&mut cluster, take, give).await;
}
