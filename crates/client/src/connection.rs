//! One HTTP/2 connection to a router.
//!
//! It stands directly on hyper instead of tonic's `Channel` for one reason: when a request fails, hyper
//! says whether it was handed to the connection at all, and h2 whether the router has said that it did not begin
//! with it. That can be sent elsewhere without a doubt, and "certainly not applied" may be said of it. A `Channel` hides that
//! behind its own reconnects.

use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api::v1::key_value_client::KeyValueClient;
use environment::Network;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use lanes::Lane;
use model::limits::MAX_MESSAGE_BYTES;
use tonic::body::Body;

use crate::address::Address;
use crate::operation::Operate;
use crate::stream::Stream;

/// How long one attempt to open a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pings find a peer that is gone without a word. Without them a connection through a network cut would
/// swallow requests until TCP gives up, after a quarter of an hour.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Room for one message of the largest size, so that it needs no second round of flow control.
const STREAM_WINDOW: u32 = MAX_MESSAGE_BYTES as u32;
const CONNECTION_WINDOW: u32 = 2 * STREAM_WINDOW;

/// A request got no answer over its connection.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct SendError {
    /// Whether the router may have begun with the request. `false` is certain.
    pub(crate) maybe_begun: bool,
    /// What happened.
    pub(crate) message: String,
}

/// A handle to the connection; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// For calls.
    pub(crate) requests: Requests,
    /// None where operations are always calls of their own.
    stream: Option<Arc<Stream>>,
}

impl Connection {
    /// Opens a connection. An error means that nothing of any request was sent.
    pub(crate) async fn open(
        network: &dyn Network,
        address: &Address,
        streams: bool,
    ) -> Result<Self, String> {
        let requests = tokio::time::timeout(CONNECT_TIMEOUT, open(network, address))
            .await
            .unwrap_or_else(|_| Err(format!("no connection within {CONNECT_TIMEOUT:?}")))?;
        Ok(Self {
            requests,
            stream: streams.then(Arc::default),
        })
    }

    /// Whether it can take no further request.
    pub(crate) fn is_closed(&self) -> bool {
        let stream = self.stream.as_ref();
        self.requests.0.is_closed() || stream.is_some_and(|stream| stream.is_closing())
    }

    /// The lane of its stream, where that stands; the stub is for the case that it is to be begun.
    pub(crate) fn lane(
        &self,
        stub: impl FnOnce() -> KeyValueClient<Requests>,
    ) -> Option<&Arc<Lane<Operate>>> {
        self.stream.as_ref()?.lane(stub)
    }
}

/// What takes requests to the connection.
#[derive(Debug, Clone)]
pub(crate) struct Requests(SendRequest<Body>);

async fn open(network: &dyn Network, address: &Address) -> Result<Requests, String> {
    let stream = network
        .connect(&address.authority)
        .await
        .map_err(|error| error.to_string())?;
    let (requests, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Ends when the last handle is dropped or the connection breaks; every request on it learns of
    // that by its own error.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(Requests(requests))
}

impl tower::Service<hyper::Request<Body>> for Requests {
    type Response = hyper::Response<Incoming>;
    type Error = SendError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, SendError>> + Send>>;

    /// Always ready: a closed connection shows in the call, where its error keeps its type.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: hyper::Request<Body>) -> Self::Future {
        let answer = self.0.try_send_request(request);
        Box::pin(async move {
            answer.await.map_err(|error| SendError {
                maybe_begun: error.message().is_none() && !is_refusal(error.error()),
                message: describe(error.error()),
            })
        })
    }
}

/// Whether the router has said with `GOAWAY` that it did not begin with the request and never will: it names the last one that it
/// took (RFC 9113, section 8.7). That is met by what is on its way while the router begins to go down.
///
/// `REFUSED_STREAM` should mean the same, but proxies say it of requests that they had passed on.
fn is_refusal(error: &hyper::Error) -> bool {
    let source = error.source();
    let error = source.and_then(|source| source.downcast_ref::<h2::Error>());
    // Of what was taken h2 says that its connection broke. Only of a request whose body has not been sent yet may this be said
    // although its head was taken: hyper then cancels it, and no service begins with a message that did not come.
    error.is_some_and(|error| error.is_go_away() && error.is_remote())
}

/// The error with its causes, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}
