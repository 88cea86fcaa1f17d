//! How close the log comes to a bare file.
//!
//! Writes and syncs the same number of bytes in three ways, in alternating rounds of one process, and prints
//! the ratios, which stay steady where the figures themselves don't:
//!
//! * `log`: one append of 64 entries of 256 B to the log, then a sync;
//! * `bare`: the bytes that the log makes of that, to a file that has all its blocks, then `fdatasync`;
//! * `growing`: the same to a file that grows.
//!
//! Last, how long a start takes with a million entries in the log.
//!
//! ```text
//! cargo run --release -p storage --example log_speed -- [directory] [rounds] [batches per round]
//! ```

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use model::{ShardId, TableId};
use storage::disk::{Disk, DiskFile, RealDisk};
use storage::log::{Log, LogEntry, LogOptions, Record};

const ENTRIES: u64 = 64;
const PAYLOAD: usize = 256;
const FILE: u64 = 64 << 20;

fn main() {
    let mut args = std::env::args().skip(1);
    let parent = args.next().unwrap_or_else(|| ".".to_owned());
    let rounds: u64 = args.next().map_or(10, |n| n.parse().unwrap());
    let batches: u64 = args.next().map_or(2000, |n| n.parse().unwrap());
    let dir = Path::new(&parent).join(format!("log-speed-{}", std::process::id()));
    RealDisk.create_dir_all(&dir).unwrap();

    let mut log = LogRun::new(&dir);
    let bare = RealDisk.create(&dir.join("bare")).unwrap();
    fill(&*bare);
    let segment = FILE / batch_bytes() as u64;
    let first = rate(segment, || log.run(segment));
    println!("{first:8.0}  batches per second while the first segment gets its blocks");
    // Through all segments, so that each has its blocks.
    log.run(2 * segment);

    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    println!(
        "{:>8} {:>8} {:>8}  batches per second",
        "log", "bare", "growing"
    );
    for _ in 0..rounds {
        let round = [
            rate(batches, || log.run(batches)),
            rate(batches, || write_file(&*bare, batches, FILE)),
            rate(batches, || {
                let path = dir.join("growing");
                let growing = RealDisk.create(&path).unwrap();
                write_file(&*growing, batches, u64::MAX);
                RealDisk.remove(&path).unwrap();
            }),
        ];
        println!("{:8.0} {:8.0} {:8.0}", round[0], round[1], round[2]);
        for (all, rate) in rates.iter_mut().zip(round) {
            all.push(rate);
        }
    }
    let [log_rate, bare_rate, growing_rate] = rates.map(median);
    println!("{log_rate:8.0} {bare_rate:8.0} {growing_rate:8.0}  median");
    println!("log / bare    {:.2}", log_rate / bare_rate);
    println!("log / growing {:.2}", log_rate / growing_rate);
    println!("{:?}", log.log.stats());
    start_again(log, &dir);
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Fills the log with a million entries and opens it.
fn start_again(mut run: LogRun, dir: &Path) {
    for _ in 0..1_000_000 / ENTRIES {
        run.append();
    }
    run.log.sync().unwrap();
    let stats = run.log.stats();
    drop(run);
    let start = Instant::now();
    let (_, groups) = Log::open(Arc::new(RealDisk), &dir.join("log"), options()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let last = groups.values().map(|group| group.last_index).max();
    println!(
        "opening {} MB, last entry {last:?}: {seconds:.2} s",
        stats.live_bytes >> 20
    );
}

fn options() -> LogOptions {
    LogOptions::default()
}

/// What the log writes per batch, about: entries with their headers, in sectors.
fn batch_bytes() -> usize {
    (64 * (PAYLOAD + 13) + 12 + 28 + 48usize).next_multiple_of(512)
}

fn rate(batches: u64, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    batches as f64 / start.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn fill(file: &dyn DiskFile) {
    let zeros = vec![0; 1 << 20];
    for offset in (0..FILE).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset).unwrap();
    }
    file.sync_data().unwrap();
}

fn write_file(file: &dyn DiskFile, batches: u64, wrap: u64) {
    let bytes = vec![7; batch_bytes()];
    let mut offset = 0;
    for _ in 0..batches {
        if offset + bytes.len() as u64 > wrap {
            offset = 0;
        }
        file.write_all_at(&bytes, offset).unwrap();
        file.sync_data().unwrap();
        offset += bytes.len() as u64;
    }
}

struct LogRun {
    log: Log,
    group: ShardId,
    payload: Bytes,
    next: u64,
}

impl LogRun {
    fn new(dir: &Path) -> Self {
        let (log, _) =
            Log::open(Arc::new(RealDisk), &dir.join("log"), LogOptions::default()).unwrap();
        let group = ShardId {
            table: TableId(1),
            index: 0,
        };
        Self {
            log,
            group,
            payload: Bytes::from(vec![7; PAYLOAD]),
            next: 1,
        }
    }

    fn append(&mut self) {
        let group = self.group;
        let entries = (self.next..self.next + ENTRIES)
            .map(|index| LogEntry {
                index,
                term: 1,
                kind: 0,
                payload: self.payload.clone(),
            })
            .collect();
        self.next += ENTRIES;
        self.log
            .write(&[Record::Append { group, entries }])
            .unwrap();
    }

    fn run(&mut self, batches: u64) {
        let group = self.group;
        for batch in 0..batches {
            self.append();
            self.log.sync().unwrap();
            // As a node does once the state store is durable.
            if batch % 256 == 255 {
                let index = self.next - 1;
                let term = 1;
                self.log
                    .write(&[Record::Purge { group, index, term }])
                    .unwrap();
            }
        }
    }
}
