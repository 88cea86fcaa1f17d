//! The end of a connection on the side that took it.
//!
//! Who closes a connection while there are bytes from the peer that nobody has read has it reset, and the peer, which meets that
//! when it sends something, gives up what it has not read by then: answers, and the word that its last request was not taken. So
//! the end is told first, and then what comes in is read and thrown away until the peer ends its side as well, for a while.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// For the peer to end its side. Also what a peer that is gone without a word costs.
const LONGEST: Duration = Duration::from_secs(2);
/// Thrown away at once.
const PIECE_BYTES: usize = 4096;

/// A connection that is shut down as the [module](self) says.
pub(super) struct Lingering<S> {
    stream: S,
    /// Once the end has been told to the peer: how long it is waited for.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        let patience = None;
        Self { stream, patience }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.patience.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.patience = Some(Box::pin(tokio::time::sleep(LONGEST)));
        }
        // First, for what a peer sends without an end may take all that this task may do at once.
        if let Some(patience) = &mut this.patience
            && patience.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Ok(()));
        }
        poll_end(&mut this.stream, cx).map(Ok)
    }
}

/// Throws away what comes in. Ready once the peer has ended its side, or the connection has broken.
fn poll_end(stream: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<()> {
    let mut bytes = [0; PIECE_BYTES];
    loop {
        let mut piece = ReadBuf::new(&mut bytes);
        let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut piece));
        if read.is_err() || piece.filled().is_empty() {
            return Poll::Ready(());
        }
    }
}
