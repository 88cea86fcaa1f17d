//! Carries out the commands of a script.

use std::collections::{BTreeMap, BTreeSet};

use raft::{Fetch, Index, Message, ReadToken, Refusal, ReplicaId};

use super::trace;
use crate::common::{Node, config, entries, group, id};

#[derive(Default)]
pub struct Runner {
    nodes: BTreeMap<ReplicaId, Node>,
    under_way: Vec<Message>,
    cut: BTreeSet<(ReplicaId, ReplicaId)>,
    fetches: Vec<(ReplicaId, Fetch)>,
    trace: Vec<String>,
}

fn number(word: &str) -> u64 {
    word.parse()
        .unwrap_or_else(|_| panic!("{word} is no number"))
}

fn link(word: &str) -> (ReplicaId, ReplicaId) {
    let (from, to) = word
        .split_once("->")
        .unwrap_or_else(|| panic!("{word} is no link"));
    (id(number(from)), id(number(to)))
}

impl Runner {
    /// Runs a command and returns what came of it.
    pub fn run(&mut self, command: &str) -> Vec<String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["group", size] => self.group(number(size)),
            ["log", node, "term", term, "terms", ref rest @ ..] => {
                self.log(number(node), number(term), rest);
            }
            ["campaign", node] => self.input(node, |node| node.replica.campaign()),
            ["tick", node] => self.input(node, |node| node.replica.tick()),
            ["tick", node, times] => {
                for _ in 0..number(times) {
                    self.input(node, |node| node.replica.tick());
                }
            }
            ["propose", node, payload] => {
                let payload = payload.to_owned().into();
                self.request(node, |node| node.replica.propose(payload).map(drop));
            }
            ["read", node, token] => {
                self.request(node, |node| {
                    node.replica.read_index(ReadToken(number(token)))
                });
            }
            ["transfer", node, to] => {
                self.request(node, |node| {
                    node.replica.transfer_leadership(id(number(to)))
                });
            }
            ["rest", node] => self.input(node, |node| node.replica.rest()),
            ["wake", node] => self.input(node, |node| node.replica.wake()),
            ["unheard", node, ticks] => self.input(node, |node| {
                let ticks = u32::try_from(number(ticks)).unwrap();
                node.replica.leader_unheard(ticks);
            }),
            ["sync", node] => self.input(node, |node| node.sync(usize::MAX)),
            ["deliver"] => self.deliver(|_| true),
            ["deliver", on] => self.deliver(|message| (message.from, message.to) == link(on)),
            ["lose", on] => self
                .under_way
                .retain(|message| (message.from, message.to) != link(on)),
            ["double", on] => self.double(link(on)),
            ["cut", on] => _ = self.cut.insert(link(on)),
            ["mend"] => self.cut.clear(),
            ["settle"] => self.settle(),
            ["crash", node] => self.node(node).crash(),
            ["restart", node] => {
                self.node(node).restart(0);
                self.input(node, |_| {});
            }
            ["flush", node] => self.node(node).flush(),
            ["compact", node, index] => self.input(node, |node| node.compact(Index(number(index)))),
            ["snapshot", on] => self.snapshot(link(on)),
            ["status"] => self.trace.extend(self.nodes.values().map(trace::status)),
            _ => panic!("no such command: {command}"),
        }
        std::mem::take(&mut self.trace)
    }

    fn node(&mut self, word: &str) -> &mut Node {
        self.nodes
            .get_mut(&id(number(word)))
            .unwrap_or_else(|| panic!("no replica {word}"))
    }

    fn group(&mut self, size: u64) {
        *self = Self::default();
        self.nodes = (1..=size)
            .map(|number| (id(number), Node::new(config(number, group(size)))))
            .collect();
    }

    fn log(&mut self, node: u64, term: u64, rest: &[&str]) {
        let end = rest
            .iter()
            .position(|&word| word == "applied")
            .unwrap_or(rest.len());
        let terms: Vec<u64> = rest[..end].iter().map(|word| number(word)).collect();
        let applied = rest.get(end + 1).map_or(0, |word| number(word));
        let config = config(node, group(self.nodes.len() as u64));
        self.nodes.insert(
            id(node),
            Node::restored(config, term, entries(1, &terms), applied),
        );
    }

    fn input(&mut self, node: &str, act: impl FnOnce(&mut Node)) {
        self.act(id(number(node)), act);
    }

    fn request(&mut self, node: &str, act: impl FnOnce(&mut Node) -> Result<(), Refusal>) {
        let mut result = Ok(());
        self.input(node, |node| result = act(node));
        if let Err(refusal) = result {
            self.trace.push(format!("  refused: {refusal}"));
        }
    }

    /// Lets a node do something, and carries out what it wants but for its writes.
    fn act(&mut self, id: ReplicaId, act: impl FnOnce(&mut Node)) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.up) else {
            return;
        };
        act(node);
        loop {
            let effects = node.drain();
            self.trace.extend(trace::effects(id.0, &effects));
            self.fetches
                .extend(effects.fetch.into_iter().map(|fetch| (id, fetch)));
            self.under_way.extend(effects.send);
            node.apply(usize::MAX);
            if !node.replica.has_effects() {
                break;
            }
        }
    }

    fn deliver(&mut self, which: impl Fn(&Message) -> bool) {
        let (now, later) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(which);
        self.under_way = later;
        let now: Vec<Message> = now;
        for message in now {
            if !self.cut.contains(&(message.from, message.to)) {
                self.act(message.to, |node| node.replica.step(message));
            }
        }
    }

    fn double(&mut self, on: (ReplicaId, ReplicaId)) {
        let again = self
            .under_way
            .iter()
            .filter(|message| (message.from, message.to) == on);
        let again: Vec<Message> = again.cloned().collect();
        self.under_way.extend(again);
    }

    fn settle(&mut self) {
        loop {
            let ids: Vec<ReplicaId> = self.nodes.keys().copied().collect();
            let mut busy = !self.under_way.is_empty() || !self.fetches.is_empty();
            for id in ids {
                busy |= !self.nodes[&id].writes.is_empty();
                self.act(id, |node| node.sync(usize::MAX));
            }
            for (id, fetch) in std::mem::take(&mut self.fetches) {
                self.act(id, |node| {
                    let result = node.disk.read(&fetch);
                    node.replica.fetched(&fetch, result);
                });
            }
            self.deliver(|_| true);
            if !busy {
                return;
            }
        }
    }

    fn snapshot(&mut self, (from, to): (ReplicaId, ReplicaId)) {
        let sender = &self.nodes[&from];
        let (term, snapshot) = (sender.replica.term(), sender.durable_store.clone());
        let mut result = Err(());
        self.act(to, |node| {
            if node
                .replica
                .accept_snapshot(from, term, snapshot.index)
                .is_ok()
            {
                node.install(&snapshot);
                result = Ok(snapshot.index);
            }
        });
        self.act(from, |node| node.replica.snapshot_sent(to, result));
    }
}
