//! The embedded store as a process sees it: killed, and under load.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use coordination::embedded::Embedded;
use coordination::{CreateMode, Operation};
use futures::future::join_all;
use tokio::time::{Duration, Instant};

const DIRECTORY: &str = "COORDINATION_TEST_DIRECTORY";

/// Killed when the test ends, however it ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test: the process that is killed. Writes without end and prints what was confirmed.
#[tokio::test]
#[ignore = "runs in a process of its own, started by another test"]
async fn a_process_that_writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = Embedded::open(directory).unwrap();
    let session = store.session();
    session
        .create("/alive", Bytes::new(), CreateMode::Ephemeral)
        .await
        .unwrap();
    let counters = (0..4).map(|counter| {
        let session = session.clone();
        async move {
            let (left, right) = (format!("/{counter}-left"), format!("/{counter}-right"));
            let mut version = 0;
            if let Some(znode) = session.get(&left).await.unwrap() {
                version = znode.stat.version;
            } else {
                let create = |path: &str| Operation::create(path, "0", CreateMode::Persistent);
                let both = vec![create(&left), create(&right)];
                session.multi(both).await.unwrap();
            }
            loop {
                let next = (version + 1).to_string();
                let set = |path: &str| Operation::set(path, next.clone(), version);
                session.multi(vec![set(&left), set(&right)]).await.unwrap();
                version += 1;
                println!("\nconfirmed {counter} {version}");
            }
        }
    });
    join_all(counters).await;
}

fn start(directory: &Path) -> Killed {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["a_process_that_writes_until_it_is_killed", "--exact"])
        .args(["--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Killed(child)
}

#[tokio::test]
async fn a_killed_process_loses_no_confirmed_write_and_tears_no_multi() {
    let directory = tempfile::tempdir().unwrap();
    let mut confirmed = [0; 4];
    for round in 0..5 {
        let mut process = start(directory.path());
        let lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let mut note = |line: &str| {
            let Some(rest) = line.strip_prefix("confirmed ") else {
                return false;
            };
            let (counter, version) = rest.split_once(' ').unwrap();
            // The last line may be torn.
            if let Ok(version) = version.parse::<i32>() {
                let counter: usize = counter.parse().unwrap();
                confirmed[counter] = confirmed[counter].max(version);
            }
            true
        };
        let wanted = 40 + 17 * round;
        let seen = lines
            .by_ref()
            .filter(|line| note(line))
            .take(wanted)
            .count();
        assert_eq!(seen, wanted, "the process writes");
        process.0.kill().unwrap();
        for line in lines {
            note(&line);
        }
        process.0.wait().unwrap();

        let store = Embedded::open(directory.path()).unwrap();
        let session = store.session();
        for (counter, confirmed) in confirmed.iter().enumerate() {
            let read = |side| session.get_owned(format!("/{counter}-{side}"));
            let (left, right) = (read("left").await, read("right").await);
            assert_eq!(left, right, "a multi is not torn");
            assert!(left >= *confirmed, "{left} < {confirmed}");
        }
        assert_eq!(session.get("/alive").await, Ok(None));
    }
}

/// Reads a counter, and checks that its content agrees with its version.
trait ReadCounter {
    async fn get_owned(&self, path: String) -> i32;
}

impl ReadCounter for coordination::SharedCoordination {
    async fn get_owned(&self, path: String) -> i32 {
        let znode = self.get(&path).await.unwrap();
        znode.map_or(0, |znode| {
            assert_eq!(znode.data, znode.stat.version.to_string());
            znode.stat.version
        })
    }
}

/// What the ledger of transactions needs, in an unoptimised build too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_least_1000_conditional_writes_per_second() {
    const WRITERS: u32 = 64;
    const EACH: i32 = 50;
    // On the disk that the build is on; the system's temporary directory may be in memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    let started = Instant::now();
    let writers = (0..WRITERS).map(|writer| {
        let session = store.session();
        tokio::spawn(async move {
            let path = format!("/{writer}");
            let create = session.create(&path, Bytes::new(), CreateMode::Persistent);
            create.await.unwrap();
            for version in 0..EACH {
                session
                    .set(&path, vec![b'x'; 200].into(), version)
                    .await
                    .unwrap();
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    let elapsed = started.elapsed();
    let count = WRITERS * EACH as u32;
    let per_second = f64::from(count) / elapsed.as_secs_f64();
    println!("{per_second:.0} conditional writes per second");
    assert!(
        elapsed < Duration::from_secs(1) * count / 1000,
        "{per_second}"
    );
}
