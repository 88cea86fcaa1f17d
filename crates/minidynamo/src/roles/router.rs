//! `minidynamo router`

use std::sync::Arc;

use router::RouterService;

use super::health::{Health, Probe};
use super::process::{self, Role};
use super::zookeeper::Sessions;
use crate::cli::Failure;
use crate::config::file::{File, ROUTER_ADMIN_LISTEN, ROUTER_LISTEN};
use crate::config::router::{Args, Settings};
use crate::config::{self, log, zookeeper};

/// Runs a router until a signal ends it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let file = File::load(args.common.config.as_deref())?;
    let settings = config::over(&args.settings, &file.router)?;
    let zookeeper = config::over(&args.zookeeper, &file.zookeeper)?;
    let log = config::over(&args.log, &file.log)?;
    if args.common.print_config {
        return print(settings, zookeeper, log);
    }
    let hosts = config::required(settings.zookeeper, "router", "zookeeper")?;
    let sessions = Sessions::new(&hosts, settings.session_timeout, &zookeeper)?;
    let listen = settings.listen.unwrap_or(ROUTER_LISTEN);
    config::check_advertise(listen, settings.advertise.as_deref())?;
    let mut options = router::Options::new(sessions.clone(), listen);
    options.advertise = settings.advertise;
    let admin_listen = settings.admin_listen.unwrap_or(ROUTER_ADMIN_LISTEN);
    process::run(&log, admin_listen, async {
        let service = start(options).await?;
        Ok(Router { service, sessions })
    })
}

fn print(
    router: Settings,
    zookeeper: zookeeper::Settings,
    log: log::Settings,
) -> Result<(), Failure> {
    #[derive(serde::Serialize)]
    struct Sections {
        router: Settings,
        zookeeper: zookeeper::Settings,
        log: log::Settings,
    }
    config::print(&Sections {
        router,
        zookeeper,
        log,
    })
}

/// Starts the service; says which flag helps when the port is in use.
pub(super) async fn start(options: router::Options) -> Result<RouterService, Failure> {
    let listening = |error: &router::StartError| matches!(error, router::StartError::Listen { .. });
    router::start(options).await.map_err(|error| {
        let advice = if listening(&error) {
            "; choose another --listen, port 0 is any free one"
        } else {
            ""
        };
        Failure::new(format!("{error}{advice}"))
    })
}

/// How a router is asked how it is.
pub(super) fn probe(service: &RouterService) -> Probe {
    let health = service.health();
    Box::new(move || {
        let health = health.borrow();
        Health {
            ready: health.ready,
            reason: health.reason.clone(),
        }
    })
}

struct Router {
    service: RouterService,
    sessions: Arc<Sessions>,
}

impl Role for Router {
    async fn ready(&self) -> Result<(), String> {
        tokio::select! {
            ready = self.service.ready() => ready.map_err(|error| error.to_string()),
            reason = self.sessions.refused() => Err(reason),
        }
    }

    /// A router that was ready once outlives everything but its end.
    async fn failed(&self) -> String {
        self.sessions.refused().await
    }

    fn ready_line(&self) -> String {
        format!("ready: router http://{}", self.service.address())
    }

    fn probes(&self) -> Vec<(String, Probe)> {
        vec![("router".to_owned(), probe(&self.service))]
    }

    async fn shutdown(self) {
        self.service.shutdown().await;
    }
}
