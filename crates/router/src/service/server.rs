//! The gRPC server: our services, `grpc.health.v1`, reflection, limits.

use std::time::Duration;

use api::Error;
use api::v1::cluster_server::ClusterServer;
use api::v1::key_value_server::KeyValueServer;
use api::v1::tables_server::TablesServer;
use environment::Incoming;
use model::limits::MAX_MESSAGE_BYTES;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::util::MapResponseLayer;

use super::Services;
use crate::health::Health;
use crate::options::StartError;

/// Flow-control windows: a stream's takes the largest item at once, a connection's many of them.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Calls in flight on one connection; the transport's own default is 200.
const MAX_CONCURRENT_STREAMS: u32 = 4096;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The future of a running server.
pub(crate) type Serving =
    std::pin::Pin<Box<dyn Future<Output = Result<(), tonic::transport::Error>> + Send>>;

/// Serves on what comes in until `stop`, then finishes what is in flight.
pub(crate) fn serve(
    services: &Services,
    incoming: Incoming,
    health: HealthReporter,
    stop: CancellationToken,
) -> Result<Serving, StartError> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(api::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| StartError::Reflection(error.to_string()))?;
    let health = tonic_health::pb::health_server::HealthServer::new(
        tonic_health::server::HealthService::from_health_reporter(health),
    );
    let server = Server::builder()
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .layer(MapResponseLayer::new(name_oversize))
        .add_service(
            KeyValueServer::new(services.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(TablesServer::new(services.clone()))
        .add_service(ClusterServer::new(services.clone()))
        .add_service(health)
        .add_service(reflection);
    let gone = services.0.closing.clone().drop_guard();
    let incoming = incoming.until(stop.cancelled_owned(), gone);
    // With a signal it lets requests in flight finish; the end of what comes in is that signal.
    let never = std::future::pending();
    Ok(Box::pin(
        server.serve_with_incoming_shutdown(incoming, never),
    ))
}

/// A message over the limit is refused by the transport, as out of range; callers get our own reason.
fn name_oversize<B: Default>(response: http::Response<B>) -> http::Response<B> {
    let code = response.headers().get("grpc-status");
    if code.is_none_or(|code| Code::from_bytes(code.as_bytes()) != Code::OutOfRange) {
        return response;
    }
    oversize().into_http()
}

/// The same of a status that ends a stream.
pub(crate) fn named(status: Status) -> Status {
    if status.code() == Code::OutOfRange {
        oversize()
    } else {
        status
    }
}

fn oversize() -> Status {
    let message = format!("a message has at most {MAX_MESSAGE_BYTES} bytes");
    Error::invalid("message", message).into()
}

/// Makes `grpc.health.v1` say what the router's health is.
pub(crate) async fn report_health(reporter: HealthReporter, mut health: watch::Receiver<Health>) {
    loop {
        let status = if health.borrow_and_update().ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in SERVICES {
            reporter.set_service_status(service, status).await;
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// The names under which health is asked for; the empty one stands for the server.
pub(crate) const SERVICES: [&str; 4] = [
    "",
    "minidynamo.v1.KeyValue",
    "minidynamo.v1.Tables",
    "minidynamo.v1.Cluster",
];
