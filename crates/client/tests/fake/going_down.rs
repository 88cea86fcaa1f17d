//! A router that goes down just when the first request comes: of HTTP/2 it knows the frames by which that ends.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::fresh_address;

/// How the first request of a connection, its stream 1, is ended, before the connection is closed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// `GOAWAY`, and no stream was taken.
    GoAwayBefore,
    /// `GOAWAY`, and the request was taken.
    GoAwayBehind,
    /// `RST_STREAM` with `REFUSED_STREAM`, as proxies say also of what they had passed on.
    Refused,
    /// `RST_STREAM` with `INTERNAL_ERROR`.
    Broken,
}

impl End {
    fn frame(self) -> Vec<u8> {
        match self {
            Self::GoAwayBefore => frame(GOAWAY, 0, &[0; 8]),
            Self::GoAwayBehind => frame(GOAWAY, 0, &[0, 0, 0, 1, 0, 0, 0, 0]),
            Self::Refused => frame(RST_STREAM, 1, &7_u32.to_be_bytes()),
            Self::Broken => frame(RST_STREAM, 1, &2_u32.to_be_bytes()),
        }
    }
}

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    let mut frame = vec![0, 0, length, kind, 0, 0, 0, 0, stream];
    frame.extend(payload);
    frame
}

pub(crate) struct GoingDown {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for GoingDown {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl GoingDown {
    /// Takes one connection, and refuses others.
    pub(crate) async fn start(end: End) -> Self {
        let listener = TcpListener::bind(fresh_address()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            drop(listener);
            end_first_request(client, end).await;
        });
        Self { address, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn end_first_request(mut client: TcpStream, end: End) {
    let settings = frame(SETTINGS, 0, &[]);
    client.write_all(&settings).await.unwrap();
    client.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
    loop {
        let mut head = [0; HEAD_BYTES];
        client.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length.try_into().unwrap()];
        client.read_exact(&mut payload).await.unwrap();
        if head[3] == HEADERS {
            break;
        }
    }
    client.write_all(&end.frame()).await.unwrap();
    client.shutdown().await.unwrap();
    // To the end: bytes that nobody has read would have the connection reset, and what was written be lost.
    let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
}
