//! Three nodes in one thread: workers and appliers as they are, everything else made of queues.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use api::Reason;
use bytes::Bytes;
use model::{
    Condition, Key, NodeId, Participant, RequestId, ShardId, TableId, Timestamp, TransactionId,
    TransactionItem,
};
use raft::{Body, Fetch, Fetched, Replica, Restored, Role, Term};
use storage::log::{LogEntry, Record};
use storage::state::{MemoryStore, StateStore};

use crate::applier::Applier;
use crate::hosted::Hosted;
use crate::machine::Machine;
use crate::node::raft_config;
use crate::operation::tests::Collected;
use crate::operation::{Answer, Operation, Reply, Request};
use crate::options::{ReadMode, Tuning};
use crate::shell::raft_entry;
use crate::wire::PeerMessage;
use crate::worker::{ApplyJob, Held, Input, LogWrite, Outputs, ReplicaStatus, Worker};
use environment::{Now, SystemClock};

pub(super) const SHARD: ShardId = ShardId {
    table: TableId(1),
    index: 0,
};
const TICK_MILLIS: u64 = 50;
const START_MILLIS: u64 = 1_000_000;

pub(super) struct Lab {
    nodes: BTreeMap<NodeId, Node>,
    network: VecDeque<Frame>,
    cut: BTreeSet<NodeId>,
    answers: Arc<Collected>,
    asked: u64,
    millis: u64,
    persisting: bool,
    /// No transfer of leadership succeeds.
    no_transfers: bool,
    snapshots: usize,
    stopped: Vec<NodeId>,
    trace: String,
    frames: usize,
    messages: usize,
}

/// Sender, receiver, messages.
type Frame = (NodeId, NodeId, Vec<(ShardId, PeerMessage)>);

struct Node {
    worker: Worker,
    applier: Applier,
    inbox: VecDeque<Input>,
    log: VecDeque<LogWrite>,
    entries: BTreeMap<u64, LogEntry>,
    /// Where the log begins.
    purged: (u64, u64),
    log_held: bool,
    paused: bool,
    spoiled: bool,
}

impl Lab {
    /// Nodes from 1 on, with a shard whose leader has no home.
    pub(super) fn new(count: u64) -> Self {
        Self::with(count, 1, None)
    }

    /// With so many shards, from [`SHARD`] on, all at home on one node.
    pub(super) fn with(count: u64, shards: u32, home: Option<NodeId>) -> Self {
        Self::reading(ReadMode::Quorum, count, shards, home)
    }

    /// With another way to read.
    pub(super) fn reading(
        read_mode: ReadMode,
        count: u64,
        shards: u32,
        home: Option<NodeId>,
    ) -> Self {
        let voters: Vec<_> = (1..=count).map(NodeId).collect();
        let tuning = Tuning {
            read_mode,
            group_log_bytes: 2 * 1024 * 1024,
            ..Tuning::default()
        };
        let nodes = voters
            .iter()
            .map(|&id| (id, Node::new(id, &voters, shards, home, &tuning)));
        Self {
            nodes: nodes.collect(),
            network: VecDeque::new(),
            cut: BTreeSet::new(),
            answers: Arc::default(),
            asked: 0,
            millis: START_MILLIS,
            persisting: false,
            no_transfers: false,
            snapshots: 0,
            stopped: Vec::new(),
            trace: String::new(),
            frames: 0,
            messages: 0,
        }
    }

    pub(super) fn wall_millis(&self) -> u64 {
        self.millis
    }

    fn now(&self) -> Now {
        Now {
            monotonic_millis: self.millis,
            wall_millis: self.millis,
        }
    }

    /// Lets everything happen that follows from what has happened, without time passing.
    pub(super) fn settle(&mut self) {
        while self.step() {}
    }

    pub(super) fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.millis += TICK_MILLIS;
            for node in self.nodes.values_mut().filter(|node| !node.paused) {
                node.inbox.push_back(Input::Tick);
            }
            self.settle();
        }
    }

    fn step(&mut self) -> bool {
        let mut moved = false;
        let now = self.now();
        let ids: Vec<_> = self.nodes.keys().copied().collect();
        for id in ids {
            let Some(node) = self.nodes.get_mut(&id).filter(|node| !node.paused) else {
                continue;
            };
            while let Some(write) = node.log.pop_front_if(|_| !node.log_held) {
                node.inbox.push_back(Input::LogDurable {
                    ticket: write.ticket,
                });
            }
            let inputs: Vec<_> = node.inbox.drain(..).collect();
            if !inputs.is_empty() {
                moved = true;
                let outputs = node.worker.turn(inputs, now);
                self.carry_out(id, outputs);
            }
        }
        while let Some((from, to, messages)) = self.network.pop_front() {
            moved = true;
            let reachable = !self.cut.contains(&from) && !self.cut.contains(&to);
            let receiver = self
                .nodes
                .get_mut(&to)
                .filter(|node| reachable && !node.paused);
            if let Some(receiver) = receiver {
                receiver.inbox.push_back(if messages.is_empty() {
                    let incarnation = from.0;
                    Input::Heard { from, incarnation }
                } else {
                    Input::Frame { from, messages }
                });
            }
        }
        moved
    }

    fn carry_out(&mut self, id: NodeId, outputs: Outputs) {
        for (to, mut messages) in outputs.send {
            messages.retain(|(_, message)| !(self.no_transfers && is_timeout_now(message)));
            self.frames += 1;
            self.messages += messages.len();
            let _ = writeln!(self.trace, "{} {id} -> {to}: {messages:?}", self.millis);
            self.network.push_back((id, to, messages));
        }
        for to in outputs.signs {
            self.frames += 1;
            self.network.push_back((id, to, Vec::new()));
        }
        self.snapshots += outputs.snapshots.len();
        self.stopped.extend(outputs.stopped.iter().map(|_| id));
        for (to, mut request) in outputs.forward {
            request.forwarded = true;
            self.input(to, Input::Requests(vec![request]));
        }
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if let Some(write) = outputs.log {
            node.write(&write.records);
            node.log.push_back(write);
        }
        for (shard, fetch) in outputs.fetch {
            let result = Ok(node.fetch(&fetch));
            node.inbox.push_back(Input::Fetched {
                shard,
                fetch,
                result,
            });
        }
        for mut input in node.applier.run(outputs.apply) {
            if let (Input::Applied(applied), true) = (&mut input, node.spoiled) {
                for (_, hash) in applied
                    .iter_mut()
                    .flat_map(|applied| &mut applied.checkpoints)
                {
                    *hash ^= 1;
                }
            }
            node.inbox.push_back(input);
        }
        if let (Some(points), true) = (outputs.persist_store, self.persisting) {
            node.inbox.push_back(Input::StoreDurable { points });
        }
    }

    pub(super) fn input(&mut self, node: NodeId, input: Input) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.inbox.push_back(input);
        }
    }

    /// Asks, without letting anything happen yet.
    pub(super) fn queue(&mut self, node: NodeId, operation: Operation) -> u64 {
        self.request(node, operation, false)
    }

    pub(super) fn ask(&mut self, node: NodeId, operation: Operation) -> u64 {
        self.request(node, operation, false)
    }

    pub(super) fn ask_forwarded(&mut self, node: NodeId, operation: Operation) -> u64 {
        self.request(node, operation, true)
    }

    fn request(&mut self, node: NodeId, mut operation: Operation, forwarded: bool) -> u64 {
        self.asked += 1;
        if let Operation::Put { request, .. } | Operation::Delete { request, .. } = &mut operation {
            request.sequence = self.asked;
        }
        let write = operation.is_write();
        let reply = Reply::new(self.answers.clone(), self.asked, write, None);
        let deadline_millis = self.millis + 5000;
        let request = Request {
            shard: SHARD,
            operation,
            deadline_millis,
            forwarded,
            reply,
        };
        self.input(node, Input::Requests(vec![request]));
        self.asked
    }

    /// Nobody waits for it any more.
    pub(super) fn cancel(&self, asked: u64) {
        self.answers.1.lock().push(asked);
    }

    pub(super) fn answer(&self, asked: u64) -> Option<Answer> {
        let answers = self.answers.0.lock();
        let mut found = answers
            .iter()
            .filter(|(id, _)| *id == asked)
            .map(|(_, a)| a.clone());
        let answer = found.next();
        assert_eq!(found.next(), None, "answered twice");
        answer
    }

    pub(super) fn reason(&self, asked: u64) -> Option<Reason> {
        match self.answer(asked) {
            Some(Answer::Failed(error)) => Some(error.reason),
            _ => None,
        }
    }

    pub(super) fn value(&self, asked: u64) -> Option<Bytes> {
        match self.answer(asked) {
            Some(Answer::Found { value, .. }) => Some(value),
            _ => None,
        }
    }

    pub(super) fn settle_write(&mut self, node: NodeId, key: &str, value: &str) {
        let write = self.ask(node, put(key, value));
        self.settle();
        assert!(
            matches!(self.answer(write), Some(Answer::Applied { .. })),
            "{:?}",
            self.answer(write)
        );
    }

    /// Waits for a leader that has committed an entry of its term.
    pub(super) fn elect(&mut self) -> NodeId {
        self.ticks(super::ELECTION);
        self.leader().expect("a leader")
    }

    pub(super) fn leader(&mut self) -> Option<NodeId> {
        self.leader_where(|_| true)
    }

    pub(super) fn leader_but(&mut self, other: NodeId) -> Option<NodeId> {
        self.leader_where(|node| node != other)
    }

    fn leader_where(&mut self, wanted: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let ids: Vec<_> = self
            .nodes
            .keys()
            .copied()
            .filter(|id| wanted(*id))
            .collect();
        let mut leaders = ids.into_iter().filter(|&id| {
            self.statuses(id)
                .iter()
                .any(|status| status.role == Some(Role::Leader))
        });
        leaders.next()
    }

    pub(super) fn others(&self, node: NodeId) -> [NodeId; 2] {
        let others: Vec<_> = self
            .nodes
            .keys()
            .copied()
            .filter(|id| *id != node)
            .collect();
        [others[0], others[1]]
    }

    pub(super) fn statuses(&mut self, node: NodeId) -> Vec<ReplicaStatus> {
        let (answer, wait) = std::sync::mpsc::channel();
        let answer = Box::new(move |statuses| answer.send(statuses).unwrap());
        let now = self.now();
        let node = self.nodes.get_mut(&node).expect("a node");
        let _ = node.worker.turn(
            [Input::Describe {
                table: None,
                answer,
            }],
            now,
        );
        wait.recv().unwrap()
    }

    pub(super) fn status(&mut self, node: NodeId) -> ReplicaStatus {
        self.statuses(node).remove(0)
    }

    pub(super) fn cut(&mut self, node: NodeId) {
        self.cut.insert(node);
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(super) fn pause(&mut self, node: NodeId, paused: bool) {
        self.nodes.get_mut(&node).expect("a node").paused = paused;
    }

    pub(super) fn hold_log(&mut self, node: NodeId, held: bool) {
        self.nodes.get_mut(&node).expect("a node").log_held = held;
    }

    pub(super) fn persist_stores(&mut self, persisting: bool) {
        self.persisting = persisting;
    }

    /// The message that ends a transfer of leadership is lost, each time.
    pub(super) fn lose_transfers(&mut self, lost: bool) {
        self.no_transfers = lost;
    }

    /// The nodes whose readers were told that their replica has stopped.
    pub(super) fn stopped(&self) -> &[NodeId] {
        &self.stopped
    }

    pub(super) fn snapshots_asked(&self) -> usize {
        self.snapshots
    }

    pub(super) fn remove(&mut self, node: NodeId) {
        self.input(
            node,
            Input::Remove {
                shard: SHARD,
                answer: Box::new(|()| {}),
            },
        );
        self.settle();
    }

    /// From now on the node's checkpoints have another hash.
    pub(super) fn spoil_content(&mut self, node: NodeId) {
        self.nodes.get_mut(&node).expect("a node").spoiled = true;
    }

    pub(super) fn checkpoint(&mut self, leader: NodeId) {
        self.ask(leader, Operation::Checkpoint { verify_id: 0 });
        self.settle();
    }

    pub(super) fn report_content(&mut self, to: NodeId, from: NodeId, index: u64, hash: u128) {
        let messages = vec![(SHARD, PeerMessage::Content { index, hash })];
        self.input(to, Input::Frame { from, messages });
        self.settle();
    }

    /// Whether a node's replica of the shard rests.
    pub(super) fn rests(&self, node: NodeId, shard: ShardId) -> bool {
        let mut replicas = self.nodes[&node].worker.replicas();
        replicas.any(|(other, replica)| other == shard && replica.is_resting())
    }

    /// Frames that were sent, empty ones included.
    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    /// Messages that were in them.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    pub(super) fn trace(&self) -> Arc<str> {
        self.trace.as_str().into()
    }
}

impl Node {
    fn new(
        id: NodeId,
        voters: &[NodeId],
        shards: u32,
        home: Option<NodeId>,
        tuning: &Tuning,
    ) -> Self {
        let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new());
        let mut applier = Applier::new(
            store.clone(),
            Hosted::default(),
            Arc::new(SystemClock::default()),
        );
        let shards = (0..shards).map(|index| ShardId { index, ..SHARD });
        let add = shards.map(|shard| {
            let machine = Machine::create(store.clone(), shard, voters.to_vec()).unwrap();
            applier.run([ApplyJob::Open {
                machine: Box::new(machine),
            }]);
            let config = raft_config(id, shard, voters, tuning);
            let replica = Box::new(Replica::new(config, Restored::default()).unwrap());
            Input::Add {
                shard,
                replica,
                home,
                held: Held::default(),
            }
        });
        let inbox = add.collect();
        Self {
            worker: Worker::new(id, tuning.clone()),
            applier,
            inbox,
            log: VecDeque::new(),
            entries: BTreeMap::new(),
            purged: (0, 0),
            log_held: false,
            paused: false,
            spoiled: false,
        }
    }

    fn write(&mut self, records: &[Record]) {
        for record in records.iter().filter(|record| record.group() == SHARD) {
            match record {
                Record::Append { entries, .. } => {
                    self.entries.split_off(&entries[0].index);
                    self.entries
                        .extend(entries.iter().map(|entry| (entry.index, entry.clone())));
                }
                Record::Purge { index, term, .. } | Record::Reset { index, term, .. } => {
                    self.entries = self.entries.split_off(&(index + 1));
                    self.purged = (*index, *term);
                }
                Record::HardState { .. } | Record::Forget { .. } => {}
            }
        }
    }

    fn fetch(&self, fetch: &Fetch) -> Fetched {
        let after = fetch.after.0;
        let previous_term = match self.entries.get(&after) {
            Some(entry) => entry.term,
            None if after == self.purged.0 => self.purged.1,
            None => return Fetched::Compacted,
        };
        let wanted = self.entries.range(after + 1..=fetch.up_to.0);
        let entries = wanted
            .map(|(_, entry)| raft_entry(entry.clone()).unwrap())
            .collect();
        Fetched::Entries {
            previous_term: Term(previous_term),
            entries,
        }
    }
}

fn is_timeout_now(message: &PeerMessage) -> bool {
    matches!(message, PeerMessage::Raft(message) if matches!(message.body, Body::TimeoutNow))
}

fn key(key: &str) -> Key {
    Key::new(Bytes::copy_from_slice(key.as_bytes())).unwrap()
}

/// The lab gives each write a sequence number of its own.
const REQUEST: RequestId = RequestId {
    issued_millis: START_MILLIS,
    client: 1,
    sequence: 0,
};

pub(super) fn put(name: &str, value: &str) -> Operation {
    let value = Bytes::copy_from_slice(value.as_bytes());
    Operation::Put {
        key: key(name),
        value,
        request: REQUEST,
        condition: Condition::Always,
    }
}

pub(super) fn delete(name: &str) -> Operation {
    Operation::Delete {
        key: key(name),
        request: REQUEST,
        condition: Condition::Always,
    }
}

pub(super) fn get(name: &str) -> Operation {
    Operation::Get {
        key: key(name),
        consistent: true,
    }
}

fn item(name: &str, value: &str) -> TransactionItem {
    TransactionItem {
        key: key(name),
        value: Bytes::copy_from_slice(value.as_bytes()),
        condition: Condition::Always,
    }
}

pub(super) fn prepare(id: u128, millis: u64, name: &str, value: &str) -> Operation {
    Operation::Prepare {
        transaction: TransactionId(id),
        timestamp: Timestamp::from_millis(millis),
        items: vec![item(name, value)],
        participants: vec![Participant {
            table: SHARD.table,
            key: key(name),
        }],
    }
}

pub(super) fn decide(id: u128, millis: u64, commit: bool) -> Operation {
    Operation::Decide {
        transaction: TransactionId(id),
        timestamp: Timestamp::from_millis(millis),
        commit,
    }
}

pub(super) fn inquire(id: u128, millis: u64) -> Operation {
    Operation::Inquire {
        transaction: TransactionId(id),
        timestamp: Timestamp::from_millis(millis),
        keys: Vec::new(),
    }
}

pub(super) fn transact_write(id: u128, issued_millis: u64, values: &[(&str, &str)]) -> Operation {
    let items = values.iter().map(|(name, value)| item(name, value));
    Operation::TransactWrite {
        transaction: TransactionId(id),
        issued_millis,
        items: items.collect(),
    }
}

pub(super) fn transact_read(keys: &[(&str, u64)]) -> Operation {
    let keys = keys.iter().map(|(name, known)| (key(name), *known));
    Operation::TransactRead {
        keys: keys.collect(),
    }
}
