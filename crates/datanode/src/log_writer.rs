//! The log writer of a node: the records of all workers, one buffer, one sync.
//!
//! While it syncs, the next batches gather in its queue; then they share the next sync. That is the group commit,
//! across all shards of the node. After the first failure it does nothing more: what a failed sync has
//! left on disk is not known, so nothing may be confirmed on its word.

use std::collections::BTreeMap;

use storage::log::{Log, LogError, Record};

use crate::worker::LogWrite;

/// See the [module](self).
pub struct LogWriter {
    log: Log,
}

/// A worker's batch.
#[derive(Debug)]
pub struct LogJob {
    /// Which worker.
    pub worker: usize,
    /// Its batch.
    pub write: LogWrite,
}

impl LogWriter {
    /// A writer to an open log.
    pub fn new(log: Log) -> Self {
        Self { log }
    }

    /// Writes batches and syncs once. What is durable then: the highest ticket of each worker among them.
    pub fn run(&mut self, jobs: Vec<LogJob>) -> Result<BTreeMap<usize, u64>, LogError> {
        let mut tickets = BTreeMap::new();
        let mut records = Vec::new();
        for LogJob { worker, write } in jobs {
            tickets.insert(worker, write.ticket);
            records.extend(write.records);
        }
        self.commit(&records)?;
        Ok(tickets)
    }

    /// Makes records of the node's own durable, outside of any worker's order.
    pub fn commit(&mut self, records: &[Record]) -> Result<(), LogError> {
        self.log.write(records)?;
        self.log.sync()
    }
}
