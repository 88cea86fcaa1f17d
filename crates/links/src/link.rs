//! The connection to one data node: made at once, kept, made again with back-off.

use std::sync::Arc;
use std::time::Duration;

use environment::Network;
use lanes::Lane;
use model::NodeId;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::Timing;
use crate::connect::{Client, channel, client_of, connect};
use crate::protocol::{BOUNDS, Operate};

/// One node, as long as it is a member.
#[derive(Debug)]
pub(crate) struct Link {
    node: NodeId,
    pub(crate) lane: Arc<Lane<Operate>>,
    network: Arc<dyn Network>,
    address: watch::Sender<String>,
    client: Mutex<Option<Client>>,
    stop: CancellationToken,
}

impl Link {
    /// Starts the task that keeps the connection.
    pub(crate) fn start(
        network: Arc<dyn Network>,
        node: NodeId,
        address: String,
        timing: Timing,
    ) -> Arc<Self> {
        let lane = Arc::new(Lane::new(BOUNDS));
        let link = Arc::new(Self {
            node,
            lane,
            network,
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
        let channel = channel(&self.network, &self.address.borrow(), timing)?;
        Ok(client_of(channel))
    }

    async fn run(self: Arc<Self>, timing: Timing) {
        let (first_backoff, max_backoff) = timing.reconnect;
        let mut backoff = first_backoff;
        let mut address = self.address.subscribe();
        loop {
            let target = address.borrow_and_update().clone();
            let begin = Instant::now();
            let reason = match connect(&self.network, &target, &timing).await {
                Ok(channel) => tokio::select! {
                    biased;
                    _ = address.changed() => "it has a new address".to_owned(),
                    reason = self.carry(client_of(channel)) => reason,
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
                biased;
                _ = address.changed() => {}
                () = tokio::time::sleep(wait) => {}
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
                Ok(Some(batch)) => self.lane.complete(batch.results),
                Ok(None) => return "the data node closed it".to_owned(),
                Err(status) => return status.message().to_owned(),
            }
        }
    }
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
