//! One ZooKeeper server process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// The last three are for TLS, and missing in the first one's own list.
const JARS: [&str; 5] = [
    "/usr/share/java/zookeeper.jar",
    "/usr/share/java/slf4j-simple.jar",
    "/usr/share/java/netty-codec.jar",
    "/usr/share/java/netty-resolver.jar",
    "/usr/share/java/netty-transport-native-unix-common.jar",
];

/// How long a server may take to serve. It is up in under a second on an idle machine.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// A server: its files, which outlive the process, and the process while there is one.
pub(super) struct Process {
    directory: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Process {
    /// A server that is not running yet. `lines` are those of its configuration that say where it listens: for
    /// an ensemble, the members.
    pub(super) fn configure(directory: PathBuf, port: u16, id: u32, lines: &str) -> Self {
        for jar in JARS {
            assert!(
                Path::new(jar).exists(),
                "{jar} is missing: this test needs Debian's package `zookeeper` (apt-get install zookeeper)"
            );
        }
        let data = directory.join("data");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("myid"), id.to_string()).unwrap();
        let configuration = format!(
            "tickTime=250\ninitLimit=20\nsyncLimit=8\ndataDir={}\nadmin.enableServer=false\n\
             4lw.commands.whitelist=*\nminSessionTimeout=500\nmaxSessionTimeout=60000\n\
             maxClientCnxns=0\n{lines}",
            data.display()
        );
        fs::write(directory.join("zoo.cfg"), configuration).unwrap();
        Self {
            directory,
            port,
            child: None,
        }
    }

    /// Starts the process; does not wait for it to serve.
    pub(super) fn spawn(&mut self) {
        assert!(self.child.is_none(), "the server runs already");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("log"))
            .unwrap();
        let child = Command::new("java")
            .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg("-Djava.net.preferIPv4Stack=true")
            .args(["-cp", &JARS.join(":")])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(self.directory.join("zoo.cfg"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("`java` runs");
        self.child = Some(child);
    }

    /// Waits until the server serves: alone, as a leader or as a follower. False: it has exited.
    pub(super) async fn serves(&mut self) -> bool {
        let deadline = Instant::now() + START_DEADLINE;
        while self.mode().await.is_none() {
            let exited = self.child.as_mut().map(|child| child.try_wait().unwrap());
            if !matches!(exited, Some(None)) {
                return false;
            }
            let log = || fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "ZooKeeper does not serve within {START_DEADLINE:?}:\n{}",
                log()
            );
            sleep(Duration::from_millis(10)).await;
        }
        true
    }

    /// What it answers to one of ZooKeeper's four-letter words, if it does.
    pub(super) async fn ask(&self, word: &str) -> Option<String> {
        let answer = timeout(Duration::from_secs(1), four_letters(self.port, word)).await;
        answer.ok()?.ok()
    }

    /// `standalone`, `leader` or `follower`, while it serves.
    pub(super) async fn mode(&self) -> Option<String> {
        let answer = self.ask("srvr").await?;
        let mode = answer
            .lines()
            .find_map(|line| line.strip_prefix("Mode: "))?;
        Some(mode.trim().to_owned())
    }

    /// See [`ZooKeeperServer::monitor`](super::ZooKeeperServer::monitor).
    pub(super) async fn monitor(&self) -> BTreeMap<String, u64> {
        let answer = self.ask("mntr").await.unwrap_or_default();
        let counters = answer.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("zk_")?.split_once('\t')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        counters.collect()
    }

    /// See [`Served`].
    pub(super) async fn served(&self) -> Option<Served> {
        let answer = self.ask("srvr").await?;
        let zxid = answer
            .lines()
            .find_map(|line| line.strip_prefix("Zxid: 0x"))?;
        let zxid = u64::from_str_radix(zxid.trim(), 16).ok()?;
        let counters = self.monitor().await;
        let kinds = ["created", "changed", "deleted", "children"];
        let events = kinds.map(|kind| counters.get(&format!("sum_node_{kind}_watch_count")));
        Some(Served {
            // The upper half counts the elections.
            writes: zxid & 0xffff_ffff,
            events: events.into_iter().flatten().sum(),
        })
    }

    pub(super) fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Kills the process, as a loss of power would.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error means that it has exited by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops (`SIGSTOP`) or continues (`SIGCONT`) the process.
    pub(super) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the server runs");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Forgets all data, as if the server were a new one.
    pub(super) fn erase(&mut self) {
        assert!(self.child.is_none(), "the server runs");
        let data = self.contents();
        if data.exists() {
            fs::remove_dir_all(data).unwrap();
        }
    }

    /// Copies all data to a directory that is not there yet.
    pub(super) fn save(&self, backup: &Path) {
        assert!(self.child.is_none(), "the server runs");
        copy(&self.contents(), backup);
    }

    /// Replaces all data by what was saved.
    pub(super) fn restore(&mut self, backup: &Path) {
        self.erase();
        copy(backup, &self.contents());
    }

    /// Where snapshots, transaction logs and epochs are.
    fn contents(&self) -> PathBuf {
        self.directory.join("data").join("version-2")
    }
}

/// Copies a directory of files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// What servers have done for all clients together. Only differences mean something, and those of the writes
/// only while no leader is elected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Writes, those that change nothing and the beginnings and ends of sessions among them.
    pub writes: u64,
    /// Events that were sent to watches.
    pub events: u64,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn four_letters(port: u16, word: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(word.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
