use std::pin::Pin;
use std::task::{Context, Poll};

use environment::Network as _;
use futures::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::*;
use std::io;

const WRITER: HostId = HostId(1);
const READER: HostId = HostId(2);

/// A connection between two hosts, and the time.
struct Wire {
    fabric: Fabric,
    now: u64,
    out: Socket,
    into: Socket,
}

fn wire() -> Wire {
    let fabric = Fabric::new(1, Trace::default());
    let (writer, reader) = (fabric.start(WRITER), fabric.start(READER));
    let mut incoming = reader.listen(READER.at(1)).now_or_never().unwrap().unwrap();
    let mut connecting = writer.connect(&READER.at(1).to_string());
    fabric.advance(100_000);
    fabric.advance(200_000);
    let out = (&mut connecting).now_or_never().unwrap().unwrap();
    let into = incoming.next().now_or_never().unwrap().unwrap().unwrap();
    Wire {
        fabric,
        now: 200_000,
        out,
        into,
    }
}

impl Wire {
    fn write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.out).poll_write(&mut cx, bytes)
    }

    /// What is read at this moment.
    fn read(&mut self) -> Poll<io::Result<Vec<u8>>> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut space = [0; 100];
        let mut buffer = ReadBuf::new(&mut space);
        let read = Pin::new(&mut self.into).poll_read(&mut cx, &mut buffer);
        read.map_ok(|()| buffer.filled().to_vec())
    }

    fn pass(&mut self, micros: u64) {
        let until = self.now + micros;
        while self.now < until {
            self.now += 100_000;
            self.fabric.advance(self.now);
        }
    }
}

#[test]
fn what_a_killed_process_has_sent_arrives_before_the_break() {
    for held_up in [false, true] {
        let mut wire = wire();
        assert!(matches!(wire.write(b"early"), Poll::Ready(Ok(5))));
        wire.pass(1_000_000);
        assert!(matches!(wire.write(b" late"), Poll::Ready(Ok(5))));
        wire.fabric.cut(WRITER, READER, held_up);
        wire.fabric.kill(WRITER, true);
        wire.pass(2_000_000);
        wire.fabric.cut(WRITER, READER, false);
        wire.pass(2_000_000);
        assert!(matches!(wire.read(), Poll::Ready(Ok(bytes)) if bytes == b"early late"));
        assert!(matches!(wire.read(), Poll::Ready(Err(_))));
    }
}

#[test]
fn one_host_at_a_time_is_far_away() {
    let mut wire = wire();
    let quality = Quality {
        least_micros: 2_000_000,
        ..Quality::default()
    };
    assert!(wire.fabric.set_far(READER, quality));
    assert!(!wire.fabric.set_far(WRITER, quality));
    assert!(matches!(wire.write(b"far"), Poll::Ready(Ok(3))));
    wire.pass(1_000_000);
    assert!(wire.read().is_pending());
    wire.pass(5_000_000);
    assert!(matches!(wire.read(), Poll::Ready(Ok(bytes)) if bytes == b"far"));
    wire.fabric.bring_near();
    assert!(matches!(wire.write(b"near"), Poll::Ready(Ok(4))));
    wire.pass(500_000);
    assert!(matches!(wire.read(), Poll::Ready(Ok(bytes)) if bytes == b"near"));
}

#[test]
fn a_dead_machine_says_nothing() {
    let mut wire = wire();
    wire.fabric.kill(WRITER, false);
    wire.pass(60_000_000);
    assert!(wire.read().is_pending());
}

#[test]
fn both_ends_learn_of_a_reset_after_what_has_arrived() {
    let mut wire = wire();
    assert!(matches!(wire.write(b"arrived"), Poll::Ready(Ok(7))));
    wire.pass(1_000_000);
    wire.fabric.cut(WRITER, READER, true);
    assert!(matches!(wire.write(b"perhaps"), Poll::Ready(Ok(7))));
    assert_eq!(wire.fabric.reset(WRITER, READER, 1.0), 1);
    wire.pass(1_000_000);
    wire.fabric.cut(WRITER, READER, false);
    wire.pass(10_000_000);
    assert!(matches!(wire.write(b"more"), Poll::Ready(Err(_))));
    let read = wire.read();
    assert!(
        matches!(&read, Poll::Ready(Ok(bytes)) if bytes.starts_with(b"arrived")),
        "{read:?}"
    );
    assert!(matches!(wire.read(), Poll::Ready(Err(_))));
}
