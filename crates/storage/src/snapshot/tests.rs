use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use model::{Item, Key as ItemKey, Lsn, NodeId, RequestId, TableId, Timestamp, TransactionId};
use proptest::prelude::*;

use super::*;
use crate::keys::{self, Key};
use crate::meta::{PreparedRecord, Remembered, RequestBlock, ShardMeta};
use crate::state::{Batch, FjallOptions, FjallStore, MemoryStore, StateStore, StateView};
use crate::testing::DyingStore;

const SHARD: ShardId = ShardId {
    table: TableId(7),
    index: 3,
};
const NEIGHBOUR: ShardId = ShardId {
    table: TableId(7),
    index: 4,
};

/// What a shard contains, as one reads it: keys without generation, values.
type Contents = BTreeMap<Bytes, Bytes>;

fn key(n: u64) -> ItemKey {
    ItemKey::new(Bytes::from(format!("key {n}"))).unwrap()
}

fn item(lsn: u64, len: usize) -> Item {
    Item {
        value: Some(Bytes::from(vec![lsn as u8; len])),
        timestamp: Timestamp(lsn),
        lsn: Lsn(lsn),
        intent: None,
    }
}

/// A shard whose state comes from `entries` Raft entries of three writes each, under other voters at each entry.
fn apply(store: &dyn StateStore, shard: ShardId, entries: std::ops::RangeInclusive<u64>) {
    for index in entries {
        let loaded = load_meta(&*store.view(), shard).unwrap();
        let mut batch = Batch::new();
        let (generation, mut meta) = loaded.unwrap_or_else(|| {
            let meta = ShardMeta::new(vec![NodeId(1)]);
            (create_shard(&mut batch, shard, &meta), meta)
        });
        let mut requests = RequestBlock::default();
        for n in 0..3 {
            meta.last_lsn = meta.last_lsn.next();
            let key = keys::item(shard, generation, &key(index * 7 % 40 + n));
            let (part, old) = (keys::item_part(&key).to_vec(), store.get(&key).unwrap());
            if index % 5 == 4 {
                meta.replace_item(&part, old.as_deref(), None);
                batch.delete(key);
            } else {
                let new = item(meta.last_lsn.0, (index * 13 % 90) as usize).encode();
                meta.replace_item(&part, old.as_deref(), Some(&new));
                batch.put(key, new);
            }
            let id = RequestId {
                issued_millis: index,
                client: 1,
                sequence: n,
            };
            requests
                .remembered
                .push((id, Remembered::Applied(meta.last_lsn)));
        }
        prepare_one_and_decide_another(&mut batch, shard, generation, index, &mut meta);
        meta.applied_index = index;
        meta.applied_term = index / 10 + 1;
        meta.voters = vec![NodeId(index), NodeId(index + 1), NodeId(index + 2)];
        let requests_key = Key::Requests {
            shard,
            generation,
            index,
        };
        batch.put(requests_key.encode(), requests.encode());
        batch.put(Key::Meta { shard, generation }.encode(), meta.encode());
        store.write(batch).unwrap();
    }
}

fn record_key(shard: ShardId, generation: u32, transaction: u64) -> Bytes {
    let transaction = TransactionId(transaction.into());
    let key = Key::Prepared {
        shard,
        generation,
        transaction,
    };
    key.encode()
}

fn record(transaction: u64) -> Bytes {
    let record = PreparedRecord {
        timestamp: Timestamp(transaction),
        keys: vec![key(transaction)],
        participants: Vec::new(),
    };
    record.encode()
}

/// Every entry prepares a transaction of its number and decides the one of the third entry before it.
fn prepare_one_and_decide_another(
    batch: &mut Batch,
    shard: ShardId,
    generation: u32,
    index: u64,
    meta: &mut ShardMeta,
) {
    let at = record_key(shard, generation, index);
    meta.replace_record(keys::generation_part(&at), None, Some(&record(index)));
    batch.put(at, record(index));
    if let Some(decided) = index.checked_sub(3).filter(|decided| *decided > 0) {
        let at = record_key(shard, generation, decided);
        meta.replace_record(keys::generation_part(&at), Some(&record(decided)), None);
        batch.delete(at);
    }
}

fn read(view: &dyn StateView, shard: ShardId) -> Contents {
    let Some(generation) = current_generation(view, shard).unwrap() else {
        return Contents::new();
    };
    let entries = view.scan(&keys::generation(shard, generation));
    let part = |key: &Bytes| key.slice_ref(keys::generation_part(key));
    entries
        .map(|e| e.unwrap())
        .map(|(k, v)| (part(&k), v))
        .collect()
}

fn chunks(source: &mut SnapshotSource, max_bytes: usize) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    while let Some(chunk) = source.next_chunk(max_bytes).unwrap() {
        chunks.push(chunk.encode());
    }
    chunks
}

/// A sender with a state, its contents and its snapshot in chunks.
fn sender(entries: u64, max_bytes: usize) -> (Contents, SnapshotHeader, Vec<Bytes>) {
    let store = MemoryStore::new();
    apply(&store, SHARD, 1..=entries);
    let mut source = SnapshotSource::new(store.view(), SHARD).unwrap();
    let chunks = chunks(&mut source, max_bytes);
    (read(&*store.view(), SHARD), source.header().clone(), chunks)
}

fn receive(
    store: Arc<dyn StateStore>,
    header: &SnapshotHeader,
    chunks: &[Bytes],
) -> Result<Received, SnapshotError> {
    let mut sink = SnapshotSink::begin(store, header.clone())?;
    for chunk in chunks {
        sink.add(SnapshotChunk::decode(chunk.clone())?)?;
    }
    sink.finish()
}

/// The whole way, up to the removal of the old generation.
// By value, so that a test can hand over a handle of another kind of store.
#[allow(clippy::needless_pass_by_value)]
fn install(
    store: Arc<dyn StateStore>,
    header: &SnapshotHeader,
    chunks: &[Bytes],
) -> Result<ShardMeta, SnapshotError> {
    let received = receive(Arc::clone(&store), header, chunks)?;
    let meta = switch_generation(&*store, SHARD, received.generation)?;
    clean_generations(&*store, SHARD)?;
    Ok(meta)
}

#[test]
fn a_snapshot_carries_the_whole_state_and_nothing_of_the_old_one() {
    let (sent, header, chunks) = sender(30, 500);
    assert!(chunks.len() > 5, "{}", chunks.len());
    for old in [0, 12] {
        let store = Arc::new(MemoryStore::new());
        if old > 0 {
            apply(&*store, SHARD, 1..=old);
        }
        apply(&*store, NEIGHBOUR, 1..=4);
        let neighbour = read(&*store.view(), NEIGHBOUR);
        let meta = install(store.clone(), &header, &chunks).unwrap();
        assert_eq!(meta, header.meta);
        assert_eq!(read(&*store.view(), SHARD), sent);
        assert_eq!(read(&*store.view(), NEIGHBOUR), neighbour);
        let verified = verify_shard(&*store.view(), SHARD).unwrap();
        assert!(verified.agrees());
        assert_eq!(verified.content, header.meta.content);
        // One generation is left.
        let everything = store.view().scan(&keys::shard(SHARD)).count();
        assert_eq!(everything, sent.len() + 1);
        // And it goes on from there.
        apply(&*store, SHARD, 31..=33);
        assert!(verify_shard(&*store.view(), SHARD).unwrap().agrees());
    }
}

/// Row 6 of the known bugs of others: a snapshot drops trailing log entries and brings its own configuration.
#[test]
fn a_snapshot_brings_its_own_index_term_and_configuration() {
    let (_, header, chunks) = sender(25, 400);
    let store = Arc::new(MemoryStore::new());
    // The receiver is ahead in entries that nobody else has, with other voters.
    apply(&*store, SHARD, 1..=39);
    let meta = install(store.clone(), &header, &chunks).unwrap();
    let (_, stored) = load_meta(&*store.view(), SHARD).unwrap().unwrap();
    assert_eq!(meta, stored);
    assert_eq!((stored.applied_index, stored.applied_term), (25, 3));
    assert_eq!((header.index(), header.term()), (25, 3));
    assert_eq!(stored.voters, [NodeId(25), NodeId(26), NodeId(27)]);
    // No request block of an entry behind the snapshot is left.
    let (generation, view) = (stored_generation(&*store), store.view());
    let requests = view.scan(&keys::requests(SHARD, generation));
    assert_eq!(requests.count(), 25);
}

fn stored_generation(store: &dyn StateStore) -> u32 {
    current_generation(&*store.view(), SHARD).unwrap().unwrap()
}

/// Row 8 of the known bugs of others: snapshot files stay until the state that they make is durable. Here the old
/// state stays until the new one is durable, and what was received is durable before it is switched to.
#[test]
fn the_old_state_stays_until_the_new_one_is_durable() {
    let (sent, header, chunks) = sender(30, 500);
    let store = Arc::new(MemoryStore::new());
    apply(&*store, SHARD, 1..=12);
    store.persist().unwrap();
    let old = read(&*store.view(), SHARD);

    let received = receive(store.clone(), &header, &chunks).unwrap();
    assert_eq!(store.unpersisted_batches(), 0, "received and not durable");
    store.crash();
    assert_eq!(read(&*store.view(), SHARD), old, "not switched to yet");

    switch_generation(&*store, SHARD, received.generation).unwrap();
    assert_eq!(
        store.unpersisted_batches(),
        0,
        "switched to and not durable"
    );
    let old_keys = store.view().scan(&keys::generation(SHARD, 1)).count();
    assert_eq!(old_keys, old.len(), "the old state was removed too early");
    store.crash();
    assert_eq!(read(&*store.view(), SHARD), sent);

    // A switch that does not become durable is reported, and the old state is still there after the crash.
    let again = receive(store.clone(), &header, &chunks).unwrap();
    store.fail_next_persist("no disk");
    assert!(switch_generation(&*store, SHARD, again.generation).is_err());
    assert!(
        clean_generations(&*store, SHARD).is_err(),
        "cleaned after a failure"
    );
    store.crash();
    assert_eq!(stored_generation(&*store), received.generation);
    assert_eq!(read(&*store.view(), SHARD), sent);
}

#[test]
fn a_crash_at_any_operation_leaves_the_old_state_or_the_new_one() {
    let (sent, header, chunks) = sender(20, 700);
    let mut outcomes = [0, 0];
    let mut operations = 0;
    loop {
        let mut finished = false;
        // How much of what was not persisted survives: nothing, some, all.
        for keep in [0, 1, 2, 5, u64::MAX] {
            let disk = MemoryStore::new();
            apply(&disk, SHARD, 1..=11);
            disk.persist().unwrap();
            let old = read(&*disk.view(), SHARD);
            let dying = Arc::new(DyingStore::new(disk.clone(), operations));
            finished = install(dying, &header, &chunks).is_ok();
            disk.crash_keeping(keep);

            let found = read(&*disk.view(), SHARD);
            assert!(
                found == old || found == sent,
                "after {operations} operations"
            );
            outcomes[usize::from(found == sent)] += 1;
            // The next start removes what is left of the other, and the next snapshot arrives.
            clean_generations(&disk, SHARD).unwrap();
            assert_eq!(read(&*disk.view(), SHARD), found);
            assert_eq!(
                disk.view().scan(&keys::shard(SHARD)).count(),
                found.len() + 1
            );
            assert!(verify_shard(&*disk.view(), SHARD).unwrap().agrees());
            let meta = install(Arc::new(disk.clone()), &header, &chunks).unwrap();
            assert_eq!(meta, header.meta);
            assert_eq!(read(&*disk.view(), SHARD), sent);
        }
        if finished {
            break;
        }
        operations += 1;
    }
    assert!(
        operations > 6,
        "the crash came at {operations} operations only"
    );
    assert!(outcomes.iter().all(|count| *count > 3), "{outcomes:?}");
}

#[test]
fn a_reader_sees_one_state_whole_at_every_moment() {
    let (sent, header, chunks) = sender(30, 300);
    let store = Arc::new(MemoryStore::new());
    apply(&*store, SHARD, 1..=12);
    let old = read(&*store.view(), SHARD);
    let before = store.view();
    let mut sink = SnapshotSink::begin(store.clone(), header).unwrap();
    for chunk in chunks {
        sink.add(SnapshotChunk::decode(chunk).unwrap()).unwrap();
        assert_eq!(read(&*store.view(), SHARD), old);
    }
    let received = sink.finish().unwrap();
    assert_eq!(read(&*store.view(), SHARD), old);
    switch_generation(&*store, SHARD, received.generation).unwrap();
    assert_eq!(read(&*store.view(), SHARD), sent);
    assert!(clean_generations(&*store, SHARD).unwrap() > 0);
    assert_eq!(read(&*store.view(), SHARD), sent);
    // A read that began before all of it goes on undisturbed.
    assert_eq!(read(&*before, SHARD), old);
}

#[test]
fn writes_go_on_while_a_snapshot_is_sent_and_are_not_in_it() {
    let sending = MemoryStore::new();
    apply(&sending, SHARD, 1..=20);
    let expected = read(&*sending.view(), SHARD);
    let mut source = SnapshotSource::new(sending.view(), SHARD).unwrap();
    let header = source.header().clone();
    let store = Arc::new(MemoryStore::new());
    let mut sink = SnapshotSink::begin(store.clone(), header).unwrap();
    let mut next = 21;
    while let Some(chunk) = source.next_chunk(200).unwrap() {
        apply(&sending, SHARD, next..=next);
        sending.persist().unwrap();
        next += 1;
        sink.add(chunk).unwrap();
    }
    let received = sink.finish().unwrap();
    switch_generation(&*store, SHARD, received.generation).unwrap();
    assert_eq!(read(&*store.view(), SHARD), expected);
    assert!(next > 25, "{next}");
}

#[test]
fn chunks_end_near_their_bound_and_large_items_travel_alone() {
    let store = MemoryStore::new();
    let (mut batch, mut meta) = (Batch::new(), ShardMeta::default());
    let generation = create_shard(&mut batch, SHARD, &meta);
    for n in 0..6 {
        let (key, item) = (
            keys::item(SHARD, generation, &key(n)),
            item(n, 400 << 10).encode(),
        );
        meta.replace_item(keys::item_part(&key), None, Some(&item));
        batch.put(key, item);
    }
    let shard = SHARD;
    batch.put(Key::Meta { shard, generation }.encode(), meta.encode());
    store.write(batch).unwrap();
    for (max_bytes, expected) in [(1, 6), (400 << 10, 6), (500 << 10, 3), (100 << 20, 1)] {
        let mut source = SnapshotSource::new(store.view(), SHARD).unwrap();
        let sent = chunks(&mut source, max_bytes);
        assert_eq!(sent.len(), expected, "for at most {max_bytes} bytes");
        assert!(
            sent.iter()
                .all(|c| c.len() < max_bytes + (401 << 10) || expected == 1)
        );
        let to = Arc::new(MemoryStore::new());
        install(to.clone(), source.header(), &sent).unwrap();
        assert_eq!(read(&*to.view(), SHARD), read(&*store.view(), SHARD));
        assert!(source.next_chunk(1).unwrap().is_none());
    }
}

#[test]
fn an_empty_shard_is_a_whole_snapshot() {
    let store = MemoryStore::new();
    let mut batch = Batch::new();
    let meta = ShardMeta::new(vec![NodeId(5)]);
    create_shard(&mut batch, SHARD, &meta);
    store.write(batch).unwrap();
    let mut source = SnapshotSource::new(store.view(), SHARD).unwrap();
    let sent = chunks(&mut source, 1_000);
    assert_eq!(sent.len(), 1);
    let to = Arc::new(MemoryStore::new());
    assert_eq!(install(to, source.header(), &sent).unwrap(), meta);
    let nothing = MemoryStore::new().view();
    assert!(matches!(
        SnapshotSource::new(nothing, SHARD).err(),
        Some(SnapshotError::NoSuchShard(SHARD))
    ));
}

/// What a sink says to chunks that were changed on their way, and that the shard has its old state afterwards.
fn refusal(change: impl Fn(&mut Vec<SnapshotChunk>)) -> SnapshotError {
    let (_, header, sent) = sender(20, 400);
    let decode = |chunk: &Bytes| SnapshotChunk::decode(chunk.clone()).unwrap();
    let mut changed: Vec<_> = sent.iter().map(decode).collect();
    assert!(changed.len() > 3);
    change(&mut changed);
    let store = Arc::new(MemoryStore::new());
    apply(&*store, SHARD, 1..=9);
    let old = read(&*store.view(), SHARD);
    let changed: Vec<_> = changed.iter().map(SnapshotChunk::encode).collect();
    let refused = install(store.clone(), &header, &changed).unwrap_err();
    assert_eq!(read(&*store.view(), SHARD), old);
    clean_generations(&*store, SHARD).unwrap();
    assert_eq!(
        store.view().scan(&keys::shard(SHARD)).count(),
        old.len() + 1
    );
    refused
}

#[test]
fn chunks_that_are_lost_repeated_or_out_of_order_are_refused() {
    assert!(matches!(
        refusal(|chunks| drop(chunks.remove(1))),
        SnapshotError::Sequence {
            expected: 1,
            found: 2
        }
    ));
    assert!(matches!(
        refusal(|chunks| chunks.insert(1, chunks[0].clone())),
        SnapshotError::Sequence {
            expected: 1,
            found: 0
        }
    ));
    assert!(matches!(
        refusal(|chunks| chunks.swap(1, 2)),
        SnapshotError::Sequence {
            expected: 1,
            found: 2
        }
    ));
    assert!(matches!(
        refusal(|chunks| drop(chunks.pop())),
        SnapshotError::Incomplete(_)
    ));
    assert!(matches!(
        refusal(|chunks| chunks.push(chunks[chunks.len() - 1].clone())),
        SnapshotError::Incomplete(_)
    ));
}

#[test]
fn chunks_with_other_contents_are_refused() {
    let last = |chunks: &mut Vec<SnapshotChunk>| chunks.len() - 1;
    assert!(matches!(
        refusal(|chunks| chunks[1].mark ^= 1),
        SnapshotError::OtherSnapshot
    ));
    let missing = refusal(|chunks| drop(chunks[2].pairs.pop()));
    assert!(matches!(missing, SnapshotError::Totals { .. }), "{missing}");
    let repeated = refusal(|chunks| {
        let n = last(chunks);
        let pair = chunks[n].pairs[0].clone();
        chunks[n].pairs.insert(0, pair.clone());
        let totals = chunks[n].totals.as_mut().unwrap();
        totals.count(&pair.0, &pair.1);
    });
    assert!(
        matches!(repeated, SnapshotError::Content { .. }),
        "{repeated}"
    );
    // One of an item, one of a prepared transaction, by the kind in the key.
    let replace = |kind: u8, value: Bytes| {
        refusal(|chunks| {
            let n = last(chunks);
            let mut pairs = chunks.iter_mut().flat_map(|chunk| &mut chunk.pairs);
            pairs.find(|pair| pair.0[0] == kind).unwrap().1 = value.clone();
            let mut totals = SnapshotTotals::default();
            for (key, value) in chunks.iter().flat_map(|chunk| &chunk.pairs) {
                totals.count(key, value);
            }
            chunks[n].totals = Some(totals);
        })
    };
    for replaced in [replace(2, item(99, 5).encode()), replace(3, record(99))] {
        assert!(
            matches!(replaced, SnapshotError::Content { .. }),
            "{replaced}"
        );
    }
    for change in [
        |pair: &mut (Bytes, Bytes)| pair.1 = Bytes::from_static(&[1, 9]),
        |pair: &mut (Bytes, Bytes)| pair.0 = Bytes::from_static(&[9]),
        |pair: &mut (Bytes, Bytes)| pair.0 = Bytes::new(),
    ] {
        let refused = refusal(|chunks| change(&mut chunks[1].pairs[0]));
        assert!(matches!(refused, SnapshotError::Malformed(_)), "{refused}");
    }
    let no_meta = refusal(|chunks| {
        let n = last(chunks);
        chunks[n].pairs.pop();
    });
    assert!(matches!(no_meta, SnapshotError::Malformed(_)), "{no_meta}");
}

#[test]
fn any_flipped_bit_of_a_chunk_is_noticed() {
    let (_, _, sent) = sender(6, 10_000);
    let chunk = &sent[0];
    for at in 0..chunk.len() {
        let mut damaged = chunk.to_vec();
        damaged[at] ^= 1 << (at % 8);
        assert!(SnapshotChunk::decode(damaged.into()).is_err(), "byte {at}");
    }
    for len in 0..chunk.len() {
        assert!(
            SnapshotChunk::decode(chunk.slice(..len)).is_err(),
            "{len} bytes"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused_but_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..120), right in any::<bool>(),
    ) {
        let _ = SnapshotHeader::decode(&bytes).is_ok();
        let _ = SnapshotChunk::decode(Bytes::from(bytes.clone())).is_ok();
        if right && bytes.len() > 10 {
            // Behind the checksum, too.
            (bytes[0], bytes[1]) = (1, bytes[1] & 1);
            let checksum = xxhash_rust::xxh3::xxh3_64(&bytes).to_be_bytes();
            bytes.extend_from_slice(&checksum);
            let _ = SnapshotChunk::decode(Bytes::from(bytes)).is_ok();
        }
    }
}

#[test]
fn headers_survive_their_encoding() {
    let (_, header, _) = sender(3, 1_000);
    assert_eq!(SnapshotHeader::decode(&header.encode()).unwrap(), header);
    assert!(SnapshotHeader::decode(&[7]).is_err());
}

#[test]
fn an_abandoned_snapshot_leaves_nothing() {
    let (_, header, sent) = sender(20, 400);
    let store = Arc::new(MemoryStore::new());
    apply(&*store, SHARD, 1..=5);
    let before: Vec<_> = store
        .view()
        .scan(&keys::shard(SHARD))
        .map(Result::unwrap)
        .collect();
    let mut sink = SnapshotSink::begin(store.clone(), header).unwrap();
    for chunk in &sent[..3] {
        sink.add(SnapshotChunk::decode(chunk.clone()).unwrap())
            .unwrap();
    }
    assert_eq!(sink.next_sequence(), 3);
    sink.abandon().unwrap();
    let after: Vec<_> = store
        .view()
        .scan(&keys::shard(SHARD))
        .map(Result::unwrap)
        .collect();
    assert_eq!(before, after);
}

#[test]
fn a_generation_that_is_not_whole_cant_be_switched_to() {
    let (_, header, sent) = sender(20, 400);
    let store = Arc::new(MemoryStore::new());
    apply(&*store, SHARD, 1..=5);
    let mut sink = SnapshotSink::begin(store.clone(), header).unwrap();
    sink.add(SnapshotChunk::decode(sent[0].clone()).unwrap())
        .unwrap();
    for generation in [2, 3] {
        assert!(matches!(
            switch_generation(&*store, SHARD, generation),
            Err(SnapshotError::NoSuchShard(SHARD))
        ));
    }
    assert_eq!(stored_generation(&*store), 1);
}

#[test]
fn a_destroyed_shard_leaves_nothing_and_its_neighbours_everything() {
    let store = MemoryStore::new();
    let other = ShardId {
        table: TableId(u64::MAX),
        index: u32::MAX,
    };
    for shard in [SHARD, NEIGHBOUR, other] {
        apply(&store, shard, 1..=10);
    }
    let record = Key::Replica(SHARD).encode();
    let mut batch = Batch::new();
    batch.put(record.clone(), "record");
    store.write(batch).unwrap();
    assert_eq!(
        stored_shards(&*store.view()).unwrap(),
        [SHARD, NEIGHBOUR, other]
    );
    let neighbours = [NEIGHBOUR, other].map(|shard| read(&*store.view(), shard));
    assert!(destroy_shard(&store, SHARD).unwrap() > 10);
    assert_eq!(store.view().scan(&keys::shard(SHARD)).count(), 0);
    assert!(load_meta(&*store.view(), SHARD).unwrap().is_none());
    assert_eq!(stored_shards(&*store.view()).unwrap(), [NEIGHBOUR, other]);
    assert_eq!(
        [NEIGHBOUR, other].map(|shard| read(&*store.view(), shard)),
        neighbours
    );
    assert!(store.get(&record).unwrap().is_some());
    assert_eq!(destroy_shard(&store, SHARD).unwrap(), 0);
}

#[test]
fn verification_finds_what_is_not_what_was_written() {
    let store = MemoryStore::new();
    apply(&store, SHARD, 1..=8);
    let verify = || verify_shard(&*store.view(), SHARD);
    let good = verify().unwrap();
    assert!(good.agrees() && good.items > 5);
    assert_eq!((good.applied_index, good.applied_term), (8, 1));

    let victim = keys::item(SHARD, 1, &key(7));
    let stored = store.get(&victim).unwrap().unwrap();
    let replace = |value: Option<Bytes>| {
        let mut batch = Batch::new();
        match value {
            Some(value) => batch.put(victim.clone(), value),
            None => batch.delete(victim.clone()),
        }
        store.write(batch).unwrap();
    };
    let mut other = Item::decode(&stored).unwrap();
    other.timestamp = other.timestamp.next();
    replace(Some(other.encode()));
    let found = verify().unwrap();
    assert!(!found.agrees() && found.items == good.items);
    assert_ne!(found.content, found.stored_content);
    replace(None);
    assert!(!verify().unwrap().agrees());
    replace(Some(Bytes::from_static(&[1, 2, 3])));
    assert!(matches!(
        verify(),
        Err(SnapshotError::Store(StoreError::Damaged(_)))
    ));
    replace(Some(stored));
    assert!(verify().unwrap().agrees());
    assert!(matches!(
        verify_shard(&*store.view(), NEIGHBOUR),
        Err(SnapshotError::NoSuchShard(NEIGHBOUR))
    ));
}

#[test]
fn verification_finds_a_missing_record_of_a_prepared_transaction() {
    let store = MemoryStore::new();
    apply(&store, SHARD, 1..=8);
    let verified = || verify_shard(&*store.view(), SHARD).unwrap();
    let (items, bytes) = (verified().items, verified().bytes);
    let mut batch = Batch::new();
    batch.delete(record_key(SHARD, 1, 8));
    store.write(batch).unwrap();
    assert!(!verified().agrees());
    assert_eq!((verified().items, verified().bytes), (items, bytes));
    let mut batch = Batch::new();
    batch.put(record_key(SHARD, 1, 8), record(8));
    store.write(batch).unwrap();
    assert!(verified().agrees());
}

#[test]
fn damaged_pointers_and_metas_are_named() {
    for (damaged, value) in [
        (Key::Generation(SHARD), &[1, 2, 3][..]),
        (Key::Generation(SHARD), &[0, 0, 0, 9]),
        (
            Key::Meta {
                shard: SHARD,
                generation: 1,
            },
            &[1, 1],
        ),
        (
            Key::Meta {
                shard: SHARD,
                generation: 1,
            },
            &[77],
        ),
    ] {
        let store = MemoryStore::new();
        apply(&store, SHARD, 1..=2);
        let mut batch = Batch::new();
        batch.put(damaged.encode(), value.to_vec());
        store.write(batch).unwrap();
        let error = load_meta(&*store.view(), SHARD).unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_)));
        assert!(error.to_string().contains(&SHARD.to_string()), "{error}");
    }
}

#[test]
fn a_snapshot_goes_from_disk_to_disk() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let open = |n: usize| FjallStore::open(dirs[n].path(), &FjallOptions::small()).unwrap();
    let (from, to) = (open(0), Arc::new(open(1)));
    apply(&from, SHARD, 1..=120);
    apply(&*to, SHARD, 1..=60);
    let mut source = SnapshotSource::new(from.view(), SHARD).unwrap();
    let sent = chunks(&mut source, 2_000);
    install(to.clone(), source.header(), &sent).unwrap();
    let expected = read(&*from.view(), SHARD);
    assert_eq!(read(&*to.view(), SHARD), expected);
    drop(to);
    let to = open(1);
    assert_eq!(read(&*to.view(), SHARD), expected);
    assert!(verify_shard(&*to.view(), SHARD).unwrap().agrees());
    let mut again = SnapshotSource::new(to.view(), SHARD).unwrap();
    assert_eq!(
        chunks(&mut again, 2_000),
        sent,
        "equal states have equal snapshots"
    );
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutants_are_noticed() {
    use mutants::{Mutant, is_noticed};
    assert!(is_noticed(
        Mutant::SnapshotSwitchNotDurable,
        the_old_state_stays_until_the_new_one_is_durable
    ));
    assert!(is_noticed(
        Mutant::SnapshotForgetsRequests,
        a_snapshot_carries_the_whole_state_and_nothing_of_the_old_one
    ));
    assert!(is_noticed(
        Mutant::IntentsNotInSnapshot,
        a_snapshot_carries_the_whole_state_and_nothing_of_the_old_one
    ));
}
