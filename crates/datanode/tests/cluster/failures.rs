//! A node that has lost a part that it can't do without ends, and says so.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use coordination::{Connect, Coordination, Error};
use datanode::DataNodeService;
use environment::{Incoming, Listen, Network, Socket, Tcp};
use futures::future::BoxFuture;

use crate::support::{Cluster, listen_anywhere};

const SOON: Duration = Duration::from_secs(10);

async fn reason_of(node: &DataNodeService) -> String {
    tokio::time::timeout(SOON, node.failed()).await.unwrap()
}

/// A way to the coordination store with a bug in it.
struct Panics;

#[async_trait::async_trait]
impl Connect for Panics {
    #[allow(clippy::panic)] // It is the bug.
    async fn connect(&self) -> Result<Arc<dyn Coordination>, Error> {
        panic!("on purpose")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_keeper_is_gone_ends() {
    let dir = tempfile::tempdir().unwrap();
    let options = datanode::Options::new(Arc::new(Panics), dir.path().into(), listen_anywhere());
    let node = datanode::start(options).await.unwrap();
    assert_eq!(
        reason_of(&node).await,
        "the keeper of the node has panicked"
    );
    assert!(node.ready().await.is_err());
    node.shutdown().await;
}

/// TCP, until the listener breaks.
#[derive(Debug, Clone, Default)]
struct Fragile {
    broken: Arc<AtomicBool>,
}

impl Network for Fragile {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Socket>> {
        Tcp.connect(address)
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Incoming>> {
        let (listening, broken) = (Tcp.listen(address), self.broken.clone());
        Box::pin(async move {
            let listener = listening.await?;
            Ok(Incoming::new(FragileListener { listener, broken }))
        })
    }
}

struct FragileListener {
    listener: Incoming,
    broken: Arc<AtomicBool>,
}

impl Listen for FragileListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        assert!(!self.broken.load(Ordering::Relaxed), "on purpose");
        let next = futures::Stream::poll_next(std::pin::Pin::new(&mut self.listener), cx);
        next.map(|next| next.unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into())))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_serve_any_more_ends() {
    let network = Fragile::default();
    let cluster = Cluster::start(0).await;
    let mut options = cluster.options(0);
    options.environment.network = Arc::new(network.clone());
    let node = datanode::start(options).await.unwrap();
    node.ready().await.unwrap();
    network.broken.store(true, Ordering::Relaxed);
    // The listener is looked at when there is somebody at the door.
    let _ = tokio::net::TcpStream::connect(node.address()).await;
    let reason = reason_of(&node).await;
    assert_eq!(reason, "the gRPC server of the node has panicked");
    assert!(node.ready().await.is_err(), "it does not look alive");
    node.shutdown().await;
}
