//! The README's first session, run as it stands there.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{BINARY, ClusterOptions, Directory, Machine, Output, Process};

const README: &str = include_str!("../../../../README.md");

/// A command and what the README shows below it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    command: String,
    shown: String,
}

/// The `console` blocks of a section.
fn blocks(readme: &str, section: &str) -> Vec<Vec<Step>> {
    let (_, after) = readme.split_once(&format!("\n## {section}\n")).unwrap();
    let text = after.split("\n## ").next().unwrap();
    let starts = text.split("```console\n").skip(1);
    starts
        .map(|start| steps(start.split("```").next().unwrap()))
        .collect()
}

fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                command: command.to_owned(),
                shown: String::new(),
            });
        } else {
            let step = steps.last_mut().expect("a command before its output");
            step.shown.push_str(line);
            step.shown.push('\n');
        }
    }
    steps
}

/// Replaces what differs from run to run: ids, ports, times. Columns shrink and grow with them.
fn masked(text: &str) -> String {
    let line = |line: &str| {
        let words = line.split_whitespace().map(|word| {
            let hexadecimal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            if word.len() == 16 && word.bytes().all(hexadecimal) {
                "ID".to_owned()
            } else if let Some((host, _)) = word.rsplit_once("127.0.0.1:") {
                format!("{host}ADDRESS")
            } else if word.starts_with(|c: char| c.is_ascii_digit())
                && word.matches(['-', ':']).count() == 2
            {
                "TIME".to_owned()
            } else {
                word.to_owned()
            }
        });
        words.collect::<Vec<_>>().join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Waits until all replicas have what was written before.
const ALL_HAVE_IT: &str = "minidynamo describe-table people --verify >/dev/null";

/// A read that any replica may answer, on a busy machine one that is behind.
fn is_eventual(command: &str) -> bool {
    command.starts_with("minidynamo get ") && !command.contains("--consistent")
}

/// Runs commands in one shell, in a directory that looks like a checkout after a release build.
async fn run(directory: &Directory, steps: &[Step], routers: &str) -> Vec<String> {
    let checkout = directory.path().join("checkout");
    std::fs::create_dir_all(checkout.join("target")).unwrap();
    let built = Path::new(BINARY).parent().unwrap();
    symlink(built, checkout.join("target/release")).unwrap();
    let mark = "--- next step ---\n";
    let step = |Step { command, .. }: &Step| {
        let before = if is_eventual(command) {
            ALL_HAVE_IT
        } else {
            ""
        };
        format!(
            "printf -- '{}'\n{before}\n{command}\n",
            mark.escape_default()
        )
    };
    let script = steps.iter().map(step).collect::<Vec<_>>().concat();
    let mut shell = tokio::process::Command::new("bash");
    shell
        .arg("-c")
        .arg(format!("exec 2>&1\n{script}"))
        .current_dir(&checkout)
        .env("MINIDYNAMO_ROUTER", routers);
    let output = Output::of_command(shell).await;
    let printed = output.stdout.split(mark).skip(1);
    printed.map(str::to_owned).collect()
}

async fn check(directory: &Directory, session: &[Step], routers: &str) {
    let printed = run(directory, session, routers).await;
    assert_eq!(printed.len(), session.len(), "{printed:#?}");
    for (step, printed) in session.iter().zip(printed) {
        assert_eq!(
            masked(&printed),
            masked(&step.shown),
            "{}\nprinted:\n{printed}",
            step.command
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_session_goes_as_the_readme_says() {
    let [start, session] = <[_; 2]>::try_from(blocks(README, "A first session")).unwrap();
    let [start] = <[Step; 1]>::try_from(start).unwrap();
    let arguments = start.command.strip_prefix("cargo run --release -- ");
    let arguments = arguments.unwrap().split_whitespace();

    let _machine = Machine::shared().await;
    let directory = Directory::of_this_test();
    // As written, but for the ports: another cluster may run on this machine.
    let mut dev = Process::new(&directory, "dev", arguments)
        .with_variable("MINIDYNAMO_LISTEN", "127.0.0.1:0")
        .with_variable("MINIDYNAMO_ADMIN_LISTEN", "127.0.0.1:0");
    dev.start().await;
    let ready = format!("ready: router {}\n", dev.address());
    assert_eq!(masked(&ready), masked(&start.shown));
    check(&directory, &session, dev.address()).await;
    dev.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_session_goes_the_same_way_on_zookeeper_and_separate_processes() {
    let [_, session] = <[_; 2]>::try_from(blocks(README, "A first session")).unwrap();
    let cluster = ClusterOptions::new(3, 2).start().await;
    let routers = cluster.router_addresses().join(",");
    check(&cluster.directory, &session, &routers).await;
}

#[test]
fn a_block_is_read_as_commands_with_their_output() {
    let readme =
        "# T\n\n## One\n\n```console\n$ a b\nx\n\ny\n$ c\n```\n\n## Two\n\n```console\n$ d\n```\n";
    let step = |command: &str, shown: &str| Step {
        command: command.to_owned(),
        shown: shown.to_owned(),
    };
    let expected = vec![vec![step("a b", "x\n\ny\n"), step("c", "")]];
    assert_eq!(blocks(readme, "One"), expected);
    assert_eq!(
        masked("node  00000000000000ab at http://127.0.0.1:7400"),
        "node ID at http://ADDRESS"
    );
}
