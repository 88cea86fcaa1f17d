//! The end of a connection on the side that took it.
//!
//! Who closes a connection while there are bytes from the peer that nobody has read has it reset, and the peer, which meets that
//! when it sends something, gives up what it has not read by then: answers, and the word that its last request was not taken. So
//! the end is told first, and then what comes in is read and thrown away until the peer ends its side as well, for a while.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::Sleep;

use super::Stream;

/// For the peer to end its side. Also what a peer that is gone without a word costs.
const LONGEST: Duration = Duration::from_secs(2);
/// Thrown away at once.
const PIECE_BYTES: usize = 4096;

/// Shuts a connection down as the [module](self) says.
#[derive(Default)]
pub(super) struct Lingering {
    /// Once the end has been told to the peer: how long it is waited for.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Lingering {
    pub(super) fn poll_shutdown(
        &mut self,
        mut stream: &mut dyn Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.patience.is_none() {
            ready!(Pin::new(&mut stream).poll_shutdown(cx))?;
            self.patience = Some(Box::pin(tokio::time::sleep(LONGEST)));
        }
        // First, for what a peer sends without an end may take all that this task may do at once.
        if let Some(patience) = &mut self.patience
            && patience.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Ok(()));
        }
        poll_end(stream, cx).map(Ok)
    }
}

/// Throws away what comes in. Ready once the peer has ended its side, or the connection has broken.
fn poll_end(mut stream: &mut dyn Stream, cx: &mut Context<'_>) -> Poll<()> {
    let mut bytes = [0; PIECE_BYTES];
    loop {
        let mut piece = ReadBuf::new(&mut bytes);
        let read = ready!(Pin::new(&mut stream).poll_read(cx, &mut piece));
        if read.is_err() || piece.filled().is_empty() {
            return Poll::Ready(());
        }
    }
}
