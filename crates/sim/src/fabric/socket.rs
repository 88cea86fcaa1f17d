//! The network as a process sees it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use environment::{Incoming, Listen, Network, Socket};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pipe::End;
use super::{Fabric, HostId, Listener};

/// The network of one process.
#[derive(Clone)]
pub struct HostNetwork {
    fabric: Fabric,
    end: End,
}

impl fmt::Debug for HostNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostNetwork").field(&self.end).finish()
    }
}

impl HostNetwork {
    pub(super) fn new(fabric: Fabric, host: HostId, process: u64) -> Self {
        Self {
            fabric,
            end: (host, process),
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection was reset")
}

impl Network for HostNetwork {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Socket>> {
        let Ok(address) = address.parse::<SocketAddr>() else {
            let error = io::Error::new(io::ErrorKind::NotFound, format!("no host `{address}`"));
            return Box::pin(std::future::ready(Err(error)));
        };
        let answer = self.fabric.ask_to_connect(self.end, address);
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(gone())) })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Incoming>> {
        let listening = self.listen_now(address);
        Box::pin(std::future::ready(listening))
    }
}

impl HostNetwork {
    fn listen_now(&self, address: SocketAddr) -> io::Result<Incoming> {
        let mut state = self.fabric.state.lock();
        let host = state.hosts.entry(self.end.0).or_default();
        if host.listeners.contains_key(&address.port()) {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        host.listeners.insert(address.port(), Listener::default());
        Ok(Incoming::new(Listening {
            fabric: self.fabric.clone(),
            end: self.end,
            address,
        }))
    }
}

struct Listening {
    fabric: Fabric,
    end: End,
    address: SocketAddr,
}

impl Listen for Listening {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        let mut state = self.fabric.state.lock();
        if !state.is_running(self.end.0, self.end.1) {
            return Poll::Pending;
        }
        let host = state.hosts.get_mut(&self.end.0);
        let Some(listener) = host.and_then(|host| host.listeners.get_mut(&self.address.port()))
        else {
            return Poll::Pending;
        };
        if let Some(socket) = listener.accepted.pop_front() {
            return Poll::Ready(Ok(socket));
        }
        listener.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = self.fabric.state.lock();
        if state.is_running(self.end.0, self.end.1) {
            let host = state.hosts.get_mut(&self.end.0);
            let dropped = host.and_then(|host| host.listeners.remove(&self.address.port()));
            // Its sockets lock the state when they are dropped.
            drop(state);
            drop(dropped);
        }
    }
}

/// One end of a connection.
pub(super) struct Connection {
    pub(super) fabric: Fabric,
    pub(super) end: End,
    pub(super) peer: HostId,
    pub(super) reads: u64,
    pub(super) writes: u64,
    pub(super) finished: bool,
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.fabric.state.lock();
        let Some(pipe) = state.pipes.get_mut(&self.reads) else {
            return Poll::Ready(Err(gone()));
        };
        if pipe.has_arrived() {
            pipe.take(buffer.remaining(), |bytes| buffer.put_slice(bytes));
            let writer = pipe.writer.take();
            drop(state);
            if let Some(writer) = writer {
                writer.wake();
            }
            return Poll::Ready(Ok(()));
        }
        if pipe.reader_broken {
            return Poll::Ready(Err(gone()));
        }
        if pipe.ended {
            return Poll::Ready(Ok(()));
        }
        pipe.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.fabric.state.lock();
        if !state.is_running(self.end.0, self.end.1) {
            return Poll::Pending;
        }
        let Some(pipe) = state.pipes.get_mut(&self.writes) else {
            // The peer reads no more. What is written to it is lost in silence, and if its machine is there
            // it says so.
            return match state.pipes.get(&self.reads) {
                Some(back) if !back.reader_broken => {
                    state.answer_with_reset(self.peer, self.reads);
                    Poll::Ready(Ok(bytes.len()))
                }
                _ => Poll::Ready(Err(gone())),
            };
        };
        if pipe.writer_broken {
            return Poll::Ready(Err(gone()));
        }
        let taken = bytes.len().min(pipe.room());
        if taken == 0 && !bytes.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.send(self.writes, Bytes::copy_from_slice(&bytes[..taken]));
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl Connection {
    fn finish(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let mut state = self.fabric.state.lock();
        if state.is_running(self.end.0, self.end.1) {
            state.finish(self.writes);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.finish();
        let mut state = self.fabric.state.lock();
        if !state.is_running(self.end.0, self.end.1) {
            return;
        }
        // Nobody reads the other direction any more: its writer gets an error once it hears of it, which
        // the end of this direction tells it.
        let dropped = state.pipes.remove(&self.reads);
        if let Some(pipe) = state.pipes.get_mut(&self.writes) {
            pipe.orphaned = true;
        }
        drop(state);
        if let Some(writer) = dropped.and_then(|pipe| pipe.writer) {
            writer.wake();
        }
    }
}
