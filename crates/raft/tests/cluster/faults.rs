//! One random thing after another, and then peace.

use raft::{Body, Index, Message, ReplicaId, Term};

use super::{Cluster, Fault};
use crate::common::ELECTION_TICKS;

impl Cluster {
    /// So many random steps.
    pub fn disturb(&mut self, steps: usize) -> Result<(), String> {
        (0..steps).try_for_each(|_| self.disturb_once())
    }

    fn any(&mut self) -> ReplicaId {
        let at = self.chance.below(self.nodes.len() as u64);
        ReplicaId(at + 1)
    }

    /// Mostly a leader, else anyone.
    fn preferably_leader(&mut self) -> ReplicaId {
        let leaders = self.leaders();
        if leaders.is_empty() || self.chance.one_in(10) {
            return self.any();
        }
        leaders[self.chance.below(leaders.len() as u64) as usize]
    }

    fn disturb_once(&mut self) -> Result<(), String> {
        match self.chance.below(1000) {
            0..500 => self.deliver_one(),
            500..600 => {
                let id = self.any();
                self.step(id, |node| node.replica.tick())
            }
            600..750 => self.sync_one(),
            750..830 => {
                let (id, count) = (self.any(), self.chance.below(4) as usize);
                self.step(id, |node| node.apply(count))
            }
            830..890 => {
                let id = self.preferably_leader();
                self.propose(id)
            }
            890..930 => {
                let id = self.preferably_leader();
                self.read(id)
            }
            930..950 if !self.fetches.is_empty() => {
                let at = self.chance.below(self.fetches.len() as u64) as usize;
                self.answer_fetch(at)
            }
            950..970 if !self.transfers.is_empty() => {
                let at = self.chance.below(self.transfers.len() as u64) as usize;
                self.advance_snapshot(at, true)
            }
            970..980 => {
                let id = self.any();
                let purges = self.chance.one_in(3);
                let back = self.chance.below(4);
                self.step(id, |node| {
                    node.flush();
                    if purges {
                        node.compact(Index(node.durable_store.index.0.saturating_sub(back)));
                    }
                })
            }
            980..981 => {
                let id = self.any();
                self.crash(id);
                Ok(())
            }
            981..986 => {
                let id = self.any();
                self.restart(id)
            }
            986..988 => {
                let (from, to) = (self.any(), self.any());
                self.network.cut(from, to);
                if self.chance.one_in(2) {
                    self.network.cut(to, from);
                }
                Ok(())
            }
            988..992 => {
                self.network.mend();
                Ok(())
            }
            992..994 => {
                let (id, to) = (self.preferably_leader(), self.any());
                let mut taken = false;
                self.step(id, |node| {
                    taken = node.replica.transfer_leadership(to).is_ok();
                })?;
                self.tally.transfers += usize::from(taken && id != to);
                Ok(())
            }
            994 => self.pause(),
            995 => {
                self.slow = Some(self.any());
                Ok(())
            }
            996 => {
                self.slow = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Everybody's time passes, but that of one node, which hears nothing meanwhile and goes on
    /// writing what nobody will confirm. Then it is asked for a read at once.
    fn pause(&mut self) -> Result<(), String> {
        let paused = self.preferably_leader();
        for other in self.others_than(paused) {
            self.network.cut(paused, other);
            self.network.cut(other, paused);
        }
        for _ in 0..3 * ELECTION_TICKS {
            let writer = if self.chance.one_in(2) {
                paused
            } else {
                self.any()
            };
            self.propose(writer)?;
            for id in self.others_than(paused) {
                self.step(id, |node| node.replica.tick())?;
            }
            for _ in 0..10 {
                self.deliver_one()?;
                self.sync_one()?;
            }
        }
        self.read(paused)?;
        self.network.mend();
        Ok(())
    }

    fn others_than(&self, one: ReplicaId) -> Vec<ReplicaId> {
        self.nodes.keys().copied().filter(|&id| id != one).collect()
    }

    fn deliver_one(&mut self) -> Result<(), String> {
        match self.network.next(&mut self.chance) {
            Some(message) if !self.network.is_cut(&message) => self.deliver(message),
            _ => Ok(()),
        }
    }

    fn deliver(&mut self, mut message: Message) -> Result<(), String> {
        if self.fault == Fault::ConfusedReads {
            let term = self.nodes[&message.to].replica.term();
            confuse(&mut message, term);
        }
        self.note(|| format!("{message:?}"));
        self.step(message.to, |node| node.replica.step(message))
    }

    fn sync_one(&mut self) -> Result<(), String> {
        let (id, count) = (self.any(), 1 + self.chance.below(3) as usize);
        if self.slow == Some(id) && !self.chance.one_in(100) {
            return Ok(());
        }
        let lying = self.fault == Fault::LyingDisk;
        self.step(id, |node| {
            if lying && let Some(latest) = node.writes.back() {
                node.replica.persisted(latest.token);
            }
            if !lying || node.writes.len() > 20 {
                node.sync(count);
            }
        })
    }

    /// Mends everything and lets the group run until all states are equal and at the end of the log.
    pub fn converge(&mut self) -> Result<(), String> {
        self.network.mend();
        for id in self.others_than(ReplicaId(0)) {
            self.restart(id)?;
        }
        let mut proposed = false;
        for _ in 0..60 * ELECTION_TICKS {
            self.calm_round()?;
            let [leader] = self.leaders()[..] else {
                continue;
            };
            if !proposed {
                let before = self.tally.proposals;
                self.propose(leader)?;
                self.read(leader)?;
                proposed = self.tally.proposals > before;
                continue;
            }
            let last = self.nodes[&leader].replica.last_index();
            let states = self.last_applied();
            if states
                .iter()
                .all(|&(index, hash)| index == last && hash == states[0].1)
            {
                return Ok(());
            }
        }
        Err(format!(
            "no convergence: {:?} {:#?}",
            self.last_applied(),
            self.nodes
        ))
    }

    /// A tick for everyone, and everything that follows from it.
    fn calm_round(&mut self) -> Result<(), String> {
        for id in self.others_than(ReplicaId(0)) {
            self.step(id, |node| node.replica.tick())?;
        }
        for _ in 0..10 {
            for id in self.others_than(ReplicaId(0)) {
                self.step(id, |node| {
                    node.sync(usize::MAX);
                    node.apply(usize::MAX);
                    node.flush();
                })?;
            }
            while !self.fetches.is_empty() {
                self.answer_fetch(0)?;
            }
            while !self.transfers.is_empty() {
                self.advance_snapshot(0, false)?;
            }
            for _ in 0..50 {
                let Some(message) = self.network.first() else {
                    break;
                };
                self.deliver(message)?;
            }
        }
        Ok(())
    }
}

/// As if answers bore no number of their round.
fn confuse(message: &mut Message, term: Term) {
    if message.term != term {
        return;
    }
    if let Body::HeartbeatAck { read_sequence, .. } | Body::Appended { read_sequence, .. } =
        &mut message.body
    {
        *read_sequence = u64::MAX;
    }
}
