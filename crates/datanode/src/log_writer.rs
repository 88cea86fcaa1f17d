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

/// Records on their way to the log.
#[derive(Debug)]
pub enum LogJob {
    /// A worker's batch.
    Worker {
        /// Which worker.
        worker: usize,
        /// Its batch.
        write: LogWrite,
    },
    /// The node's own, outside of any worker's order: replicas that come and go.
    Own(Vec<Record>),
}

impl LogWriter {
    /// A writer to an open log.
    pub fn new(log: Log) -> Self {
        Self { log }
    }

    /// Writes jobs in the order in which they came and syncs once. What is durable then: the highest ticket of each
    /// worker among them.
    ///
    /// The order matters between the node's own records and a worker's, too: the last entries of a replica that is
    /// destroyed may still be waiting here when the record comes that forgets it.
    pub fn run(&mut self, jobs: Vec<LogJob>) -> Result<BTreeMap<usize, u64>, LogError> {
        let mut tickets = BTreeMap::new();
        let mut records = Vec::new();
        for job in jobs {
            match job {
                LogJob::Worker { worker, write } => {
                    tickets.insert(worker, write.ticket);
                    records.extend(write.records);
                }
                LogJob::Own(own) => records.extend(own),
            }
        }
        self.log.write(&records)?;
        if !mutant!(LogReportedBeforeSync) {
            self.log.sync()?;
        }
        Ok(tickets)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use model::{ShardId, TableId};
    use storage::disk::RealDisk;
    use storage::log::{LogEntry, LogOptions};

    use super::*;

    const GROUP: ShardId = ShardId {
        table: TableId(1),
        index: 0,
    };

    fn append(ticket: u64, index: u64) -> LogJob {
        let entry = LogEntry {
            index,
            term: 1,
            kind: 0,
            payload: Bytes::from_static(b"x"),
        };
        let (group, entries) = (GROUP, vec![entry]);
        LogJob::Worker {
            worker: 0,
            write: LogWrite {
                ticket,
                records: vec![Record::Append { group, entries }],
            },
        }
    }

    #[test]
    fn entries_that_gather_before_their_group_is_forgotten_are_written_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Log::open(Arc::new(RealDisk), dir.path(), LogOptions::default()).unwrap();
        let mut writer = LogWriter::new(open().0);
        writer.run(vec![append(1, 1)]).unwrap();
        let forget = LogJob::Own(vec![Record::Forget { group: GROUP }]);
        let tickets = writer.run(vec![append(2, 2), forget]).unwrap();
        assert_eq!(tickets, [(0, 2)].into());
        drop(writer);
        assert!(open().1.is_empty(), "nothing is left of the group");
    }
}
