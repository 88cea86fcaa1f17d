//! Making a connection: a request on its way to a listener, and the answer on its way back.

use std::io;
use std::net::SocketAddr;
use std::task::Waker;

use environment::Socket;
use tokio::sync::oneshot;

use super::pipe::{End, Pipe};
use super::socket::Connection;
use super::{Event, Fabric, HostId, State};

/// A request that got no answer is sent again after so long, microseconds.
const AGAIN: u64 = 1_000_000;

pub(super) struct Connecting {
    pub(super) from: End,
    to: HostId,
    port: u16,
    /// What the listener's machine has answered, on its way back.
    answered: Option<io::Result<Socket>>,
    tell: oneshot::Sender<io::Result<Socket>>,
}

impl Connecting {
    /// The connection that nobody waits for any more.
    pub(super) fn into_socket(self) -> Option<Socket> {
        self.answered.and_then(Result::ok)
    }
}

impl Fabric {
    /// Sends a request for a connection. The receiver gets the answer, which may be never.
    pub(super) fn ask_to_connect(
        &self,
        from: End,
        address: SocketAddr,
    ) -> oneshot::Receiver<io::Result<Socket>> {
        let (tell, answer) = oneshot::channel();
        let mut state = self.state.lock();
        let Some(to) = HostId::of(address) else {
            let unknown = io::Error::new(io::ErrorKind::NotFound, "no such host");
            let _ = tell.send(Err(unknown));
            return answer;
        };
        if !state.is_running(from.0, from.1) {
            return answer;
        }
        state.next += 1;
        let number = state.next;
        let connecting = Connecting {
            from,
            to,
            port: address.port(),
            answered: None,
            tell,
        };
        state.connecting.insert(number, connecting);
        let due = state.arrival();
        state.schedule(due, Event::Connect(number));
        answer
    }

    pub(super) fn connect_event(&self, state: &mut State, number: u64, wakers: &mut Vec<Waker>) {
        let Some(mut connecting) = state.connecting.remove(&number) else {
            return;
        };
        if connecting.tell.is_closed() {
            state.trash.extend(connecting.into_socket());
            return;
        }
        let (near, far) = (connecting.from.0, connecting.to);
        if let Some(answer) = connecting.answered.take() {
            if state.is_cut(far, near) {
                connecting.answered = Some(answer);
                return state.try_later(number, connecting);
            }
            if let Err(Ok(unwanted)) = connecting.tell.send(answer) {
                state.trash.push(unwanted);
            }
            return;
        }
        let silent = !state.hosts.get(&far).is_some_and(|host| host.powered);
        if silent || state.is_cut(near, far) {
            return state.try_later(number, connecting);
        }
        connecting.answered = Some(self.accept(state, &connecting, wakers));
        let due = state.arrival();
        state.connecting.insert(number, connecting);
        state.schedule(due, Event::Connect(number));
    }

    /// Makes the two ends and gives the listener its own.
    fn accept(
        &self,
        state: &mut State,
        connecting: &Connecting,
        wakers: &mut Vec<Waker>,
    ) -> io::Result<Socket> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let host = state.hosts.get(&connecting.to).ok_or_else(refused)?;
        if !host.running || !host.listeners.contains_key(&connecting.port) {
            return Err(refused());
        }
        let (near, far) = (connecting.from, (connecting.to, host.process));
        let (out, back) = (state.next + 1, state.next + 2);
        state.next += 2;
        state.pipes.insert(out, Pipe::new(near, far, back));
        state.pipes.insert(back, Pipe::new(far, near, out));
        let end = |end: End, peer: End, reads, writes| {
            Socket::new(Connection {
                fabric: self.clone(),
                end,
                peer: peer.0,
                reads,
                writes,
                finished: false,
            })
        };
        let listener = state
            .hosts
            .get_mut(&connecting.to)
            .and_then(|host| host.listeners.get_mut(&connecting.port))
            .ok_or_else(refused)?;
        listener.accepted.push_back(end(far, near, out, back));
        wakers.extend(listener.waker.take());
        Ok(end(near, far, back, out))
    }
}

impl State {
    fn try_later(&mut self, number: u64, connecting: Connecting) {
        self.connecting.insert(number, connecting);
        let due = self.now + AGAIN;
        self.schedule(due, Event::Connect(number));
    }
}
