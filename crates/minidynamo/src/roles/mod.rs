//! The processes of a cluster.
//!
//! Each role is started the same way (see `process`): configuration, log, admin HTTP, the service itself,
//! one line on standard output once it can be used, and a clean end on SIGTERM or SIGINT. What differs
//! stands in one file per role.

mod admin;
pub mod datanode;
pub mod dev;
mod health;
mod logging;
mod process;
pub mod router;
mod signals;

use std::sync::Arc;
use std::time::Duration;

use coordination::Connect;
use coordination::zookeeper::ConnectOptions;

use crate::cli::Failure;

/// The way to a ZooKeeper ensemble, from its connect string.
fn zookeeper(hosts: &str, session_timeout: Option<Duration>) -> Result<Arc<dyn Connect>, Failure> {
    let servers = hosts.split('/').next().unwrap_or_default();
    let named = |server: &str| !server.is_empty() && !server.starts_with(':');
    if !servers.split(',').all(named) || hosts.contains("://") || hosts.contains(' ') {
        return Err(Failure::usage(format!(
            "`{hosts}` is not a ZooKeeper connect string: expected HOST:PORT,HOST:PORT/CHROOT, for example \
             zk1:2181,zk2:2181/minidynamo"
        )));
    }
    let mut options = ConnectOptions::new(hosts);
    if let Some(timeout) = session_timeout {
        options.session_timeout = timeout;
    }
    Ok(Arc::new(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_strings_are_checked_before_anything_starts() {
        for hosts in ["zk1:2181", "zk1,zk2:2181/a/b", "[::1]:2181"] {
            assert!(zookeeper(hosts, None).is_ok(), "{hosts}");
        }
        for hosts in ["", "/a", "zk1,,zk2", ":2181", "tcp://zk1", "zk1, zk2"] {
            let failure = zookeeper(hosts, None).err().unwrap();
            assert_eq!(failure.exit, 2, "{hosts}");
        }
    }
}
