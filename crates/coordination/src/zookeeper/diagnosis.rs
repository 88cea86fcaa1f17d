//! What is wrong with a TLS connection.
//!
//! The client says only that there is no session. So when there is none, we make a connection of our own and
//! look how far it gets. The last step matters with TLS 1.3, in which a client is done before the server has
//! looked at its certificate: a refusal comes as the first thing to read.

use std::io::{self, ErrorKind, Read as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::tls::check_host;

/// For each step with each server.
const PATIENCE: Duration = Duration::from_secs(1);

/// What there is to say of a list of servers. The reasons name each of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Diagnosis {
    /// With one of them at least, TLS is not the problem.
    Well,
    /// None will do, and some could not be asked.
    Unreachable(String),
    /// Each of them refuses us, or we refuse it.
    Refused(String),
}

/// What is wrong with one server.
enum Problem {
    /// It can't be connected to, or says nothing.
    Unreachable(String),
    /// TLS fails, and will fail again.
    Refused(String),
}

/// Tries all servers, one after the other.
pub(super) async fn diagnose(servers: Vec<(String, u16)>, config: &Arc<ClientConfig>) -> Diagnosis {
    let config = Arc::clone(config);
    let trying = tokio::task::spawn_blocking(move || try_all(&servers, &config));
    // It fails only if the runtime ends.
    trying.await.unwrap_or(Diagnosis::Well)
}

fn try_all(servers: &[(String, u16)], config: &Arc<ClientConfig>) -> Diagnosis {
    let mut reasons = Vec::new();
    let mut all_refused = true;
    for (host, port) in servers {
        let reason = match try_one(host, *port, config) {
            Ok(()) => return Diagnosis::Well,
            Err(Problem::Refused(reason)) => reason,
            Err(Problem::Unreachable(reason)) => {
                all_refused = false;
                reason
            }
        };
        reasons.push(format!("{host}:{port}: {reason}"));
    }
    let reasons = reasons.join("; ");
    if all_refused {
        Diagnosis::Refused(reasons)
    } else {
        Diagnosis::Unreachable(reasons)
    }
}

fn try_one(host: &str, port: u16, config: &Arc<ClientConfig>) -> Result<(), Problem> {
    let refused = |reason: String| Problem::Refused(reason);
    let name = check_host(host).map_err(|error| refused(error.to_string()))?;
    let mut socket = reach(host, port).map_err(Problem::Unreachable)?;
    let tls = ClientConnection::new(Arc::clone(config), name);
    let mut tls = tls.map_err(|error| refused(error.to_string()))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut socket)
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidData => refused(whose(&error)),
                ErrorKind::UnexpectedEof => {
                    refused("it ends the handshake: is this its port for TLS?".to_owned())
                }
                _ => Problem::Unreachable(format!("no TLS handshake: {error}")),
            })?;
    }
    match StreamOwned::new(tls, socket).read(&mut [0]) {
        // Nobody says anything unasked, unless to refuse.
        Err(error) if is_timeout(error.kind()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(refused(whose(&error))),
        Err(error) => Err(Problem::Unreachable(error.to_string())),
        Ok(_) => Err(Problem::Unreachable(
            "it ends the connection after the TLS handshake".to_owned(),
        )),
    }
}

/// Who refuses whom.
fn whose(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::AlertReceived(_)) => format!("it refuses our certificate: {error}"),
        _ => format!("we refuse its certificate: {error}"),
    }
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn reach(host: &str, port: u16) -> Result<TcpStream, String> {
    let addresses = (host, port).to_socket_addrs();
    let addresses = addresses.map_err(|error| format!("unknown host: {error}"))?;
    let mut last = "the host has no address".to_owned();
    for address in addresses {
        let connected = TcpStream::connect_timeout(&address, PATIENCE).and_then(|socket| {
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}
