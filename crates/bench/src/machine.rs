//! On what it was measured, and what.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::systems::Places;

/// The machine.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Processors that this process may use.
    pub cores: usize,
    /// What the first one calls itself.
    pub processor: String,
    /// MiB of memory.
    pub memory_mib: u64,
    /// Linux's release.
    pub kernel: String,
    /// File system of the servers' data.
    pub filesystem: String,
    /// Load average over the minute before anything was started.
    pub load_before: f64,
}

/// What was compared.
#[derive(Debug, Clone, Serialize)]
pub struct Versions {
    /// As `minidynamo --version` says.
    pub minidynamo: String,
    /// Of the sources.
    pub commit: String,
    /// As `etcd --version` says.
    pub etcd: String,
    /// Of Debian's package with its class files.
    pub zookeeper: String,
}

impl Machine {
    /// This machine, with the data in a directory.
    pub fn read(directory: &Path) -> Self {
        let file = |path| fs::read_to_string(path).unwrap_or_default();
        let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: field(&file("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            memory_mib: kibibytes(&file("/proc/meminfo"), "MemTotal") / 1024,
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            filesystem: filesystem(&file("/proc/mounts"), &directory).unwrap_or_else(unknown),
            load_before: load_average(&file("/proc/loadavg")),
        }
    }

    /// Where syncing costs nothing, there is nothing to compare.
    pub(crate) fn is_in_memory(&self) -> bool {
        ["tmpfs", "ramfs"].contains(&&*self.filesystem)
    }
}

impl Versions {
    /// Asks the programs.
    pub fn read(places: &Places) -> Self {
        let say = |program: &Path, arguments: &[&str]| {
            first_line(program, arguments).unwrap_or_else(unknown)
        };
        let package = ["--show", "--showformat=${Version}", "libzookeeper-java"];
        Self {
            minidynamo: say(&places.minidynamo, &["--version"]),
            commit: say(Path::new("git"), &["describe", "--always", "--dirty"]),
            etcd: say(&places.etcd, &["--version"]),
            zookeeper: say(Path::new("dpkg-query"), &package),
        }
    }
}

/// The time of now, UTC, as in ISO 8601.
pub fn now() -> String {
    let format = ["-u", "+%Y-%m-%dT%H:%M:%SZ"];
    first_line(Path::new("date"), &format).unwrap_or_else(unknown)
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The first line that a program prints, if it can be run and succeeds.
fn first_line(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().filter(|_| output.status.success())?;
    Some(line.trim().to_owned())
}

/// `name : value` in one of `/proc`'s files.
fn field(text: &str, name: &str) -> Option<String> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.into_iter().find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

fn kibibytes(text: &str, name: &str) -> u64 {
    let value = field(text, name);
    let value = value.and_then(|value| value.strip_suffix("kB")?.trim().parse().ok());
    value.unwrap_or_default()
}

fn load_average(text: &str) -> f64 {
    let first = text.split_whitespace().next();
    first.and_then(|load| load.parse().ok()).unwrap_or_default()
}

/// The type of the file system that a directory lies in: that of the longest mount point above it.
fn filesystem(mounts: &str, directory: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    let above = mounts.filter(|(point, _)| directory.starts_with(point));
    let nearest = above.max_by_key(|(point, _)| point.components().count());
    nearest.map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_proc_are_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A: fast one\n\nprocessor\t: 1\n";
        assert_eq!(field(cpuinfo, "model name").unwrap(), "A: fast one");
        assert_eq!(field(cpuinfo, "bogomips"), None);
        assert_eq!(
            kibibytes("MemFree: 1 kB\nMemTotal:  2048 kB\n", "MemTotal"),
            2048
        );
        assert_eq!(kibibytes("", "MemTotal"), 0);
        assert!((load_average("0.52 0.58 0.59 1/467 12") - 0.52).abs() < 1e-9);
    }

    #[test]
    fn a_directory_lies_in_its_nearest_mount() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nx /tmpfoo xfs rw 0 0\n";
        let of = |path| filesystem(mounts, Path::new(path)).unwrap();
        assert_eq!(of("/tmp/compare"), "tmpfs");
        assert_eq!(of("/tmp"), "tmpfs");
        assert_eq!(of("/tmpfoo/a"), "xfs");
        assert_eq!(of("/var/tmp"), "ext4");
        assert_eq!(filesystem("", Path::new("/")), None);
    }

    #[test]
    fn a_program_is_asked_for_a_line() {
        assert_eq!(first_line(Path::new("echo"), &["a"]).unwrap(), "a");
        assert_eq!(first_line(Path::new("/nonexistent"), &[]), None);
        assert_eq!(first_line(Path::new("false"), &[]), None);
        let now = now();
        assert!(now.len() == 20 && now.ends_with('Z'), "{now}");
    }
}
