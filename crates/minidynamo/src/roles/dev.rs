//! `minidynamo dev`: a whole cluster in one process.
//!
//! The routers and data nodes are the same as elsewhere and talk gRPC to each other, over loopback. Only the
//! coordination store is another one, unless `--zookeeper` is given.
//!
//! | in the data directory | |
//! |---|---|
//! | `coordination` | the embedded coordination store |
//! | `node-1`, `node-2`, … | the data nodes |

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::Client;
use coordination::Connect;
use coordination::embedded::Embedded;
use datanode::DataNodeService;
use futures::future::{join_all, select_all, try_join_all};
use router::RouterService;
use tempfile::TempDir;

use super::health::Probe;
use super::process::{self, Role};
use super::zookeeper::Sessions;
use super::{datanode as node_role, router as router_role};
use crate::cli::Failure;
use crate::config::dev::{Args, Settings};
use crate::config::file::{File, ROUTER_ADMIN_LISTEN, ROUTER_LISTEN};
use crate::config::{self, log, timing, zookeeper};

/// Between two looks at whether the routers know all data nodes.
const POLL: Duration = Duration::from_millis(20);
/// After a start on old data the shards elect their leaders; `dev` waits for that, but not for ever: a shard may have lost its nodes.
const ELECTIONS: Duration = Duration::from_secs(5);

/// Runs the cluster until a signal ends it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let file = File::load(args.common.config.as_deref())?;
    let settings = config::over(&args.settings, &file.dev)?;
    let zookeeper = config::over(&args.zookeeper, &file.zookeeper)?;
    let raft = config::over(&args.raft, &file.raft)?;
    let log = config::over(&args.log, &file.log)?;
    if args.common.print_config {
        return print(settings, zookeeper, raft, log);
    }
    let plan = Plan::of(&settings, &zookeeper, &raft)?;
    let admin_listen = settings.admin_listen.unwrap_or(ROUTER_ADMIN_LISTEN);
    process::run(&log, admin_listen, Dev::start(plan))
}

fn print(
    dev: Settings,
    zookeeper: zookeeper::Settings,
    raft: timing::Raft,
    log: log::Settings,
) -> Result<(), Failure> {
    #[derive(serde::Serialize)]
    struct Sections {
        dev: Settings,
        zookeeper: zookeeper::Settings,
        raft: timing::Raft,
        log: log::Settings,
    }
    config::print(&Sections {
        dev,
        zookeeper,
        raft,
        log,
    })
}

/// What to start.
struct Plan {
    nodes: u32,
    routers: u32,
    data_dir: Option<PathBuf>,
    zookeeper: Option<Arc<Sessions>>,
    listen: SocketAddr,
    tuning: datanode::Tuning,
}

impl Plan {
    fn of(
        settings: &Settings,
        zookeeper: &zookeeper::Settings,
        raft: &timing::Raft,
    ) -> Result<Self, Failure> {
        let defaults = Settings::defaults();
        let count = |given: Option<u32>, default: Option<u32>| given.or(default).unwrap_or(1);
        let listen = settings.listen.unwrap_or(ROUTER_LISTEN);
        if listen.ip().is_unspecified() {
            return Err(Failure::usage(format!(
                "`minidynamo dev` can't listen on all addresses ({listen}): give it one address of this \
                 machine"
            )));
        }
        let hosts = settings.zookeeper.as_deref();
        let sessions = |hosts| Sessions::new(hosts, None, zookeeper);
        let plan = Self {
            nodes: count(settings.nodes, defaults.nodes),
            routers: count(settings.routers, defaults.routers),
            data_dir: settings.data_dir.clone(),
            zookeeper: hosts.map(sessions).transpose()?,
            listen,
            tuning: raft.tuning()?,
        };
        if plan.nodes == 0 || plan.routers == 0 {
            return Err(Failure::usage(
                "`minidynamo dev` needs at least one data node and one router",
            ));
        }
        if plan.nodes == 2 {
            return Err(Failure::usage(
                "no table fits on two data nodes, for each has 3 or 5 replicas, or 1 on a single node: say `--nodes 1`, 3 or more",
            ));
        }
        Ok(plan)
    }

    /// Where each router listens: the first where the user wants it.
    fn router_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let any = SocketAddr::new(self.listen.ip(), 0);
        std::iter::once(self.listen).chain((1..self.routers).map(move |_| any))
    }
}

/// The directory of all data.
enum Directory {
    Given(PathBuf),
    Temporary(TempDir),
}

impl Directory {
    fn of(given: Option<PathBuf>) -> Result<Self, Failure> {
        if let Some(path) = given {
            std::fs::create_dir_all(&path).map_err(|error| {
                Failure::new(format!(
                    "can't make the data directory {}: {error}",
                    path.display()
                ))
            })?;
            return Ok(Self::Given(path));
        }
        tempfile::Builder::new()
            .prefix("minidynamo-dev-")
            .tempdir()
            .map(Self::Temporary)
            .map_err(|error| Failure::new(format!("can't make a temporary directory: {error}")))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }

    fn remove_if_temporary(self) {
        if let Self::Temporary(directory) = self
            && let Err(error) = directory.close()
        {
            tracing::warn!(%error, "the temporary directory could not be removed");
        }
    }
}

/// Data nodes that earlier runs have left and this one does not start.
fn left_out(directory: &Path, nodes: u32) -> usize {
    (nodes + 1..=99)
        .filter(|number| directory.join(format!("node-{number}")).is_dir())
        .count()
}

/// A running cluster.
struct Dev {
    // The order is that of the end: the directory goes last.
    routers: Vec<RouterService>,
    nodes: Vec<DataNodeService>,
    /// None with the embedded store.
    sessions: Option<Arc<Sessions>>,
    directory: Directory,
}

impl Dev {
    async fn start(plan: Plan) -> Result<Self, Failure> {
        let directory = Directory::of(plan.data_dir.clone())?;
        let missing = left_out(directory.path(), plan.nodes);
        if missing > 0 {
            tracing::warn!(
                "{missing} data nodes of earlier runs are not started: shards that need them can't serve; \
                 see --nodes"
            );
        }
        let coordination: Arc<dyn Connect> = match &plan.zookeeper {
            Some(sessions) => sessions.clone(),
            None => embedded(directory.path().join("coordination")).await?,
        };
        // Routers first: a port in use is noticed before any data is touched.
        let mut routers = Vec::new();
        for address in plan.router_addresses() {
            let mut options = router::Options::new(Arc::clone(&coordination), address);
            options.allow_single_replica = plan.nodes == 1;
            routers.push(router_role::start(options).await?);
        }
        let nodes = (1..=plan.nodes).map(|number| {
            let mut options = datanode::Options::new(
                Arc::clone(&coordination),
                directory.path().join(format!("node-{number}")),
                SocketAddr::new(plan.listen.ip(), 0),
            );
            options.tuning = plan.tuning.clone();
            node_role::start(options)
        });
        Ok(Self {
            nodes: try_join_all(nodes).await?,
            routers,
            sessions: plan.zookeeper,
            directory,
        })
    }

    /// Waits until every router counts every node among the live ones, so that the first `create-table` finds
    /// them.
    async fn acquainted(&self) -> Result<(), String> {
        let ids: Vec<_> = self
            .nodes
            .iter()
            .map(|node| node.node_id().to_string())
            .collect();
        let begun = Instant::now();
        for router in &self.routers {
            let client = Client::connect([router.address().to_string()])
                .map_err(|error| error.to_string())?;
            loop {
                let may_elect = begun.elapsed() < ELECTIONS;
                let known = client.status().await.is_ok_and(|status| {
                    let live = |id: &String| {
                        let mut nodes = status.nodes.iter();
                        nodes.any(|node| node.id == *id && node.live && node.reachable)
                    };
                    ids.iter().all(live) && (status.problems.is_empty() || !may_elect)
                });
                if known {
                    break;
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// See [`Sessions::refused`].
    async fn refused(&self) -> String {
        match &self.sessions {
            Some(sessions) => sessions.refused().await,
            None => std::future::pending().await,
        }
    }

    fn addresses(&self) -> Vec<String> {
        let urls = self.routers.iter().map(RouterService::address);
        urls.map(|address| format!("http://{address}")).collect()
    }
}

async fn embedded(directory: PathBuf) -> Result<Arc<dyn Connect>, Failure> {
    let shown = directory.display().to_string();
    let opened = tokio::task::spawn_blocking(move || Embedded::open(directory)).await;
    match opened {
        Ok(Ok(store)) => Ok(Arc::new(store)),
        Ok(Err(error)) => Err(Failure::new(format!(
            "can't open {shown}: {error}; end the process that uses it, or choose another --data-dir"
        ))),
        Err(error) => Err(Failure::new(format!("can't open {shown}: {error}"))),
    }
}

impl Role for Dev {
    async fn ready(&self) -> Result<(), String> {
        let nodes = try_join_all(self.nodes.iter().map(DataNodeService::ready));
        let routers = try_join_all(self.routers.iter().map(RouterService::ready));
        let started = async {
            nodes.await?;
            routers.await.map_err(|error| error.to_string())
        };
        tokio::select! {
            started = started => drop(started?),
            reason = self.refused() => return Err(reason),
        }
        tokio::select! {
            acquainted = self.acquainted() => acquainted,
            reason = self.failed() => Err(reason),
        }
    }

    async fn failed(&self) -> String {
        let nodes = self.nodes.iter().zip(1..).map(|(node, number)| {
            let failed = async move { format!("data node {number}: {}", node.failed().await) };
            Box::pin(failed)
        });
        tokio::select! {
            (reason, ..) = select_all(nodes) => reason,
            reason = self.refused() => reason,
        }
    }

    fn ready_line(&self) -> String {
        format!("ready: router {}", self.addresses().join(" "))
    }

    fn hint(&self) -> String {
        let data = match &self.directory {
            Directory::Given(path) => format!("the data is in {}", path.display()),
            Directory::Temporary(_) => {
                "the data is gone when this ends, unless you give --data-dir".to_owned()
            }
        };
        let address = self.routers.first().map(RouterService::address);
        let router = match address {
            Some(address) if address != ROUTER_LISTEN => format!(" --router http://{address}"),
            _ => String::new(),
        };
        let replicas = if self.nodes.len() >= 3 { 3 } else { 1 };
        format!(
            "{} data nodes; {data}. In another terminal, try:\n\
             \x20 minidynamo{router} create-table people 12 {replicas}\n\
             \x20 minidynamo{router} put people ada 'Ada Lovelace'\n\
             \x20 minidynamo{router} get people ada",
            self.nodes.len()
        )
    }

    fn probes(&self) -> Vec<(String, Probe)> {
        let routers = self.routers.iter().zip(1..);
        let nodes = self.nodes.iter().zip(1..);
        routers
            .map(|(router, number)| (format!("router {number}"), router_role::probe(router)))
            .chain(nodes.map(|(node, number)| {
                let name = format!("data node {number}");
                (name, node_role::probe(node))
            }))
            .collect()
    }

    async fn shutdown(self) {
        // Requests in flight need the nodes, so the routers go first.
        join_all(self.routers.into_iter().map(RouterService::shutdown)).await;
        join_all(self.nodes.into_iter().map(DataNodeService::shutdown)).await;
        self.directory.remove_if_temporary();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(settings: &Settings) -> Result<Plan, Failure> {
        let zookeeper = zookeeper::Settings::defaults();
        Plan::of(settings, &zookeeper, &timing::Raft::defaults())
    }

    #[test]
    fn so_many_nodes_that_no_table_fits_are_refused() {
        for (nodes, fits) in [(0, false), (1, true), (2, false), (3, true), (4, true)] {
            let settings = Settings {
                nodes: Some(nodes),
                ..Settings::defaults()
            };
            assert_eq!(plan(&settings).is_ok(), fits, "{nodes}");
        }
    }

    #[test]
    fn only_the_first_router_listens_where_the_user_says() {
        let settings = Settings {
            routers: Some(3),
            ..Settings::defaults()
        };
        let addresses: Vec<_> = plan(&settings).unwrap().router_addresses().collect();
        let ports: Vec<_> = addresses.iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [7400, 0, 0]);
        assert!(addresses.iter().all(|address| address.ip().is_loopback()));
    }

    #[test]
    fn a_cluster_of_nothing_or_on_all_addresses_is_refused() {
        for settings in [
            Settings {
                nodes: Some(0),
                ..Settings::defaults()
            },
            Settings {
                listen: Some("0.0.0.0:7400".parse().unwrap()),
                ..Settings::defaults()
            },
        ] {
            assert_eq!(plan(&settings).err().unwrap().exit, 2);
        }
    }

    #[test]
    fn a_temporary_directory_is_removed_and_a_given_one_stays() {
        let outer = tempfile::tempdir().unwrap();
        let given = Directory::of(Some(outer.path().join("data"))).unwrap();
        let kept = given.path().to_owned();
        given.remove_if_temporary();
        assert!(kept.is_dir());
        let temporary = Directory::of(None).unwrap();
        let gone = temporary.path().to_owned();
        assert!(gone.is_dir());
        temporary.remove_if_temporary();
        assert!(!gone.exists());
    }

    #[test]
    fn nodes_of_earlier_runs_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        for number in 1..=5 {
            std::fs::create_dir(directory.path().join(format!("node-{number}"))).unwrap();
        }
        assert_eq!(left_out(directory.path(), 3), 2);
        assert_eq!(left_out(directory.path(), 5), 0);
    }
}
