//! A running router: started, asked how it is, shut down.

use std::net::SocketAddr;
use std::sync::Arc;

use model::RouterId;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;
use tracing::{info, warn};

use crate::health::{self, Health};
use crate::options::{Options, StartError};
use crate::service::Services;
use crate::service::server;
use crate::session;
use crate::state::State;

/// The router has been shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the router has been shut down")]
pub struct Stopped;

/// A running router. Dropping it stops it at once; [`shutdown`](Self::shutdown) lets it finish its work.
pub struct RouterService {
    address: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    session: JoinHandle<()>,
    health: JoinHandle<()>,
    stop_server: CancellationToken,
    stop_session: CancellationToken,
}

/// Starts a router. Returns once it listens: a port in use is an error, a coordination store that can't be
/// reached is not. Until it can be, the router is not ready; see [`RouterService::health`].
pub async fn start(options: Options) -> Result<RouterService, StartError> {
    let listen = options.listen;
    check_advertised(&options)?;
    let failed = |source| StartError::Listen {
        address: listen,
        source,
    };
    let network = &options.environment.network;
    let incoming = network.listen(listen).await.map_err(failed)?;
    let address = incoming.local_addr().map_err(failed)?;
    let advertised = options
        .advertise
        .clone()
        .unwrap_or_else(|| address.to_string());

    let state = Arc::new(State::new(options));
    let [stop_server, stop_session] = [(); 2].map(|()| CancellationToken::new());
    let reporter = HealthReporter::new();
    let serving = server::serve(
        &Services(Arc::clone(&state)),
        incoming,
        reporter.clone(),
        stop_server.clone(),
    )?;
    let server = tokio::spawn(serving);
    let health = server::report_health(reporter, state.health.subscribe());
    let health = tokio::spawn(health);
    let session = session::run(Arc::clone(&state), advertised.clone(), stop_session.clone());
    let session = tokio::spawn(session);
    info!(%address, %advertised, "the router listens");
    Ok(RouterService {
        address,
        state,
        server,
        session,
        health,
        stop_server,
        stop_session,
    })
}

fn check_advertised(options: &Options) -> Result<(), StartError> {
    let Some(address) = &options.advertise else {
        if options.listen.ip().is_unspecified() {
            return Err(StartError::NoAdvertisedAddress {
                address: options.listen,
            });
        }
        return Ok(());
    };
    let port = address
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())
        .and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        None | Some(0) => Err(StartError::InvalidAdvertisedAddress {
            address: address.clone(),
        }),
        Some(_) => Ok(()),
    }
}

impl RouterService {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its id in the coordination store: another one for each session, none between sessions.
    pub fn id(&self) -> Option<RouterId> {
        self.state
            .session
            .borrow()
            .as_ref()
            .map(|session| session.router)
    }

    /// How it is, now and from now on.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.state.health.subscribe()
    }

    /// Waits until it can be used.
    pub async fn ready(&self) -> Result<(), Stopped> {
        let mut health = self.health();
        let ready = health.wait_for(|health| health.ready).await;
        ready.map(drop).map_err(|_| Stopped)
    }

    /// Takes no more requests, finishes those in flight as long as [`Timing::shutdown_grace`] allows, waits a little for
    /// transactions that are decided to be applied, resigns as controller and ends the session.
    ///
    /// [`Timing::shutdown_grace`]: crate::Timing::shutdown_grace
    pub async fn shutdown(mut self) {
        health::close(&self.state.health);
        self.stop_server.cancel();
        let grace = self.state.options.timing.shutdown_grace;
        match tokio::time::timeout(grace, &mut self.server).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => warn!(%error, "the server has ended with an error"),
            Ok(Err(error)) => warn!(%error, "the server's task has failed"),
            Err(_) => warn!("some requests in flight were not finished in time"),
        }
        // What callers were told is unknown is known a moment later, mostly. What is not is for others to finish.
        let patience = self.state.options.timing.transactions.decide_timeout;
        let drained = self.state.transactions.drained();
        if tokio::time::timeout(patience, drained).await.is_err() {
            warn!("some transactions are left to other routers");
        }
        self.stop_session.cancel();
        if tokio::time::timeout(session::CLOSE_TIMEOUT, &mut self.session)
            .await
            .is_err()
        {
            warn!("the session with the coordination store was not closed in time: it will expire");
        }
        self.state.nodes.stop();
    }
}

impl Drop for RouterService {
    fn drop(&mut self) {
        self.server.abort();
        self.session.abort();
        self.health.abort();
        self.state.nodes.stop();
        // Connections of clients may hold the state for a while, but not the session.
        self.state.session.send_replace(None);
    }
}
