//! Reads back from the log what is not in memory any more.

use std::sync::mpsc::Receiver;

use environment::{Stage, Step, Wait};
use model::ShardId;
use raft::{Entry, EntryKind, Fetch, Fetched, Index, Term};
use storage::log::{LogEntry, LogReader, Read};

use super::Workers;
use super::queue::{Next, next};
use crate::worker::Input;

/// See the [module](self).
pub(super) struct LogRead {
    pub(super) reader: LogReader,
    pub(super) queue: Receiver<(ShardId, Fetch)>,
    pub(super) workers: Workers,
}

impl Stage for LogRead {
    fn name(&self) -> &'static str {
        "log-reader"
    }

    fn step(&mut self, wait: Wait) -> Step {
        match next(&self.queue, wait) {
            Next::One((shard, fetch)) => {
                self.read(shard, fetch);
                Step::Worked
            }
            Next::Nothing => Step::Idle,
            Next::Closed => Step::Ended,
        }
    }
}

impl LogRead {
    fn read(&self, shard: ShardId, fetch: Fetch) {
        let result = match self.reader.read(shard, fetch.after.0 + 1, fetch.max_bytes) {
            Ok(Read::Entries {
                previous_term,
                entries,
            }) => fetched(&fetch, previous_term, entries),
            Ok(Read::Compacted) => Ok(Fetched::Compacted),
            Err(error) => Err(error.to_string()),
        };
        self.workers.send(
            shard,
            Input::Fetched {
                shard,
                fetch,
                result,
            },
        );
    }
}

fn fetched(fetch: &Fetch, previous_term: u64, entries: Vec<LogEntry>) -> Result<Fetched, String> {
    let wanted = entries
        .into_iter()
        .take_while(|entry| entry.index <= fetch.up_to.0);
    let entries = wanted.map(raft_entry).collect::<Result<_, _>>()?;
    Ok(Fetched::Entries {
        previous_term: Term(previous_term),
        entries,
    })
}

/// An entry as the core has it.
pub fn raft_entry(entry: LogEntry) -> Result<Entry, String> {
    let kind = EntryKind::try_from(entry.kind).map_err(|error| error.to_string())?;
    Ok(Entry {
        index: Index(entry.index),
        term: Term(entry.term),
        kind,
        payload: entry.payload,
    })
}
