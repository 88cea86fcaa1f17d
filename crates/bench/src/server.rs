//! One server process: started, waited for, and always ended.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Failure;

/// For a process to be of use.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks.
const POLL: Duration = Duration::from_millis(20);
/// How much of a process's last words is shown.
const LAST_LINES: usize = 15;

/// A process of our own. It is killed when this is dropped: nobody needs its data any more.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    child: Child,
    output: PathBuf,
    log: PathBuf,
}

impl Server {
    /// Starts a process whose output goes to files in a directory.
    pub(crate) fn start(
        name: &str,
        mut command: Command,
        directory: &Path,
    ) -> Result<Self, Failure> {
        let (output, log) = (
            directory.join(format!("{name}.out")),
            directory.join(format!("{name}.log")),
        );
        let file = |path: &Path| {
            File::create(path).map_err(Failure::to(format!("write {}", path.display())))
        };
        for (variable, _) in std::env::vars_os() {
            let variable = variable.to_string_lossy().into_owned();
            if variable.starts_with("MINIDYNAMO_") || variable.starts_with("ETCD_") {
                command.env_remove(variable);
            }
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(file(&output)?)
            .stderr(file(&log)?)
            .spawn()
            .map_err(Failure::to(format!("start {program}")))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            output,
            log,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if the process has ended, with its last words.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failure(&format!("has ended ({status})"))),
            Err(error) => Err(self.failure(&format!("can't be watched: {error}"))),
        }
    }

    /// Waits until a look shows something, as long as the process lives and the deadline has not passed.
    pub(crate) async fn until<T>(
        &mut self,
        mut look: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Some(seen) = look().await {
                return Ok(seen);
            }
            self.check()?;
            if Instant::now() >= deadline {
                return Err(self.failure(&format!("is of no use after {START_DEADLINE:?}")));
            }
            sleep(POLL).await;
        }
    }

    /// Waits for the line `ready: … http://host:port` on standard output, and returns the `host:port`.
    pub(crate) async fn address(&mut self) -> Result<String, Failure> {
        let output = self.output.clone();
        self.until(async || ready_address(&fs::read_to_string(&output).unwrap_or_default()))
            .await
    }

    /// `SIGKILL`; returns when the process is gone.
    pub(crate) fn kill(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn failure(&self, what: &str) -> Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        Failure::new(format!("{} {what}\n{}", self.name, last.join("\n")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Of a whole line only: a part of one may be a part of a port.
fn ready_address(output: &str) -> Option<String> {
    let whole = output.rsplit_once('\n')?.0;
    let line = whole.lines().find(|line| line.starts_with("ready: "))?;
    let (_, address) = line.split_once("http://")?;
    Some(address.trim().to_owned())
}

/// A port of the loopback interface that nobody listens on, below those that the system gives to outgoing connections.
pub(crate) fn free_port() -> Result<u16, Failure> {
    (0..1000)
        .map(|_| rand::random_range(15_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| Failure::new("there is no free port between 15000 and 32000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn an_address_is_read_from_a_whole_line() {
        assert_eq!(ready_address("ready: router http://127.0.0.1:74"), None);
        let output = "x\nready: router http://127.0.0.1:7400\n";
        assert_eq!(ready_address(output).unwrap(), "127.0.0.1:7400");
        assert_eq!(ready_address("nothing\n"), None);
    }

    #[tokio::test]
    async fn a_server_is_waited_for_and_ends_with_its_value() {
        let directory = tempfile::tempdir().unwrap();
        let script = "echo ready: http://127.0.0.1:1; exec sleep 600";
        let mut server = Server::start("x", shell(script), directory.path()).unwrap();
        assert_eq!(server.address().await.unwrap(), "127.0.0.1:1");
        let process = PathBuf::from(format!("/proc/{}", server.pid()));
        assert!(process.exists());
        drop(server);
        assert!(!process.exists());
    }

    #[tokio::test]
    async fn a_server_that_ends_instead_is_reported_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let script = "echo the port is taken >&2; exit 3";
        let mut server = Server::start("x", shell(script), directory.path()).unwrap();
        let error = server.address().await.unwrap_err().to_string();
        assert!(error.contains("x has ended"), "{error}");
        assert!(error.contains("the port is taken"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let command = Command::new("/nonexistent/etcd");
        let error = Server::start("x", command, directory.path()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/etcd"), "{error}");
    }
}
