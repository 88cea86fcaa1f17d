//! A network that loses, doubles, delays and reorders messages, and can be cut in each direction.

use std::collections::BTreeSet;

use raft::{Message, ReplicaId};

use super::Chance;

#[derive(Default)]
pub struct Network {
    under_way: Vec<Message>,
    cut: BTreeSet<(ReplicaId, ReplicaId)>,
}

/// More than this is dropped, like a bounded queue would.
const CAPACITY: usize = 300;

impl Network {
    pub fn send(&mut self, message: Message) {
        if self.under_way.len() < CAPACITY {
            self.under_way.push(message);
        }
    }

    /// The next message to arrive: mostly an old one, sometimes any. It may be lost, or come again later.
    pub fn next(&mut self, chance: &mut Chance) -> Option<Message> {
        if self.under_way.is_empty() {
            return None;
        }
        let among = if chance.one_in(4) {
            self.under_way.len()
        } else {
            self.under_way.len().min(3)
        };
        let at = chance.below(among as u64) as usize;
        let message = if chance.one_in(20) {
            self.under_way[at].clone()
        } else {
            self.under_way.remove(at)
        };
        (!chance.one_in(20)).then_some(message)
    }

    /// The oldest message.
    pub fn first(&mut self) -> Option<Message> {
        (!self.under_way.is_empty()).then(|| self.under_way.remove(0))
    }

    pub fn is_cut(&self, message: &Message) -> bool {
        self.cut.contains(&(message.from, message.to))
    }

    pub fn cut(&mut self, from: ReplicaId, to: ReplicaId) {
        self.cut.insert((from, to));
    }

    pub fn mend(&mut self) {
        self.cut.clear();
    }
}
