//! Applying entries of the log: many commands in, one batch out.
//!
//! [`Step`] holds what the entries of one call make of the state: the batch so far, in which later commands see what
//! earlier ones did, the meta and the window. It reads the store and writes nothing; [`Machine::apply`] writes
//! the batch at the end and only then takes the new meta for its own.
//!
//! How entries are grouped into calls must not show in the state: a replica that replays its log after a crash groups
//! them differently from one that took them one by one. So whatever isn't a command's own doing, the
//! forgetting of old requests and the removal of their blocks, happens once per *entry*.

use bytes::Bytes;
use model::{Condition, Item, Key, Lsn, RequestId, ShardId, Timestamp, TransactionId};
use raft::{Entry, EntryKind, Index};
use storage::keys;
use storage::meta::{Remembered, ShardMeta};
use storage::state::{Batch, StateStore, StoreError};

use super::command::{Command, CommandBatch};
use super::error::{Broken, damaged};
use super::outcome::{Applied, Outcome, Refusal};
use super::summary::{Known, Old};
use super::window::{RequestWindow, Seen};
use super::{Machine, Prepared};

impl Machine {
    /// Applies committed entries in the order of the log, all of them in one atomic batch of the store.
    ///
    /// Entries that are applied already are passed over, without a place in the answer. When this returns, the
    /// changes can be read, but they are durable only once the store is persisted; after a crash the same entries are
    /// applied again, with the same outcomes.
    ///
    /// After an error the machine applies nothing more, and every further call says the same.
    pub fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Applied>, Broken> {
        let (staged, batch) = self.stage(entries)?;
        let written = self.store.write(batch);
        self.end(staged, &written)
    }

    /// The first half of [`Machine::apply`]: works out what entries change. The batch is to be written, with those of other shards if
    /// there are any, and [`Machine::end`] to be called before anything else is.
    pub fn stage(&mut self, entries: &[Entry]) -> Result<(Staged, Batch), Broken> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let staged = self.work_out(entries);
        staged.map_err(|broken| self.note(broken))
    }

    /// The second half of [`Machine::apply`]: the batch was written, or could not be.
    pub fn end(
        &mut self,
        staged: Staged,
        written: &Result<(), StoreError>,
    ) -> Result<Vec<Applied>, Broken> {
        if let Err(error) = written {
            return Err(self.note(Broken::from(error.clone())));
        }
        let Staged {
            meta,
            applied,
            transactions,
        } = staged;
        self.meta = meta;
        self.reader.set_sealed(self.meta.sealed);
        if !transactions.is_empty() {
            self.reader
                .transactions_changed(&transactions, self.monotonic_millis);
        }
        Ok(applied)
    }

    fn note(&mut self, broken: Broken) -> Broken {
        self.broken = Some(broken.clone());
        broken
    }

    fn work_out(&mut self, entries: &[Entry]) -> Result<(Staged, Batch), Broken> {
        let meta_key = self.meta_key();
        let mut step = Step {
            store: &*self.store,
            shard: self.shard,
            generation: self.generation,
            meta: self.meta.clone(),
            window: &mut self.window,
            known: self.life.lock(),
            prepared: &mut self.prepared,
            batch: Batch::new(),
            now_millis: 0,
            transactions: Vec::new(),
        };
        let mut applied = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.index.0 > step.meta.applied_index {
                applied.push(step.entry(entry)?);
            }
        }
        let Step {
            meta,
            mut batch,
            transactions,
            ..
        } = step;
        if mutant!(AppliedIndexApart) {
            self.store.write(std::mem::take(&mut batch))?;
        }
        if !applied.is_empty() {
            batch.put(meta_key, meta.encode());
        }
        let staged = Staged {
            meta,
            applied,
            transactions,
        };
        Ok((staged, batch))
    }
}

/// A shard's state after entries whose batch is yet to be written.
pub struct Staged {
    meta: ShardMeta,
    applied: Vec<Applied>,
    transactions: Vec<(TransactionId, bool)>,
}

/// The state of a shard in the middle of a call of [`Machine::stage`].
pub(super) struct Step<'a> {
    store: &'a dyn StateStore,
    pub(super) shard: ShardId,
    pub(super) generation: u32,
    pub(super) meta: ShardMeta,
    pub(super) window: &'a mut RequestWindow,
    known: Known<'a>,
    pub(super) prepared: &'a mut Prepared,
    pub(super) batch: Batch,
    /// The clock in the current entry.
    pub(super) now_millis: u64,
    /// Transactions that were prepared (true) or decided, in order: for the memory of what is undecided.
    pub(super) transactions: Vec<(TransactionId, bool)>,
}

/// An item as it is stored or about to be.
pub(super) struct Stored {
    pub(super) item: Item,
    pub(super) old: Old,
}

impl AsRef<Old> for Stored {
    fn as_ref(&self) -> &Old {
        &self.old
    }
}

impl Step<'_> {
    fn entry(&mut self, entry: &Entry) -> Result<Applied, Broken> {
        self.check_order(entry)?;
        let outcomes = match entry.kind {
            EntryKind::Noop => Vec::new(),
            EntryKind::Commands => self.commands(entry)?,
            _ => {
                return Err(Broken::UnknownKind {
                    shard: self.shard,
                    index: entry.index,
                });
            }
        };
        self.meta.applied_index = entry.index.0;
        self.meta.applied_term = entry.term.0;
        Ok(Applied {
            index: entry.index,
            term: entry.term,
            outcomes,
        })
    }

    fn check_order(&self, entry: &Entry) -> Result<(), Broken> {
        let expected = Index(self.meta.applied_index).next();
        if entry.index != expected {
            return Err(Broken::Gap {
                shard: self.shard,
                expected,
                found: entry.index,
            });
        }
        if entry.term.0 < self.meta.applied_term {
            return Err(Broken::TermFell {
                shard: self.shard,
                index: entry.index,
            });
        }
        Ok(())
    }

    fn commands(&mut self, entry: &Entry) -> Result<Vec<Outcome>, Broken> {
        let CommandBatch {
            now_millis,
            commands,
        } = CommandBatch::decode(&entry.payload).map_err(|error| Broken::Commands {
            shard: self.shard,
            index: entry.index,
            error,
        })?;
        let not_the_first = mutant!(ApplyDependsOnBatching) && !self.batch.is_empty();
        self.now_millis = now_millis + u64::from(not_the_first);
        self.meta.clock_millis = self.meta.clock_millis.max(now_millis);
        self.window.begin_entry(now_millis);
        let mut outcomes = Vec::with_capacity(commands.len());
        for command in commands {
            outcomes.push(self.command(command, entry.index)?);
        }
        self.end_entry(entry.index);
        for outcome in &mut outcomes {
            if let Outcome::Checkpoint { content, .. } = outcome {
                *content = self.meta.content;
            }
        }
        Ok(outcomes)
    }

    /// Writes what the entry adds to the memory of requests and removes some of what is forgotten.
    fn end_entry(&mut self, index: Index) {
        let (shard, generation) = (self.shard, self.generation);
        let key = |index| {
            let requests = keys::Key::Requests {
                shard,
                generation,
                index,
            };
            requests.encode()
        };
        if let Some(block) = self.window.end_entry(index.0) {
            self.batch.put(key(index.0), block.encode());
        }
        for forgotten in self.window.drop_blocks() {
            self.batch.delete(key(forgotten));
        }
        self.meta.request_floor_millis = self.window.floor_millis();
    }

    fn command(&mut self, command: Command, index: Index) -> Result<Outcome, Broken> {
        match command {
            Command::Put {
                key,
                value,
                request,
                condition,
            } => match self.admit(request) {
                Admission::New => self.put(&key, value, request, condition),
                Admission::Repeated(Lsn(version)) => Ok(Outcome::Written { version }),
                Admission::Refused(refusal) => Ok(Outcome::Refused(refusal)),
            },
            Command::Delete {
                key,
                request,
                condition,
            } => match self.admit(request) {
                Admission::New => self.delete(&key, request, condition),
                Admission::Repeated(_) => Ok(Outcome::Deleted),
                Admission::Refused(refusal) => Ok(Outcome::Refused(refusal)),
            },
            Command::Seal => {
                self.meta.sealed = !mutant!(SealIgnored);
                Ok(Outcome::Sealed)
            }
            Command::Checkpoint { verify_id } => Ok(Outcome::Checkpoint {
                verify_id,
                index,
                content: self.meta.content,
            }),
            Command::TransactWrite {
                transaction,
                issued_millis,
                items,
            } => self.transact_write(transaction, issued_millis, items),
            Command::Prepare {
                transaction,
                timestamp,
                items,
                participants,
            } => self.prepare(transaction, timestamp, items, participants),
            Command::Decide {
                transaction,
                timestamp,
                commit,
            } => self.decide(transaction, timestamp, commit),
            Command::Inquire {
                transaction,
                timestamp,
                keys,
            } => self.inquire(transaction, timestamp, &keys),
        }
    }

    /// Whether a write may go on. What was applied is answered as such even if the shard is sealed by now, and what may have
    /// been applied is never answered as if it had not.
    fn admit(&self, request: RequestId) -> Admission {
        match self.window.look(request, self.now_millis) {
            Seen::Known(Remembered::Applied(version)) => Admission::Repeated(*version),
            Seen::Known(Remembered::ConditionFailed(version)) => {
                Admission::Refused(Refusal::ConditionFailed(*version))
            }
            // A transaction of the same identity: what became of the write under it nobody knows.
            Seen::Known(_) | Seen::Expired => Admission::Refused(Refusal::Expired),
            Seen::New if self.meta.sealed => Admission::Refused(Refusal::Sealed),
            Seen::New => Admission::New,
        }
    }

    fn put(
        &mut self,
        key: &Key,
        value: Bytes,
        request: RequestId,
        condition: Condition,
    ) -> Result<Outcome, Broken> {
        let at = keys::item(self.shard, self.generation, key);
        let old = self.look(&at)?;
        if let Some(refusal) = self.refuse(old, condition, request) {
            return Ok(Outcome::Refused(refusal));
        }
        let lsn = self.write(at, old, value);
        self.window.remember(request, Remembered::Applied(lsn));
        Ok(Outcome::Written { version: lsn.0 })
    }

    /// Gives an item a value that takes effect with this entry, and says the version that it got.
    pub(super) fn write(&mut self, at: Bytes, old: Option<Old>, value: Bytes) -> Lsn {
        let last = old.map_or(self.meta.max_delete_timestamp, |old| old.timestamp);
        let lsn = if mutant!(VersionsRestart) {
            old.and_then(|old| old.version).map_or(Lsn(1), Lsn::next)
        } else {
            self.meta.last_lsn.next()
        };
        let new = Item {
            value: Some(value),
            timestamp: self.now().max(last.next()),
            lsn,
            intent: None,
        };
        self.meta.last_lsn = lsn;
        self.replace(at, old, Some(new));
        lsn
    }

    fn delete(
        &mut self,
        key: &Key,
        request: RequestId,
        condition: Condition,
    ) -> Result<Outcome, Broken> {
        let at = keys::item(self.shard, self.generation, key);
        let old = self.look(&at)?;
        if let Some(refusal) = self.refuse(old, condition, request) {
            return Ok(Outcome::Refused(refusal));
        }
        // A delete is a write and has a timestamp like one. The item takes it along, so the shard keeps it.
        let last = old.map_or(Timestamp::ZERO, |old| old.timestamp.next());
        if !mutant!(TimestampFallsOnDelete) {
            let timestamp = self.now().max(last);
            self.meta.max_delete_timestamp = self.meta.max_delete_timestamp.max(timestamp);
        }
        if old.is_some() {
            self.meta.last_lsn = self.meta.last_lsn.next();
            self.meta.deletes.note(key.hash(), self.meta.last_lsn);
            let left = if mutant!(DeleteLeavesPlaceholder) {
                self.load(&at)?.map(placeholder)
            } else {
                None
            };
            self.replace(at, old, left);
        }
        // Remembered even if there was nothing to delete: a duplicate that comes late must not hit a newer value.
        let version = self.meta.last_lsn;
        self.window.remember(request, Remembered::Applied(version));
        Ok(Outcome::Deleted)
    }

    /// Why a put or delete may not happen. A prepared transaction comes first: as long as it is not decided, nobody can
    /// say whether the condition holds.
    fn refuse(
        &mut self,
        old: Option<Old>,
        condition: Condition,
        request: RequestId,
    ) -> Option<Refusal> {
        if let Some(transaction) = old.and_then(|old| old.prepared)
            && !mutant!(IntentOverwritten)
        {
            return Some(Refusal::TransactionConflict(transaction));
        }
        let version = old.and_then(|old| old.version);
        if condition.holds(version.map(|lsn| lsn.0)) {
            return None;
        }
        self.window
            .remember(request, Remembered::ConditionFailed(version));
        Some(Refusal::ConditionFailed(version))
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_millis)
    }

    /// What is stored under a key, with what the entries of this call have changed.
    fn stored(&self, at: &[u8]) -> Result<Option<Bytes>, Broken> {
        match self.batch.get(at) {
            Some(changed) => Ok(changed.cloned()),
            None => Ok(self.store.get(at)?),
        }
    }

    /// What is under a key, for those who don't keep it.
    pub(super) fn look(&self, at: &[u8]) -> Result<Option<Old>, Broken> {
        match self.known.get(at) {
            Some(old) => Ok(Some(old)),
            None => Ok(self.load(at)?.map(|stored| stored.old)),
        }
    }

    /// The item under a key.
    pub(super) fn load(&self, at: &[u8]) -> Result<Option<Stored>, Broken> {
        let Some(encoded) = self.stored(at)? else {
            return Ok(None);
        };
        let item = Item::decode(&encoded).map_err(|error| damaged(self.shard, &error))?;
        let old = Old::of(at, &item, &encoded);
        Ok(Some(Stored { item, old }))
    }

    /// Puts something else in the place of what is under a key. Every change of an item comes through here.
    pub(super) fn replace(&mut self, at: Bytes, old: Option<Old>, new: Option<Item>) {
        let new = new.map(|item| {
            let encoded = item.encode();
            (Old::of(&at, &item, &encoded), encoded)
        });
        let now = new.as_ref().map(|(now, _)| *now);
        self.meta
            .replace_counted(old.map(|old| old.count), now.map(|now| now.count));
        if now.is_some() || !mutant!(SummaryOutlivesDelete) {
            self.known.replace(&at, now);
        }
        match new {
            Some((_, encoded)) => self.batch.put(at, encoded),
            None => self.batch.delete(at),
        }
    }
}

/// What the memory of requests and the seal say to a write.
enum Admission {
    New,
    Repeated(Lsn),
    Refused(Refusal),
}

/// What no delete of ours leaves behind: the mutant's.
fn placeholder(old: Stored) -> Item {
    Item {
        value: None,
        ..old.item
    }
}
