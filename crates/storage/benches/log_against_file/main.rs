//! How close the log comes to a bare file: what it writes is written to a file that has all its blocks, too, and both are synced.
//!
//! The two take turns, batch by batch, so that each pair meets the same disk. The times themselves say little; their ratio
//! is steady. It is a median over rounds, and so are the times.
//!
//! ```text
//! cargo bench --package storage --bench log_against_file
//! ```

#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod bare;
#[path = "../log/sample.rs"]
mod sample;

use std::time::{Duration, Instant};

use bare::BareFile;
use sample::{Sample, bytes_of, directory};

const ROUNDS: usize = 15;
const BATCHES: u32 = 200;

/// What batches took on average in one round.
struct Round {
    log: Duration,
    bare: Duration,
}

fn main() {
    println!(
        "durable batches of entries of 256 B   log       bare file  of the file's speed (min to max)"
    );
    for entries in [1, 64] {
        let directory = directory();
        let mut log = Sample::warm(&directory);
        let mut bare = BareFile::new(&directory, bytes_of(entries as usize));
        let rounds: Vec<_> = (0..ROUNDS)
            .map(|_| round(&mut log, &mut bare, entries))
            .collect();
        report(entries, &rounds);
    }
}

fn round(log: &mut Sample, bare: &mut BareFile, entries: u64) -> Round {
    let mut total = [Duration::ZERO; 2];
    for _ in 0..BATCHES {
        total[0] += timed(|| {
            log.write(entries);
            log.log.sync().unwrap();
        });
        log.purge();
        total[1] += timed(|| bare.write_and_sync());
    }
    let [log, bare] = total.map(|total| total / BATCHES);
    Round { log, bare }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn report(entries: u64, rounds: &[Round]) {
    let times = |which: fn(&Round) -> Duration| sorted(rounds, |round| micros(which(round)));
    let (log, bare) = (times(|round| round.log), times(|round| round.bare));
    let ratios = sorted(rounds, |round| {
        100.0 * round.bare.as_secs_f64() / round.log.as_secs_f64()
    });
    println!(
        "{entries:>5} to a batch                {:>10.0} µs {:>10.0} µs  {:.0} % ({:.0} to {:.0})",
        log[ROUNDS / 2],
        bare[ROUNDS / 2],
        ratios[ROUNDS / 2],
        ratios[0],
        ratios[ROUNDS - 1],
    );
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn sorted(rounds: &[Round], value: impl Fn(&Round) -> f64) -> Vec<f64> {
    let mut values: Vec<_> = rounds.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values
}
