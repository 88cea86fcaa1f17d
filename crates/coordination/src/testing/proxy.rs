//! A TCP proxy that loses and delays, to stand between a client and a server.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes TCP connections on to a server, and fails in the ways that a network fails in. Ends when it is
/// dropped.
pub struct Proxy {
    port: u16,
    faults: Arc<watch::Sender<Faults>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Faults {
    /// New connections are refused, by closing them.
    refuses: bool,
    /// What the client sends is held back.
    holds_requests: bool,
    /// What the server sends is held back.
    holds_answers: bool,
    /// Counts the cuts: connections of before a cut are dead.
    cuts: u64,
}

impl Proxy {
    /// A proxy to a port of the loopback interface.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let faults = Arc::new(watch::Sender::new(Faults::default()));
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&faults)));
        Self {
            port,
            faults,
            accepting,
        }
    }

    /// `127.0.0.1:port`, to connect to instead of the server.
    pub fn hosts(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Breaks all connections. What was held back is lost. New ones can be made at once.
    pub fn cut(&self) {
        self.faults.send_modify(|faults| faults.cuts += 1);
    }

    /// Breaks all connections and refuses new ones until [`Self::restore`].
    pub fn cut_off(&self) {
        self.faults.send_modify(|faults| {
            faults.refuses = true;
            faults.cuts += 1;
        });
    }

    /// Holds back what clients send, until [`Self::restore`] or a cut.
    pub fn hold_requests(&self) {
        self.faults
            .send_modify(|faults| faults.holds_requests = true);
    }

    /// Holds back what the server sends, until [`Self::restore`] or a cut.
    pub fn hold_answers(&self) {
        self.faults
            .send_modify(|faults| faults.holds_answers = true);
    }

    /// No more faults; what was held back is passed on.
    pub fn restore(&self) {
        self.faults.send_modify(|faults| {
            *faults = Faults {
                cuts: faults.cuts,
                ..Faults::default()
            };
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, server: u16, faults: Arc<watch::Sender<Faults>>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let now = *faults.borrow();
        if now.refuses {
            continue;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
            continue;
        };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let requests = pass(from_client, to_server, faults.subscribe(), now.cuts, |f| {
            f.holds_requests
        });
        let answers = pass(from_server, to_client, faults.subscribe(), now.cuts, |f| {
            f.holds_answers
        });
        // The first direction that ends takes the other one with it.
        tokio::spawn(async move {
            tokio::select! {
                () = requests => {}
                () = answers => {}
            }
        });
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut faults: watch::Receiver<Faults>,
    born: u64,
    held: fn(&Faults) -> bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut faults_of_cut = faults.clone();
    let cut = faults_of_cut.wait_for(|faults| faults.cuts != born);
    let passing = async {
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if faults.wait_for(|faults| !held(faults)).await.is_err() {
                return;
            }
            if to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = cut => {}
        () = passing => {}
    }
}
