//! What a write costs the core: three replicas in one process, a disk and a network that take no time.
//!
//! `cargo run --release -p raft --example cost`
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::Instant;

use bytes::Bytes;
use raft::{Config, Membership, Message, Promises, Replica, ReplicaId, Restored};

const ENTRIES: usize = 1_000_000;

fn main() {
    for entries_per_turn in [1, 8, 64] {
        let mut group = Group::new();
        let start = Instant::now();
        for _ in 0..ENTRIES / entries_per_turn {
            group.write(entries_per_turn);
        }
        let each = start.elapsed().as_nanos() / ENTRIES as u128;
        println!(
            "{entries_per_turn:>3} entries per turn: {each} ns per entry over all three replicas"
        );
        assert!(group.applied >= 3 * ENTRIES);
    }
}

struct Group {
    replicas: Vec<Replica>,
    network: Vec<Message>,
    payload: Bytes,
    applied: usize,
}

impl Group {
    fn new() -> Self {
        let replica = |number| {
            let config = Config {
                id: ReplicaId(number),
                membership: Membership::new((1..=3).map(ReplicaId)),
                election_ticks: 10,
                heartbeat_ticks: 2,
                max_append_bytes: 1 << 20,
                max_inflight_appends: 64,
                max_uncommitted_bytes: 64 << 20,
                seed: number,
                promises: Promises::default(),
            };
            Replica::new(config, Restored::default()).unwrap()
        };
        let replicas = (1..=3).map(replica).collect();
        let payload = Bytes::from(vec![0; 256]);
        let mut group = Self {
            replicas,
            network: Vec::new(),
            payload,
            applied: 0,
        };
        group.replicas[0].campaign();
        group.run();
        group
    }

    fn write(&mut self, entries: usize) {
        for _ in 0..entries {
            self.replicas[0].propose(self.payload.clone()).unwrap();
        }
        self.run();
    }

    /// Until nobody has anything to do.
    fn run(&mut self) {
        loop {
            for replica in &mut self.replicas {
                while replica.has_effects() {
                    let effects = replica.effects();
                    self.network.extend(effects.send);
                    self.applied += effects.apply.len();
                    if let Some(last) = effects.apply.last() {
                        replica.applied(last.index);
                    }
                    if let Some(persist) = effects.persist {
                        replica.persisted(persist.token);
                    }
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
}
