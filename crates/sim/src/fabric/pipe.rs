//! One direction of a connection.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::{Buf as _, Bytes};

use super::{Event, HostId, RETRANSMISSION, State};

/// Bytes that are under way or wait to be read, at the most; a writer waits beyond it.
pub(super) const WINDOW: usize = 1024 * 1024;

/// A process on a host.
pub(super) type End = (HostId, u64);

#[allow(clippy::struct_excessive_bools)] // What each end knows of the other.
pub(super) struct Pipe {
    pub(super) from: End,
    pub(super) to: End,
    /// The other direction.
    pub(super) back: u64,
    /// On their way, by the time of their arrival.
    under_way: VecDeque<(u64, Packet)>,
    arrived: VecDeque<Bytes>,
    /// Of both.
    bytes: usize,
    /// Read to its end, after what has arrived.
    pub(super) ended: bool,
    /// Its reader has been told that it is broken, and gets an error after what has arrived.
    pub(super) reader_broken: bool,
    /// Its writer has been told so.
    pub(super) writer_broken: bool,
    /// Its writer's process is gone.
    pub(super) orphaned: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

enum Packet {
    Bytes(Bytes),
    End,
}

impl Pipe {
    pub(super) fn new(from: End, to: End, back: u64) -> Self {
        Self {
            from,
            to,
            back,
            under_way: VecDeque::new(),
            arrived: VecDeque::new(),
            bytes: 0,
            ended: false,
            reader_broken: false,
            writer_broken: false,
            orphaned: false,
            reader: None,
            writer: None,
        }
    }

    pub(super) fn room(&self) -> usize {
        WINDOW.saturating_sub(self.bytes)
    }

    pub(super) fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// Takes up to `most` bytes of what has arrived.
    pub(super) fn take(&mut self, most: usize, mut sink: impl FnMut(&[u8])) {
        let mut left = most;
        while left > 0 {
            let Some(first) = self.arrived.front_mut() else {
                return;
            };
            let taken = first.len().min(left);
            sink(&first[..taken]);
            first.advance(taken);
            left -= taken;
            self.bytes -= taken;
            if first.is_empty() {
                self.arrived.pop_front();
            }
        }
    }
}

impl State {
    /// Puts bytes on their way.
    pub(super) fn send(&mut self, number: u64, bytes: Bytes) {
        self.put(number, Packet::Bytes(bytes));
    }

    /// Puts the end on its way, behind what was sent before.
    pub(super) fn finish(&mut self, number: u64) {
        self.put(number, Packet::End);
    }

    fn put(&mut self, number: u64, packet: Packet) {
        let Some((from, to)) = self.pipes.get(&number).map(|pipe| (pipe.from.0, pipe.to.0)) else {
            return;
        };
        let arrival = self.arrival_between(from, to);
        let Some(pipe) = self.pipes.get_mut(&number) else {
            return;
        };
        if let Packet::Bytes(bytes) = &packet {
            pipe.bytes += bytes.len();
        }
        let behind = pipe.under_way.back().map_or(0, |(due, _)| *due);
        let due = arrival.max(behind);
        pipe.under_way.push_back((due, packet));
        self.schedule(due, Event::Deliver(number));
    }

    /// A machine answers what it was sent over a connection that it does not know.
    pub(super) fn answer_with_reset(&mut self, peer: HostId, reads: u64) {
        if self.hosts.get(&peer).is_some_and(|host| host.powered) {
            let due = self.arrival();
            self.schedule(due, Event::Break(reads));
        }
    }

    /// Lets arrive what is due.
    pub(super) fn deliver(&mut self, number: u64, wakers: &mut Vec<Waker>) {
        let Some(pipe) = self.pipes.get(&number) else {
            return;
        };
        let (from, to) = (pipe.from, pipe.to);
        if !self.is_running(to.0, to.1) {
            self.pipes.remove(&number);
            return;
        }
        if self.is_cut(from.0, to.0) {
            self.count("packet stopped by a cut");
            let again = self.now + RETRANSMISSION + self.dice.around(RETRANSMISSION);
            return self.schedule(again, Event::Deliver(number));
        }
        let now = self.now;
        let Some(pipe) = self.pipes.get_mut(&number) else {
            return;
        };
        if pipe.reader_broken {
            // Its machine answers what comes late with a reset.
            pipe.under_way.clear();
            let back = pipe.back;
            return self.answer_with_reset(to.0, back);
        }
        while pipe.under_way.front().is_some_and(|(due, _)| *due <= now) {
            match pipe.under_way.pop_front() {
                Some((_, Packet::Bytes(bytes))) => {
                    self.trace.bytes(now, number, &bytes);
                    pipe.arrived.push_back(bytes);
                }
                Some((_, Packet::End)) => pipe.ended = true,
                None => {}
            }
        }
        wakers.extend(pipe.reader.take());
    }

    /// Tells the reader of a pipe that the connection is broken. It gets an error after what has arrived, and one
    /// for everything that it writes. What its peer knows is the peer's own affair.
    pub(super) fn broken(&mut self, number: u64, wakers: &mut Vec<Waker>) {
        let Some(pipe) = self.pipes.get_mut(&number) else {
            return;
        };
        if pipe.orphaned && !pipe.under_way.is_empty() {
            // The end comes behind what was sent, however long that is held up.
            let again = self.now + RETRANSMISSION;
            return self.schedule(again, Event::Break(number));
        }
        let back = pipe.back;
        let (from, to) = (pipe.from.0, pipe.to.0);
        if self.is_cut(from, to) {
            let again = self.now + RETRANSMISSION;
            return self.schedule(again, Event::Break(number));
        }
        let Some(pipe) = self.pipes.get_mut(&number) else {
            return;
        };
        pipe.reader_broken = true;
        // What was under way comes to a connection that its machine does not know any more.
        for (_, packet) in std::mem::take(&mut pipe.under_way) {
            if let Packet::Bytes(bytes) = packet {
                pipe.bytes -= bytes.len();
            }
        }
        wakers.extend(pipe.reader.take());
        // Who reads this end writes the other one.
        if let Some(pipe) = self.pipes.get_mut(&back) {
            pipe.writer_broken = true;
            wakers.extend(pipe.writer.take());
        }
    }
}
