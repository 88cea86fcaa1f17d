use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::*;
use crate::testing::{FjallHost, MemoryHost};

mod memory_store {
    crate::state_store_suite!(super::MemoryHost::new);
}

mod fjall_store {
    crate::state_store_suite!(super::FjallHost::new);
}

fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Batch {
    let mut batch = Batch::new();
    batch.put(key, value);
    batch
}

fn open(dir: &Path) -> Result<FjallStore, StoreError> {
    FjallStore::open(dir, &FjallOptions::default())
}

#[test]
fn a_batch_tells_what_it_makes_of_a_key() {
    let mut batch = put("a", "1");
    batch.delete("b");
    assert_eq!(batch.get(b"a"), Some(Some(&Bytes::from("1"))));
    assert_eq!(batch.get(b"b"), Some(None));
    assert_eq!(batch.get(b"c"), None);
    let keys: Vec<_> = batch
        .iter()
        .map(|(key, value)| (key.clone(), value.is_some()))
        .collect();
    assert_eq!(keys, [(Bytes::from("a"), true), (Bytes::from("b"), false)]);
}

#[test]
fn a_crash_of_the_model_keeps_as_many_batches_as_it_is_told() {
    for keep in 0..=5 {
        let store = MemoryStore::new();
        store.write(put("k", "persisted")).unwrap();
        store.persist().unwrap();
        for n in 1..=4 {
            store.write(put("k", n.to_string())).unwrap();
        }
        let _view = store.view();
        assert_eq!(store.unpersisted_batches(), 4);
        store.crash_keeping(keep);
        let expected = match keep {
            0 => "persisted".to_owned(),
            n => n.min(4).to_string(),
        };
        assert_eq!(store.get(b"k").unwrap(), Some(Bytes::from(expected)));
        assert_eq!(store.unpersisted_batches(), 0);
    }
}

#[test]
fn the_model_keeps_no_version_that_nobody_can_see() {
    let store = MemoryStore::new();
    for n in 0..100 {
        store.write(put("k", vec![n; 100])).unwrap();
        store.persist().unwrap();
    }
    assert_eq!(store.stats().disk_bytes, 101);
    let mut batch = Batch::new();
    batch.delete("k");
    store.write(batch).unwrap();
    store.persist().unwrap();
    assert_eq!(store.stats().disk_bytes, 0);
}

#[test]
fn a_failed_persist_is_final() {
    let store = MemoryStore::new();
    store.write(put("a", "1")).unwrap();
    store.fail_next_persist("disk on fire");
    assert!(matches!(store.persist(), Err(StoreError::Io { .. })));
    assert!(matches!(store.persist(), Err(StoreError::Failed(why)) if why.contains("on fire")));
    assert!(matches!(
        store.write(put("b", "2")),
        Err(StoreError::Failed(_))
    ));
    assert!(store.get(b"a").unwrap().is_some(), "reads go on");
    store.crash();
    assert!(store.get(b"a").unwrap().is_none());
    store.write(put("b", "2")).unwrap();
}

#[test]
fn a_failed_write_has_no_effect_and_is_final() {
    let faults: [fn(&MemoryStore); 2] = [
        |store| store.fail_next_write("on fire"),
        |store| store.set_full(true),
    ];
    for fault in faults {
        let store = MemoryStore::new();
        store.write(put("a", "1")).unwrap();
        store.persist().unwrap();
        fault(&store);
        let failed = store.write(put("b", "2"));
        assert!(matches!(failed, Err(StoreError::Io { .. })));
        let refused = store.write(put("b", "2"));
        assert!(matches!(refused, Err(StoreError::Failed(_))));
        assert!(matches!(store.persist(), Err(StoreError::Failed(_))));
        store.crash();
        assert!(store.get(b"a").unwrap().is_some());
        assert!(store.get(b"b").unwrap().is_none());
        store.write(put("b", "2")).unwrap();
    }
}

#[test]
fn a_failed_persist_on_disk_is_final_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.write(put("a", "1")).unwrap();
    store.persist().unwrap();
    let moved = tempfile::tempdir().unwrap();
    let elsewhere = moved.path().join("store");
    std::fs::rename(dir.path(), &elsewhere).unwrap();
    store.write(put("b", "2")).unwrap();
    assert!(matches!(store.persist(), Err(StoreError::Io { .. })));
    // Business is not resumed when the disk is well again.
    std::fs::rename(&elsewhere, dir.path()).unwrap();
    assert!(matches!(store.persist(), Err(StoreError::Failed(_))));
    assert!(matches!(
        store.write(put("c", "3")),
        Err(StoreError::Failed(_))
    ));
    assert!(store.get(b"a").unwrap().is_some(), "reads go on");
    drop(store);
    assert!(open(dir.path()).unwrap().get(b"a").unwrap().is_some());
}

#[test]
fn files_that_were_compacted_away_are_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = FjallStore::open(dir.path(), &FjallOptions::small()).unwrap();
    let held = || {
        let targets = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let paths = targets.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        let ours = paths.filter(|path| path.starts_with(dir.path()));
        ours.filter(|path| path.to_string_lossy().ends_with(" (deleted)"))
            .count()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut removed = false;
    // Overwrites, because tables that do not overlap are moved and not merged.
    // Until compaction has removed a file whose descriptor was held, and until none is held any more.
    for n in 0u64.. {
        if !removed {
            store
                .write(put(
                    (n * 7_919 % 200).to_be_bytes().to_vec(),
                    vec![1; 10_000],
                ))
                .unwrap();
        }
        let now = if n % 50 == 0 || removed { held() } else { 0 };
        if removed && now == 0 {
            break;
        }
        removed |= now > 0;
        assert!(Instant::now() < deadline, "removed: {removed}, held: {now}");
        std::thread::yield_now();
    }
}

#[test]
fn a_directory_has_one_store_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(&error, StoreError::Locked(path) if path == dir.path()));
    assert!(
        error.to_string().contains("in use by another process"),
        "{error}"
    );
    drop(store);
    open(dir.path()).unwrap();
}

#[test]
fn a_directory_that_cant_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let error = open(&file.join("store")).err().unwrap();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(
        error.to_string().contains(&file.display().to_string()),
        "{error}"
    );
}

#[test]
fn stats_show_what_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.write(put("a", vec![1; 300_000])).unwrap();
    store.persist().unwrap();
    let stats = store.stats();
    assert!(
        stats.journal_bytes >= 300_000 && stats.journal_bytes < 10_000_000,
        "{stats:?}"
    );
    assert!(stats.disk_bytes >= stats.journal_bytes && stats.write_buffer_bytes >= 300_000);
}

/// Bytes of a batch of [`batches_after`] in the journal: start, two operations of 530 each, end.
const BATCH: u64 = 13 + 2 * 530 + 13;

/// The journal of a closed store, and where what was written to it ends.
fn journal(dir: &Path) -> (PathBuf, u64) {
    let paths = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let path = paths
        .filter(|path| path.extension().is_some_and(|e| e == "jnl"))
        .max()
        .unwrap();
    // Made at full length, so what comes behind the last batch is zeros; the last batch ends with another byte.
    let bytes = std::fs::read(&path).unwrap();
    let written = 30 * BATCH as usize;
    assert!(bytes[written - 1] != 0 && bytes[written..].iter().take(2_000).all(|b| *b == 0));
    let end = written as u64;
    (path, end)
}

/// Writes batches 1 to 30 of two keys each, closes the store, and lets `damage` at the journal. Returns how many batches the
/// store has then, after checking that they are whole and the first ones.
fn batches_after(damage: impl Fn(&std::fs::File, u64)) -> Result<u64, StoreError> {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for n in 1..=30u64 {
        let mut batch = Batch::new();
        batch.put([b"a", &n.to_be_bytes()[..]].concat(), vec![1; 500]);
        batch.put([b"b", &n.to_be_bytes()[..]].concat(), vec![2; 500]);
        store.write(batch).unwrap();
    }
    drop(store);
    let (path, end) = journal(dir.path());
    damage(&OpenOptions::new().write(true).open(path).unwrap(), end);
    let store = open(dir.path())?;
    let view = store.view();
    let keys = |prefix: u8| -> Vec<u64> {
        let entries = view.scan(&(vec![prefix]..vec![prefix + 1]));
        let key = |entry: Result<(Bytes, Bytes), StoreError>| entry.unwrap().0;
        entries
            .map(|e| u64::from_be_bytes(key(e)[1..].try_into().unwrap()))
            .collect()
    };
    let whole = keys(b'a');
    assert_eq!(whole, keys(b'b'));
    assert_eq!(whole, (1..=whole.len() as u64).collect::<Vec<_>>());
    // It can be written to from here.
    store.write(put("c", "")).unwrap();
    store.persist().unwrap();
    drop((view, store));
    assert!(open(dir.path())?.get(b"c")?.is_some());
    Ok(whole.len() as u64)
}

#[test]
fn a_journal_that_ends_anywhere_gives_the_batches_before_its_end() {
    assert_eq!(batches_after(|_, _| ()).unwrap(), 30);
    // Into the last batch, byte by byte where its end record lies, then into one in the middle.
    for short in [1, 4, 5, 13, 14, 600, 10_000] {
        let zeros = |journal: &std::fs::File, end: u64| {
            journal.set_len(end - short).unwrap();
            journal.set_len(end + 5_000).unwrap();
        };
        let whole = batches_after(zeros).unwrap();
        let cut_off = |journal: &std::fs::File, end: u64| journal.set_len(end - short).unwrap();
        assert_eq!(batches_after(cut_off).unwrap(), whole);
        assert_eq!(whole, 30 - short.div_ceil(BATCH), "{short} bytes cut off");
    }
}

#[test]
fn a_hole_in_the_end_of_a_journal_gives_the_batches_before_the_hole() {
    for hole in [600, 1_100, 5_000, 20_000] {
        let whole = batches_after(|journal, end| {
            journal.write_all_at(&[0; 512], end - hole - 200).unwrap();
        });
        let expected = 30 - (hole + 200).div_ceil(BATCH);
        assert_eq!(
            whole.unwrap(),
            expected,
            "a hole {hole} bytes before the end"
        );
    }
}

#[test]
fn a_flipped_bit_in_a_journal_is_never_served() {
    for back in [
        3,
        9,
        700,
        BATCH,
        BATCH - 5,
        2 * BATCH - 12,
        20_000,
        30 * BATCH - 1,
    ] {
        let whole = batches_after(|journal, end| {
            let mut byte = [0];
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(journal));
            std::fs::File::open(path)
                .unwrap()
                .read_exact_at(&mut byte, end - back)
                .unwrap();
            journal.write_all_at(&[byte[0] ^ 4], end - back).unwrap();
        });
        // The batch with the bit is gone, and all after it. Or, if the bit only made its number higher, all after it.
        let (before, whole) = (30 - back.div_ceil(BATCH), whole.unwrap());
        assert!(
            (before..=before + 1).contains(&whole),
            "a bit {back} bytes before the end: {whole}"
        );
    }
}

/// The tables of a store that have more in them than what describes them.
fn large_tables(store: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for space in std::fs::read_dir(store.join("keyspaces")).unwrap() {
        for table in std::fs::read_dir(space.unwrap().path().join("tables")).unwrap() {
            let table = table.unwrap();
            if table
                .metadata()
                .is_ok_and(|metadata| metadata.len() > 20_000)
            {
                found.push(table.path());
            }
        }
    }
    found
}

#[test]
fn a_flipped_bit_in_a_table_is_damage_and_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = FjallStore::open(dir.path(), &FjallOptions::small()).unwrap();
    let key = |n: u32| format!("key {n:05}");
    // Tables are written in the background, whenever the machine gets round to it.
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut keys = 0;
    while large_tables(dir.path()).is_empty() {
        assert!(Instant::now() < deadline, "nothing is written to a table");
        for n in keys..keys + 1_000 {
            store.write(put(key(n), vec![9; 200])).unwrap();
        }
        keys += 1_000;
    }
    drop(store);
    for table in large_tables(dir.path()) {
        let len = std::fs::metadata(&table).unwrap().len();
        let file = OpenOptions::new().write(true).open(table).unwrap();
        // In the middle of a table are data blocks.
        file.write_all_at(&[0xa5; 16], len / 2).unwrap();
    }
    let store = FjallStore::open(dir.path(), &FjallOptions::small()).unwrap();
    let read: Vec<_> = (0..keys).map(|n| store.get(key(n).as_bytes())).collect();
    let damaged = read
        .iter()
        .filter(|r| matches!(r, Err(StoreError::Damaged(_))))
        .count();
    assert!(damaged > 0, "the damage was not noticed");
    for value in read.iter().flatten() {
        assert_eq!(value.as_deref(), Some(&[9; 200][..]));
    }
    let scanned: Result<Vec<_>, _> = store.view().scan(&(vec![0]..vec![0xff])).collect();
    assert!(matches!(scanned, Err(StoreError::Damaged(_))));
}
