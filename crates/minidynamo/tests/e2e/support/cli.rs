//! The command line as a client.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::process::BINARY;

/// Runs commands against some routers.
#[derive(Clone)]
pub(crate) struct Cli {
    routers: String,
}

/// What a command left behind.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Cli {
    /// Addresses as `--router` takes them.
    pub(crate) fn new(routers: impl Into<String>) -> Self {
        Self {
            routers: routers.into(),
        }
    }

    /// Runs `minidynamo --router … ARGUMENTS…`.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["--router", &self.routers];
        all.extend(arguments);
        Output::of(BINARY, &all).await
    }

    /// Runs a command that must succeed and returns what it printed.
    pub(crate) async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert_eq!(output.code, 0, "{arguments:?}: {output:?}");
        output.stdout
    }
}

impl Output {
    /// Runs a program to its end, without any variables of ours in its environment.
    pub(crate) async fn of(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MINIDYNAMO_")) {
            command.env_remove(name);
        }
        command.args(arguments);
        Self::of_command(command).await
    }

    /// Runs a command to its end.
    pub(crate) async fn of_command(mut command: Command) -> Self {
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(90), command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("not done within 90 s: {command:?}"));
        Self::from(output.unwrap())
    }

    /// Checks that a command failed as the interface says: this code, nothing on stdout, one line on stderr that
    /// contains `words`.
    #[track_caller]
    pub(crate) fn assert_failed(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "{self:?}");
        assert!(self.stderr.contains(words), "no {words:?} in {self:?}");
    }
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let output = Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        assert!(!output.stderr.contains("panicked"), "{output:?}");
        output
    }
}
