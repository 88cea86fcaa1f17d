//! Failed writes and syncs, and a full disk.

use std::io;

use storage::disk::SimDisk;
use storage::log::{LogError, Record};

use crate::harness::{Harness, Op, open, script};
use crate::model::{append, group};

/// Row 16 of the list of known bugs: the disk fails once and then works again, as if nothing had been.
#[test]
pub(crate) fn known_bug_16_a_failed_write_or_sync_is_never_followed_by_business_as_usual() {
    let script: Vec<_> = script()
        .into_iter()
        .filter(|op| !matches!(op, Op::Restart))
        .collect();
    let (mut failures, mut tails) = (0, 0);
    for change in 1.. {
        let disk = SimDisk::new();
        disk.fail_at(change);
        let Ok(mut harness) = Harness::new(disk.clone()) else {
            continue;
        };
        let failed = script.iter().find_map(|op| harness.step(op).err());
        let Some(error) = failed else {
            break;
        };
        failures += 1;
        assert!(matches!(error, LogError::Io { .. }), "{change}: {error}");
        let log = harness.log.as_mut().unwrap();
        let vote = Record::HardState {
            group: group(0),
            term: 99,
            vote: None,
        };
        for _ in 0..2 {
            assert!(matches!(log.sync(), Err(LogError::Failed)), "{change}");
            let written = log.write(std::slice::from_ref(&vote));
            assert!(matches!(written, Err(LogError::Failed)), "{change}");
        }
        // The process ends. The next one reads the page cache, which may hold what no sync will ever
        // write any more.
        drop(harness.log.take());
        let (log, found) = open(&disk).unwrap();
        harness.check(&found);
        tails += usize::from(found != harness.history[harness.synced]);
        drop(log);
        for seed in 0..3 {
            let (_, durable) = open(&disk.crash(seed)).unwrap();
            assert_eq!(durable, found, "{change}: recovery trusted the page cache");
        }
    }
    assert!(failures > 100 && tails > 30, "{failures} {tails}");
}

#[test]
fn a_full_disk_is_final_and_loses_nothing_synced() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    disk.set_capacity(Some(80 << 10));
    let mut written = 0;
    let error = loop {
        let record = append(group(0), written + 1, 1, 1, &[1; 1000]);
        if let Err(error) = log.write(&[record]) {
            break error;
        }
        log.sync().unwrap();
        written += 1;
    };
    assert!(
        matches!(&error, LogError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull),
        "{error}"
    );
    assert!(matches!(log.sync(), Err(LogError::Failed)));
    assert!(written > 30, "{written}");
    drop(log);
    // Space is reserved before it is needed, so it is opening that fails, as long as there is none.
    assert!(matches!(open(&disk), Err(LogError::Io { .. })));
    disk.set_capacity(None);
    let (_, found) = open(&disk).unwrap();
    assert_eq!(found.groups[&group(0)].last(), written);
}

#[test]
fn one_sync_covers_all_batches_since_the_last_one() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.write(&[append(group(0), 1, 1, 1, b"x")]).unwrap();
    log.sync().unwrap();
    let before = disk.syncs();
    for index in 1..20 {
        log.write(&[append(group(1), index, 1, 1, b"x")]).unwrap();
    }
    log.sync().unwrap();
    assert_eq!(disk.syncs(), before + 1);
    // And nothing to sync is nothing to do.
    log.sync().unwrap();
    assert_eq!(disk.syncs(), before + 1);
}
