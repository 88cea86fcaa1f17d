//! The way to the other data nodes: one stream of Raft frames to each.
//!
//! Frames may be lost, Raft sends again. So the queue to each peer is bounded and drops what does not fit, and nothing is
//! kept for a peer that can't be reached: what it missed is old by the time it is back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::internal::{GroupMessage, PeerFrame, group_message::Body};
use environment::Network;
use links::{Client, Timing, channel, client_of};
use model::{NodeId, ShardId, limits};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Error};

use crate::wire::{self, PeerMessage};

/// Frames that wait for a peer, at the most.
const QUEUED_FRAMES: usize = 512;
/// A frame takes no further message beyond so many bytes of entries.
const FRAME_BYTES: usize = limits::MAX_MESSAGE_BYTES / 4;
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
    frames: mpsc::Sender<PeerFrame>,
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
        let (frames, queue) = mpsc::channel(QUEUED_FRAMES);
        let _context = self.runtime.enter();
        let connection = || channel(&self.network, &address, &timing());
        let (stream, bulk) = (connection()?, connection()?);
        let task = self.runtime.spawn(carry(node, stream, queue));
        Ok(Link {
            address,
            bulk,
            frames,
            task,
        })
    }

    /// Queues messages for a node, in frames that are not too large, or drops them. No messages are a frame as well: it says that this
    /// node is there.
    pub fn send(&self, to: NodeId, messages: Vec<(ShardId, PeerMessage)>) {
        let links = self.links.lock();
        let Some(link) = links.get(&to) else { return };
        let is_sign = messages.is_empty();
        let mut frame = Vec::new();
        let mut bytes = 0;
        for (shard, message) in messages {
            let message = wire::encode(shard, message);
            bytes += entry_bytes(&message);
            frame.push(message);
            if bytes >= FRAME_BYTES {
                self.queue(link, to, std::mem::take(&mut frame));
                bytes = 0;
            }
        }
        if !frame.is_empty() || is_sign {
            self.queue(link, to, frame);
        }
    }

    fn queue(&self, link: &Link, to: NodeId, messages: Vec<GroupMessage>) {
        let frame = PeerFrame {
            from: self.node.0,
            to: to.0,
            messages,
            incarnation: self.incarnation,
        };
        // Full: the peer does not keep up, and Raft sends again.
        let _ = link.frames.try_send(frame);
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

fn entry_bytes(message: &GroupMessage) -> usize {
    match &message.body {
        Some(Body::Append(append)) => {
            append
                .entries
                .iter()
                .map(|entry| entry.payload.len() + 32)
                .sum::<usize>()
                + 64
        }
        _ => 64,
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
async fn carry(node: NodeId, channel: Channel, mut queue: mpsc::Receiver<PeerFrame>) {
    loop {
        let begun = Instant::now();
        let (stream, frames) = mpsc::channel(16);
        let mut client = client_of(channel.clone());
        let call = client.raft(ReceiverStream::new(frames));
        tokio::pin!(call);
        let ended = loop {
            tokio::select! {
                biased;
                result = &mut call => break result.err().map(|status| status.message().to_owned()),
                frame = queue.recv() => match frame {
                    None => return,
                    // The stream's own queue is full only while it is being set up or the peer stalls.
                    Some(frame) => drop(stream.try_send(frame)),
                },
            }
        };
        if begun.elapsed() >= NOTEWORTHY {
            tracing::info!(%node, reason = ended.unwrap_or_default(), "the stream to a peer has ended");
        }
        tokio::time::sleep(RETRY).await;
        // What has gathered meanwhile is old.
        while queue.try_recv().is_ok() {}
    }
}
