//! A node as the core sees it: a disk that loses what was not synced, and a state store that lags behind.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use raft::{
    AppendResult, Body, Config, Effects, Entry, EntryKind, Fetch, Fetched, HardState, Index,
    Membership, Message, Persist, Promises, Replica, ReplicaId, Restored, Term,
};

pub const ELECTION_TICKS: u32 = 10;
pub const HEARTBEAT_TICKS: u32 = 2;

pub fn id(number: u64) -> ReplicaId {
    ReplicaId(number)
}

pub fn group(size: u64) -> Membership {
    Membership::new((1..=size).map(ReplicaId))
}

pub fn config(number: u64, membership: Membership) -> Config {
    Config {
        id: id(number),
        membership,
        election_ticks: ELECTION_TICKS,
        heartbeat_ticks: HEARTBEAT_TICKS,
        max_append_bytes: 1 << 16,
        max_inflight_appends: 16,
        max_uncommitted_bytes: 1 << 20,
        seed: number,
        promises: Promises::default(),
    }
}

pub fn message(from: u64, to: u64, term: u64, body: Body) -> Message {
    Message {
        from: id(from),
        to: id(to),
        term: Term(term),
        body,
    }
}

pub fn entry(index: u64, term: u64) -> Entry {
    let payload = Bytes::from(format!("{index}@{term}"));
    Entry {
        term: Term(term),
        index: Index(index),
        kind: EntryKind::Commands,
        payload,
    }
}

/// Entries of these terms, from the index on.
pub fn entries(first: u64, terms: &[u64]) -> Vec<Entry> {
    (first..)
        .zip(terms)
        .map(|(index, &term)| entry(index, term))
        .collect()
}

pub fn append(previous: (u64, u64), entries: Vec<Entry>, committed: u64) -> Body {
    Body::Append {
        previous_index: Index(previous.0),
        previous_term: Term(previous.1),
        entries,
        committed: Index(committed),
        read_sequence: 0,
    }
}

/// "Your entries up to here are mine."
pub fn matched(index: u64) -> Body {
    Body::Appended {
        result: AppendResult::Match(Index(index)),
        read_sequence: 0,
    }
}

/// An answer to a heartbeat that promises nothing.
pub fn ack(read_sequence: u64) -> Body {
    Body::HeartbeatAck {
        read_sequence,
        promise_millis: 0,
    }
}

pub fn request_vote(last: (u64, u64)) -> Body {
    Body::RequestVote {
        last_index: Index(last.0),
        last_term: Term(last.1),
        transfer: false,
    }
}

/// What is durable of the log.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub hard: HardState,
    pub start: (Index, Term),
    pub log: BTreeMap<u64, Entry>,
}

impl Disk {
    pub fn write(&mut self, persist: &Persist) {
        if let Some(hard) = persist.hard_state {
            assert!(hard.term >= self.hard.term, "the durable term falls");
            self.hard = hard;
        }
        write_log(&mut self.start, &mut self.log, persist);
    }

    pub fn last(&self) -> u64 {
        self.log
            .last_key_value()
            .map_or(self.start.0.0, |(&index, _)| index)
    }

    pub fn purge(&mut self, index: Index) {
        self.start = (index, self.log[&index.0].term);
        self.log.retain(|&kept, _| kept > index.0);
    }

    pub fn read(&self, fetch: &Fetch) -> Fetched {
        let after = fetch.after.0;
        if after < self.start.0.0 {
            return Fetched::Compacted;
        }
        let previous_term = if after == self.start.0.0 {
            self.start.1
        } else {
            self.log[&after].term
        };
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in self
            .log
            .range(after + 1..=fetch.up_to.0)
            .map(|(_, entry)| entry)
        {
            bytes += entry.size();
            if bytes > fetch.max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Fetched::Entries {
            previous_term,
            entries,
        }
    }
}

/// What a `Persist` does to a log.
fn write_log(start: &mut (Index, Term), log: &mut BTreeMap<u64, Entry>, persist: &Persist) {
    if let Some(reset) = persist.reset {
        log.clear();
        *start = reset;
    }
    if let Some(first) = persist.append.first() {
        let last = log.last_key_value().map_or(start.0.0, |(&index, _)| index);
        assert!(
            first.index.0 > start.0.0 && first.index.0 <= last + 1,
            "a gap in the log before {first:?}"
        );
        log.split_off(&first.index.0);
        for (index, entry) in (first.index.0..).zip(&persist.append) {
            assert_eq!(entry.index.0, index);
            log.insert(index, entry.clone());
        }
    }
}

/// What was applied: how far, and a hash of all of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Store {
    pub index: Index,
    pub term: Term,
    pub hash: u64,
}

impl Store {
    pub fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.index, self.index.next(), "applied out of order");
        (self.index, self.term) = (entry.index, entry.term);
        for byte in entry.payload.iter().chain(&entry.term.0.to_le_bytes()) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// A replica with its disk and its state.
#[derive(Debug)]
pub struct Node {
    pub config: Config,
    pub replica: Replica,
    /// `false` after a crash, until it is started again.
    pub up: bool,
    pub disk: Disk,
    /// Given out and not durable.
    pub writes: VecDeque<Persist>,
    /// The log with all that was given out.
    pub start: (Index, Term),
    pub log: BTreeMap<u64, Entry>,
    /// Handed out and not applied.
    pub applying: VecDeque<Entry>,
    pub store: Store,
    pub durable_store: Store,
}

impl Node {
    pub fn new(config: Config) -> Self {
        Self {
            replica: Replica::new(config.clone(), Restored::default()).unwrap(),
            config,
            up: true,
            disk: Disk::default(),
            writes: VecDeque::new(),
            start: Disk::default().start,
            log: BTreeMap::new(),
            applying: VecDeque::new(),
            store: Store::default(),
            durable_store: Store::default(),
        }
    }

    /// A node whose log and term were durable before it started.
    pub fn restored(config: Config, term: u64, log: Vec<Entry>, applied: u64) -> Self {
        let mut node = Self::new(config);
        node.disk.hard = HardState {
            term: Term(term),
            vote: None,
        };
        for entry in log {
            if entry.index.0 <= applied {
                node.durable_store.apply(&entry);
            }
            node.disk.log.insert(entry.index.0, entry);
        }
        node.crash();
        node.restart(0);
        node
    }

    pub fn id(&self) -> ReplicaId {
        self.config.id
    }

    /// Takes the effects, notes what is to be written and applied, and returns them.
    pub fn drain(&mut self) -> Effects {
        let effects = self.replica.effects();
        if let Some(persist) = &effects.persist {
            write_log(&mut self.start, &mut self.log, persist);
            self.writes.push_back(persist.clone());
        }
        self.applying.extend(effects.apply.iter().cloned());
        effects
    }

    /// The first `count` writes become durable.
    pub fn sync(&mut self, count: usize) {
        let count = count.min(self.writes.len());
        let mut token = None;
        for persist in self.writes.drain(..count) {
            self.disk.write(&persist);
            token = Some(persist.token);
        }
        if let Some(token) = token {
            self.replica.persisted(token);
        }
    }

    /// Applies up to `count` of what was handed out.
    pub fn apply(&mut self, count: usize) {
        for _ in 0..count {
            let Some(entry) = self.applying.pop_front() else {
                break;
            };
            // A snapshot may have overtaken it.
            if entry.index > self.store.index {
                self.store.apply(&entry);
            }
        }
        self.replica.applied(self.store.index);
    }

    /// Drains, syncs and applies until nothing is left to do; returns what was sent.
    pub fn settle(&mut self) -> Vec<Message> {
        let mut sent = Vec::new();
        while self.replica.has_effects() || !self.writes.is_empty() || !self.applying.is_empty() {
            sent.extend(self.drain().send);
            self.sync(usize::MAX);
            self.apply(usize::MAX);
        }
        sent
    }

    /// Steps and settles.
    pub fn answer(&mut self, message: Message) -> Vec<Message> {
        self.replica.step(message);
        self.settle()
    }

    /// Makes it the leader of the next term, with the votes of these.
    pub fn win(&mut self, voters: &[u64]) -> Vec<Message> {
        self.replica.campaign();
        self.settle();
        let (term, own) = (self.replica.term().0, self.id().0);
        let mut sent = Vec::new();
        for &voter in voters {
            sent.extend(self.answer(message(voter, own, term, Body::Vote { granted: true })));
        }
        sent
    }

    /// The store makes durable what it has applied.
    pub fn flush(&mut self) {
        self.durable_store = self.store.clone();
    }

    /// Purges the log up to an index that store and log have durably.
    pub fn compact(&mut self, index: Index) {
        let safe = self.durable_store.index.min(self.replica.persisted_index());
        // What is to be dropped anyway may not be dropped on disk yet.
        let useful = index > self.replica.snapshot_point().0;
        if useful && index <= safe && self.disk.log.contains_key(&index.0) {
            self.disk.purge(index);
            self.start = self.start.max(self.disk.start);
            self.replica.compacted(index, self.disk.start.1);
        }
    }

    /// A snapshot has arrived whole: the store is replaced, durably.
    pub fn install(&mut self, snapshot: &Store) {
        self.store = snapshot.clone();
        self.flush();
        self.applying.clear();
        let membership = self.config.membership.clone();
        self.replica
            .snapshot_installed(snapshot.index, snapshot.term, membership);
    }

    /// Everything that is not durable is gone.
    pub fn crash(&mut self) {
        self.up = false;
        self.writes.clear();
        self.applying.clear();
        self.store = self.durable_store.clone();
        (self.start, self.log) = (self.disk.start, self.disk.log.clone());
    }

    /// Starts again with what is durable; `tail` entries before the first unapplied are read back too.
    pub fn restart(&mut self, tail: u64) {
        self.up = true;
        let last = self.disk.last();
        let first = self
            .store
            .index
            .0
            .saturating_sub(tail)
            .min(last.saturating_sub(1))
            + 1;
        let entries: Vec<_> = self
            .disk
            .log
            .range(first..)
            .map(|(_, entry)| entry.clone())
            .collect();
        let first = entries.first().map_or(0, |entry| entry.index.0);
        let preceding = self
            .disk
            .log
            .get(&first.saturating_sub(1))
            .map(|entry| entry.term);
        let restored = Restored {
            hard_state: self.disk.hard,
            snapshot: self.disk.start,
            preceding_term: preceding.unwrap_or(self.disk.start.1),
            entries,
            applied: self.store.index,
            applied_term: self.store.term,
        };
        self.config.seed = self.config.seed.wrapping_add(1000);
        self.replica = Replica::new(self.config.clone(), restored).unwrap();
    }
}

/// The bodies of what was sent to one replica.
pub fn sent_to(messages: &[Message], to: u64) -> Vec<Body> {
    messages
        .iter()
        .filter(|message| message.to == id(to))
        .map(|message| message.body.clone())
        .collect()
}
