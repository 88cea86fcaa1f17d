//! Reading while the log is written, on the real file system.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use storage::disk::RealDisk;
use storage::log::{Log, LogEntry, LogOptions, LogReader, Read, Record};

use crate::model::{Model, entry, group, read_all};

/// The content is a function of index and term, so any reader can tell right from wrong.
fn made(index: u64, term: u64) -> LogEntry {
    let len = (index * 31 + term * 7) % 700;
    entry(index, term, vec![(index ^ term) as u8; len as usize])
}

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 64 << 10,
        spare_segments: 2,
        memory_tail_bytes: 1000,
        salt: 1,
    }
}

/// Reads at changing places until told to stop. Gives the number of entries read.
fn read_along(reader: &LogReader, last: &AtomicU64, stop: &AtomicBool) -> (u64, u64) {
    let (mut entries_read, mut compacted) = (0, 0);
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let from = last.load(Ordering::Acquire).saturating_sub(turn * 37 % 300) + 1;
        match reader.read(group(0), from, 3000).unwrap() {
            Read::Compacted => compacted += 1,
            Read::Entries {
                previous_term,
                entries,
            } => {
                let mut term = previous_term;
                for (expected, found) in (from..).zip(&entries) {
                    assert_eq!(found, &made(expected, found.term));
                    assert!(found.term >= term);
                    term = found.term;
                    entries_read += 1;
                }
            }
        }
    }
    (entries_read, compacted)
}

#[test]
fn readers_see_whole_entries_while_segments_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/log");
    let (mut log, _) = Log::open(Arc::new(RealDisk), &path, options()).unwrap();
    let last = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (reader, last, stop) = (log.reader(), Arc::clone(&last), Arc::clone(&stop));
            thread::spawn(move || read_along(&reader, &last, &stop))
        })
        .collect();

    let group = group(0);
    let mut next = 1;
    for batch in 1..=600u64 {
        let term = 1 + batch / 10;
        // Every tenth batch replaces the end of the log, as a new leader does.
        if batch % 10 == 0 {
            next -= 5;
        }
        let entries: Vec<_> = (next..next + 10).map(|index| made(index, term)).collect();
        next += 10;
        log.write(&[Record::Append { group, entries }]).unwrap();
        last.store(next - 1, Ordering::Release);
        if batch % 20 == 0 {
            let index = next.saturating_sub(200);
            log.write(&[Record::Purge {
                group,
                index,
                term: term_of(&log, index),
            }])
            .unwrap();
            log.sync().unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        let (entries, compacted) = reader.join().unwrap();
        assert!(entries > 0, "{entries} {compacted}");
    }
    log.sync().unwrap();
    let stats = log.stats();
    assert!(stats.disk_bytes < 20 * options().segment_bytes, "{stats:?}");

    // The same again from the files.
    drop(log);
    let (log, recovered) = Log::open(Arc::new(RealDisk), &path, options()).unwrap();
    let model = Model::read_back(&log, &recovered);
    assert_eq!(model.groups[&group].last(), next - 1);
    for (index, found) in &model.groups[&group].entries {
        assert_eq!(found, &made(*index, found.term));
    }
    log.close().unwrap();
}

fn term_of(log: &Log, index: u64) -> u64 {
    match log.reader().read(group(0), index + 1, 1).unwrap() {
        Read::Entries { previous_term, .. } => previous_term,
        Read::Compacted => panic!("{index} is compacted"),
    }
}

#[test]
fn what_is_written_is_readable_before_it_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = Log::open(Arc::new(RealDisk), dir.path(), options()).unwrap();
    let reader = log.reader();
    let entries: Vec<_> = (1..=5).map(|index| made(index, 1)).collect();
    let group = group(7);
    let read = |from| reader.read(group, from, usize::MAX).unwrap();
    let empty = |previous_term| Read::Entries {
        previous_term,
        entries: vec![],
    };
    assert_eq!(read(1), empty(0));
    log.write(&[Record::Append {
        group,
        entries: entries.clone(),
    }])
    .unwrap();
    assert_eq!(
        read(3),
        Read::Entries {
            previous_term: 1,
            entries: entries[2..].to_vec()
        }
    );
    assert_eq!(read(6), empty(1));
    assert_eq!(read(600), empty(1));
    assert_eq!(read(0), Read::Compacted);
    assert_eq!(read_all(&log, group, (0, 0)).len(), 5);
}
