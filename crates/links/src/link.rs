//! The connection to one data node: made at once, kept, made again with back-off.

use std::sync::Arc;
use std::time::Duration;

use api::internal::data_node_client::DataNodeClient;
use model::limits::MAX_MESSAGE_BYTES;
use model::{NodeId, limits};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tracing::{debug, warn};

use crate::Timing;
use crate::lane::{Bounds, Lane};

/// Flow-control windows of the connection: frames of several operations with large values in both
/// directions.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// A client for unary calls and for the stream.
pub type Client = DataNodeClient<Channel>;

/// One node, as long as it is a member.
#[derive(Debug)]
pub(crate) struct Link {
    node: NodeId,
    pub(crate) lane: Arc<Lane>,
    address: watch::Sender<String>,
    client: Mutex<Option<Client>>,
    stop: CancellationToken,
}

impl Link {
    /// Starts the task that keeps the connection.
    pub(crate) fn start(node: NodeId, address: String, timing: Timing) -> Arc<Self> {
        let lane = Arc::new(Lane::new(Bounds {
            operations: limits::MAX_NODE_OPERATIONS,
            bytes: limits::MAX_NODE_BYTES / 2,
        }));
        let link = Arc::new(Self {
            node,
            lane,
            address: watch::Sender::new(address),
            client: Mutex::new(None),
            stop: CancellationToken::new(),
        });
        let run = Arc::clone(&link).run(timing);
        tokio::spawn(link.stop.clone().run_until_cancelled_owned(run));
        link
    }

    /// The node is to be found somewhere else now.
    pub(crate) fn moved(&self, address: &str) {
        self.address.send_if_modified(|current| {
            let differs = current != address;
            if differs {
                address.clone_into(current);
            }
            differs
        });
    }

    /// Ends the connection and the task. Nothing is taken in any more.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
        self.lane.close();
        *self.client.lock() = None;
    }

    /// A client for unary calls: over the connection that is there, else over one that it makes itself.
    pub(crate) fn client(&self, timing: &Timing) -> Result<Client, tonic::transport::Error> {
        if let Some(client) = self.client.lock().clone() {
            return Ok(client);
        }
        let channel = endpoint(&self.address.borrow(), timing)?.connect_lazy();
        Ok(client_of(channel))
    }

    async fn run(self: Arc<Self>, timing: Timing) {
        let (first_backoff, max_backoff) = timing.reconnect;
        let mut backoff = first_backoff;
        let mut address = self.address.subscribe();
        loop {
            let target = address.borrow_and_update().clone();
            let begin = Instant::now();
            let reason = match connect(&target, &timing).await {
                Ok(client) => tokio::select! {
                    reason = self.carry(client) => reason,
                    _ = address.changed() => "it has a new address".to_owned(),
                },
                Err(error) => deepest(&error),
            };
            *self.client.lock() = None;
            self.lane.close();
            // A connection that lasted is not one of a row of failures.
            if begin.elapsed() > max_backoff + timing.connect_timeout {
                backoff = first_backoff;
            }
            if backoff == first_backoff {
                warn!(node = %self.node, address = %target, %reason, "no connection to the data node, trying again");
            }
            let wait = jittered(backoff);
            backoff = (backoff * 2).min(max_backoff);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = address.changed() => {}
            }
        }
    }

    /// Carries operations and answers until the connection ends; says why it did.
    async fn carry(&self, mut client: Client) -> String {
        debug!(node = %self.node, "connected to the data node");
        *self.client.lock() = Some(client.clone());
        let outgoing = self.lane.outgoing();
        let answers = match client.operate(outgoing).await {
            Ok(answers) => answers,
            Err(status) => return status.message().to_owned(),
        };
        let mut answers = answers.into_inner();
        loop {
            match answers.message().await {
                Ok(Some(batch)) => self.lane.complete(batch),
                Ok(None) => return "the data node closed it".to_owned(),
                Err(status) => return status.message().to_owned(),
            }
        }
    }
}

async fn connect(address: &str, timing: &Timing) -> Result<Client, tonic::transport::Error> {
    let channel = endpoint(address, timing)?.connect().await?;
    Ok(client_of(channel))
}

/// How everybody connects to a data node: keep-alive finds one that has gone without a word.
pub fn endpoint(address: &str, timing: &Timing) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(timing.connect_timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(timing.keep_alive_interval)
        .keep_alive_timeout(timing.keep_alive_timeout)
        .keep_alive_while_idle(true))
}

/// A client on a connection, with the system's bound on messages.
pub fn client_of(channel: Channel) -> Client {
    DataNodeClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// Half to all of it, so that many routers don't come back to a node in step.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.5..=1.0))
}

/// The innermost source: a transport error alone says little.
fn deepest(error: &tonic::transport::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(next) = source.source() {
        source = next;
    }
    source.to_string()
}
