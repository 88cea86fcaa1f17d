//! Power cuts.

use proptest::prelude::*;
use storage::disk::SimDisk;
use storage::log::{LogError, Record};

use crate::harness::{Harness, Op, open, ops, script};
use crate::model::{Model, append, group};

/// Runs a script until it is through or the disk fails. None if not even the first start was through.
fn run(disk: &SimDisk, ops: &[Op]) -> (Option<Harness>, bool) {
    let Ok(mut harness) = Harness::new(disk.clone()) else {
        return (None, false);
    };
    for op in ops {
        if harness.step(op).is_err() {
            return (Some(harness), false);
        }
    }
    (Some(harness), true)
}

fn check(harness: Option<&Harness>, found: &Model, context: &str) {
    match harness {
        Some(harness) => harness.check(found),
        None => assert_eq!(found, &Model::default(), "{context}"),
    }
}

#[test]
fn a_power_cut_at_any_change_of_the_disk_loses_nothing_that_was_synced() {
    let script = script();
    let mut cut = 0;
    loop {
        cut += 1;
        let disk = SimDisk::new();
        disk.cut_power_at(cut);
        let (harness, through) = run(&disk, &script);
        for seed in 0..12 {
            let context = format!("cut {cut}, seed {seed}");
            let survivor = disk.crash(seed);
            let (log, found) = open(&survivor).unwrap_or_else(|e| panic!("{context}: {e}"));
            check(harness.as_ref(), &found, &context);
            drop(log);
            // What recovery gave is durable, whatever the next power cut takes.
            let (_, again) = open(&survivor.crash(seed + 1)).unwrap();
            assert_eq!(again, found, "{context}");
        }
        if through {
            let stats = harness.unwrap().log.unwrap().stats();
            assert!(stats.forwarded_bytes > 0, "the script rewrites nothing");
            break;
        }
    }
    assert!(cut > 150, "the script has {cut} changes only");
}

#[test]
pub(crate) fn a_power_cut_while_starting_leaves_either_end() {
    // Ends with batches that were not synced, so that starting has something to copy.
    let mut script = script();
    script.extend([
        Op::Append {
            group: 0,
            back: 1,
            count: 3,
            size: 600,
        },
        Op::Write,
        Op::Vote(1),
        Op::Write,
        Op::Append {
            group: 1,
            back: 0,
            count: 2,
            size: 10,
        },
        Op::Write,
    ]);
    let disk = SimDisk::new();
    let (harness, through) = run(&disk, &script);
    assert!(through);
    let harness = harness.unwrap();
    let mut tails = std::collections::BTreeSet::new();
    for seed in 0..40 {
        // Seed 0: the process died, no power was lost.
        let start = if seed == 0 {
            disk.copy()
        } else {
            disk.crash(seed)
        };
        let mut cut = 0;
        loop {
            cut += 1;
            let first = start.copy();
            first.cut_power_at(first.changes() + cut);
            let through = open(&first).is_ok();
            let second = first.crash(seed + cut);
            let (_, found) =
                open(&second).unwrap_or_else(|e| panic!("seed {seed}, cut {cut}: {e}"));
            harness.check(&found);
            tails.insert(harness.history.iter().position(|model| *model == found));
            let (_, again) = open(&second.crash(seed)).unwrap();
            assert_eq!(again, found);
            if through {
                break;
            }
        }
    }
    assert!(tails.len() > 1, "no crash ever tore the end: {tails:?}");
}

/// Row 1 of the list of known bugs.
#[test]
fn known_bug_01_term_and_vote_in_one_durable_write_with_what_depends_on_them() {
    let id = group(1);
    let before = [
        Record::HardState {
            group: id,
            term: 4,
            vote: Some(1),
        },
        append(id, 1, 3, 4, b"old"),
    ];
    // A follower that meets a leader of a higher term: its term, and the entries that it confirms.
    let after = [
        Record::HardState {
            group: id,
            term: 5,
            vote: None,
        },
        append(id, 3, 40, 5, &[7; 100]),
    ];
    let mut outcomes = [0, 0];
    for seed in 0..200 {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk).unwrap();
        log.write(&before).unwrap();
        log.sync().unwrap();
        log.write(&after).unwrap();
        let (_, found) = open(&disk.crash(seed)).unwrap();
        let found = &found.groups[&id];
        let all = found.term == 5 && found.last() == 42 && found.term_of(3) == 5;
        let none = found.term == 4 && found.vote == Some(1) && found.last() == 3;
        assert!(all || none, "seed {seed}: half of a batch: {found:?}");
        outcomes[usize::from(all)] += 1;
        log.sync().unwrap();
        let (_, found) = open(&disk.crash(seed)).unwrap();
        assert_eq!(found.groups[&id].term, 5, "one sync is enough");
        assert_eq!(found.groups[&id].last(), 42);
    }
    assert!(outcomes[0] > 0, "nothing was ever torn");
}

#[test]
fn a_batch_of_one_sector_is_there_or_not() {
    let mut outcomes = [0, 0];
    for seed in 0..100 {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk).unwrap();
        log.write(&[append(group(0), 1, 1, 1, b"x")]).unwrap();
        let (_, found) = open(&disk.crash(seed)).unwrap();
        outcomes[found.groups.len()] += 1;
    }
    assert!(outcomes[0] > 20 && outcomes[1] > 20, "{outcomes:?}");
}

#[test]
fn starting_again_and_again_takes_no_more_room() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.write(&[append(group(0), 1, 1, 1, b"x")]).unwrap();
    log.sync().unwrap();
    drop(log);
    let (_, found) = open(&disk).unwrap();
    let bytes = disk.named_bytes();
    for seed in 0..12 {
        let disk = disk.crash(seed);
        assert_eq!(open(&disk).unwrap().1, found);
        assert_eq!(open(&disk).unwrap().1, found);
        assert_eq!(disk.named_bytes(), bytes);
    }
}

fn random_run(ops: &[Op]) -> Result<Harness, LogError> {
    let mut harness = Harness::new(SimDisk::new())?;
    for op in ops {
        harness.step(op)?;
    }
    Ok(harness)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_with_any_crashes_matches_the_model(
        ops in proptest::collection::vec(ops(), 1..150),
        seed: u64,
    ) {
        let harness = random_run(&ops).unwrap();
        let (_, found) = open(&harness.disk.crash(seed)).unwrap();
        harness.check(&found);
    }

    #[test]
    fn any_sequence_cut_anywhere_matches_the_model(
        ops in proptest::collection::vec(ops(), 1..100),
        cut in 1u64..400,
        seed: u64,
    ) {
        let disk = SimDisk::new();
        disk.cut_power_at(cut);
        // A crash makes a new disk, which knows nothing of the cut; so none here.
        let one_disk = |op: &Op| !matches!(op, Op::Crash(_) | Op::BrokenStart(..));
        let ops: Vec<_> = ops.into_iter().filter(one_disk).collect();
        let (harness, _) = run(&disk, &ops);
        let (_, found) = open(&disk.crash(seed)).unwrap();
        check(harness.as_ref(), &found, "cut anywhere");
    }
}
