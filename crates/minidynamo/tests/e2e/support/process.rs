//! One process of the real binary.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;

use super::{Directory, eventually};

/// How long a process may take until it can be used, ZooKeeper and peers being there.
const READY: Duration = Duration::from_secs(30);
/// Lines of stderr that are printed when a test fails.
const TAIL: usize = 40;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_minidynamo");

/// A process that can be killed and started again with the same arguments.
///
/// Killed by its id when this is dropped; then its stderr is searched for panics.
pub(crate) struct Process {
    name: String,
    command: Vec<String>,
    environment: Vec<(String, String)>,
    stderr: PathBuf,
    running: Option<Running>,
}

struct Running {
    child: Child,
    stdout: mpsc::UnboundedReceiver<String>,
    addresses: Vec<String>,
}

impl Process {
    /// Describes `minidynamo ARGUMENTS…` without starting it.
    pub(crate) fn new<S: Into<String>>(
        directory: &Directory,
        name: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        let mut command = vec![BINARY.to_owned()];
        command.extend(arguments.into_iter().map(Into::into));
        Self {
            name: name.to_owned(),
            command,
            environment: Vec::new(),
            stderr: directory.log(name),
            running: None,
        }
    }

    /// Runs it under another program, which must replace itself by it (`exec`).
    #[must_use]
    pub(crate) fn under(mut self, wrapper: &[&str]) -> Self {
        let wrapper = wrapper.iter().map(|&word| word.to_owned());
        self.command.splice(0..0, wrapper);
        self
    }

    /// Adds a variable to its environment, which has none of ours otherwise.
    #[must_use]
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Starts it and returns at once.
    pub(crate) fn spawn(&mut self) {
        assert!(self.running.is_none(), "{} runs already", self.name);
        let stderr = File::options().create(true).append(true).open(&self.stderr);
        let mut command = Command::new(&self.command[0]);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MINIDYNAMO_")) {
            command.env_remove(name);
        }
        let mut child = command
            .args(&self.command[1..])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr.unwrap())
            .spawn()
            .unwrap();
        let pipe = BufReader::new(child.stdout.take().unwrap());
        let (lines, stdout) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in pipe.lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        self.running = Some(Running {
            child,
            stdout,
            addresses: Vec::new(),
        });
    }

    /// Waits for its `ready:` line.
    pub(crate) async fn wait_ready(&mut self) {
        let running = self.running.as_mut().expect("not started");
        let line = tokio::time::timeout(READY, running.stdout.recv()).await;
        let line = line.unwrap_or_else(|_| panic!("{} was not ready within {READY:?}", self.name));
        let line = line.unwrap_or_else(|| panic!("{} ended before it was ready", self.name));
        // `ready: router http://… [http://…]`
        let words: Vec<_> = line.split_whitespace().collect();
        let known = matches!(words[..], ["ready:", "router" | "datanode", _, ..]);
        assert!(known, "{} said {line:?}", self.name);
        running.addresses = words[2..].iter().map(|&word| word.to_owned()).collect();
    }

    /// Starts it and waits until it can be used.
    pub(crate) async fn start(&mut self) {
        self.spawn();
        self.wait_ready().await;
    }

    /// Where it said that it listens: `http://127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.addresses()[0]
    }

    /// All addresses of its `ready:` line.
    pub(crate) fn addresses(&self) -> &[String] {
        let running = self.running.as_ref();
        let running = running.unwrap_or_else(|| panic!("{} does not run", self.name));
        &running.addresses
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn id(&self) -> u32 {
        let running = self.running.as_ref();
        running.expect("does not run").child.id()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// `SIGKILL`: no goodbye, nothing flushed.
    pub(crate) fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.child.kill().unwrap();
            running.child.wait().unwrap();
        }
    }

    /// `SIGSTOP`.
    ///
    /// Returns once every thread stands still. On a busy machine the others run on, and answer, until the one that is to take the
    /// signal gets a core.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.id());
        let deadline = Instant::now() + Duration::from_secs(10);
        while !all_stopped(&tasks) {
            assert!(Instant::now() < deadline, "{} does not stop", self.name);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// `SIGCONT`.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn wait_end(&mut self, within: Duration) -> ExitStatus {
        let name = self.name.clone();
        let child = &mut self.running.as_mut().expect("does not run").child;
        let child = std::sync::Mutex::new(child);
        let status = eventually(&format!("{name} ends"), within, || async {
            let status = child.lock().unwrap().try_wait().unwrap();
            status.ok_or("it still runs")
        })
        .await;
        self.running = None;
        status
    }

    /// `SIGTERM`; it must end cleanly.
    pub(crate) async fn terminate(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_end(Duration::from_secs(20)).await;
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    /// Everything that it wrote to stderr, over all its runs.
    pub(crate) fn stderr(&self) -> String {
        read(&self.stderr)
    }
}

fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            // It may be stopped or gone already; both are fine here.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
        let stderr = self.stderr();
        if std::thread::panicking() {
            let lines: Vec<_> = stderr.lines().collect();
            eprintln!("--- stderr of {}, {} lines", self.name, lines.len());
            for line in &lines[lines.len().saturating_sub(TAIL)..] {
                eprintln!("{line}");
            }
        } else {
            let line = stderr.lines().find(|line| line.contains("panicked"));
            assert!(
                line.is_none(),
                "{}: {}",
                self.name,
                line.unwrap_or_default()
            );
        }
    }
}

/// Whether all threads of a process are stopped.
fn all_stopped(tasks: &str) -> bool {
    let mut tasks = fs::read_dir(tasks).unwrap();
    tasks.all(|task| {
        let stat = fs::read_to_string(task.unwrap().path().join("stat"));
        // One that has ended meanwhile does nothing either.
        stat.map_or(true, |stat| {
            stat.rsplit(')').next().unwrap().starts_with(" T")
        })
    })
}
