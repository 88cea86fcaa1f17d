//! What the state store does at a million items: throughput, pauses of single batches, memory, disk.
//!
//! ```sh
//! cargo run --release -p storage --example store_speed -- [items] [--dir DIR]
//! ```
//!
//! Writes go the way apply does it: one batch per Raft entry, with its items, a request block and the shard's meta, to
//! twelve shards in turn. The pauses at a fixed rate count from when a batch was due, so that one that waits
//! behind a stalled one is counted too.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{Item, NodeId, RequestId, ShardId, TableId, Timestamp};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use storage::keys::{self, Key};
use storage::meta::{Remembered, RequestBlock, ShardMeta};
use storage::snapshot::{create_shard, destroy_shard, verify_shard};
use storage::state::{Batch, FjallOptions, FjallStore, StateStore};

const SHARDS: u32 = 12;
const VALUE_BYTES: usize = 256;
const ITEMS_PER_BATCH: u64 = 16;
/// Batches per second of the paced run: 40,000 items.
const RATE: u64 = 2_500;
const PACED: Duration = Duration::from_secs(20);
const PERSIST_EVERY: Duration = Duration::from_secs(1);

fn main() {
    let mut items = 1_000_000;
    let mut dir = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--dir" => dir = args.next().map(PathBuf::from),
            number => items = number.parse().expect("a number of items"),
        }
    }
    let temporary = tempfile::tempdir().unwrap();
    let dir = dir.unwrap_or_else(|| temporary.path().to_owned());
    let options = FjallOptions::default();
    println!("{options:?}");
    let store = FjallStore::open(&dir, &options).unwrap();
    let mut load = Load::new(&store);

    let mut pauses = Vec::new();
    let start = Instant::now();
    for first in (0..items).step_by(ITEMS_PER_BATCH as usize) {
        let begun = Instant::now();
        store
            .write(load.batch(first..(first + ITEMS_PER_BATCH).min(items)))
            .unwrap();
        pauses.push(begun.elapsed());
    }
    report("load at full speed", items, start.elapsed(), &mut pauses);
    let start = Instant::now();
    store.persist().unwrap();
    println!("persist after it: {:?}", start.elapsed());
    usage(&store);

    paced(&store, &mut load, items);
    idle(&mut load, items);
    usage(&store);

    let mut random = SmallRng::seed_from_u64(7);
    let gets = (items / 2).max(1);
    let start = Instant::now();
    for _ in 0..gets {
        let n = random.random_range(0..items);
        let found = store.get(&keys::item(shard(n), 1, &key(n))).unwrap();
        assert!(found.is_some());
    }
    report("random gets", gets, start.elapsed(), &mut Vec::new());
    usage(&store);

    let start = Instant::now();
    let view = store.view();
    let verified = verify_shard(&*view, shard(0)).unwrap();
    assert_eq!(verified.items, items.div_ceil(u64::from(SHARDS)));
    report(
        "verify one shard",
        verified.items,
        start.elapsed(),
        &mut Vec::new(),
    );
    drop(view);

    let start = Instant::now();
    let deleted = destroy_shard(&store, shard(0)).unwrap();
    report("destroy it", deleted, start.elapsed(), &mut Vec::new());
    let start = Instant::now();
    let left = store.view().scan(&keys::shard(shard(0))).count();
    println!(
        "scan over the {deleted} removed keys: {left} found in {:?}",
        start.elapsed()
    );
    store.persist().unwrap();
    usage(&store);
    drop(store);
    let start = Instant::now();
    let store = FjallStore::open(&dir, &options).unwrap();
    println!("open again: {:?}", start.elapsed());
    usage(&store);
}

/// Overwrites at a fixed rate, with a persist every second.
fn paced(store: &FjallStore, load: &mut Load, items: u64) {
    let stop = AtomicBool::new(false);
    let mut random = SmallRng::seed_from_u64(3);
    let mut pauses = Vec::new();
    let mut persists = std::thread::scope(|scope| {
        let persister = scope.spawn(|| {
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                store.persist().unwrap();
                times.push(start.elapsed());
                std::thread::sleep(PERSIST_EVERY.saturating_sub(start.elapsed()));
            }
            times
        });
        let start = Instant::now();
        let mut count = 0;
        while start.elapsed() < PACED {
            let due = start + Duration::from_nanos(1_000_000_000 / RATE * count);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let first = random.random_range(0..items - ITEMS_PER_BATCH);
            store
                .write(load.batch(first..first + ITEMS_PER_BATCH))
                .unwrap();
            pauses.push(due.elapsed());
            count += 1;
        }
        stop.store(true, Ordering::Relaxed);
        persister.join().unwrap()
    });
    let written = pauses.len() as u64 * ITEMS_PER_BATCH;
    report("overwrite at a fixed rate", written, PACED, &mut pauses);
    let count = persists.len() as u64;
    report("  its persists", count, PACED, &mut persists);
}

/// The same work at the same rate without a store: what the machine itself adds to the pauses.
fn idle(load: &mut Load, items: u64) {
    let mut pauses = Vec::new();
    let start = Instant::now();
    while start.elapsed() < PACED / 2 {
        let due = start + Duration::from_nanos(1_000_000_000 / RATE * pauses.len() as u64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let first = pauses.len() as u64 % (items - ITEMS_PER_BATCH);
        std::hint::black_box(load.batch(first..first + ITEMS_PER_BATCH));
        pauses.push(due.elapsed());
    }
    let made = pauses.len() as u64 * ITEMS_PER_BATCH;
    report("the same without a store", made, PACED / 2, &mut pauses);
}

/// Makes the batches that apply would.
struct Load {
    metas: Vec<ShardMeta>,
    value: Vec<u8>,
}

impl Load {
    fn new(store: &FjallStore) -> Self {
        let meta = ShardMeta::new(vec![NodeId(1), NodeId(2), NodeId(3)]);
        let mut batch = Batch::new();
        for index in 0..u64::from(SHARDS) {
            create_shard(&mut batch, shard(index), &meta);
        }
        store.write(batch).unwrap();
        let mut value = vec![0; VALUE_BYTES];
        SmallRng::seed_from_u64(1).fill(&mut value[..]);
        Self {
            metas: vec![meta; SHARDS as usize],
            value,
        }
    }

    fn batch(&mut self, numbers: std::ops::Range<u64>) -> Batch {
        let mut batch = Batch::new();
        let mut requests = RequestBlock::default();
        for n in numbers {
            let meta = &mut self.metas[(n % u64::from(SHARDS)) as usize];
            meta.last_lsn = meta.last_lsn.next();
            // Every value is different, as real ones are.
            self.value[..8].copy_from_slice(&n.to_le_bytes());
            let item = Item {
                value: Some(Bytes::copy_from_slice(&self.value)),
                timestamp: Timestamp::from_millis(1_700_000_000_000),
                lsn: meta.last_lsn,
                intent: None,
            };
            requests.remembered.push((
                RequestId {
                    issued_millis: 1_700_000_000_000,
                    client: 7,
                    sequence: n,
                },
                Remembered::Applied(item.lsn),
            ));
            batch.put(keys::item(shard(n), 1, &key(n)), item.encode());
        }
        let first = &mut self.metas[0];
        first.applied_index += 1;
        let (shard, generation, index) = (shard(0), 1, first.applied_index);
        batch.put(Key::Meta { shard, generation }.encode(), first.encode());
        let requests_key = Key::Requests {
            shard,
            generation,
            index: index % 2_000,
        };
        batch.put(requests_key.encode(), requests.encode());
        batch
    }
}

fn shard(n: u64) -> ShardId {
    ShardId {
        table: TableId(42),
        index: (n % u64::from(SHARDS)) as u32,
    }
}

fn key(n: u64) -> model::Key {
    model::Key::new(Bytes::from(format!("user{n:012}"))).unwrap()
}

fn report(what: &str, count: u64, elapsed: Duration, pauses: &mut [Duration]) {
    let rate = count as f64 / elapsed.as_secs_f64();
    print!("{what}: {count} in {elapsed:.2?}, {rate:.0}/s");
    pauses.sort_unstable();
    if let Some(max) = pauses.last() {
        let at = |q: f64| pauses[((pauses.len() - 1) as f64 * q) as usize];
        let over = pauses.iter().filter(|p| p.as_millis() >= 20).count();
        print!(
            "; p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}, max {max:.1?}, {over} of 20 ms or more",
            at(0.5),
            at(0.99),
            at(0.999),
        );
    }
    println!();
}

fn usage(store: &FjallStore) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok())
            .unwrap_or(0)
            / 1024
    };
    let taken = store.stats();
    println!(
        "  memory {} MiB (peak {} MiB); disk {} MiB, of which journals {} MiB; write buffer {} MiB; CPU {:.1} s",
        field("VmRSS"),
        field("VmHWM"),
        taken.disk_bytes >> 20,
        taken.journal_bytes >> 20,
        taken.write_buffer_bytes >> 20,
        cpu_seconds(),
    );
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let line = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = line
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let ticks = |i: usize| {
        fields
            .get(i)
            .and_then(|f| f.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / 100.0
}
