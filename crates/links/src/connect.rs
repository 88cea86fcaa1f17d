//! How everybody connects to a data node.

use std::sync::Arc;

use api::internal::data_node_client::DataNodeClient;
use environment::{Network, Socket};
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use model::limits::MAX_MESSAGE_BYTES;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint, Error};
use tower::{Service, service_fn};

use crate::Timing;

/// Flow-control windows of the connection: frames of several operations with large values in both
/// directions.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// A client for unary calls and for the stream.
pub type Client = DataNodeClient<Channel>;

/// A connection to the data node at `host:port` that is made when it is first used, and again after it broke. An
/// error means that the address is none.
pub fn channel(
    network: &Arc<dyn Network>,
    address: &str,
    timing: &Timing,
) -> Result<Channel, Error> {
    Ok(endpoint(address, timing)?.connect_with_connector_lazy(connector(network)))
}

/// The same, but made at once: an error also means that the data node is out of reach.
pub async fn connect(
    network: &Arc<dyn Network>,
    address: &str,
    timing: &Timing,
) -> Result<Channel, Error> {
    endpoint(address, timing)?
        .connect_with_connector(connector(network))
        .await
}

/// A client on a connection, with the system's bound on messages.
pub fn client_of(channel: Channel) -> Client {
    DataNodeClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// Keep-alive finds a node that has gone without a word. The connect timeout bounds the connector, too.
fn endpoint(address: &str, timing: &Timing) -> Result<Endpoint, Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(timing.connect_timeout)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(timing.keep_alive_interval)
        .keep_alive_timeout(timing.keep_alive_timeout)
        .keep_alive_while_idle(true))
}

type Connecting = BoxFuture<'static, std::io::Result<TokioIo<Socket>>>;

/// The network as tonic wants it.
fn connector(
    network: &Arc<dyn Network>,
) -> impl Service<Uri, Response = TokioIo<Socket>, Error = std::io::Error, Future = Connecting>
+ Send
+ 'static {
    let network = Arc::clone(network);
    service_fn(move |uri: Uri| -> Connecting {
        let connecting = network.connect_to(&uri);
        Box::pin(async move { connecting.await.map(TokioIo::new) })
    })
}
