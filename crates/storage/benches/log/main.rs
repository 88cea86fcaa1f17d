//! The log: writing, reading back, starting. Entries have payloads of 256 B.
//!
//! What a durable write takes is compared with a bare file by `log_against_file`. Here is what the log itself does: but for
//! `open` nothing waits for the disk, as long as the page cache takes what is written.
//!
//! ```text
//! cargo bench --package storage --bench log
//! ```

#![allow(clippy::unwrap_used)]

mod sample;

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use storage::disk::RealDisk;
use storage::log::{Log, LogOptions, Read};

use sample::{GROUP, PAYLOAD, Sample, directory, log_path, record_bytes};

fn main() {
    divan::main();
}

/// One batch of so many entries into the page cache, its checksums and its place in the index included. Items are entries.
#[divan::bench(args = [1, 64])]
fn write(bencher: Bencher<'_, '_>, entries: u64) {
    let directory = directory();
    let mut sample = Sample::warm(&directory);
    let counted = bencher.counter(ItemsCount::new(entries as usize));
    counted.bench_local(|| {
        sample.write(entries);
        sample.purge();
    });
}

/// So many entries in a row for a follower that lags, from the page cache, checksums verified. They were written one to a
/// batch, as a group with one client does. Items are entries.
#[divan::bench(args = [1, 64, 1024])]
fn read_back(bencher: Bencher<'_, '_>, entries: usize) {
    read(bencher, entries, 1, entries * record_bytes(1));
}

/// The same of entries that were written 64 to a batch.
#[divan::bench(args = [1, 64, 1024])]
fn read_back_large_batches(bencher: Bencher<'_, '_>, entries: usize) {
    read(bencher, entries, 64, entries * PAYLOAD);
}

/// Entries that were written so many to a batch, from the beginning of a batch on. The bytes are what the log gives exactly
/// those entries for.
fn read(bencher: Bencher<'_, '_>, entries: usize, of_a_batch: usize, max_bytes: usize) {
    const BATCHES: usize = 2048;
    let directory = directory();
    let mut sample = Sample::empty(&directory);
    for _ in 0..BATCHES {
        sample.write(of_a_batch as u64);
    }
    let reader = sample.log.reader();
    let wanted = entries.div_ceil(of_a_batch);
    // Other places each time, all over the log; a prime step visits them all.
    let mut batch = 0;
    let starts = || {
        batch = (batch + 1009) % (BATCHES - wanted);
        (batch * of_a_batch + 1) as u64
    };
    let counted = bencher.counter(ItemsCount::new(entries));
    counted.with_inputs(starts).bench_local_values(|from| {
        let found = reader.read(GROUP, from, max_bytes).unwrap();
        let Read::Entries { entries: found, .. } = found else {
            unreachable!("nothing is purged");
        };
        assert_eq!(found.len(), entries);
        found
    });
}

/// A start with so many entries in the log, 64 to a batch, from the page cache: all of it is read and checked, its last
/// 256 KiB are handed out, and a fresh segment is made, with its syncs. Items are entries.
#[divan::bench(args = [1_024, 65_536], sample_count = 20, sample_size = 1)]
fn open(bencher: Bencher<'_, '_>, entries: u64) {
    let directory = directory();
    let mut sample = Sample::empty(&directory);
    for _ in 0..entries / 64 {
        sample.write(64);
    }
    sample.log.close().unwrap();
    let counted = bencher.counter(ItemsCount::new(entries as usize));
    counted.bench_local(|| {
        let path = log_path(&directory);
        let (log, groups) = Log::open(Arc::new(RealDisk), &path, LogOptions::default()).unwrap();
        assert_eq!(groups[&GROUP].last_index, entries);
        log
    });
}
