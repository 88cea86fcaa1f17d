//! Reuse of segments, and what an idle or lagging group may cost.

use storage::disk::SimDisk;
use storage::log::{Log, LogStats, Record};

use crate::harness::{open, small};
use crate::model::{Model, append, group};

/// A busy group: appends, and purges what it no longer needs.
struct Busy {
    next: u64,
    keep: u64,
}

impl Busy {
    fn batch(&mut self, bytes: usize) -> [Record; 2] {
        let index = self.next;
        self.next += 1;
        let payload = vec![index as u8; bytes];
        [
            append(group(0), index, 1, 1, &payload),
            Record::Purge {
                group: group(0),
                index: index.saturating_sub(self.keep),
                term: u64::from(index > self.keep),
            },
        ]
    }
}

/// Runs a busy group beside what is there, checking the bound after each batch.
fn run_busy(log: &mut Log, model: &mut Model, batches: u64, check: impl Fn(&LogStats)) -> Busy {
    let mut busy = Busy { next: 1, keep: 3 };
    for batch in 0..batches {
        let records = busy.batch(400 + (batch % 7) as usize * 100);
        log.write(&records).unwrap();
        model.apply_all(&records);
        if batch % 3 == 0 {
            log.sync().unwrap();
        }
        check(&log.stats());
    }
    log.sync().unwrap();
    busy
}

/// The bound that the module's documentation promises.
fn check_bound(stats: &LogStats) {
    let bound = 3 * stats.live_bytes + 7 * small().segment_bytes;
    assert!(stats.disk_bytes <= bound, "{stats:?}");
}

#[test]
fn segments_are_used_again_and_nothing_old_comes_back() {
    let disk = SimDisk::new();
    let (mut log, mut model) = open(&disk).unwrap();
    let mut busy = Busy { next: 1, keep: 3 };
    for batch in 0..400u64 {
        // Batches of equal length stand at the places of older ones.
        let records = busy.batch(700);
        log.write(&records).unwrap();
        model.apply_all(&records);
        log.sync().unwrap();
        check_bound(&log.stats());
        if batch % 5 == 0 {
            let (_, killed) = open(&disk.copy()).unwrap();
            assert_eq!(killed, model, "after batch {batch}");
            let (_, crashed) = open(&disk.crash(batch)).unwrap();
            assert_eq!(crashed, model, "after batch {batch}");
        }
    }
    // 400 batches of 1.5 KiB fill 16 KiB segments some 50 times over.
    assert!(disk.named_bytes() <= 5 * small().segment_bytes);
    assert_eq!(log.stats().forwarded_bytes, 0);
}

#[test]
fn an_idle_group_pins_no_segment_and_is_never_lost() {
    let disk = SimDisk::new();
    let (mut log, mut model) = open(&disk).unwrap();
    let idle = [
        Record::HardState {
            group: group(1),
            term: 3,
            vote: Some(7),
        },
        append(group(1), 1, 5, 2, b"idle"),
        Record::Purge {
            group: group(1),
            index: 2,
            term: 2,
        },
        Record::Reset {
            group: group(2),
            index: 50,
            term: 4,
        },
        Record::HardState {
            group: group(3),
            term: 9,
            vote: None,
        },
    ];
    log.write(&idle).unwrap();
    model.apply_all(&idle);
    run_busy(&mut log, &mut model, 600, check_bound);
    let stats = log.stats();
    assert!(stats.forwarded_bytes > 0, "{stats:?}");
    assert!(stats.forwarded_bytes < 40_000, "{stats:?}");
    for seed in 0..5 {
        assert_eq!(open(&disk.crash(seed)).unwrap().1, model);
    }
}

#[test]
fn a_lagging_group_is_carried_along_in_portions() {
    let disk = SimDisk::new();
    let (mut log, mut model) = open(&disk).unwrap();
    // Five segments' worth, in small records, with terms that change.
    for index in 1..=150 {
        let record = append(group(1), index, 1, index / 7, &[index as u8; 500]);
        log.write(std::slice::from_ref(&record)).unwrap();
        model.apply(&record);
    }
    let lagging = log.stats().live_bytes;
    run_busy(&mut log, &mut model, 1500, check_bound);
    let stats = log.stats();
    assert!(stats.forwarded_bytes > 2 * lagging, "{stats:?}");
    // What it costs stays in proportion to what is written.
    assert!(stats.forwarded_bytes < 1500 * 1000, "{stats:?}");
    for seed in 0..3 {
        assert_eq!(open(&disk.crash(seed)).unwrap().1, model);
    }
    // Then it catches up, and its room is freed.
    let record = Record::Purge {
        group: group(1),
        index: 150,
        term: 21,
    };
    log.write(std::slice::from_ref(&record)).unwrap();
    model.apply(&record);
    let mut busy = Busy {
        next: 1501,
        keep: 3,
    };
    for _ in 0..200 {
        let records = busy.batch(700);
        log.write(&records).unwrap();
        model.apply_all(&records);
    }
    log.sync().unwrap();
    assert!(log.stats().disk_bytes <= 6 * small().segment_bytes);
    assert_eq!(open(&disk).unwrap().1, model);
}

#[test]
fn many_restarts_are_followed_by_a_clean_up() {
    let disk = SimDisk::new();
    let mut model = Model::default();
    for start in 1..=30 {
        let (mut log, found) = open(&disk).unwrap();
        assert_eq!(found, model);
        let record = append(group(0), start, 1, 1, b"one entry per start");
        log.write(std::slice::from_ref(&record)).unwrap();
        model.apply(&record);
        log.sync().unwrap();
    }
    let (log, _) = open(&disk).unwrap();
    check_bound(&log.stats());
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_size() {
    let disk = SimDisk::new();
    let (mut log, mut model) = open(&disk).unwrap();
    for round in 0..5 {
        let batch = [
            append(group(1), round * 10 + 1, 10, 1, &vec![round as u8; 20_000]),
            Record::Purge {
                group: group(1),
                index: round * 10 + 9,
                term: 1,
            },
        ];
        log.write(&batch).unwrap();
        model.apply_all(&batch);
        assert!(log.stats().disk_bytes > 200_000);
        assert_eq!(open(&disk.copy()).unwrap().1, model);
    }
    let purge = Record::Purge {
        group: group(1),
        index: 50,
        term: 1,
    };
    log.write(std::slice::from_ref(&purge)).unwrap();
    model.apply(&purge);
    run_busy(&mut log, &mut model, 100, |_| {});
    assert!(log.stats().disk_bytes <= 6 * small().segment_bytes);
    assert_eq!(open(&disk).unwrap().1, model);
}
