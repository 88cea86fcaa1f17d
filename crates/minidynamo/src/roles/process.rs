//! The life of a process, whatever its role.
//!
//! | step | what can cut it short |
//! |---|---|
//! | admin HTTP listens: alive, not ready | its port is in use |
//! | the role starts | a failure; a signal |
//! | it can be used: the line on standard output | a failure; a signal |
//! | it serves | a failure, which ends the process with exit code 1; a signal |
//! | it finishes what is in flight | a second signal |

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::admin;
use super::health::{Probe, Probes};
use super::logging;
use super::signals::Signals;
use crate::cli::Failure;
use crate::config::log;
use crate::output;

/// What a process runs.
pub(super) trait Role {
    /// The threads of its runtime on a machine of so many cores.
    fn runtime_threads(cores: usize) -> usize {
        cores
    }

    /// Returns once it can be used, or can't go on.
    fn ready(&self) -> impl Future<Output = Result<(), String>>;

    /// Returns when it can't go on, with the reason.
    fn failed(&self) -> impl Future<Output = String>;

    /// The line for standard output.
    fn ready_line(&self) -> String;

    /// What a person may want to know next, for standard error. Empty for nothing.
    fn hint(&self) -> String {
        String::new()
    }

    /// How to ask its parts how they are.
    fn probes(&self) -> Vec<(String, Probe)>;

    /// Finishes what is in flight and ends.
    fn shutdown(self) -> impl Future<Output = ()>;
}

/// For threads that are still at work when everything has been shut down.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Runs a role until a signal ends it, or it fails.
pub(super) fn run<R: Role>(
    log: &log::Settings,
    admin_listen: SocketAddr,
    start: impl Future<Output = Result<R, Failure>>,
) -> Result<(), Failure> {
    logging::start(log)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(R::runtime_threads(cores).max(1))
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("can't start: {error}")))?;
    let result = runtime.block_on(live(admin_listen, start));
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

async fn live<R: Role>(
    admin_listen: SocketAddr,
    start: impl Future<Output = Result<R, Failure>>,
) -> Result<(), Failure> {
    let mut signals = Signals::install()?;
    let probes = Arc::new(Probes::default());
    let address = admin::start(admin_listen, Arc::clone(&probes)).await?;
    tracing::info!("admin HTTP listens on http://{address}");
    let role = tokio::select! {
        role = start => role?,
        () = signals.next() => return Ok(()),
    };
    probes.set(role.probes());
    let served = serve(&role, &mut signals).await;
    signals.exit_at_next();
    match &served {
        Ok(()) => tracing::info!("a signal: finishing what is in flight"),
        Err(failure) => tracing::error!("{}; stopping", failure.message),
    }
    role.shutdown().await;
    served
}

/// Until a signal (`Ok`) or a failure.
async fn serve(role: &impl Role, signals: &mut Signals) -> Result<(), Failure> {
    tokio::select! {
        ready = role.ready() => ready.map_err(Failure::new)?,
        () = signals.next() => return Ok(()),
    }
    output::print(&role.ready_line())?;
    let hint = role.hint();
    if !hint.is_empty() {
        eprintln!("{hint}");
    }
    tokio::select! {
        reason = role.failed() => Err(Failure::new(reason)),
        () = signals.next() => Ok(()),
    }
}
