//! A group whose disk and network take no time.

use bytes::Bytes;
use raft::{
    Config, Effects, Membership, Message, Promises, ReadToken, Replica, ReplicaId, Restored,
};

/// As data nodes have it.
const ELECTION_TICKS: u32 = 10;

/// Replica 1, which leads, and two followers.
pub(crate) struct Group {
    replicas: Vec<Replica>,
    network: Vec<Message>,
    payload: Bytes,
    confirmed: usize,
}

/// A replica of a group of three that has just begun.
pub(crate) fn replica(id: u64, election_ticks: u32) -> Replica {
    let config = Config {
        id: ReplicaId(id),
        membership: Membership::new((1..=3).map(ReplicaId)),
        election_ticks,
        heartbeat_ticks: 2,
        max_append_bytes: 1 << 20,
        max_inflight_appends: 64,
        max_uncommitted_bytes: 64 << 20,
        seed: id,
        promises: Promises::default(),
    };
    Replica::new(config, Restored::default()).unwrap()
}

impl Group {
    /// A group that has elected its leader, for entries of so many bytes.
    pub(crate) fn new(payload_bytes: usize) -> Self {
        Self::with_election_ticks(payload_bytes, ELECTION_TICKS)
    }

    pub(crate) fn with_election_ticks(payload_bytes: usize, ticks: u32) -> Self {
        let mut group = Self {
            replicas: (1..=3).map(|id| replica(id, ticks)).collect(),
            network: Vec::new(),
            payload: Bytes::from(vec![7; payload_bytes]),
            confirmed: 0,
        };
        group.replicas[0].campaign();
        group.run();
        group
    }

    pub(crate) fn into_leader(mut self) -> Replica {
        self.replicas.swap_remove(0)
    }

    /// Proposes so many entries, and sees the leader apply them. The followers learn of it with the next ones, and apply
    /// those before.
    pub(crate) fn commit(&mut self, entries: usize) {
        let before = self.replicas[0].applied_index();
        for _ in 0..entries {
            self.replicas[0].propose(self.payload.clone()).unwrap();
        }
        self.run();
        let applied = self.replicas[0].applied_index();
        assert_eq!(applied.0 - before.0, entries as u64);
    }

    /// Asks for so many reads, and sees them confirmed.
    pub(crate) fn read(&mut self, reads: u64) {
        let before = self.confirmed;
        for read in 0..reads {
            self.replicas[0].read_index(ReadToken(read)).unwrap();
        }
        self.run();
        assert_eq!(self.confirmed - before, reads as usize);
    }

    /// Until nobody has anything to do.
    fn run(&mut self) {
        loop {
            for number in 0..self.replicas.len() {
                while self.replicas[number].has_effects() {
                    let effects = self.replicas[number].effects();
                    self.carry_out(number, effects);
                }
            }
            if self.network.is_empty() {
                return;
            }
            for message in std::mem::take(&mut self.network) {
                self.replicas[message.to.0 as usize - 1].step(message);
            }
        }
    }

    fn carry_out(&mut self, number: usize, effects: Effects) {
        let replica = &mut self.replicas[number];
        self.network.extend(effects.send);
        self.confirmed += effects.reads.len();
        if let Some(last) = effects.apply.last() {
            replica.applied(last.index);
        }
        if let Some(persist) = effects.persist {
            replica.persisted(persist.token);
        }
    }
}
