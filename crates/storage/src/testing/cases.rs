//! The cases, each named by what it shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use super::StoreHost;
use crate::keys::KeyRange;
use crate::state::{Batch, RangeDeletion, StateStore, StateView, delete_range};

type Entries = Vec<(Bytes, Bytes)>;

fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Batch {
    let mut batch = Batch::new();
    batch.put(key, value);
    batch
}

fn everything() -> KeyRange {
    Vec::new()..vec![0xff; 64]
}

fn contents(view: &dyn StateView, range: &KeyRange) -> Entries {
    view.scan(range).collect::<Result<_, _>>().unwrap()
}

fn number(n: u64) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

/// `get`, and every view taken from then on, shows a batch when `write` has returned.
pub fn what_is_written_is_there_at_once(host: &mut dyn StoreHost) {
    let store = host.open();
    assert_eq!(store.get(b"a").unwrap(), None);
    store.write(put("a", "1")).unwrap();
    assert_eq!(store.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.view().get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    let mut batch = put("b", "");
    batch.delete("a");
    batch.delete("never there");
    store.write(batch).unwrap();
    assert_eq!(store.get(b"a").unwrap(), None);
    assert_eq!(store.get(b"b").unwrap().as_deref(), Some(&b""[..]));
}

/// Two operations on one key in one batch.
pub fn the_last_operation_on_a_key_counts(host: &mut dyn StoreHost) {
    let store = host.open();
    let mut batch = put("a", "1");
    batch.put("a", "22");
    batch.put("b", "1");
    batch.delete("b");
    batch.delete("c");
    batch.put("c", "3");
    assert_eq!((batch.len(), batch.bytes()), (3, 6));
    store.write(batch).unwrap();
    let left = [("a", "22"), ("c", "3")].map(|(k, v)| (Bytes::from(k), Bytes::from(v)));
    assert_eq!(contents(&*store.view(), &everything()), left);
}

/// Nor does a persist of nothing.
pub fn an_empty_batch_does_nothing(host: &mut dyn StoreHost) {
    let store = host.open();
    store.persist().unwrap();
    store.write(Batch::new()).unwrap();
    store.persist().unwrap();
    assert_eq!(contents(&*store.view(), &everything()), []);
}

/// In their order, and after a crash all of them are there or none.
pub fn several_batches_are_written_as_one(host: &mut dyn StoreHost) {
    for round in 0..8u64 {
        let store = host.open();
        let there = |key: &str| store.get(key.as_bytes()).unwrap();
        assert_eq!(there("a"), there("z"), "in round {round}");
        let value = number(round);
        let mut last = put("a", value.clone());
        last.delete("m");
        store
            .write_all(vec![
                put("m", "1"),
                put("a", "2"),
                Batch::new(),
                put("z", value),
                last,
            ])
            .unwrap();
        assert_eq!((there("a"), there("m")), (there("z"), None));
        store.write_all(Vec::new()).unwrap();
        drop(store);
        host.crash();
    }
}

/// Whatever is written, persisted and compacted after it was taken.
pub fn a_view_never_changes(host: &mut dyn StoreHost) {
    let store = host.open();
    for n in 0..100 {
        store.write(put(number(n), "old")).unwrap();
    }
    let view = store.view();
    let before = contents(&*view, &everything());
    assert_eq!(before.len(), 100);
    let mut scan = view.scan(&(Vec::new()..vec![0xff; 64]));
    assert_eq!(scan.next().unwrap().unwrap(), before[0]);
    // More than fits into memory at the small bounds that tests have.
    for round in 0..20u64 {
        let mut batch = Batch::new();
        for n in 0..100 {
            match n % 3 {
                0 => batch.delete(number(n)),
                _ => batch.put(number(n), vec![round as u8; 300]),
            }
        }
        batch.put(format!("new {round}"), "new");
        store.write(batch).unwrap();
    }
    store.persist().unwrap();
    assert_eq!(contents(&*view, &everything()), before);
    assert_eq!(scan.map(Result::unwrap).collect::<Vec<_>>(), before[1..]);
    assert_eq!(view.get(b"new 1").unwrap(), None);
    assert_eq!(view.get(&number(3)).unwrap().as_deref(), Some(&b"old"[..]));
    assert_eq!(contents(&*store.view(), &everything()).len(), 66 + 20);
}

/// While another thread writes.
pub fn a_view_shows_every_batch_whole(host: &mut dyn StoreHost) {
    const KEYS: u64 = 20;
    let store = host.open();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                let mut batch = Batch::new();
                for n in 0..KEYS {
                    batch.put(number(n), number(round));
                }
                store.write(batch).unwrap();
            }
            round
        });
        let (mut seen, mut views) = (0, 0);
        while seen < 50 && views < 1_000_000 {
            views += 1;
            let found = contents(&*store.view(), &everything());
            if let Some((_, first)) = found.first() {
                assert_eq!(found.len() as u64, KEYS);
                assert!(found.iter().all(|(_, value)| value == first));
                let round = u64::from_be_bytes(first[..].try_into().unwrap());
                assert!(round >= seen, "a later view showed an earlier state");
                seen = round;
            }
        }
        stop.store(true, Ordering::Relaxed);
        let rounds = writer.join().unwrap();
        assert!(
            seen >= 50 && seen <= rounds,
            "saw {seen} of {rounds} rounds"
        );
    });
}

/// Both ends, empty ranges and ranges the wrong way round.
pub fn a_scan_gives_the_range_in_order_and_nothing_else(host: &mut dyn StoreHost) {
    let store = host.open();
    let mut batch = Batch::new();
    for n in (0..200).rev() {
        batch.put(number(n), number(n));
    }
    store.write(batch).unwrap();
    let view = store.view();
    let found = |range: KeyRange| -> Vec<u64> {
        let entries = contents(&*view, &range);
        let as_number = |bytes: &Bytes| u64::from_be_bytes(bytes[..].try_into().unwrap());
        assert!(entries.iter().all(|(key, value)| key == value));
        entries.iter().map(|(key, _)| as_number(key)).collect()
    };
    assert_eq!(found(number(10)..number(13)), [10, 11, 12]);
    assert_eq!(found(everything()), (0..200).collect::<Vec<_>>());
    assert_eq!(found(number(199)..number(500)), [199]);
    assert_eq!(found(number(5)..number(5)), [] as [u64; 0]);
    assert_eq!(found(number(9)..number(3)), [] as [u64; 0]);
    assert_eq!(found(number(300)..number(400)), [] as [u64; 0]);
    // A key starts before all longer ones with the same beginning.
    let mut after = number(7);
    after.push(0);
    assert_eq!(found(after..number(9)), [8]);
}

/// Everything before the call to `persist`, also over several crashes.
pub fn what_was_persisted_survives_a_crash(host: &mut dyn StoreHost) {
    for round in 0..3u64 {
        let store = host.open();
        let before = contents(&*store.view(), &everything());
        assert_eq!(before.len() as u64, 10 * round, "in round {round}");
        for n in 0..10 {
            store
                .write(put(number(round * 100 + n), vec![7; 2_000]))
                .unwrap();
        }
        store.persist().unwrap();
        drop(store);
        host.crash();
    }
    let store = host.open();
    assert_eq!(contents(&*store.view(), &everything()).len(), 30);
}

/// Each batch writes its number under three keys, and one key of its own. Whatever batch is the last one after the
/// crash, all of it is there, and all before it.
pub fn a_crash_leaves_a_prefix_of_the_batches(host: &mut dyn StoreHost) {
    let mut written = 0;
    for round in 0..4 {
        let store = host.open();
        let last = check_prefix(&*store);
        assert!(last <= written);
        written = last;
        let mut persisted = written;
        for n in 1..=40 {
            written += 1;
            let mut batch = Batch::new();
            for key in ["a", "m", "z"] {
                batch.put(key, number(written));
            }
            batch.put([b"n".to_vec(), number(written)].concat(), vec![1; 400]);
            store.write(batch).unwrap();
            if n == 10 * round {
                store.persist().unwrap();
                persisted = written;
            }
        }
        drop(store);
        host.crash();
        assert!(check_prefix(&*host.open()) >= persisted, "in round {round}");
        host.crash();
    }
}

fn check_prefix(store: &dyn StateStore) -> u64 {
    let view = store.view();
    let at = |key: &str| {
        let value = view.get(key.as_bytes()).unwrap();
        value.map_or(0, |v| u64::from_be_bytes(v[..].try_into().unwrap()))
    };
    let last = at("a");
    assert_eq!((at("m"), at("z")), (last, last));
    let own = contents(&*view, &(b"n".to_vec()..b"o".to_vec()));
    let expected = (1..=last).map(|n| [b"n".to_vec(), number(n)].concat());
    assert!(own.iter().map(|(key, _)| key.to_vec()).eq(expected));
    last
}

/// From nothing to a value with an intent that carries another one.
pub fn values_of_every_size_come_back(host: &mut dyn StoreHost) {
    let sizes = [0, 1, 255, 4_095, 4_096, 65_536, 400 << 10, 1_300 << 10];
    let value = |size: usize| -> Bytes { (0..size).map(|i| (i * 7 % 251) as u8).collect() };
    let store = host.open();
    for size in sizes {
        // Keys too.
        let key = vec![b'k'; size.clamp(1, 2_100)];
        store.write(put(key, value(size))).unwrap();
        store.write(put(number(size as u64), value(size))).unwrap();
    }
    store.persist().unwrap();
    drop(store);
    host.crash();
    let store = host.open();
    for size in sizes {
        let found = store.get(&number(size as u64)).unwrap();
        assert!(found == Some(value(size)), "value of {size} bytes");
    }
    let largest = store.get(&vec![b'k'; 2_100]).unwrap();
    assert!(largest == Some(value(1_300 << 10)));
}

/// And what lies beside it is not touched.
pub fn a_range_is_deleted_in_bounded_batches(host: &mut dyn StoreHost) {
    let store = host.open();
    let mut batch = Batch::new();
    for n in 0..100 {
        batch.put(number(n), "value");
    }
    store.write(batch).unwrap();
    let mut deletion = RangeDeletion::new(number(10)..number(90), 30);
    let mut left = Vec::new();
    while deletion.step(&*store).unwrap() {
        left.push(contents(&*store.view(), &everything()).len());
    }
    assert_eq!(left, [70, 40, 20]);
    assert_eq!(deletion.deleted(), 80);
    assert!(!deletion.step(&*store).unwrap());
    let keys = contents(&*store.view(), &everything()).into_iter();
    let expected = (0..10).chain(90..100).map(|n| Bytes::from(number(n)));
    assert!(keys.map(|(key, _)| key).eq(expected));
    assert_eq!(delete_range(&*store, number(20)..number(10), 5).unwrap(), 0);
    assert_eq!(delete_range(&*store, everything(), 0).unwrap(), 20);
}

/// Through tables and compaction, and over a crash.
pub fn ten_thousand_deleted_keys_stay_deleted(host: &mut dyn StoreHost) {
    let store = host.open();
    for hundred in 0..100 {
        let mut batch = Batch::new();
        for n in 0..100 {
            batch.put(number(hundred * 100 + n), vec![3; 100]);
        }
        store.write(batch).unwrap();
    }
    let range = number(100)..number(9_900);
    assert_eq!(delete_range(&*store, range.clone(), 512).unwrap(), 9_800);
    assert_eq!(contents(&*store.view(), &range), []);
    assert_eq!(delete_range(&*store, range.clone(), 512).unwrap(), 0);
    store.persist().unwrap();
    drop(store);
    host.crash();
    let store = host.open();
    assert_eq!(contents(&*store.view(), &range), []);
    assert_eq!(contents(&*store.view(), &everything()).len(), 200);
    assert_eq!(store.get(&number(5_000)).unwrap(), None);
}

/// Writes, persists, crashes and views in an order drawn from a seed, beside a plain map.
pub fn any_history_gives_what_a_map_gives(host: &mut dyn StoreHost) {
    let mut random = Random(0x5eed);
    let mut store = host.open();
    // The states that the store could come back with: the last persisted one, and every one after it.
    let mut states = vec![BTreeMap::<Bytes, Bytes>::new()];
    let mut views: Vec<(Arc<dyn StateView>, Entries)> = Vec::new();
    for _ in 0..400 {
        let current = &states[states.len() - 1];
        match random.below(20) {
            0 => {
                views.clear();
                drop(store);
                host.crash();
                store = host.open();
                let found: BTreeMap<_, _> = contents(&*store.view(), &everything())
                    .into_iter()
                    .collect();
                assert!(states.contains(&found), "after a crash: {found:?}");
                // It is durable now as far as it can be: what recovery has read is where it goes on.
                store.persist().unwrap();
                states = vec![found];
            }
            1 => {
                store.persist().unwrap();
                states.drain(..states.len() - 1);
            }
            2 => views.push((store.view(), current.clone().into_iter().collect())),
            3 if !views.is_empty() => {
                let (view, expected) = views.swap_remove(random.below(views.len() as u64) as usize);
                assert_eq!(contents(&*view, &everything()), expected);
            }
            _ => {
                let (mut next, mut batch) = (current.clone(), Batch::new());
                for _ in 0..random.below(5) {
                    let key = Bytes::from(number(random.below(40)));
                    if random.below(3) == 0 {
                        next.remove(&key);
                        batch.delete(key);
                    } else {
                        let value = Bytes::from(vec![random.0 as u8; random.below(3_000) as usize]);
                        next.insert(key.clone(), value.clone());
                        batch.put(key, value);
                    }
                }
                store.write(batch).unwrap();
                states.push(next);
            }
        }
        let key = number(random.below(40));
        let current = &states[states.len() - 1];
        assert_eq!(store.get(&key).unwrap().as_ref(), current.get(&key[..]));
    }
}

/// A small generator, so that the suite needs nothing from outside (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What is read while others write is never older than a write that has returned. While a write is going on its value may be seen, and then the
/// one before it again: a read that missed the memory of recent items before that was filled, and came to the tree late, is ahead of the next.
pub fn reads_beside_writes_see_what_was_written(host: &mut dyn StoreHost) {
    const KEYS: usize = 16;
    const WRITES: u64 = 8_000;
    let store = host.open();
    let done: [AtomicU64; KEYS] = std::array::from_fn(|_| AtomicU64::new(0));
    let key = |n: usize| format!("key {n}");
    let number = |value: Option<Bytes>| {
        let value = value.map_or([0; 8], |value| value[..8].try_into().unwrap());
        u64::from_be_bytes(value)
    };
    std::thread::scope(|scope| {
        // Each key has one writer, as each shard has one applier. All values together are more than a small cache takes.
        for half in 0..2 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                for round in 1..=WRITES {
                    let n = half * KEYS / 2 + (round as usize * 7) % (KEYS / 2);
                    let len = 2_500 + (round as usize * 13) % 1_000;
                    let mut value = round.to_be_bytes().to_vec();
                    value.resize(len, 7);
                    let mut batch = Batch::new();
                    batch.put(key(n), value);
                    store.write(batch).unwrap();
                    done[n].store(round, Ordering::Release);
                }
            });
        }
        for _ in 0..2 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                while done
                    .iter()
                    .any(|done| done.load(Ordering::Acquire) < WRITES - KEYS as u64)
                {
                    for (n, done) in done.iter().enumerate() {
                        let written = done.load(Ordering::Acquire);
                        let read = number(store.get(key(n).as_bytes()).unwrap());
                        assert!(
                            read >= written,
                            "{read} was read after {written} had been written"
                        );
                    }
                }
            });
        }
    });
}
