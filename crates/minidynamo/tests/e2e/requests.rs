//! Requests that break a rule: a clear error each, and nothing happens.

use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use api::v1::{BatchPutRequest, GetRequest, PutRequest, RequestId};
use api::{Error, Reason};
use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use crate::support::{BINARY, Cluster, ClusterOptions, Failure, Output, eventually};

const KIB: usize = 1024;

async fn cluster() -> Cluster {
    let cluster = ClusterOptions::new(3, 1).start().await;
    cluster.tables(0).create("people", 2, 3).await.unwrap();
    cluster
}

fn invalid<T: std::fmt::Debug>(what: &str, field: &str, answer: Result<T, Failure>) {
    let Err(Failure::Said(error)) = answer else {
        panic!("{what}: {answer:?}");
    };
    assert_eq!(error.reason, Reason::InvalidRequest, "{what}: {error}");
    let named = error.metadata.get("field").map(String::as_str);
    assert_eq!(named, Some(field), "{what}: {error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_values_outside_the_limits_are_refused() {
    let cluster = cluster().await;
    let kv = cluster.kv(0);
    let longest_key = vec![b'k'; 2 * KIB];
    let largest_value = vec![b'v'; 400 * KIB];
    kv.put("people", longest_key.clone(), largest_value.clone())
        .await
        .unwrap();
    kv.put("people", "k", "").await.unwrap();
    assert_eq!(kv.get("people", "k").await.unwrap().as_deref(), Some(""));
    let read = kv.get("people", longest_key.clone()).await.unwrap();
    assert_eq!(read.map(|value| value.len()), Some(400 * KIB));

    let too_long_key = vec![b'k'; 2 * KIB + 1];
    let too_large_value = vec![b'v'; 400 * KIB + 1];
    invalid("no key", "key", kv.put("people", "", "v").await);
    invalid("no key", "key", kv.get("people", "").await);
    invalid("no key", "key", kv.get_eventual("people", "").await);
    invalid("no key", "key", kv.delete("people", "").await);
    invalid(
        "long key",
        "key",
        kv.put("people", too_long_key.clone(), "v").await,
    );
    invalid(
        "long key",
        "key",
        kv.get("people", too_long_key.clone()).await,
    );
    invalid(
        "large value",
        "value",
        kv.put("people", "k", too_large_value.clone()).await,
    );
    assert_eq!(kv.get("people", "k").await.unwrap().as_deref(), Some(""));

    let cli = cluster.cli();
    cli.run(&["put", "people", "", "v"])
        .await
        .assert_failed(2, "key");
    let long = "k".repeat(2 * KIB + 1);
    cli.run(&["put", "people", &long, "v"])
        .await
        .assert_failed(2, "key");
    cli.run(&["get", "people", &long])
        .await
        .assert_failed(2, "key");
    cli.run(&["delete", "people", &long])
        .await
        .assert_failed(2, "key");
    let put = put_from_stdin(&cluster, &too_large_value).await;
    put.assert_failed(2, "value");
    let put = put_from_stdin(&cluster, &largest_value).await;
    assert_eq!((put.code, put.stderr), (0, String::new()));
}

async fn put_from_stdin(cluster: &Cluster, value: &[u8]) -> Output {
    let mut child = tokio::process::Command::new(BINARY)
        .args([
            "--router",
            cluster.routers[0].address(),
            "put",
            "people",
            "stdin",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may stop reading when it has seen enough.
    let _ = stdin.write_all(value).await;
    drop(stdin);
    let output = child.wait_with_output();
    let output = tokio::time::timeout(Duration::from_secs(30), output).await;
    Output::from(output.unwrap().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn table_names_and_counts_outside_the_limits_are_refused() {
    let cluster = cluster().await;
    let tables = cluster.tables(0);
    for name in ["", "ab", "with space", "sl/ash", "ümlaut", &"n".repeat(256)] {
        invalid(name, "name", tables.create(name, 1, 3).await);
        invalid(name, "table", cluster.kv(0).put(name, "k", "v").await);
        let get = cluster.cli().run(&["get", name, "k"]).await;
        get.assert_failed(2, "table");
    }
    for shards in [0, 4097, u32::MAX] {
        invalid("shards", "shards", tables.create("others", shards, 3).await);
    }
    for replicas in [0, 1, 2, 4, 6, u32::MAX] {
        invalid(
            "replicas",
            "replicas",
            tables.create("others", 1, replicas).await,
        );
    }
    let cli = cluster.cli();
    cli.run(&["create-table", "ab", "1", "3"])
        .await
        .assert_failed(2, "table");
    cli.run(&["create-table", "others", "0", "3"])
        .await
        .assert_failed(2, "shards");
    cli.run(&["create-table", "others", "1", "4"])
        .await
        .assert_failed(2, "replicas");
    assert_eq!(tables.list().await.unwrap(), ["people"]);
    let longest = "n".repeat(255);
    tables.create(&longest, 1, 3).await.unwrap();
    cluster.kv(0).put(&longest, "k", "v").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_on_more_nodes_than_there_are_is_refused_and_leaves_nothing() {
    let cluster = cluster().await;
    let create = cluster.tables(0).create("others", 1, 5).await.unwrap_err();
    assert_eq!(create.reason(), Some(Reason::TooFewNodes), "{create}");
    let create = cluster
        .cli()
        .run(&["create-table", "others", "1", "5"])
        .await;
    create.assert_failed(1, "TOO_FEW_NODES");
    assert_eq!(cluster.tables(0).list().await.unwrap(), ["people"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_is_said_to_be_missing_by_every_command() {
    let cluster = cluster().await;
    let cli = cluster.cli();
    let commands: [&[&str]; 6] = [
        &["get", "nobody", "k"],
        &["get", "nobody", "k", "--consistent"],
        &["put", "nobody", "k", "v"],
        &["delete", "nobody", "k"],
        &["describe-table", "nobody"],
        &["delete-table", "nobody"],
    ];
    for command in commands {
        cli.run(command).await.assert_failed(7, "TABLE_NOT_FOUND");
    }
    cli.run(&["create-table", "people", "1", "3"])
        .await
        .assert_failed(4, "TABLE_ALREADY_EXISTS");
    cli.ok(&["put", "people", "k", "v"]).await;
    cli.ok(&["delete-table", "people"]).await;
    cli.run(&["get", "people", "k"])
        .await
        .assert_failed(7, "TABLE_NOT_FOUND");
    cli.ok(&["create-table", "people", "1", "3"]).await;
    cli.run(&["get", "people", "k"]).await.assert_failed(3, "");
    cli.run(&["get", "people", "k", "--consistent"])
        .await
        .assert_failed(3, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_being_created_is_not_ready() {
    let mut cluster = cluster().await;
    // Still registered when the table is placed, and not there to build it.
    cluster.nodes[0].pause();
    cluster.nodes[1].pause();
    let tables = cluster.tables(0);
    let create = tokio::spawn(async move { tables.create("slow", 2, 3).await });
    let tables = cluster.tables(0);
    eventually("the table is listed", Duration::from_secs(10), || async {
        let listed = tables.list().await.map_err(|failure| failure.to_string())?;
        let there = listed.contains(&"slow".to_owned());
        there.then_some(()).ok_or(format!("{listed:?}"))
    })
    .await;
    let put = cluster.kv(0).put("slow", "k", "v").await.unwrap_err();
    assert_eq!(put.reason(), Some(Reason::TableNotReady), "{put}");
    let get = cluster
        .cli()
        .run(&["get", "slow", "k", "--consistent"])
        .await;
    get.assert_failed(1, "TABLE_NOT_READY");
    cluster.nodes[0].resume();
    cluster.nodes[1].resume();
    create.await.unwrap().unwrap();
    cluster.kv(0).put("slow", "k", "v").await.unwrap();
    cluster.nodes[0].terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_being_deleted_does_not_exist_for_data() {
    let cluster = cluster().await;
    let kv = cluster.kv(0);
    kv.put("people", "k", "old").await.unwrap();
    // They can neither seal nor confirm while they sleep.
    cluster.nodes[0].pause();
    cluster.nodes[1].pause();
    let tables = cluster.tables(0);
    let delete = tokio::spawn(async move { tables.delete("people").await });
    eventually("reads refuse", Duration::from_secs(10), || async {
        match kv.get_eventual("people", "k").await {
            Err(failure) if failure.reason() == Some(Reason::TableNotFound) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    if !delete.is_finished() {
        let create = cluster.tables(0).create("people", 1, 3).await.unwrap_err();
        let reason = create.reason();
        assert_eq!(reason, Some(Reason::TableNotReady), "{create}");
    }
    cluster.nodes[0].resume();
    cluster.nodes[1].resume();
    delete.await.unwrap().unwrap();
    cluster.tables(0).create("people", 1, 3).await.unwrap();
    assert_eq!(kv.get("people", "k").await.unwrap(), None);
    assert_eq!(kv.get_eventual("people", "k").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_over_the_limit_are_refused_and_the_connection_lives_on() {
    let cluster = cluster().await;
    let mut raw = cluster.kv(0).raw();
    let put = PutRequest {
        table: "people".to_owned(),
        key: Bytes::from_static(b"k"),
        value: vec![0; 9 << 20].into(),
        condition: None,
        request_id: None,
    };
    let status = raw.put(put).await.unwrap_err();
    assert!(
        matches!(
            status.code(),
            tonic::Code::OutOfRange | tonic::Code::ResourceExhausted | tonic::Code::InvalidArgument
        ),
        "{status:?}"
    );
    let item = |n: usize, bytes: usize| PutRequest {
        table: "people".to_owned(),
        key: format!("k{n}").into(),
        value: vec![b'v'; bytes].into(),
        condition: None,
        request_id: None,
    };
    let batches = [
        ("empty", vec![]),
        ("101 items", (0..101).map(|n| item(n, 1)).collect()),
        (
            "more than 4 MiB",
            (0..11).map(|n| item(n, 390 * KIB)).collect(),
        ),
    ];
    for (what, items) in batches {
        let status = raw.batch_put(BatchPutRequest { items }).await.unwrap_err();
        let error = Error::try_from(&status).unwrap();
        assert_eq!(error.reason, Reason::InvalidRequest, "{what}: {error}");
    }
    let get = GetRequest {
        table: "people".to_owned(),
        key: Bytes::from_static(b"k0"),
        consistent: true,
    };
    assert!(!raw.get(get).await.unwrap().into_inner().found);
}

/// A put with an identity of this age, or from the future.
fn put_issued_at(issued_at_millis: u64) -> PutRequest {
    PutRequest {
        table: "people".to_owned(),
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(b"v"),
        condition: None,
        request_id: Some(RequestId {
            client_id: 1,
            sequence: 1,
            issued_at_millis,
        }),
    }
}

fn now_millis() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_millis() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_issued_in_the_future_is_refused() {
    let cluster = cluster().await;
    let mut raw = cluster.kv(0).raw();
    for issued_at_millis in [now_millis() + 600_000, u64::MAX] {
        let status = raw.put(put_issued_at(issued_at_millis)).await.unwrap_err();
        let error = Error::try_from(&status).unwrap();
        assert_eq!(error.reason, Reason::InvalidRequest, "{error}");
    }
    assert_eq!(cluster.kv(0).get("people", "k").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_older_than_a_shards_memory_is_not_applied_and_said_at_once() {
    let cluster = cluster().await;
    let mut raw = cluster.kv(0).raw();
    for issued_at_millis in [0, now_millis() - 600_000] {
        let asked = Instant::now();
        let status = raw.put(put_issued_at(issued_at_millis)).await.unwrap_err();
        let error = Error::try_from(&status).unwrap();
        // An earlier attempt may have been applied and forgotten since: nobody can say that it was not.
        assert_eq!(error.reason, Reason::OutcomeUnknown, "{error}");
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(1), "after {took:?}: {error}");
    }
    assert_eq!(cluster.kv(0).get("people", "k").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_sent_again_takes_effect_once() {
    let cluster = cluster().await;
    let mut raw = cluster.kv(0).raw();
    let put = put_issued_at(now_millis());
    let first = raw.put(put.clone()).await.unwrap().into_inner();
    let kv = cluster.kv(0);
    let later = kv.put("people", "k", "later").await.unwrap();
    assert!(later > first.version);
    let again = raw.put(put).await.unwrap().into_inner();
    assert_eq!(again.version, first.version);
    assert_eq!(
        kv.get("people", "k").await.unwrap().as_deref(),
        Some("later")
    );
}
