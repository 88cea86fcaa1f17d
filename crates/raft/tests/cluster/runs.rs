//! The runs themselves: fixed seeds, or those that the environment names.

use std::ops::Range;

use super::{Cluster, Fault, Tally};

pub fn seeds(usual: u64) -> Range<u64> {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    match (number("RAFT_SEED"), number("RAFT_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..usual,
    }
}

pub(super) fn run(size: u64, seed: u64, steps: usize, fault: Fault) -> Result<Cluster, String> {
    let mut cluster = Cluster::new(size, seed, fault);
    cluster.disturb(steps)?;
    cluster.converge()?;
    Ok(cluster)
}

/// Says how to repeat a run that fails, in whichever way.
struct Named {
    size: u64,
    seed: u64,
}

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { size, seed } = self;
            println!(
                "replay: RAFT_SEED={seed} RAFT_TRACE=1 cargo test -p raft --test raft of_{size}"
            );
        }
    }
}

fn run_all(size: u64, usual: u64, steps: usize) {
    let mut total = Tally::default();
    for seed in seeds(usual) {
        let _named = Named { size, seed };
        let cluster =
            run(size, seed, steps, Fault::None).unwrap_or_else(|reason| panic!("{reason}"));
        total.add(&cluster.tally);
    }
    println!("{size} replicas: {total:?}");
    if seeds(usual).count() as u64 >= usual {
        let Tally {
            elections,
            proposals,
            snapshots,
            fetches,
            crashes,
            resets,
            transfers,
            reads,
        } = total;
        let least = [
            elections, proposals, snapshots, fetches, crashes, resets, transfers, reads,
        ];
        assert!(
            least.iter().all(|&count| count > 10),
            "a run in which too little happens: {least:?}"
        );
    }
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.elections += other.elections;
        self.proposals += other.proposals;
        self.snapshots += other.snapshots;
        self.fetches += other.fetches;
        self.crashes += other.crashes;
        self.resets += other.resets;
        self.transfers += other.transfers;
        self.reads += other.reads;
    }
}

#[test]
fn of_3_replicas_keep_all_invariants_and_converge() {
    run_all(3, 80, 10_000);
}

#[test]
fn of_5_replicas_keep_all_invariants_and_converge() {
    run_all(5, 50, 15_000);
}

#[test]
fn of_1_replica_keep_all_invariants_and_converge() {
    for seed in seeds(5) {
        let _named = Named { size: 1, seed };
        run(1, seed, 3_000, Fault::None).unwrap();
    }
}

#[test]
fn the_same_seed_twice_gives_the_same_trace() {
    let [first, second] = [0, 1].map(|_| run(3, 7, 5_000, Fault::None).unwrap());
    assert_eq!((first.trace, &first.tally), (second.trace, &second.tally));
    assert_ne!(first.trace, run(3, 8, 5_000, Fault::None).unwrap().trace);
}

/// A test that cannot fail is a defect: these runs must.
fn is_caught(fault: Fault, name: &str) {
    let caught = (0..50).find_map(|seed| run(3, seed, 10_000, fault).err());
    let reason = caught.unwrap_or_else(|| panic!("{fault:?} was not noticed in 50 runs"));
    assert!(
        reason.contains(name),
        "{fault:?} was noticed as something else: {reason}"
    );
}

#[test]
fn a_disk_that_lies_is_caught() {
    is_caught(Fault::LyingDisk, "Durable promises");
}

#[test]
fn answers_taken_for_those_of_a_later_read_round_are_caught() {
    is_caught(Fault::ConfusedReads, "Linearizable reads");
}
