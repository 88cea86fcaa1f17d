//! The simulated network: connections between hosts as bytes that take their time, stall and break.
//!
//! Product code sees what TCP shows it. Bytes of one connection arrive in order or not at all; what makes
//! trouble is everything else:
//!
//! | fault | what becomes of it |
//! |---|---|
//! | delay | each packet takes its own time; different connections overtake each other |
//! | lost packet | it and what follows it wait for its retransmission |
//! | cut, one way or both | packets wait until the cut is over, which they often don't live to see: keep-alive ends the connection |
//! | reset | both ends learn that the connection broke, or one of them does not; what was under way is lost |
//! | killed process | its peers are told; what it had sent still arrives |
//! | dead machine | its peers are told nothing until they speak to it after it is back |
//!
//! Messages between the nodes of a Raft group are also lost, doubled and reordered one by one, before they
//! get here ([`crate::probe`]).
//!
//! Time is the driver's: [`Fabric::advance`] moves it and delivers what is due.

mod connect;
mod pipe;
mod socket;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;

use environment::Socket;
use parking_lot::Mutex;

use self::connect::Connecting;
use self::pipe::Pipe;
pub use self::socket::HostNetwork;
use crate::dice::Dice;
use crate::trace::Trace;

/// A machine of the simulated network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u8);

impl HostId {
    /// Its address.
    pub fn ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, self.0))
    }

    /// Where it listens on a port.
    pub fn at(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(), port)
    }

    fn of(address: SocketAddr) -> Option<Self> {
        match address.ip() {
            IpAddr::V4(ip) => match ip.octets() {
                [10, 0, 0, host] => Some(Self(host)),
                _ => None,
            },
            IpAddr::V6(_) => None,
        }
    }
}

/// How well the network works.
#[derive(Debug, Clone, Copy)]
pub struct Quality {
    /// A packet takes at least so long, microseconds.
    pub least_micros: u64,
    /// And on average so much longer.
    pub jitter_micros: u64,
    /// A packet is lost with this probability and sent again later.
    pub loss: f64,
    /// A packet is held up for up to some seconds with this probability.
    pub stall: f64,
}

impl Default for Quality {
    /// A good local network.
    fn default() -> Self {
        Self {
            least_micros: 200,
            jitter_micros: 300,
            loss: 0.0,
            stall: 0.0,
        }
    }
}

/// A packet that was lost is sent again after so long, and after a cut so often, microseconds.
const RETRANSMISSION: u64 = 200_000;

/// The network. Clones are the same one.
#[derive(Clone)]
pub struct Fabric {
    state: Arc<Mutex<State>>,
}

struct State {
    now: u64,
    dice: Dice,
    quality: Quality,
    /// A host to and from which it is another one.
    far: Option<(HostId, Quality)>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
    hosts: BTreeMap<HostId, Host>,
    cuts: BTreeSet<(HostId, HostId)>,
    pipes: BTreeMap<u64, Pipe>,
    connecting: BTreeMap<u64, Connecting>,
    next: u64,
    counts: BTreeMap<&'static str, u64>,
    /// Sockets to be dropped once the lock is given back: dropping one takes it.
    trash: Vec<Socket>,
    trace: Trace,
}

#[derive(Default)]
struct Host {
    /// Counts the processes that ran here.
    process: u64,
    running: bool,
    /// The machine itself is there and answers for ports that nobody listens on.
    powered: bool,
    listeners: BTreeMap<u16, Listener>,
}

#[derive(Default)]
struct Listener {
    accepted: VecDeque<Socket>,
    waker: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A pipe may have something to deliver.
    Deliver(u64),
    /// A request for a connection arrives, or its answer.
    Connect(u64),
    /// A pipe breaks, at its reader's end.
    Break(u64),
}

impl std::fmt::Debug for Fabric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fabric")
    }
}

impl Fabric {
    /// A network without hosts.
    pub fn new(seed: u64, trace: Trace) -> Self {
        let state = State {
            now: 0,
            dice: Dice::new(seed, "network"),
            quality: Quality::default(),
            far: None,
            events: BinaryHeap::new(),
            scheduled: 0,
            hosts: BTreeMap::new(),
            cuts: BTreeSet::new(),
            pipes: BTreeMap::new(),
            connecting: BTreeMap::new(),
            next: 0,
            counts: BTreeMap::new(),
            trash: Vec::new(),
            trace,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// A process starts on a host: its network from now on.
    pub fn start(&self, host: HostId) -> HostNetwork {
        let mut state = self.state.lock();
        let entry = state.hosts.entry(host).or_default();
        entry.process += 1;
        entry.running = true;
        entry.powered = true;
        let process = entry.process;
        drop(state);
        HostNetwork::new(self.clone(), host, process)
    }

    /// The process of a host has ended. If `powered`, its machine goes on and tells its peers; else they
    /// hear nothing.
    pub fn kill(&self, host: HostId, powered: bool) {
        let mut state = self.state.lock();
        state.kill(host, powered);
        let trash = std::mem::take(&mut state.trash);
        drop(state);
        drop(trash);
    }

    /// Lets nothing through from one host to another, or everything again. False: it was so already.
    pub fn cut(&self, from: HostId, to: HostId, cut: bool) -> bool {
        let mut state = self.state.lock();
        if cut {
            state.cuts.insert((from, to))
        } else {
            state.cuts.remove(&(from, to))
        }
    }

    /// Ends all cuts.
    pub fn heal(&self) {
        self.state.lock().cuts.clear();
    }

    /// How well it works from now on.
    pub fn set_quality(&self, quality: Quality) {
        self.state.lock().quality = quality;
    }

    /// How well it works to and from a host from now on. One at a time: false if another one is far away already.
    pub fn set_far(&self, host: HostId, quality: Quality) -> bool {
        let mut state = self.state.lock();
        let near = state.far.is_none();
        state.far.get_or_insert((host, quality));
        near
    }

    /// No host is far away any more.
    pub fn bring_near(&self) {
        self.state.lock().far = None;
    }

    /// Breaks connections between two hosts, each with this probability. Says how many.
    pub fn reset(&self, a: HostId, b: HostId, probability: f64) -> usize {
        self.state.lock().reset(a, b, probability)
    }

    /// Moves time on and delivers what is due.
    pub fn advance(&self, now_micros: u64) {
        let mut wakers = Vec::new();
        let mut state = self.state.lock();
        state.now = now_micros;
        while let Some(Reverse((due, _, event))) = state.events.peek().copied() {
            if due > now_micros {
                break;
            }
            state.events.pop();
            match event {
                Event::Deliver(pipe) => state.deliver(pipe, &mut wakers),
                Event::Break(pipe) => state.broken(pipe, &mut wakers),
                Event::Connect(connecting) => {
                    self.connect_event(&mut state, connecting, &mut wakers);
                }
            }
        }
        let trash = std::mem::take(&mut state.trash);
        drop(state);
        drop(trash);
        for waker in wakers {
            waker.wake();
        }
    }

    /// How often each thing went wrong so far.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.state.lock().counts.clone()
    }
}

impl State {
    fn schedule(&mut self, due: u64, event: Event) {
        self.scheduled += 1;
        let number = self.scheduled;
        self.events.push(Reverse((due, number, event)));
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn is_cut(&self, from: HostId, to: HostId) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// When a packet that is sent now arrives, if nothing is in its way.
    fn arrival(&mut self) -> u64 {
        self.arrival_by(self.quality)
    }

    /// The same between two hosts.
    fn arrival_between(&mut self, from: HostId, to: HostId) -> u64 {
        let far = self.far.filter(|(host, _)| [from, to].contains(host));
        self.arrival_by(far.map_or(self.quality, |(_, quality)| quality))
    }

    fn arrival_by(&mut self, quality: Quality) -> u64 {
        let mut takes = quality.least_micros + self.dice.around(quality.jitter_micros);
        if self.dice.chance(quality.loss) {
            self.count("packet lost");
            takes += RETRANSMISSION + self.dice.around(RETRANSMISSION / 2);
        }
        if self.dice.chance(quality.stall) {
            self.count("packet held up");
            takes += self.dice.between(100_000, 4_000_000);
        }
        self.now + takes
    }

    fn is_running(&self, host: HostId, process: u64) -> bool {
        self.hosts
            .get(&host)
            .is_some_and(|entry| entry.running && entry.process == process)
    }

    fn kill(&mut self, host: HostId, powered: bool) {
        if let Some(entry) = self.hosts.get_mut(&host) {
            entry.running = false;
            entry.powered = powered;
            let listeners = std::mem::take(&mut entry.listeners);
            let accepted = listeners
                .into_values()
                .flat_map(|listener| listener.accepted);
            self.trash.extend(accepted);
        }
        let touching: Vec<u64> = self
            .pipes
            .iter()
            .filter(|(_, pipe)| pipe.from.0 == host || pipe.to.0 == host)
            .map(|(&number, _)| number)
            .collect();
        for number in touching {
            let Some(pipe) = self.pipes.get_mut(&number) else {
                continue;
            };
            if pipe.to.0 == host {
                // Nobody reads it any more. Its writer learns of that through the other direction.
                self.pipes.remove(&number);
            } else if powered {
                // What was sent arrives, then the end.
                pipe.orphaned = true;
                let due = self.arrival();
                self.schedule(due, Event::Break(number));
            } else {
                pipe.orphaned = true;
            }
        }
        let asking = self
            .connecting
            .extract_if(.., |_, asking| asking.from.0 == host);
        let answers = asking.filter_map(|(_, asking)| asking.into_socket());
        self.trash.extend(answers);
    }

    fn reset(&mut self, a: HostId, b: HostId, probability: f64) -> usize {
        let between: Vec<u64> = self
            .pipes
            .iter()
            .filter(|(_, pipe)| (pipe.from.0, pipe.to.0) == (a, b))
            .map(|(&number, _)| number)
            .collect();
        let mut broken = 0;
        for number in between {
            if !self.dice.chance(probability) {
                continue;
            }
            broken += 1;
            self.count("connection reset");
            let back = self.pipes.get(&number).map(|pipe| pipe.back);
            // One end may learn of it much later than the other.
            for pipe in [Some(number), back].into_iter().flatten() {
                let late = if self.dice.chance(0.3) {
                    self.dice.between(0, 3_000_000)
                } else {
                    0
                };
                self.schedule(self.now + late, Event::Break(pipe));
            }
        }
        broken
    }
}

#[cfg(test)]
mod tests;
