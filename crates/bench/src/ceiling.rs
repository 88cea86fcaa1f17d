//! The ceiling: what two hops of gRPC allow if nothing is done behind them.
//!
//! ```text
//! client ──one call each──▶ proxy ──one stream, all that waits in a frame──▶ node
//! ```
//!
//! The proxy treats a message as our router treats an operation (crate `links`): it queues it under a number, and
//! whenever the transport can send, everything that has gathered goes out as one frame. The code is one of its own, so
//! that the ceiling does not sink with what it is there to judge.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::Stream;
use load::{Item, Target};
use tokio::sync::oneshot;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::Failure;
use crate::connection::{Connection, answer, origin, request};
use proto::node_client::NodeClient;
use proto::node_server::{Node, NodeServer};
use proto::proxy_client::ProxyClient;
use proto::proxy_server::{Proxy, ProxyServer};
use proto::{Frame, Message, Numbered};

/// What is spoken: `proto/ceiling.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
mod proto {
    tonic::include_proto!("bench.ceiling");
}

/// Flow-control windows as the router's and the data nodes'.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// The node: sends every frame back.
struct Mirror;

#[tonic::async_trait]
impl Node for Mirror {
    type CarryStream = Streaming<Frame>;

    async fn carry(
        &self,
        frames: Request<Streaming<Frame>>,
    ) -> Result<Response<Streaming<Frame>>, Status> {
        Ok(Response::new(frames.into_inner()))
    }
}

/// Runs the node; says on standard output where it listens.
pub async fn run_node() -> Result<(), Failure> {
    let incoming = listen()?;
    server()
        .add_service(NodeServer::new(Mirror))
        .serve_with_incoming(incoming)
        .await
        .map_err(Failure::to("serve"))
}

/// Runs the proxy in front of a node; says on standard output where it listens. Ends with the connection to the node.
pub async fn run_proxy(node: &str) -> Result<(), Failure> {
    let lane = Arc::new(Lane::default());
    let carrying = carry(Arc::clone(&lane), connect(node).await?);
    let serving = server()
        .add_service(ProxyServer::new(Forwarder(lane)))
        .serve_with_incoming(listen()?);
    tokio::select! {
        served = serving => served.map_err(Failure::to("serve")),
        reason = carrying => Err(Failure::new(format!("the node is gone: {reason}"))),
    }
}

fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

#[allow(clippy::print_stdout)] // That is how whoever started this learns the port.
fn listen() -> Result<TcpIncoming, Failure> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let incoming = TcpIncoming::bind(any).map_err(Failure::to("listen"))?;
    let address = incoming.local_addr().map_err(Failure::to("listen"))?;
    println!("ready: http://{address}");
    Ok(incoming.with_nodelay(Some(true)))
}

async fn connect(node: &str) -> Result<NodeClient<Channel>, Failure> {
    let what = || format!("connect to the node at {node}");
    let channel = Endpoint::from_shared(format!("http://{node}"))
        .map_err(Failure::to(what()))?
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect()
        .await
        .map_err(Failure::to(what()))?;
    Ok(NodeClient::new(channel))
}

/// Carries frames to the node and answers from it until the connection ends; says why it did.
async fn carry(lane: Arc<Lane>, mut node: NodeClient<Channel>) -> String {
    let mut frames = match node.carry(Outgoing(Arc::clone(&lane))).await {
        Ok(frames) => frames.into_inner(),
        Err(status) => return status.message().to_owned(),
    };
    loop {
        match frames.message().await {
            Ok(Some(frame)) => lane.complete(frame),
            Ok(None) => return "it closed the stream".to_owned(),
            Err(status) => return status.message().to_owned(),
        }
    }
}

/// What waits to be sent to the node, and what waits for its answer.
#[derive(Debug, Default)]
struct Lane(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    queued: Vec<Numbered>,
    waiting: HashMap<u64, oneshot::Sender<Bytes>>,
    waker: Option<Waker>,
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, content: Bytes) -> oneshot::Receiver<Bytes> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.queued.push(Numbered { number, content });
        state.waiting.insert(number, reply);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        answer
    }

    fn complete(&self, frame: Frame) {
        let mut done = Vec::with_capacity(frame.messages.len());
        let mut state = self.lock();
        for message in frame.messages {
            if let Some(reply) = state.waiting.remove(&message.number) {
                done.push((reply, message.content));
            }
        }
        drop(state);
        for (reply, content) in done {
            // Nobody listens any more if the caller has gone.
            let _ = reply.send(content);
        }
    }
}

/// The frames to the node, made when the transport asks for them.
struct Outgoing(Arc<Lane>);

impl Stream for Outgoing {
    type Item = Frame;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        let mut state = self.0.lock();
        if state.queued.is_empty() {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let messages = std::mem::take(&mut state.queued);
        Poll::Ready(Some(Frame { messages }))
    }
}

/// The proxy's front.
struct Forwarder(Arc<Lane>);

#[tonic::async_trait]
impl Proxy for Forwarder {
    async fn echo(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        let content = self.0.submit(request.into_inner().content).await;
        let content = content.map_err(|_| Status::unavailable("the node is gone"))?;
        Ok(Response::new(Message { content }))
    }
}

/// One connection to the proxy. Whatever is asked, a message of the plan's size goes there and comes back.
#[derive(Debug, Clone)]
pub struct Echo {
    proxy: ProxyClient<Connection>,
    message: Bytes,
}

impl Echo {
    /// Connects to the proxy at `host:port`.
    pub async fn connect(address: &str) -> Result<Self, Failure> {
        let connection = Connection::open(address).await?;
        Ok(Self {
            proxy: ProxyClient::with_origin(connection, origin(address)?),
            message: Bytes::new(),
        })
    }

    /// The same connection for messages of so many bytes.
    #[must_use]
    pub fn with_size(&self, bytes: usize) -> Self {
        Self {
            proxy: self.proxy.clone(),
            message: Bytes::from(vec![7; bytes]),
        }
    }

    async fn echo(&self) -> Result<bool, Status> {
        let mut proxy = self.proxy.clone();
        let message = Message {
            content: self.message.clone(),
        };
        let echoed = answer(proxy.echo(request(message))).await?;
        Ok(echoed.content == self.message)
    }
}

impl Target for Echo {
    type Error = Status;

    fn reason(error: &Status) -> String {
        format!("{:?}", error.code())
    }

    async fn get(&self, _: Bytes) -> Result<bool, Status> {
        self.echo().await
    }

    async fn put(&self, _: Item) -> Result<(), Status> {
        self.echo().await.map(|_| ())
    }

    async fn transact_get(&self, _: Vec<Bytes>) -> Result<bool, Status> {
        self.echo().await
    }

    async fn transact_put(&self, _: Vec<Item>) -> Result<(), Status> {
        self.echo().await.map(|_| ())
    }

    /// There is nothing to be filled.
    async fn put_many(&self, _: Vec<Item>) -> Result<(), Status> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};

    fn content(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn what_gathers_goes_out_as_one_frame_and_answers_find_their_callers() {
        let lane = Arc::new(Lane::default());
        let mut outgoing = Outgoing(Arc::clone(&lane));
        assert!(outgoing.next().now_or_never().is_none());
        let (first, second) = (lane.submit(content("a")), lane.submit(content("b")));
        let mut frame = outgoing.next().now_or_never().flatten().unwrap();
        assert_eq!(frame.messages.len(), 2);
        assert!(outgoing.next().now_or_never().is_none(), "each once");
        frame.messages.reverse();
        lane.complete(frame);
        assert_eq!(first.now_or_never().unwrap().unwrap(), "a");
        assert_eq!(second.now_or_never().unwrap().unwrap(), "b");
        assert!(lane.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn a_message_goes_over_both_hops_and_back() {
        let (node_in, proxy_in) = (listen().unwrap(), listen().unwrap());
        let node = node_in.local_addr().unwrap().to_string();
        let proxy = proxy_in.local_addr().unwrap().to_string();
        let nodes = server().add_service(NodeServer::new(Mirror));
        tokio::spawn(nodes.serve_with_incoming(node_in));
        let lane = Arc::new(Lane::default());
        tokio::spawn(carry(Arc::clone(&lane), connect(&node).await.unwrap()));
        let proxies = server().add_service(ProxyServer::new(Forwarder(lane)));
        tokio::spawn(proxies.serve_with_incoming(proxy_in));
        let target = Echo::connect(&proxy).await.unwrap().with_size(100);
        assert!(target.get(Bytes::new()).await.unwrap());
        let many = futures::future::join_all((0..50).map(|_| target.echo())).await;
        assert!(many.into_iter().all(|echoed| echoed.unwrap()));
    }
}
