//! Processes that can't start say why and leave everything as it was.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{BINARY, Cluster, ClusterOptions, Output, Process, eventually, free_port};

/// Runs a data node that must not come up, on free ports.
async fn datanode(zookeeper: &str, data_dir: &str, more: &[&str]) -> Output {
    let mut arguments = vec![
        "datanode",
        "--zookeeper",
        zookeeper,
        "--data-dir",
        data_dir,
        "--admin-listen=127.0.0.1:0",
    ];
    if !more.iter().any(|argument| argument.starts_with("--listen")) {
        arguments.push("--listen=127.0.0.1:0");
    }
    arguments.extend(more);
    Output::of(BINARY, &arguments).await
}

/// It ended with an error, said nothing on stdout, and its last line on stderr has these words.
#[track_caller]
fn did_not_start(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.code, code, "{output:?}");
    assert_eq!(output.stdout, "", "{output:?}");
    let last = output.stderr.lines().last().unwrap_or_default();
    for word in words {
        assert!(last.contains(word), "no {word:?} in {output:?}");
    }
}

async fn cluster_with_data() -> Cluster {
    let cluster = ClusterOptions::new(3, 1).start().await;
    cluster.tables(0).create("people", 2, 3).await.unwrap();
    for n in 0..20 {
        let key = format!("key{n}");
        cluster.kv(0).put("people", key, "value").await.unwrap();
    }
    cluster
}

async fn nothing_is_lost(cluster: &Cluster) {
    for n in 0..20 {
        let kv = cluster.kv(0);
        let read = eventually("a consistent read", Duration::from_secs(10), || {
            kv.get("people", format!("key{n}"))
        });
        assert_eq!(read.await.as_deref(), Some("value"), "key{n}");
    }
    cluster.assert_verified("people").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_another_cluster_is_refused() {
    let mut cluster = cluster_with_data().await;
    cluster.nodes[0].kill();
    let directory = cluster.data_dir(0);
    // Where nobody has made one, it would wait: a store that has lost our cluster may be restored.
    let other = cluster.zookeeper.connect_string("other");
    let router = cluster.add_router_at(&other, &[]);
    cluster.routers[router].start().await;
    let output = datanode(&other, directory.to_str().unwrap(), &[]).await;
    did_not_start(&output, 1, &["cluster"]);
    cluster.start_all().await;
    nothing_is_lost(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_in_use_is_refused() {
    let cluster = cluster_with_data().await;
    let directory = cluster.data_dir(0);
    let output = datanode(&cluster.connect_string(), directory.to_str().unwrap(), &[]).await;
    did_not_start(&output, 1, &["use", directory.to_str().unwrap()]);
    nothing_is_lost(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_a_newer_format_is_refused() {
    let mut cluster = cluster_with_data().await;
    cluster.nodes[0].kill();
    let directory = cluster.data_dir(0);
    let identity = directory.join("identity.json");
    let own = fs::read_to_string(&identity).unwrap();
    for (content, words) in [
        (r#"{"format":99,"what":"nobody knows yet"}"#, "format 99"),
        (r#"{"format":1,"no"#, "damaged"),
    ] {
        fs::write(&identity, content).unwrap();
        let data_dir = directory.to_str().unwrap();
        let output = datanode(&cluster.connect_string(), data_dir, &[]).await;
        did_not_start(&output, 1, &[words, data_dir]);
    }
    fs::write(&identity, own).unwrap();
    cluster.start_all().await;
    nothing_is_lost(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_data_directory_is_a_new_node() {
    let mut cluster = cluster_with_data().await;
    let old = cluster.direct(0).describe().await.unwrap().node;
    cluster.nodes[0].kill();
    fs::remove_dir_all(cluster.data_dir(0)).unwrap();
    cluster.nodes[0].start().await;
    let new = cluster.direct(0).describe().await.unwrap();
    assert_ne!(new.node, old);
    assert_eq!(new.replica_count, 0, "it has no part in the table");
    // The other two hold everything, and are the only ones that vote.
    for n in 0..20 {
        let kv = cluster.kv(0);
        let key = format!("key{n}");
        let read = kv.get("people", key.as_str()).await.unwrap();
        assert_eq!(read.as_deref(), Some("value"));
        kv.put("people", key, "value").await.unwrap();
    }
    cluster.nodes[1].kill();
    let kv = cluster.kv(0);
    eventually(
        "one of three is no majority",
        Duration::from_secs(10),
        || async {
            match kv.put("people", "key", "value").await {
                Err(failure) if failure.reason() == Some(api::Reason::NoQuorum) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_cannot_be_made_is_named() {
    let cluster = ClusterOptions::new(0, 0).prepare().await;
    let file = cluster.directory.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    let below = file.join("data");
    let output = datanode(&cluster.connect_string(), below.to_str().unwrap(), &[]).await;
    did_not_start(&output, 1, &[below.to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let cluster = ClusterOptions::new(0, 0).prepare().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listen = format!("--listen={address}");
    let zookeeper = cluster.connect_string();
    let directory = cluster.data_dir(0);
    let output = datanode(&zookeeper, directory.to_str().unwrap(), &[&listen]).await;
    did_not_start(&output, 1, &[&address]);
    let admin = format!("--admin-listen={address}");
    for arguments in [
        [&*listen, "--admin-listen=127.0.0.1:0"],
        [&*admin, "--listen=127.0.0.1:0"],
    ] {
        let mut all = vec!["router", "--zookeeper", &zookeeper];
        all.extend(arguments);
        did_not_start(&Output::of(BINARY, &all).await, 1, &[&address]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_that_makes_no_sense_is_exit_code_2() {
    let all = ["router", "--zookeeper=127.0.0.1:1", "--listen=0.0.0.0:0"];
    did_not_start(&Output::of(BINARY, &all).await, 2, &["advertise"]);
    for arguments in [
        &["no-such-command"][..],
        &["router"],
        &["datanode", "--zookeeper=127.0.0.1:1"],
        &["get", "people"],
        &["create-table", "people", "many", "3"],
        &["--router", "not an address", "get", "people", "k"],
    ] {
        let output = Output::of(BINARY, arguments).await;
        assert_eq!(
            (output.code, &*output.stdout),
            (2, ""),
            "{arguments:?}: {output:?}"
        );
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_router_says_so_at_once() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    for arguments in [
        &["get", "people", "k"][..],
        &["put", "people", "k", "v"],
        &["status"],
    ] {
        let mut all = vec!["--router", &nobody];
        all.extend(arguments);
        Output::of(BINARY, &all).await.assert_failed(5, &nobody);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_live_from_ready() {
    let mut cluster = ClusterOptions::new(1, 1).prepare().await;
    cluster.zookeeper.kill();
    let zookeeper = format!("--zookeeper={}", cluster.connect_string());
    let data = format!("--data-dir={}", cluster.data_dir(0).display());
    for role in ["router", "datanode"] {
        let admin = free_port();
        let listen = format!("--listen=127.0.0.1:{}", free_port());
        let admin_listen = format!("--admin-listen=127.0.0.1:{admin}");
        let mut arguments = vec![role, &zookeeper, &listen, &admin_listen];
        if role == "datanode" {
            arguments.push(&data);
        }
        let mut process = Process::new(&cluster.directory, role, arguments);
        process.spawn();
        becomes(admin, "/health/live", 200).await;
        becomes(admin, "/health/ready", 503).await;
        cluster.zookeeper.start_again().await;
        process.wait_ready().await;
        becomes(admin, "/health/ready", 200).await;
        becomes(admin, "/health/live", 200).await;
        becomes(admin, "/nothing/here", 404).await;
        process.terminate().await;
        cluster.zookeeper.kill();
    }
}

/// Waits for an HTTP status.
async fn becomes(port: u16, path: &str, status: u16) {
    let what = format!("{path} is {status}");
    eventually(&what, Duration::from_secs(15), || async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let right = answer.starts_with(&format!("HTTP/1.1 {status} "));
        right.then_some(()).ok_or(std::io::Error::other(answer))
    })
    .await;
}
