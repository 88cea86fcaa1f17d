//! Flipped bits, missing files, newer formats: refused with a name, never served.

use std::path::Path;

use proptest::prelude::*;
use storage::disk::{Disk, SimDisk};
use storage::log::{LogError, Read, Record};
use xxhash_rust::xxh3::xxh3_64;

use crate::harness::{Harness, Op, dir, open, script, segment_path};
use crate::model::{Model, append, group};

/// Where the first batch of a segment begins, and how far one of less than 512 bytes reaches.
const DATA_START: u64 = 4096;
const STRIDE: u64 = 512;

/// A log with five batches of one sector each, of which the first `synced` are synced.
fn five_batches(synced: u64) -> (SimDisk, Vec<Model>) {
    let disk = SimDisk::new();
    let (mut log, empty) = open(&disk).unwrap();
    let mut states = vec![empty];
    for index in 1..=5 {
        let record = append(group(0), index, 1, 1, &[index as u8; 100]);
        log.write(std::slice::from_ref(&record)).unwrap();
        let mut state = states.last().unwrap().clone();
        state.apply(&record);
        states.push(state);
        if index == synced {
            log.sync().unwrap();
        }
    }
    (disk, states)
}

fn flip_batch(disk: &SimDisk, batch: u64, byte: u64) {
    let offset = DATA_START + (batch - 1) * STRIDE + byte;
    disk.flip_bit(&segment_path(1), offset, 3).unwrap();
}

/// Row 14 of the list of known bugs: every batch, every byte of its header and some of its records.
#[test]
fn known_bug_14_a_torn_end_recovers_cleanly_and_damage_in_the_middle_is_refused() {
    for synced in 0..=5 {
        for batch in 1..=5 {
            for byte in [0, 9, 17, 25, 33, 39, 45, 48, 60, 80, 120, 180] {
                let (disk, states) = five_batches(synced);
                flip_batch(&disk, batch, byte);
                let place = format!("{synced} synced, batch {batch}, byte {byte}");
                match open(&disk) {
                    // A hole in what was never synced is a torn end: what follows it goes, too.
                    Ok((_, found)) => {
                        assert!(batch > synced, "{place}: damage passed for a torn end");
                        assert_eq!(found, states[batch as usize - 1], "{place}");
                    }
                    Err(LogError::Damaged {
                        segment, offset, ..
                    }) => {
                        assert!(batch <= synced, "{place}: a torn end passed for damage");
                        assert_eq!(segment, 1, "{place}");
                        assert_eq!(offset, DATA_START + (batch - 1) * STRIDE, "{place}");
                    }
                    Err(other) => panic!("{place}: {other}"),
                }
            }
        }
    }
}

#[test]
fn known_bug_14_a_reordered_end_recovers_cleanly() {
    // The last batch reached the disk before those in front of it.
    let (disk, states) = five_batches(2);
    flip_batch(&disk, 3, 0);
    flip_batch(&disk, 4, 0);
    assert_eq!(open(&disk).unwrap().1, states[2]);
    // And it stays so, however often one starts.
    assert_eq!(open(&disk).unwrap().1, states[2]);
    assert_eq!(open(&disk.crash(5)).unwrap().1, states[2]);
}

#[test]
fn what_a_torn_end_left_behind_never_joins_what_is_written_after_it() {
    // Two batches were under way, one of just under a page and a small one; the first one is torn.
    let disk = SimDisk::new();
    let (mut log, empty) = open(&disk).unwrap();
    log.write(&[append(group(0), 1, 1, 1, &[1; 3900])]).unwrap();
    log.write(&[append(group(0), 2, 1, 1, b"old")]).unwrap();
    drop(log);
    flip_batch(&disk, 1, 100);
    // That is what the disk holds, for good.
    disk.open(&segment_path(1)).unwrap().sync_data().unwrap();
    let (mut log, found) = open(&disk).unwrap();
    assert_eq!(found, empty);
    // Another batch 1 of the same length: where it ends, the old batch 2 may still stand.
    let record = append(group(0), 1, 1, 2, &[1; 3900]);
    log.write(std::slice::from_ref(&record)).unwrap();
    let mut written = Model::default();
    written.apply(&record);
    for seed in 0..100 {
        let (_, found) = open(&disk.crash(seed)).unwrap();
        assert!(found == empty || found == written, "seed {seed}: {found:?}");
    }
    log.sync().unwrap();
    assert_eq!(open(&disk.crash(0)).unwrap().1, written);
}

#[test]
fn a_flipped_bit_in_the_last_synced_batch_does_not_pass_for_a_torn_end() {
    let (disk, _) = five_batches(5);
    flip_batch(&disk, 5, 100);
    let message = open(&disk).err().unwrap().to_string();
    assert_eq!(
        message,
        "the log is damaged in segment 1 at byte 6144: batch 5 can't be read: a record's checksum \
         doesn't match; everything up to batch 5 was synced"
    );
}

/// A log of several segments whose content is needed.
fn grown_log() -> Harness {
    let mut harness = Harness::new(SimDisk::new()).unwrap();
    for op in script() {
        harness.step(&op).unwrap();
    }
    for round in 0..30 {
        let append = Op::Append {
            group: round % 4,
            back: 0,
            count: 3,
            size: 500,
        };
        harness.step(&append).unwrap();
        harness.step(&Op::Sync).unwrap();
    }
    harness
}

/// The same, closed; what it holds, and its files with their lengths.
fn closed_log() -> (SimDisk, Model, Vec<(u64, u64)>) {
    let mut harness = grown_log();
    harness.log.take().unwrap().close().unwrap();
    let Harness { disk, model, .. } = harness;
    let mut files = Vec::new();
    for name in disk.list(dir()).unwrap() {
        let number = u64::from_str_radix(name.strip_suffix(".log").unwrap(), 16).unwrap();
        let len = disk.open(&segment_path(number)).unwrap().len().unwrap();
        files.push((number, len));
    }
    assert!(files.len() > 4, "{files:?}");
    (disk, model, files)
}

#[test]
pub(crate) fn a_flipped_bit_anywhere_is_refused_or_without_effect() {
    let (disk, model, files) = closed_log();
    let (mut refused, mut harmless) = (0, 0);
    for (number, len) in files {
        // Every 29th byte, so that all fields of some header are met, and each sector many times.
        for offset in (0..len).step_by(29) {
            let copy = disk.copy();
            let bit = (offset % 8) as u8;
            copy.flip_bit(&segment_path(number), offset, bit).unwrap();
            match open(&copy) {
                Ok((_, found)) => {
                    assert_eq!(found, model, "segment {number}, byte {offset}");
                    harmless += 1;
                }
                Err(LogError::Damaged { segment, .. }) => {
                    assert_eq!(segment, number, "byte {offset}");
                    refused += 1;
                }
                Err(other) => panic!("segment {number}, byte {offset}: {other}"),
            }
        }
    }
    // Padding, what lies behind the end, and given-up segments have no effect.
    assert!(refused > 500 && harmless > 500, "{refused}, {harmless}");
}

#[test]
fn what_is_damaged_while_the_log_is_open_is_never_served() {
    let harness = grown_log();
    let reader = harness.log.as_ref().unwrap().reader();
    let mut refused = 0;
    for name in harness.disk.list(dir()).unwrap() {
        let path = dir().join(name);
        let len = harness.disk.open(&path).unwrap().len().unwrap();
        for offset in (DATA_START..len).step_by(61) {
            harness.disk.flip_bit(&path, offset, 5).unwrap();
            for (id, group) in &harness.model.groups {
                match reader.read(*id, group.point.0 + 1, usize::MAX) {
                    Ok(Read::Entries { entries, .. }) => {
                        assert!(entries.iter().eq(group.entries.values()));
                    }
                    Ok(Read::Compacted) => panic!("{id} is compacted"),
                    Err(LogError::Damaged { segment, .. }) => {
                        assert_eq!(path, segment_path(segment));
                        refused += 1;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            harness.disk.flip_bit(&path, offset, 5).unwrap();
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn a_missing_segment_is_named() {
    let (disk, _, files) = closed_log();
    let counts: Vec<_> = files
        .iter()
        .map(|(number, _)| {
            let copy = disk.copy();
            copy.remove(&segment_path(*number)).unwrap();
            match open(&copy) {
                Err(LogError::Damaged {
                    segment, detail, ..
                }) => {
                    assert_eq!((segment, &*detail), (*number, "the file is missing"));
                    true
                }
                // One that was given up already, or the newest: see below.
                _ => false,
            }
        })
        .collect();
    assert!(counts.iter().filter(|counts| **counts).count() > 2);
    // Without the newest file the one before it ends in a batch that nothing behind it contradicts.
    // No log can see that its end was taken away.
    assert_eq!(counts.last(), Some(&false));
}

#[test]
fn damage_changes_nothing_on_disk() {
    let (disk, _) = five_batches(5);
    flip_batch(&disk, 2, 60);
    let before = content(&disk);
    assert!(open(&disk).is_err());
    assert_eq!(content(&disk), before);
    // So a repaired file is read as if nothing had been.
    flip_batch(&disk, 2, 60);
    assert_eq!(open(&disk).unwrap().1.groups[&group(0)].last(), 5);
}

fn content(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list(dir()).unwrap();
    let read = |name: String| {
        let file = disk.open(&dir().join(&name)).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        (name, bytes)
    };
    names.into_iter().map(read).collect()
}

#[test]
fn a_log_of_a_newer_format_is_refused_by_name() {
    let (disk, _) = five_batches(5);
    rewrite_format(&disk, &segment_path(1), 2);
    let error = open(&disk).err().unwrap();
    assert_eq!(
        error.to_string(),
        "segment 1 of the log has format 2, this version knows 1 at most"
    );
    rewrite_format(&disk, &segment_path(1), 1);
    assert!(open(&disk).is_ok());
}

fn rewrite_format(disk: &SimDisk, path: &Path, format: u32) {
    let file = disk.open(path).unwrap();
    let mut start = [0; 12];
    file.read_at(&mut start, 0).unwrap();
    start[8..].copy_from_slice(&format.to_le_bytes());
    file.write_all_at(&start, 0).unwrap();
    let check = xxh3_64(&start) as u32;
    file.write_all_at(&check.to_le_bytes(), 12).unwrap();
    file.sync_data().unwrap();
}

#[test]
fn a_batch_whose_records_lie_is_refused() {
    // Another log's segment under this one's name: its own checksums are right, its number is not.
    let (disk, _, _) = closed_log();
    let (other, _) = five_batches(5);
    let file = other.open(&segment_path(1)).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    let newest = disk.list(dir()).unwrap().pop().unwrap();
    let target = disk.open(&dir().join(newest)).unwrap();
    target.write_all_at(&bytes, 0).unwrap();
    assert!(matches!(open(&disk), Err(LogError::Damaged { .. })));
}

#[test]
fn rewriting_meets_damage_and_stops() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    // An idle group pins the first segment, so its entry will have to be written again.
    log.write(&[append(group(1), 1, 1, 1, &[1; 100])]).unwrap();
    log.sync().unwrap();
    flip_batch(&disk, 1, 120);
    let mut index = 0;
    let error = loop {
        index += 1;
        let purge = Record::Purge {
            group: group(0),
            index,
            term: 1,
        };
        let written = log.write(&[append(group(0), index, 1, 1, &[2; 2000]), purge]);
        if let Err(error) = written {
            break error;
        }
        assert!(index < 1000, "nothing was ever written again");
    };
    assert!(matches!(error, LogError::Damaged { segment: 1, .. }));
    assert!(matches!(log.sync(), Err(LogError::Failed)));
}

#[derive(Debug, Clone)]
enum Harm {
    Overwrite(prop::sample::Index, Vec<u8>),
    Cut(prop::sample::Index),
    /// One part of the file takes the place of another.
    Move(prop::sample::Index, prop::sample::Index, usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        (place(), proptest::collection::vec(any::<u8>(), 1..600))
            .prop_map(|(at, bytes)| Harm::Overwrite(at, bytes)),
        place().prop_map(Harm::Cut),
        (place(), place(), 1usize..3).prop_map(|(from, to, n)| Harm::Move(from, to, n * 512)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_stands_in_the_files_nothing_panics_and_nothing_wrong_is_served(
        harms in proptest::collection::vec((any::<prop::sample::Index>(), harm()), 1..4),
    ) {
        thread_local!(static LOG: (SimDisk, Model, Vec<(u64, u64)>) = closed_log());
        let (disk, model, files) = LOG.with(|(disk, model, files)| {
            (disk.copy(), model.clone(), files.clone())
        });
        let newest = files[files.len() - 1].0;
        let mut newest_harmed = false;
        for (which, harm) in &harms {
            let (number, len) = *which.get(&files);
            newest_harmed |= number == newest;
            let file = disk.open(&segment_path(number)).unwrap();
            match harm {
                Harm::Overwrite(at, bytes) => {
                    file.write_all_at(bytes, at.index(len as usize) as u64).unwrap();
                }
                Harm::Cut(at) => file.set_len(at.index(len as usize) as u64).unwrap(),
                Harm::Move(from, to, count) => {
                    let mut bytes = vec![0; *count];
                    let sector = |at: &prop::sample::Index| at.index(len as usize) as u64 / 512 * 512;
                    file.read_at(&mut bytes, sector(from)).unwrap();
                    file.write_all_at(&bytes, sector(to)).unwrap();
                }
            }
        }
        match open(&disk) {
            Ok((_, found)) if newest_harmed => {
                // The last batches may be gone without a trace; nothing else may differ.
                for (id, group) in found.groups {
                    for (index, entry) in group.entries {
                        prop_assert_eq!(Some(&entry), model.groups[&id].entries.get(&index));
                    }
                }
            }
            Ok((_, found)) => prop_assert_eq!(found, model),
            Err(LogError::Damaged { .. }) => {}
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
