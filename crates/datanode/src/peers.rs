//! The way to the other data nodes: one stream of Raft frames to each.
//!
//! Frames may be lost, Raft sends again. So the queue (`outbox`) to each peer is bounded and drops what does not fit, and nothing
//! is kept for a peer that can't be reached: what it missed is old by the time it is back.

mod outbox;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::internal::PeerFrame;
use environment::Network;
use links::{Client, Timing, channel, client_of};
use model::{NodeId, ShardId};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::{Channel, Error};

use self::outbox::Outbox;
use crate::wire::{self, PeerMessage};

/// Between two attempts to reach a peer.
const RETRY: Duration = Duration::from_millis(100);
/// A stream that lasted so long was one: no attempt to connect takes that long.
const NOTEWORTHY: Duration = Duration::from_secs(2);

/// The links to all other nodes.
pub struct Peers {
    node: NodeId,
    incarnation: u64,
    runtime: Handle,
    network: Arc<dyn Network>,
    links: Mutex<BTreeMap<NodeId, Link>>,
}

struct Link {
    address: String,
    /// For snapshots: on a connection of their own, so that no heartbeat waits behind one.
    bulk: Channel,
    outbox: Arc<Outbox>,
    task: JoinHandle<()>,
}

impl Peers {
    /// No links yet. The tasks run on `runtime`.
    pub fn new(node: NodeId, incarnation: u64, runtime: Handle, network: Arc<dyn Network>) -> Self {
        Self {
            node,
            incarnation,
            runtime,
            network,
            links: Mutex::default(),
        }
    }

    /// Makes the links those of these members, by address `host:port`.
    pub fn set_members(&self, members: &BTreeMap<NodeId, String>) {
        let mut links = self.links.lock();
        links.retain(|node, link| {
            let stays = members.get(node) == Some(&link.address);
            if !stays {
                link.task.abort();
            }
            stays
        });
        for (&node, address) in members.iter().filter(|(node, _)| **node != self.node) {
            if links.contains_key(&node) {
                continue;
            }
            match self.link(node, address.clone()) {
                Ok(link) => {
                    links.insert(node, link);
                }
                Err(error) => {
                    tracing::warn!(%node, address, %error, "a member's address is unusable");
                }
            }
        }
    }

    fn link(&self, node: NodeId, address: String) -> Result<Link, Error> {
        let outbox = Arc::new(Outbox::new(PeerFrame {
            from: self.node.0,
            to: node.0,
            incarnation: self.incarnation,
            messages: Vec::new(),
        }));
        let _context = self.runtime.enter();
        let connection = || channel(&self.network, &address, &timing());
        let (stream, bulk) = (connection()?, connection()?);
        let task = self.runtime.spawn(carry(node, stream, outbox.clone()));
        Ok(Link {
            address,
            bulk,
            outbox,
            task,
        })
    }

    /// Queues messages for a node, or drops what there is no room for. No messages are a frame as well: it says that this node is there.
    pub fn send(&self, to: NodeId, messages: Vec<(ShardId, PeerMessage)>) {
        let links = self.links.lock();
        let Some(link) = links.get(&to) else { return };
        if messages.is_empty() {
            link.outbox.push_sign();
            return;
        }
        let encode = |(shard, message)| wire::encode(shard, message);
        link.outbox.push(messages.into_iter().map(encode));
    }

    /// A connection to a node for snapshots.
    pub fn client(&self, node: NodeId) -> Option<Client> {
        self.links
            .lock()
            .get(&node)
            .map(|link| client_of(link.bulk.clone()))
    }

    /// Ends all links.
    pub fn stop(&self) {
        self.set_members(&BTreeMap::new());
    }
}

/// Of the connections between nodes.
fn timing() -> Timing {
    Timing {
        connect_timeout: Duration::from_secs(1),
        ..Timing::default()
    }
}

/// Carries one peer's frames, over one stream after another.
async fn carry(node: NodeId, channel: Channel, outbox: Arc<Outbox>) {
    loop {
        let begun = Instant::now();
        let ended = client_of(channel.clone()).raft(outbox.frames()).await;
        if begun.elapsed() >= NOTEWORTHY {
            let reason = ended.err().map(|status| status.message().to_owned());
            tracing::info!(%node, reason = reason.unwrap_or_default(), "the stream to a peer has ended");
        }
        tokio::time::sleep(RETRY).await;
    }
}
