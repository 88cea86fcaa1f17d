//! A ZooKeeper that lets nobody in without a certificate, and a tree in it that belongs to a user.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use coordination::testing::{Authority, ZooKeeperServer};

use crate::support::{Directory, Kv, Machine, Process, Tables, eventually};

const PASSWORD: &str = "Only-In-The-File";
const SOON: Duration = Duration::from_secs(30);

/// What the processes of one test are started with.
struct Setting {
    // Dropped in this order.
    zookeeper: ZooKeeperServer,
    authority: Authority,
    directory: Directory,
    _machine: Machine,
}

impl Setting {
    async fn new() -> Self {
        let machine = Machine::shared().await;
        let authority = Authority::new();
        Self {
            zookeeper: ZooKeeperServer::start_with_tls(&authority).await,
            authority,
            directory: Directory::of_this_test(),
            _machine: machine,
        }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let file = self.directory.path().join(name);
        fs::write(&file, content).unwrap();
        file
    }

    fn auth(&self, password: &str) -> String {
        let name = format!("auth-{}", password.len());
        let file = self.file(&name, &format!("minidynamo:{password}\n"));
        format!("--zookeeper-auth-file={}", file.display())
    }

    fn tls(&self, authority: &Authority) -> [String; 3] {
        let tls = authority.client();
        let ca = self.authority.certificate();
        [
            format!("--zookeeper-tls-ca={}", ca.display()),
            format!("--zookeeper-tls-cert={}", tls.cert.display()),
            format!("--zookeeper-tls-key={}", tls.key.display()),
        ]
    }

    /// A process of a role, with a directory of its own where it needs one.
    fn process(&self, name: &str, role: &str, options: &[String]) -> Process {
        let hosts = self.zookeeper.secure_hosts();
        let mut all = vec![
            role.to_owned(),
            format!("--zookeeper={hosts}/ours"),
            "--listen=127.0.0.1:0".to_owned(),
            "--admin-listen=127.0.0.1:0".to_owned(),
        ];
        if role != "router" {
            let data = self.directory.path().join(name);
            all.push(format!("--data-dir={}", data.display()));
        }
        all.extend(options.iter().cloned());
        Process::new(&self.directory, name, all)
    }
}

/// What others on the machine see of a process.
fn command_line(process: &Process) -> String {
    let bytes = fs::read(format!("/proc/{}/cmdline", process.id())).unwrap();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

async fn ends_with(process: &mut Process, parts: &[&str]) {
    process.spawn();
    let status = process.wait_end(SOON).await;
    assert_eq!(status.code(), Some(1), "{}", process.name());
    let stderr = process.stderr();
    let last = stderr.lines().last().unwrap_or_default();
    for part in parts {
        assert!(last.contains(part), "{}: {stderr}", process.name());
    }
    assert!(!stderr.contains(PASSWORD), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_certificates_and_a_user_everything_works_and_whoever_has_others_ends_with_the_reason()
{
    let setting = Setting::new().await;
    let mut options = setting.tls(&setting.authority).to_vec();
    options.push(setting.auth(PASSWORD));
    let mut nodes: Vec<_> = (0..3)
        .map(|n| setting.process(&format!("node{n}"), "datanode", &options))
        .collect();
    let mut router = setting.process("router", "router", &options);
    for process in nodes.iter_mut().chain([&mut router]) {
        process.spawn();
    }
    for process in nodes.iter_mut().chain([&mut router]) {
        process.wait_ready().await;
        assert!(!command_line(process).contains(PASSWORD));
    }
    let (tables, kv) = (Tables::new(router.address()), Kv::new(router.address()));
    tables.create("people", 2, 3).await.unwrap();
    kv.put("people", "k", "v").await.unwrap();

    let others = Authority::new();
    let wrong = {
        let mut options = setting.tls(&setting.authority).to_vec();
        options.push(setting.auth("wrong"));
        options
    };
    let stranger = {
        let mut options = setting.tls(&others).to_vec();
        options.push(setting.auth(PASSWORD));
        options
    };
    for role in ["router", "datanode", "dev"] {
        let name = format!("{role}-with-a-wrong-password");
        let mut process = setting.process(&name, role, &wrong);
        let said = ["/ours", "NoAuth", "--zookeeper-auth-file"];
        ends_with(&mut process, &said).await;
        let name = format!("{role}-of-another-authority");
        let mut process = setting.process(&name, role, &stranger);
        let said = ["refuses our certificate", "--zookeeper-tls-cert"];
        ends_with(&mut process, &said).await;
    }

    // All that has changed nothing.
    assert_eq!(kv.get("people", "k").await.unwrap().as_deref(), Some("v"));
    nodes[0].kill();
    nodes[0].start().await;
    tables.create("places", 2, 3).await.unwrap();
    tables.delete("people").await.unwrap();
    for process in nodes.iter_mut().chain([&mut router]) {
        process.terminate().await;
        let stderr = process.stderr();
        assert!(!stderr.contains(PASSWORD), "{stderr}");
        assert!(stderr.contains("asked of ZooKeeper"), "{stderr}");
    }
}

/// Whoever serves goes on when it is refused later, says why it has no session, and gets one when that is mended.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_serves_goes_on_when_it_is_refused_later() {
    let mut setting = Setting::new().await;
    let mut options = setting.tls(&setting.authority).to_vec();
    options.push("--session-timeout=1s".to_owned());
    let mut node = setting.process("node", "datanode", &options);
    node.start().await;
    let says = async |node: &Process, what: &str, times: usize| {
        eventually(&format!("it says `{what}`"), SOON, || async {
            let stderr = node.stderr();
            let said = stderr.matches(what).count() >= times;
            said.then_some(()).ok_or(stderr)
        })
        .await;
    };
    setting.zookeeper.kill();
    says(&node, "no session with the coordination store", 1).await;
    let others = Authority::new();
    let stranger = others.client();
    let ours = setting.authority.client();
    fs::copy(&stranger.cert, &ours.cert).unwrap();
    fs::copy(&stranger.key, &ours.key).unwrap();
    setting.zookeeper.start_again().await;
    says(&node, "refuses our certificate", 1).await;
    assert!(node.is_running());
    let before = node.stderr().matches("the registration stands").count();
    setting.authority.client();
    says(&node, "the registration stands", before + 1).await;
    node.terminate().await;
}
