//! One HTTP/2 connection, directly on hyper as that of the client library, so that no system has a slower way out of
//! the generator than another.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tonic::Status;
use tonic::body::Body;

use crate::Failure;

/// The client library's deadline for an operation.
const DEADLINE: Duration = Duration::from_secs(5);
const STREAM_WINDOW: u32 = 8 << 20;

/// A handle to the connection; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    requests: SendRequest<Body>,
}

impl Connection {
    /// Connects to `host:port`.
    pub(crate) async fn open(address: &str) -> Result<Self, Failure> {
        let what = format!("connect to {address}");
        let stream = TcpStream::connect(address)
            .await
            .map_err(Failure::to(&what))?;
        stream.set_nodelay(true).map_err(Failure::to(&what))?;
        let (requests, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(2 * STREAM_WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Failure::to(&what))?;
        // Ends when the last handle is dropped or the connection breaks; every request on it learns of that by its own
        // error.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { requests })
    }
}

impl tower::Service<hyper::Request<Body>> for Connection {
    type Response = hyper::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: hyper::Request<Body>) -> Self::Future {
        Box::pin(self.requests.send_request(request))
    }
}

/// A request with the deadline that the client library gives its own.
pub(crate) fn request<M>(message: M) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// Waits for an answer as long as the client library would.
pub(crate) async fn answer<A>(
    call: impl Future<Output = Result<tonic::Response<A>, Status>>,
) -> Result<A, Status> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

/// What the generated clients put in front of their paths.
pub(crate) fn origin(address: &str) -> Result<tonic::codegen::http::Uri, Failure> {
    format!("http://{address}")
        .parse()
        .map_err(Failure::to(format!("use the address {address}")))
}
