use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, poll};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::*;

async fn listening() -> (Incoming, SocketAddr) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let incoming = Tcp.listen(any).await.unwrap();
    let address = incoming.local_addr().unwrap();
    (incoming, address)
}

async fn connected() -> (Socket, TcpStream) {
    let (mut incoming, address) = listening().await;
    let peer = TcpStream::connect(address).await.unwrap();
    (incoming.next().await.unwrap().unwrap(), peer)
}

/// Answers, and ends the connection.
async fn answer(mut socket: Socket) {
    socket.write_all(b"answer").await.unwrap();
    socket.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_ends_is_not_reset_by_what_nobody_has_read() {
    let (socket, mut peer) = connected().await;
    peer.write_all(b"too late").await.unwrap();
    let answering = tokio::spawn(answer(socket));
    let mut heard = String::new();
    peer.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "answer");
    peer.write_all(b"later yet").await.unwrap();
    assert!(!answering.is_finished(), "it waits for the peer's end");
    drop(peer);
    // Long before it would have given up.
    let limit = Duration::from_secs(1);
    tokio::time::timeout(limit, answering)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_peer_that_does_not_end_a_connection_is_waited_for_a_while() {
    let (socket, peer) = connected().await;
    let begin = Instant::now();
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, answer(socket)).await.unwrap();
    assert!(begin.elapsed() > Duration::from_secs(1));
    drop(peer);
}

/// Looks for somebody who listens.
struct Knocks(SocketAddr, Arc<Mutex<Vec<io::Result<()>>>>);

impl Drop for Knocks {
    fn drop(&mut self) {
        let answer = std::net::TcpStream::connect(self.0);
        self.1.lock().unwrap().push(answer.map(drop));
    }
}

#[tokio::test]
async fn connections_that_stand_when_a_listener_stops_are_taken_first() {
    let (incoming, address) = listening().await;
    let (stop, stopped) = oneshot::channel::<()>();
    let answers = Arc::default();
    let knocks = Knocks(address, Arc::clone(&answers));
    let stopped = async move {
        let _ = stopped.await;
    };
    let mut incoming = incoming.until(stopped, knocks);
    assert!(poll!(incoming.next()).is_pending());
    let mut peers = Vec::new();
    for _ in 0..3 {
        // Without the runtime, which so does not know of them yet.
        peers.push(std::net::TcpStream::connect(address).unwrap());
    }
    drop(stop);
    let mut sockets = Vec::new();
    while let Some(socket) = incoming.next().await {
        sockets.push(socket.unwrap());
    }
    assert_eq!(sockets.len(), 3);
    assert!(poll!(incoming.next()).is_pending());
    drop(incoming);
    let [Err(refused)] = &answers.lock().unwrap()[..] else {
        panic!("somebody listens still");
    };
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

/// What a process without file descriptors hears.
struct Exhausted;

impl Listen for Exhausted {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn poll_accept(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()))
    }
}

#[tokio::test]
async fn a_listener_that_only_fails_can_be_stopped() {
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move {
        let _ = stopped.await;
    };
    let mut incoming = Incoming::new(Exhausted).until(stopped, ());
    assert!(incoming.next().await.unwrap().is_err());
    drop(stop);
    let mut ends = false;
    for _ in 0..10 {
        ends |= incoming.next().await.is_none();
        tokio::task::yield_now().await;
    }
    assert!(ends);
}
