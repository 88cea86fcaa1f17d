//! The replicated state machine of one shard.
//!
//! Raft gives every replica the same entries in the same order. A [`Machine`] turns them into items in the state store,
//! and its one law is that **the state is a function of the log**: no clock is read, no random number drawn, nothing
//! of this node enters, and it makes no difference how the entries were grouped or how often the process was
//! restarted on the way. So replicas at the same index have the same bytes, and a content hash can tell.
//!
//! A small example, one shard, one entry per row, clock in milliseconds:
//!
//! | index | clock | command | outcome | item `a` |
//! |---|---|---|---|---|
//! | 1 | – | no-op of the first leader | – | – |
//! | 2 | 1000 | put `a` = `x`, request 1 | written, version 1 | `x`, version 1, timestamp 1000.0 |
//! | 3 | 1000 | put `a` = `y`, request 2 | written, version 2 | `y`, version 2, timestamp 1000.1 |
//! | 4 | 1005 | put `a` = `x`, request 1 (again) | written, version 1 | unchanged |
//! | 5 | 1010 | delete `a`, request 3 | deleted | –; the shard's `max_delete_timestamp` is 1010.0 |
//! | 6 | 1002 | put `a` = `z`, request 4 | written, version 4 | `z`, version 4, timestamp 1010.1 |
//!
//! The leader's clock went back before entry 6, and the timestamp of `a` did not.
//!
//! | file | concept |
//! |---|---|
//! | [`command`] | what an entry says |
//! | [`window`] | which writes were applied already, so that none is applied twice |
//! | [`apply`](Machine::apply) | what each command does |
//! | [`summary`] | what is known of items without reading them |
//! | [`transact`] | what it is to take part in a transaction |
//! | [`outcome`] | what becomes of it |
//! | [`read`] | reading beside the machine |
//! | [`content`] | comparing replicas by the hashes at their checkpoints |
//!
//! # What survives a crash
//!
//! One call of [`Machine::apply`] is one batch of the store, with the applied index and term, the items and the
//! memory of requests in it. The store may forget the last batches in a crash, but no part of one; the log has
//! kept the entries and they are applied again.
//!
//! # Caveats
//!
//! * A version is the shard's count of changes, not a Raft index: many commands share an entry.
//! * What can't be read, from the log or from the store, stops the machine for good ([`Broken`]). It does not
//!   know which of the two happened elsewhere, and skipping would make replicas differ in silence.
//! * The hash at a checkpoint is kept up to date write by write. It finds replicas that applied differently; what rots on
//!   the disk without being touched is found by [`storage::snapshot::verify_shard`].

mod apply;
pub mod command;
pub mod content;
mod error;
pub mod outcome;
pub mod read;
pub mod summary;
pub mod transact;
pub mod window;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use model::{NodeId, ShardId, TransactionId};
use storage::keys;
use storage::meta::{PreparedRecord, RequestBlock, ShardMeta};
use storage::snapshot::{create_shard, current_generation, load_meta};
use storage::state::{Batch, StateStore, StateView};

pub use command::{Command, CommandBatch, CommandDecodeError};
pub use content::{ContentComparison, Verdict};
pub use error::Broken;
pub use outcome::{Applied, Outcome, Refusal};
pub use read::{ReadError, ReadHandle};
pub use summary::Summaries;
pub use window::{RequestWindow, WindowBounds};

use error::damaged;
use summary::Life;

/// The state machine of one shard on one node.
///
/// It is the only writer of its shard's state, except while a snapshot is installed: then nothing is applied until
/// [`Machine::reload`].
pub struct Machine {
    store: Arc<dyn StateStore>,
    shard: ShardId,
    generation: u32,
    /// As in the store. Changes only after a batch is written.
    meta: ShardMeta,
    /// `window.floor_millis() == meta.request_floor_millis` between calls.
    window: RequestWindow,
    bounds: WindowBounds,
    /// What it knows of items without reading them.
    life: Life,
    /// The records of the transactions that are prepared, as they are stored.
    prepared: Prepared,
    reader: ReadHandle,
    /// What the node's clock said last. Nothing of it enters the state.
    monotonic_millis: u64,
    /// Why nothing is applied any more.
    broken: Option<Broken>,
}

impl Machine {
    /// Makes a shard in the store, with nothing applied, and opens it. Not durable until the store is persisted.
    ///
    /// [`Broken::AlreadyThere`] if the store has it.
    pub fn create(
        store: Arc<dyn StateStore>,
        shard: ShardId,
        voters: Vec<NodeId>,
    ) -> Result<Self, Broken> {
        Self::create_with(store, shard, voters, WindowBounds::default())
    }

    /// Opens a shard where the store has left it. `None` if the store has no such shard.
    ///
    /// Reads the blocks of remembered requests: up to [`model::limits::REQUEST_WINDOW_ENTRIES`] of them.
    pub fn open(store: Arc<dyn StateStore>, shard: ShardId) -> Result<Option<Self>, Broken> {
        Self::open_with(store, shard, WindowBounds::default())
    }

    fn create_with(
        store: Arc<dyn StateStore>,
        shard: ShardId,
        voters: Vec<NodeId>,
        bounds: WindowBounds,
    ) -> Result<Self, Broken> {
        if current_generation(&*store.view(), shard)?.is_some() {
            return Err(Broken::AlreadyThere(shard));
        }
        let mut batch = Batch::new();
        create_shard(&mut batch, shard, &ShardMeta::new(voters));
        store.write(batch)?;
        Self::open_with(store, shard, bounds)?.ok_or(Broken::NotThere(shard))
    }

    fn open_with(
        store: Arc<dyn StateStore>,
        shard: ShardId,
        bounds: WindowBounds,
    ) -> Result<Option<Self>, Broken> {
        let view = store.view();
        let Some((generation, meta)) = load_meta(&*view, shard)? else {
            return Ok(None);
        };
        let window = load_window(&*view, shard, generation, &meta, bounds)?;
        let reader = ReadHandle::new(Arc::clone(&store), shard, generation, meta.sealed);
        let prepared = load_prepared(&*view, shard, generation)?;
        reader.transactions_are(prepared.keys(), 0);
        Ok(Some(Self {
            store,
            shard,
            generation,
            meta,
            window,
            bounds,
            life: Summaries::of_one().begin_life(),
            prepared,
            reader,
            monotonic_millis: 0,
            broken: None,
        }))
    }

    /// Takes up the state that a snapshot has put in the place of the old one. Read handles follow.
    ///
    /// To be called after [`storage::snapshot::switch_generation`] and before anything is applied. Removing the old
    /// generation may come before or after it.
    pub fn reload(&mut self) -> Result<(), Broken> {
        let view = self.store.view();
        let (generation, meta) =
            load_meta(&*view, self.shard)?.ok_or(Broken::NotThere(self.shard))?;
        self.window = load_window(&*view, self.shard, generation, &meta, self.bounds)?;
        self.prepared = load_prepared(&*view, self.shard, generation)?;
        self.reader
            .transactions_are(self.prepared.keys(), self.monotonic_millis);
        self.generation = generation;
        self.meta = meta;
        self.life.begin_anew();
        self.broken = None;
        self.reader.set_sealed(self.meta.sealed);
        self.reader.moved_to(generation);
        Ok(())
    }

    /// Shares the memory of what is known of items with others.
    pub fn share(&mut self, summaries: &Summaries) {
        self.life = summaries.begin_life();
    }

    /// The node begins to take part in the shard with this state. The ages of prepared transactions count from here.
    pub fn begin(&mut self, monotonic_millis: u64) {
        self.tell_time(monotonic_millis);
        self.reader.begin(monotonic_millis);
    }

    /// What time it is by the node's monotonic clock: for the ages of prepared transactions, and for nothing that is
    /// state.
    pub fn tell_time(&mut self, monotonic_millis: u64) {
        self.monotonic_millis = monotonic_millis;
    }

    /// The shard.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Where the state stands. After an error of [`Machine::apply`] it is still what is in the store.
    pub fn meta(&self) -> &ShardMeta {
        &self.meta
    }

    /// The number of the generation of keys that the state is in.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// For reads, from any thread.
    pub fn reader(&self) -> ReadHandle {
        self.reader.clone()
    }

    fn meta_key(&self) -> Bytes {
        let meta = keys::Key::Meta {
            shard: self.shard,
            generation: self.generation,
        };
        meta.encode()
    }
}

/// Encoded [`PreparedRecord`]s.
type Prepared = BTreeMap<TransactionId, Bytes>;

/// The window as the stored blocks have it.
fn load_window(
    view: &dyn StateView,
    shard: ShardId,
    generation: u32,
    meta: &ShardMeta,
    bounds: WindowBounds,
) -> Result<RequestWindow, Broken> {
    let mut window = RequestWindow::at_floor(bounds, meta.request_floor_millis);
    for entry in view.scan(&keys::requests(shard, generation)) {
        let (key, value) = entry?;
        match keys::Key::decode(&key) {
            Ok(keys::Key::Requests { index, .. }) => {
                let block = RequestBlock::decode(&value).map_err(|e| damaged(shard, &e))?;
                window.restore(index, &block);
            }
            Ok(_) => Err(damaged(shard, &"a key is out of its place"))?,
            Err(error) => Err(damaged(shard, &error))?,
        }
    }
    Ok(window)
}

/// The transactions that are prepared, as the stored records have it.
fn load_prepared(
    view: &dyn StateView,
    shard: ShardId,
    generation: u32,
) -> Result<Prepared, Broken> {
    let mut prepared = Prepared::new();
    for entry in view.scan(&keys::prepared(shard, generation)) {
        let (key, value) = entry?;
        match keys::Key::decode(&key) {
            Ok(keys::Key::Prepared { transaction, .. }) => {
                PreparedRecord::decode(&value).map_err(|error| damaged(shard, &error))?;
                prepared.insert(transaction, value);
            }
            Ok(_) => Err(damaged(shard, &"a key is out of its place"))?,
            Err(error) => Err(damaged(shard, &error))?,
        }
    }
    Ok(prepared)
}
