//! Starting: what is on disk becomes a log again.
//!
//! 1. The header of the newest segment says which segments count. All of them must be there.
//! 2. Each is read from its first batch on. All but the newest must be whole. In the newest, the first
//!    batch that can't be read is the end, unless something behind it says that it was durable once.
//! 3. The records are replayed into the index.
//! 4. The batches behind the last one that is known to be synced may be in the page cache only: after a
//!    failed sync they can look well and yet be gone after the next power cut. They are copied into a
//!    fresh segment under their old numbers. Its header says that the segment before it ends where the
//!    copies begin, so what remains of the originals doesn't count any more.
//! 5. The fresh segment is synced, then named. The log goes on in it. Going on behind a torn end instead
//!    could complete a torn batch with what is left of it.
//!
//! A crash anywhere in between leaves the files as they were, up to step 5's rename.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use model::ShardId;
use parking_lot::RwLock;

use super::batch::{Builder, SECTOR};
use super::files::{Active, Files};
use super::group::Group;
use super::index::Index;
use super::reader::read_entries;
use super::scan::Scanner;
use super::segment::{self, DATA_START, Segment, SegmentHeader};
use super::{Log, LogEntry, LogError, LogOptions, RecoveredGroup};
use crate::disk::Disk;

impl Log {
    /// Opens the log in a directory, which is made if it isn't there, and gives what it holds of each
    /// group. All of that is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`LogError::Damaged`] and [`LogError::NewerFormat`] name what can't be read; nothing has been changed
    /// then. After [`LogError::Io`] opening may be tried again.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
    ) -> Result<(Log, BTreeMap<ShardId, RecoveredGroup>), LogError> {
        let numbers = survey(&*disk, dir)?;
        let files = Files::new(disk, dir.to_path_buf(), options);
        let recovery = Recovery {
            files,
            index: Index::default(),
            builder: Builder::default(),
        };
        let log = match numbers.last() {
            None => recovery.first_start()?,
            Some(newest) => recovery.restart(&numbers, *newest)?,
        };
        let groups = recovered_groups(&log)?;
        Ok((log, groups))
    }
}

/// The numbers of all segments' files, those that don't count included.
fn survey(disk: &dyn Disk, dir: &Path) -> Result<BTreeSet<u64>, LogError> {
    let context = |verb: &str| LogError::io(format!("{verb} {}", dir.display()));
    disk.create_dir_all(dir).map_err(context("make"))?;
    let names = disk.list(dir).map_err(context("list"))?;
    Ok(names.iter().filter_map(|n| segment::number_of(n)).collect())
}

/// What is known of the newest segment after it was read once.
struct Ending {
    /// Number of its last readable batch, or of the one before its first.
    last: u64,
    /// The last batch that is known to be durable.
    synced: u64,
    /// Bytes of the batches behind that.
    tail_bytes: u64,
    /// Nothing was ever written into it, as far as one can see.
    untouched: bool,
}

struct Recovery {
    files: Files,
    index: Index,
    builder: Builder,
}

impl Recovery {
    fn first_start(mut self) -> Result<Log, LogError> {
        self.remove_leftovers(0)?;
        let header = SegmentHeader {
            segment: 1,
            first_batch: 1,
            oldest: 1,
            salt: self.files.options.salt,
        };
        let active = self.files.create(header, 0, |_| Ok(()))?;
        Ok(self.into_log(active, 0))
    }

    fn restart(mut self, numbers: &BTreeSet<u64>, newest: u64) -> Result<Log, LogError> {
        let last = self.open_segments(numbers, newest)?;
        let whole: Vec<_> = self.index.segments.values().cloned().collect();
        for pair in whole.windows(2) {
            if let [segment, next] = pair {
                self.replay_whole(segment, &next.header)?;
            }
        }
        let ending = read_ending(&last)?;
        self.replay_until(&last, ending.synced)?;

        // From here on files are changed, which rests on the newest header: its name must be durable.
        self.sync_dir()?;
        self.remove_leftovers(last.header.oldest)?;
        let active = if ending.untouched {
            Self::reuse(last)?
        } else {
            self.copy_tail(&last, &ending)?
        };
        self.check_gaps(active.segment.number())?;
        Ok(self.into_log(active, ending.last))
    }

    fn into_log(mut self, active: Active, last_batch: u64) -> Log {
        let segment = Arc::clone(&active.segment);
        self.index.segments.insert(segment.number(), segment);
        Log {
            files: self.files,
            index: Arc::new(RwLock::new(self.index)),
            active,
            builder: self.builder,
            next_batch: last_batch + 1,
            synced: last_batch,
            collector: None,
            forwarded_bytes: 0,
            failed: false,
        }
    }

    /// Opens all segments that count, and gives the newest.
    fn open_segments(
        &mut self,
        numbers: &BTreeSet<u64>,
        newest: u64,
    ) -> Result<Arc<Segment>, LogError> {
        let (disk, dir) = (&*self.files.disk, &*self.files.dir);
        let last = Arc::new(Segment::open(disk, dir, newest)?);
        let oldest = last.header.oldest;
        if oldest > newest {
            return Err(LogError::damaged(newest, 0, "the oldest segment is newer"));
        }
        for number in oldest..newest {
            if !numbers.contains(&number) {
                return Err(LogError::damaged(number, 0, "the file is missing"));
            }
            let segment = Arc::new(Segment::open(disk, dir, number)?);
            self.index.segments.insert(number, segment);
        }
        self.index.segments.insert(newest, Arc::clone(&last));
        Ok(last)
    }

    /// Replays a segment that another one follows: it must have all batches up to that one's first.
    fn replay_whole(&mut self, segment: &Segment, next: &SegmentHeader) -> Result<(), LogError> {
        let mut scanner = Scanner::new(segment);
        while scanner.next < next.first_batch {
            let Some(batch) = scanner.next_batch()? else {
                return Err(scanner.missing(&format!(
                    "segment {} begins with batch {}",
                    next.segment, next.first_batch
                )));
            };
            for (offset, view) in &batch.views {
                self.index.apply(segment.number(), *offset, view);
            }
        }
        Ok(())
    }

    /// Replays the batches of the newest segment up to this one.
    fn replay_until(&mut self, segment: &Segment, last: u64) -> Result<(), LogError> {
        let mut scanner = Scanner::new(segment);
        while scanner.next <= last {
            let Some(batch) = scanner.next_batch()? else {
                return Err(scanner.missing("it could be read a moment ago"));
            };
            for (offset, view) in &batch.views {
                self.index.apply(segment.number(), *offset, view);
            }
        }
        Ok(())
    }

    /// Copies the batches behind the last synced one into a fresh segment.
    fn copy_tail(&mut self, last: &Segment, ending: &Ending) -> Result<Active, LogError> {
        let number = last.number() + 1;
        let oldest = self.index.oldest_needed().unwrap_or(number);
        let header = SegmentHeader {
            segment: number,
            first_batch: ending.synced + 1,
            oldest,
            salt: self.files.options.salt,
        };
        let mut scanner = Scanner::new(last);
        while scanner.next <= ending.synced && scanner.next_batch()?.is_some() {}
        let (builder, index) = (&mut self.builder, &mut self.index);
        let active = self.files.create(header, ending.tail_bytes, |active| {
            while scanner.next <= ending.last {
                let number = scanner.next;
                let Some(batch) = scanner.next_batch()? else {
                    return Err(scanner.missing("it could be read a moment ago"));
                };
                builder.clear();
                builder.push_raw(batch.records);
                let (seal, offset) = (active.segment.seal, active.end);
                let (header, bytes) = builder.finish(number, ending.synced, seal, offset);
                active.write(bytes, header.stride())?;
                for (place, view) in &batch.views {
                    let place = place - batch.offset + offset;
                    index.apply(active.segment.number(), place, view);
                }
            }
            // It tells the truth as soon as the segment has its name.
            if ending.last > ending.synced {
                active.mark(ending.last + 1, ending.last)?;
            }
            Ok(())
        })?;
        let freed = self.index.take_free(oldest);
        for segment in freed {
            self.files.release(segment.number(), segment.capacity)?;
        }
        Ok(active)
    }

    /// Goes on in the newest segment, into which nothing was written yet.
    fn reuse(last: Arc<Segment>) -> Result<Active, LogError> {
        let active = Active {
            segment: last,
            end: DATA_START,
            written: DATA_START,
        };
        // Its header may come from the page cache as well.
        active.sync()?;
        Ok(active)
    }

    fn sync_dir(&self) -> Result<(), LogError> {
        let Files { disk, dir, .. } = &self.files;
        disk.sync_dir(dir)
            .map_err(LogError::io(format!("sync {}", dir.display())))
    }

    /// Removes segments that were left half made or didn't count any more before the crash.
    ///
    /// Their files are not used again: one of them may hold what an earlier start copied into it as
    /// the very segment that is made next, before a crash took back its new name. Under the same number its
    /// checksums would be right.
    fn remove_leftovers(&self, oldest: u64) -> Result<(), LogError> {
        let Files { disk, dir, .. } = &self.files;
        let context = |verb: &str| LogError::io(format!("{verb} {}", dir.display()));
        for name in disk.list(dir).map_err(context("list"))? {
            let dead = segment::number_of(&name).is_some_and(|number| number < oldest);
            if dead || segment::is_unfinished(&name) {
                disk.remove(&dir.join(&name))
                    .map_err(LogError::io(format!("remove {name}")))?;
            }
        }
        Ok(())
    }

    fn check_gaps(&self, newest: u64) -> Result<(), LogError> {
        for (id, group) in &self.index.groups {
            if let Some(index) = group.gap() {
                let detail = format!("entry {index} of group {id} is nowhere in the log");
                return Err(LogError::damaged(newest, 0, detail));
            }
        }
        Ok(())
    }
}

/// Reads the newest segment to its end.
fn read_ending(segment: &Segment) -> Result<Ending, LogError> {
    let mut scanner = Scanner::new(segment);
    let mut ends = BTreeMap::new();
    while scanner.next_batch()?.is_some() {
        ends.insert(scanner.next - 1, scanner.offset);
    }
    let found = scanner.check_end()?;
    let (last, synced) = (scanner.next - 1, scanner.synced);
    let tail_start = ends.get(&synced).copied().unwrap_or(DATA_START);
    Ok(Ending {
        last,
        synced,
        tail_bytes: scanner.offset - tail_start + SECTOR,
        untouched: ends.is_empty() && !found,
    })
}

fn recovered_groups(log: &Log) -> Result<BTreeMap<ShardId, RecoveredGroup>, LogError> {
    let max_bytes = log.files.options.memory_tail_bytes;
    let index = log.index.read();
    let groups = index.groups.iter();
    groups
        .map(|(id, group)| Ok((*id, recovered(&index, group, max_bytes)?)))
        .collect()
}

fn recovered(index: &Index, group: &Group, max_bytes: usize) -> Result<RecoveredGroup, LogError> {
    let (term, vote) = group.hard().unwrap_or_default();
    let last_index = group.last();
    let entries = tail(index, group, max_bytes)?;
    let preceding_term = match entries.first() {
        Some(first) => group.term(first.index - 1),
        None => group.term(last_index),
    };
    Ok(RecoveredGroup {
        term,
        vote,
        point: group.point(),
        entries,
        preceding_term,
        last_index,
        bytes: group.bytes(),
    })
}

/// The last entries of a group, the last one in any case.
fn tail(index: &Index, group: &Group, max_bytes: usize) -> Result<Vec<LogEntry>, LogError> {
    let mut backwards = Vec::new();
    let mut bytes = 0;
    for (first, extent) in group.extents_backwards() {
        let Some(segment) = index.segments.get(&extent.place.segment) else {
            break;
        };
        let entries = read_entries(segment, extent.place, first..first + extent.count)?;
        for entry in entries.into_iter().rev() {
            bytes += entry.payload.len();
            if bytes > max_bytes && !backwards.is_empty() {
                backwards.reverse();
                return Ok(backwards);
            }
            backwards.push(entry);
        }
    }
    backwards.reverse();
    Ok(backwards)
}
