use std::collections::BTreeMap;

use proptest::prelude::*;

use model::{Objection, TableId};

use super::*;

fn meta() -> ShardMeta {
    ShardMeta {
        applied_index: 300,
        applied_term: 2,
        last_lsn: Lsn(3),
        max_delete_timestamp: Timestamp(4),
        deletes: RecentDeletes::default(),
        clock_millis: 6,
        request_floor_millis: 7,
        sealed: true,
        items: 8,
        bytes: 9,
        content: ContentHash(10),
        voters: vec![NodeId(11), NodeId(12)],
    }
}

fn replica() -> ReplicaRecord {
    ReplicaRecord {
        state: ReplicaState::Destroying,
        voters: vec![NodeId(1)],
        table_name: "abc".parse().unwrap(),
        table_shards: 4,
        hashes: (5, 6),
        created_millis: 2,
        was_available: true,
    }
}

fn requests() -> RequestBlock {
    let id = RequestId {
        issued_millis: 1,
        client: 2,
        sequence: 3,
    };
    RequestBlock {
        remembered: vec![
            (id, Remembered::Applied(Lsn(4))),
            (id, Remembered::ConditionFailed(None)),
            (id, Remembered::ConditionFailed(Some(Lsn(5)))),
            (id, Remembered::Committed),
            (id, Remembered::Cancelled),
            (id, Remembered::Rejected(Box::new(rejection()))),
        ],
    }
}

fn rejection() -> Rejection {
    let conflict = Some(Objection::TransactionConflict);
    Rejection::of(&[Some(Objection::ConditionFailed), None, conflict])
}

fn prepared() -> PreparedRecord {
    let key = |name: &'static [u8]| Key::new(Bytes::from_static(name)).unwrap();
    PreparedRecord {
        timestamp: Timestamp(1),
        keys: vec![key(b"a")],
        participants: vec![
            Participant {
                table: TableId(2),
                key: key(b"a"),
            },
            Participant {
                table: TableId(3),
                key: key(b"b"),
            },
        ],
    }
}

#[test]
fn the_formats_are_pinned_because_they_are_on_disk() {
    assert_eq!(
        meta().encode().as_ref(),
        [
            &[2, 0xac, 2, 2, 3, 4][..],
            &[0; 33][..], // the places of deletes, and what is forgotten
            &[6, 7, 1, 8, 9, 10, 2, 11, 12][..],
        ]
        .concat()
    );
    assert_eq!(
        replica().encode().as_ref(),
        [3, 2, 1, 1, 3, b'a', b'b', b'c', 4, 5, 6, 2, 1]
    );
    let blocks = [
        &[2, 6][..],
        &[1, 2, 3, 0, 4][..],
        &[1, 2, 3, 1, 0][..],
        &[1, 2, 3, 1, 1, 5][..],
        &[1, 2, 3, 2][..],
        &[1, 2, 3, 3][..],
        &[1, 2, 3, 4, 3, 1, 4][..],
    ];
    assert_eq!(requests().encode().as_ref(), blocks.concat());
    assert_eq!(
        prepared().encode().as_ref(),
        [1, 1, 1, 1, b'a', 0, 2, 2, 1, b'a', 0, 3, 1, b'b', 0]
    );
}

#[test]
fn a_write_of_a_client_leaves_a_trace_even_if_nothing_is_left_of_it() {
    let mut meta = ShardMeta::new(vec![NodeId(1)]);
    meta.applied_index = 7;
    meta.clock_millis = 9;
    meta.sealed = true;
    assert!(
        !meta.was_written(),
        "leaders, checkpoints and seals are none"
    );
    let put = ShardMeta {
        last_lsn: Lsn(1),
        ..meta.clone()
    };
    let delete = ShardMeta {
        max_delete_timestamp: Timestamp(1),
        ..meta
    };
    assert!(put.was_written() && delete.was_written());
}

#[test]
fn records_survive_their_encoding() {
    assert_eq!(ShardMeta::decode(&meta().encode()), Ok(meta()));
    assert_eq!(ReplicaRecord::decode(&replica().encode()), Ok(replica()));
    assert_eq!(RequestBlock::decode(&requests().encode()), Ok(requests()));
    assert_eq!(PreparedRecord::decode(&prepared().encode()), Ok(prepared()));
    let mut deleted = meta();
    deleted.deletes.note(model::KeyHash(u64::MAX), Lsn(8));
    assert_eq!(ShardMeta::decode(&deleted.encode()), Ok(deleted));
}

#[test]
fn a_record_of_a_newer_format_is_named_and_a_damaged_one_refused() {
    assert_eq!(
        ShardMeta::decode(&[9, 0]),
        Err(MetaDecodeError::UnknownFormat("shard", 9))
    );
    assert_eq!(
        ReplicaRecord::decode(&[1, 2, 1, 1, 3, b'a', b'b', b'c', 2]),
        Err(MetaDecodeError::UnknownFormat("replica", 1)),
        "an older one, which lacks what is needed now"
    );
    assert_eq!(
        RequestBlock::decode(&[]),
        Err(MetaDecodeError::Empty("request"))
    );
    let encoded = replica().encode();
    for len in 1..encoded.len() {
        assert!(ReplicaRecord::decode(&encoded[..len]).is_err(), "{len}");
    }
    let too_long = [encoded.as_ref(), &[0]].concat();
    assert!(ReplicaRecord::decode(&too_long).is_err());
    // A name that no table may have.
    assert!(ReplicaRecord::decode(&[2, 2, 1, 1, 3, b'a', b'/', b'c', 4, 5, 6, 2]).is_err());
}

#[test]
fn the_content_hash_is_pinned_because_replicas_compare_it() {
    let hash = ContentHash::of(b"key", b"item");
    assert_eq!(hash.to_string(), "7739f3bf7107b83390e19b963e151375");
    assert_eq!(ContentHash::EMPTY.to_string(), "0".repeat(32));
}

#[test]
fn an_item_counts_by_its_key_its_content_and_how_often_it_is_there() {
    let once = ContentHash::of(b"key", b"item");
    assert_ne!(once, ContentHash::of(b"kez", b"item"));
    assert_ne!(once, ContentHash::of(b"key", b"itex"));
    assert_ne!(once, ContentHash::of(b"keyi", b"tem"));
    assert_ne!(once, ContentHash::of(b"item", b"key"));
    let mut twice = once;
    twice += once;
    assert!(twice != once && twice != ContentHash::EMPTY);
}

fn small() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0u8..3, 1..3)
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused_but_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..80), format in 0u8..3,
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = format;
        }
        let _ = ShardMeta::decode(&bytes).is_ok();
        let _ = ReplicaRecord::decode(&bytes).is_ok();
        let _ = RequestBlock::decode(&bytes).is_ok();
        let _ = PreparedRecord::decode(&bytes).is_ok();
    }

    #[test]
    fn counters_kept_write_by_write_equal_those_of_a_scan(
        writes in proptest::collection::vec((small(), proptest::option::of(small())), 0..60),
    ) {
        let mut stored = BTreeMap::new();
        let mut kept = ShardMeta::default();
        for (key, item) in writes {
            let old = match &item {
                Some(item) => stored.insert(key.clone(), item.clone()),
                None => stored.remove(&key),
            };
            kept.replace_item(&key, old.as_deref(), item.as_deref());
        }
        let mut scanned = ShardMeta::default();
        for (key, item) in stored.iter().rev() {
            scanned.replace_item(key, None, Some(item));
        }
        prop_assert_eq!(kept, scanned);
    }
}
