//! The command `sim`, as people and scripts use it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use sim::run::Report;

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(arguments)
        .output()
        .unwrap()
}

fn report(seed: &str, scenario: &str) -> Report {
    report_with(seed, scenario, &[])
}

fn report_with(seed: &str, scenario: &str, more: &[&str]) -> Report {
    let one = ["--one", "--from", seed, "--scenario", scenario];
    let output = sim(&[&one[..], more].concat());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Does something with each, as many at a time as there are processors.
fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(work(item));
        }
        done
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let done = running.into_iter().map(|thread| thread.join().unwrap());
        done.flatten().collect()
    })
}

/// Between them they use all that is simulated: tables that come and go, the coordination store, disks that fail, a ledger that
/// forgets, routers that are far away.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let scenarios = [
        "everything",
        "churn",
        "lost-log",
        "disks",
        "lost-entries",
        "absences",
    ];
    each(&scenarios, |scenario| {
        let (first, second) = (report("7", scenario), report("7", scenario));
        assert!(first.digest.1 > 1_000, "{first:?}");
        assert_eq!(first.digest, second.digest, "{scenario}");
        assert_eq!(first.micros, second.micros, "{scenario}");
        assert_eq!(first.operations, second.operations, "{scenario}");
        assert_eq!(first.faults, second.faults, "{scenario}");
    });
    let [seven, eight] = ["7", "8"].map(|seed| report(seed, "everything").digest);
    assert_ne!(seven, eight);
}

/// Mutant, property that catches it, scenario, seed.
///
/// A change of a scenario or of the simulation may move them. The test then says what it has found instead, and
/// `sim --mutant MUTANT --scenario SCENARIO --seeds 20 --keep-going` finds other seeds.
#[rustfmt::skip] // A row a line.
const CAUGHT: &[(&str, &str, &str, &str)] = &[
    ("vote-before-sync", "acknowledged-is-durable", "disks", "1"),
    ("vote-twice", "one-vote-per-term", "elections", "1"),
    ("commit-without-majority", "leader-completeness", "elections", "1"),
    ("previous-term-unchecked", "log-matching", "compaction", "2"),
    ("retry-applied-twice", "versions", "elections", "2"),
    ("router-denies", "eventual-reads", "elections", "1"),
    ("rest-without-last-commit", "resting-are-level", "idle", "1"),
    ("checksum-skipped", "state-machine-safety", "compaction", "14"),
    ("applied-index-apart", "applied-with-data", "compaction", "3"),
    ("summary-outlives-delete", "applied-with-data", "compaction", "2"),
    ("old-generation-read", "confirmed-writes", "compaction", "1"),
    ("snapshot-forgets-requests", "replicas-equal", "compaction", "2"),
    ("delete-answered-early", "tables-as-confirmed", "tables", "1"),
    ("tombstones-forgotten", "no-orphans", "tables", "3"),
    ("creation-unfenced", "deletion-is-final", "churn", "1"),
    ("seal-given-up", "tables-as-confirmed", "churn", "5"),
    ("undo-destroys-data", "serves-again", "old-backup", "2"),
    ("timestamp-falls-on-delete", "timestamps-never-fall", "transactions", "1"),
    ("own-prepare-a-conflict", "conflicts-have-a-cause", "apart", "4"),
    ("decide-without-window", "decided-once", "lost-entries", "1"),
    ("cancel-leaves-placeholder", "placeholders-have-intents", "snapshots", "1"),
    ("intents-not-in-snapshot", "applied-with-data", "snapshots", "1"),
    ("absent-without-lsn", "strict-serializability", "absences", "3"),
    ("decision-unchecked", "decided-once", "impatient", "2"),
    ("lease-from-receipt", "versions", "leases", "16"),
    ("lease-after-transfer", "linearizability", "leases", "3"),
    ("lease-counted-in-ticks", "versions", "leases", "10"),
    ("missing-taken-for-cancelled", "decided-once", "lost-entries", "1"),
];

#[test]
fn mutants_are_caught_by_the_property_that_is_meant_to_at_known_seeds() {
    let differ = each(CAUGHT, |&(mutant, property, scenario, seed)| {
        let caught = report_with(seed, scenario, &["--mutant", mutant]).failure;
        let caught = caught.map_or_else(|| "nothing".to_owned(), |failure| failure.property);
        (caught != property).then(|| format!("{mutant}, {scenario}, {seed}: {caught}"))
    });
    let differ: Vec<_> = differ.into_iter().flatten().collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn the_same_seeds_pass_without_a_mutant() {
    let seeds: BTreeSet<_> = CAUGHT.iter().map(|row| (row.2, row.3)).collect();
    let seeds: Vec<_> = seeds.into_iter().collect();
    each(&seeds, |(scenario, seed)| {
        let report = report(seed, scenario);
        assert_eq!(report.failure, None, "seed {seed}, {scenario}");
    });
}

/// Seeds that have failed once. What they found is held by tests where it was mended; that they pass says that the
/// whole of it does, as far as the scenario is still what it was.
#[test]
fn seeds_that_have_failed_pass() {
    for (seed, scenario, _found) in REGRESSIONS {
        let report = report(seed, scenario);
        assert_eq!(report.failure, None, "seed {seed}, {scenario}");
    }
}

/// Seed, scenario, and what it found.
const REGRESSIONS: &[(&str, &str, &str)] = &[
    (
        "120",
        "everything",
        "items of a batch whose first answer was lost were called certainly not applied",
    ),
    (
        "70",
        "old-caches",
        "the parent of a table's tombstones stayed when the last confirmation was cut short",
    ),
    (
        "40000156",
        "everything",
        "a consistent read behind entries that could not be applied showed the state before them",
    ),
];

#[test]
fn a_violation_is_shown_with_its_seed_its_history_and_the_command_that_repeats_it() {
    let run = |more: &[&str]| {
        let all = [
            "--seeds",
            "3",
            "--from",
            "17",
            "--scenario",
            "stale-leaders",
        ];
        sim(&[&all[..], more].concat())
    };
    let output = run(&["--mutant", "read-without-round"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(" (stale-leaders) violates "), "{said}");
    assert!(said.contains("invoked  returned  client"), "{said}");
    let again = said.lines().find(|line| line.starts_with("again: "));
    let again = again.unwrap();
    assert!(again.ends_with("--scenario stale-leaders --mutant read-without-round --trace"));
    let output = run(&[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let summary = said.lines().last().unwrap();
    assert!(summary.starts_with("3 seeds from 17"), "{summary}");
    assert!(summary.contains(" 0 failures"), "{summary}");
}

#[test]
fn what_does_not_exist_is_said_so() {
    for wrong in [["--scenario", "nonsense"], ["--mutant", "nonsense"]] {
        let output = sim(&wrong);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("nonsense"), "{said}");
    }
    let listed = String::from_utf8(sim(&["--list"]).stdout).unwrap();
    for scenario in sim::scenario::all() {
        assert!(listed.contains(scenario.name));
    }
}
