//! Connections between processes.

mod lingering;

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Fuse};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::Connected;

use lingering::Lingering;

/// Makes connections and takes them.
pub trait Network: fmt::Debug + Send + Sync + 'static {
    /// Connects to `host:port`. Waits as long as the network lets it: callers bound it.
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Socket>>;

    /// Listens on an address; port 0 takes any free one.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Incoming>>;
}

/// The bytes of one connection, in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// One connection. Small writes are sent at once.
pub struct Socket {
    stream: Box<dyn Stream>,
    /// Where it waits for the peer's end.
    lingering: Option<Lingering>,
}

impl Socket {
    /// A connection over any stream.
    pub fn new(stream: impl Stream) -> Self {
        Self {
            stream: Box::new(stream),
            lingering: None,
        }
    }

    /// When it is shut down it waits for the peer's end, so that what the peer has not read by then is not lost.
    fn lingering(self) -> Self {
        let lingering = Some(Lingering::default());
        Self { lingering, ..self }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match &mut this.lingering {
            Some(lingering) => lingering.poll_shutdown(&mut *this.stream, cx),
            None => Pin::new(&mut *this.stream).poll_shutdown(cx),
        }
    }
}

/// Nothing about the peer is handed to the service.
impl Connected for Socket {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// Takes connections in.
pub trait Listen: Send + Unpin + 'static {
    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The next connection.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>>;
}

/// A listener, as the stream of connections that gRPC servers take.
pub struct Incoming(Box<dyn Listen>);

impl Incoming {
    /// Over any listener.
    pub fn new(listener: impl Listen) -> Self {
        Self(Box::new(listener))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Ends at that signal, but takes first what has come until then: peers whose connections stand, and which may have sent
    /// something already, would have them reset. `gone` is dropped when nobody listens any more: a peer that hears of that, and
    /// comes again, is refused, and knows that nothing that it sends has arrived.
    pub fn until<G>(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
        gone: G,
    ) -> UntilStopped<G> {
        let stop = async move {
            stop.await;
            // What has come is known once the runtime has asked the system again: mostly by then.
            tokio::task::yield_now().await;
        };
        UntilStopped {
            incoming: self,
            stop: stop.boxed().fuse(),
            _gone: gone,
        }
    }
}

impl futures::Stream for Incoming {
    type Item = io::Result<Socket>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_accept(cx).map(Some)
    }
}

/// Made by [`Incoming::until`].
pub struct UntilStopped<G> {
    incoming: Incoming,
    stop: Fuse<BoxFuture<'static, ()>>,
    /// Behind the listener, for fields are dropped in this order.
    _gone: G,
}

impl<G: Unpin> futures::Stream for UntilStopped<G> {
    type Item = io::Result<Socket>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let taken = self.incoming.0.poll_accept(cx);
        // Errors may go on for as long as connections stay open.
        if !matches!(taken, Poll::Ready(Ok(_))) && self.stop.poll_unpin(cx).is_ready() {
            return Poll::Ready(None);
        }
        taken.map(Some)
    }
}

/// TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Network for Tcp {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Socket>> {
        let address = address.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            // Small requests must not wait for the acknowledgement of earlier ones.
            stream.set_nodelay(true)?;
            Ok(Socket::new(stream))
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Incoming>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            Ok(Incoming::new(listener))
        })
    }
}

impl Listen for TcpListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        TcpListener::poll_accept(self, cx).map(|accepted| {
            let (stream, _) = accepted?;
            // Nor must small answers.
            stream.set_nodelay(true)?;
            Ok(Socket::new(stream).lingering())
        })
    }
}

/// A network as tonic's and hyper's connectors want it: a function from an authority to a connection.
impl dyn Network {
    /// Connects to the authority of a URI; an error where it has none.
    pub fn connect_to(
        self: &Arc<Self>,
        uri: &tonic::codegen::http::Uri,
    ) -> BoxFuture<'static, io::Result<Socket>> {
        match uri.authority() {
            Some(authority) => self.connect(authority.as_str()),
            None => Box::pin(std::future::ready(Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{uri}` names no host"),
            )))),
        }
    }
}

#[cfg(test)]
mod tests;
