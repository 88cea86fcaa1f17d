//! The binary as scripts see it, where no cluster is needed: exit codes, streams, configuration.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_minidynamo"));
    // What the environment of the tests says must not decide them.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MINIDYNAMO_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// One line on standard error, nothing on standard output.
fn failure(output: &Output, exit: i32) -> &str {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{stderr}");
    assert!(output.stdout.is_empty());
    assert!(stderr.starts_with("error: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

/// A port that was free a moment ago, on which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Killed when the test ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::yield_now();
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(id, signal).unwrap();
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [&["--help"][..], &["get", "--help"], &["--version"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("minidynamo"));
        assert!(output.stderr.is_empty());
    }
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Usage: minidynamo"));
}

#[test]
fn mistakes_in_the_command_line_have_exit_code_2() {
    for arguments in [
        &["frobnicate"][..],
        &["get", "people"],
        &["get", "people", "ada", "--output", "xml"],
        &["get", "people", "ada", "--router", "ftp://x:1"],
        &["get", "people", "ada", "--raw", "--output", "json"],
        &["put", "people", "", "v"],
        &["put", "people", "ada", "v", "--if-absent", "--if-present"],
        &["delete", "people", "ada", "--if-version", "new"],
        &["transact-put"],
        &["transact-put", "people", "ada"],
        &["transact-put", "people", "ada", "v", "people"],
        &["transact-put", "people", "ada", "v", "people", "ada", "w"],
        &["transact-put", "people", "ada", "v", "--token", ""],
        &["transact-put", "people", "ada", "v", "--if-absent", "2"],
        &["transact-put", "people", "a", "-", "people", "b", "-"],
        &["transact-get", "people"],
        &["transact-get", "people", "ada", "people"],
        &["transact-get", "people", "ada", "people", "ada"],
        &["router"],
        &["datanode", "--zookeeper", "127.0.0.1:1"],
        &[
            "router",
            "--zookeeper",
            "127.0.0.1:1",
            "--listen",
            "0.0.0.0:0",
        ],
        &["dev", "--nodes", "0"],
        &["dev", "--log-level", "a=b=c"],
        &["dev", "--config", "/nonexistent.toml"],
        &["bench"],
    ] {
        failure(&run(arguments), 2);
    }
}

#[test]
fn a_router_that_is_not_there_has_exit_code_5() {
    let router = nobody();
    for arguments in [
        &["get", "people", "ada"][..],
        &["put", "people", "ada", "v"],
        &["delete", "people", "ada"],
        &["transact-put", "people", "ada", "v"],
        &["transact-get", "people", "ada"],
        &["create-table", "people", "1", "3"],
        &["delete-table", "people"],
        &["list-tables"],
        &["describe-table", "people"],
        &["status"],
    ] {
        let output = command(arguments).args(["--router", &router]).output();
        let stderr = failure(&output.unwrap(), 5).to_owned();
        assert!(stderr.contains(&router), "{stderr}");
    }
    let output = command(&["status"])
        .env("MINIDYNAMO_ROUTER", &router)
        .output();
    failure(&output.unwrap(), 5);
}

#[test]
fn a_write_that_was_sent_and_not_answered_has_exit_code_6_and_a_read_5() {
    // Accepts connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let router = format!("http://{}", silent.local_addr().unwrap());
    for (arguments, exit) in [
        (&["put", "people", "ada", "v"][..], 6),
        (&["delete", "people", "ada"], 6),
        (&["transact-put", "people", "ada", "v"], 6),
        (&["transact-put", "people", "ada", "v", "--token", "t"], 6),
        (&["transact-get", "people", "ada"], 5),
        (&["create-table", "people", "1", "3"], 6),
        (&["get", "people", "ada"], 5),
    ] {
        let output = command(arguments)
            .args(["--router", &router, "--timeout", "300ms"])
            .output();
        failure(&output.unwrap(), exit);
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = command(&["dev", "--print-config"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn too_much_on_standard_input_is_refused_before_it_is_sent() {
    let mut child = command(&["put", "people", "ada", "-", "--router", &nobody()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It stops reading when it has seen enough.
    let _ = stdin.write_all(&vec![b'x'; 1 << 20]);
    drop(stdin);
    failure(&child.wait_with_output().unwrap(), 2);
}

#[test]
fn flag_over_environment_over_file_over_default() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let content = "[router]\nzookeeper = \"file:1\"\nadvertise = \"file:2\"\nlisten = \"127.0.0.1:3\"\n\
                   [zookeeper]\nauth_file = \"file:4\"\ntls_ca = \"file:5\"\n[log]\nlevel = \"warn\"\n";
    file.write_all(content.as_bytes()).unwrap();
    let output = command(&["router", "--print-config", "--zookeeper", "flag:1"])
        .args(["--zookeeper-tls-ca", "flag:5"])
        .arg("--config")
        .arg(file.path())
        .env("MINIDYNAMO_ZOOKEEPER", "environment:1")
        .env("MINIDYNAMO_ADVERTISE", "environment:2")
        .env("MINIDYNAMO_ZOOKEEPER_AUTH_FILE", "environment:4")
        .output()
        .unwrap();
    assert_eq!(
        text(&output.stdout),
        "\
[router]
zookeeper = \"flag:1\"
listen = \"127.0.0.1:3\"
advertise = \"environment:2\"
admin_listen = \"127.0.0.1:7480\"
session_timeout = \"6s\"

[zookeeper]
auth_file = \"environment:4\"
tls_ca = \"flag:5\"

[log]
format = \"text\"
level = \"warn\"
"
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_unknown_key_in_the_file_is_named() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[datanode]\ndata_directory = \"x\"\n")
        .unwrap();
    let output = command(&["datanode", "--print-config", "--config"])
        .arg(file.path())
        .output()
        .unwrap();
    let stderr = failure(&output, 2);
    assert!(
        stderr.contains("line 2") && stderr.contains("`data_directory`"),
        "{stderr}"
    );
}

#[test]
fn a_port_in_use_ends_a_role_with_exit_code_1() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    for (listen, admin, flag) in [
        (&*taken, free, "--listen"),
        (free, &taken, "--admin-listen"),
    ] {
        let output = command(&["router", "--zookeeper", "127.0.0.1:1", "--log-level", "off"])
            .args(["--listen", listen, "--admin-listen", admin])
            .output()
            .unwrap();
        let stderr = failure(&output, 1);
        assert!(stderr.contains(&taken) && stderr.contains(flag), "{stderr}");
    }
}

#[test]
fn a_router_without_zookeeper_lives_is_not_ready_and_ends_on_sigterm() {
    let zookeeper = nobody();
    let zookeeper = zookeeper.strip_prefix("http://").unwrap();
    let child = command(&["router", "--zookeeper", zookeeper, "--log-format", "json"])
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    let mut log = BufReader::new(process.0.stderr.take().unwrap()).lines();
    let admin = log
        .find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            let message = line["message"].as_str()?.to_owned();
            Some(
                message
                    .strip_prefix("admin HTTP listens on http://")?
                    .to_owned(),
            )
        })
        .unwrap();
    let ask = |path: &str| {
        let mut stream = std::net::TcpStream::connect(&admin).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("/health/live").starts_with("HTTP/1.1 200 "));
    let ready = ask("/health/ready");
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert!(ready.contains("\"ready\":false"), "{ready}");
    // The pipe must not fill up while the process ends.
    let drain = std::thread::spawn(move || log.count());
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.wait(), Some(0));
    drain.join().unwrap();
    let mut stdout = String::new();
    process
        .0
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    assert_eq!(stdout, "", "it never was ready");
}
