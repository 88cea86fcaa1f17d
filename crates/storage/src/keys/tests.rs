use model::{HashRange, TableId};
use proptest::prelude::*;

use super::*;

fn shard_id() -> impl Strategy<Value = ShardId> {
    // Few different ids, the ends of the range among them, so that neighbours meet.
    let table = prop_oneof![1u64..4, Just(u64::MAX), 1u64..];
    let index = prop_oneof![0u32..3, Just(u32::MAX)];
    (table, index).prop_map(|(table, index)| ShardId {
        table: TableId(table),
        index,
    })
}

fn item_key() -> impl Strategy<Value = model::Key> {
    let bytes = |range| proptest::collection::vec(any::<u8>(), range).prop_map(Bytes::from);
    (bytes(1..40), bytes(0..3)).prop_map(|(partition, sort)| model::Key { partition, sort })
}

fn generation_number() -> impl Strategy<Value = u32> {
    prop_oneof![0u32..4, Just(u32::MAX)]
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        shard_id().prop_map(Key::Replica),
        shard_id().prop_map(Key::Generation),
        (shard_id(), generation_number())
            .prop_map(|(shard, generation)| Key::Meta { shard, generation }),
        (shard_id(), generation_number(), any::<u64>()).prop_map(|(shard, generation, index)| {
            Key::Requests {
                shard,
                generation,
                index,
            }
        }),
        (shard_id(), generation_number(), item_key()).prop_map(|(shard, generation, key)| {
            Key::Item {
                shard,
                generation,
                key,
            }
        }),
        (shard_id(), generation_number(), any::<u128>()).prop_map(|(shard, generation, id)| {
            Key::Prepared {
                shard,
                generation,
                transaction: TransactionId(id),
            }
        }),
    ]
}

/// The order that keys should have, written without their encoding.
fn rank(key: &Key) -> impl Ord + use<> {
    let none = (0, 0, 0, Bytes::new(), Bytes::new());
    match key {
        Key::Replica(shard) => (0, *shard, 0, 0, none),
        Key::Generation(shard) => (1, *shard, 0, 0, none),
        Key::Meta { shard, generation } => (1, *shard, 1, *generation, none),
        Key::Requests {
            shard,
            generation,
            index,
        } => (
            1,
            *shard,
            1,
            *generation,
            (1, *index, 0, Bytes::new(), Bytes::new()),
        ),
        Key::Item {
            shard,
            generation,
            key,
        } => (
            1,
            *shard,
            1,
            *generation,
            (
                2,
                key.hash().0,
                key.partition.len(),
                key.partition.clone(),
                key.sort.clone(),
            ),
        ),
        Key::Prepared {
            shard,
            generation,
            transaction,
        } => {
            let id = Bytes::copy_from_slice(&transaction.0.to_be_bytes());
            (1, *shard, 1, *generation, (3, 0, 0, id, Bytes::new()))
        }
    }
}

proptest! {
    #[test]
    fn every_key_survives_its_encoding(key in key()) {
        prop_assert_eq!(Key::decode(&key.encode()), Ok(key));
    }

    #[test]
    fn keys_sort_like_what_they_stand_for(a in key(), b in key()) {
        prop_assert_eq!(rank(&a).cmp(&rank(&b)), a.encode().cmp(&b.encode()));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_but_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        if let Ok(key) = Key::decode(&bytes) {
            prop_assert_eq!(key.encode().to_vec(), bytes.clone());
        }
        let _ = (item_part(&bytes).len(), generation_part(&bytes).len());
    }

    #[test]
    fn a_changed_bit_is_refused_or_makes_another_key(
        key in key(), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let mut bytes = key.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert_ne!(Key::decode(&bytes), Ok(key));
    }

    #[test]
    fn a_cut_key_is_refused_unless_it_was_cut_in_the_sort_key(
        key in key(), at in any::<prop::sample::Index>(),
    ) {
        let bytes = key.encode();
        let cut = &bytes[..at.index(bytes.len())];
        match Key::decode(cut) {
            Err(_) => {}
            Ok(Key::Item { key: shorter, .. }) => {
                let Key::Item { key, .. } = key else { panic!("{key:?} became an item") };
                prop_assert_eq!(shorter.partition, key.partition);
            }
            Ok(other) => panic!("{key:?} was cut into {other:?}"),
        }
    }

    #[test]
    fn ranges_hold_their_own_keys_and_no_others(
        key in key(), shard in shard_id(), generation in generation_number(),
        bounds in any::<(u64, u64)>(),
    ) {
        let bytes = key.encode().to_vec();
        let is_prepared = matches!(key, Key::Prepared { .. });
        let (in_shard, in_generation, is_requests, hash) = match &key {
            Key::Replica(_) => (None, None, false, None),
            Key::Generation(shard) => (Some(*shard), None, false, None),
            Key::Meta { shard, generation } | Key::Prepared { shard, generation, .. } =>
                (Some(*shard), Some(*generation), false, None),
            Key::Requests { shard, generation, .. } => (Some(*shard), Some(*generation), true, None),
            Key::Item { shard, generation, key } =>
                (Some(*shard), Some(*generation), false, Some(key.hash())),
        };
        let this_shard = in_shard == Some(shard);
        let this_generation = this_shard && in_generation == Some(generation);
        let hash_range = HashRange { first: bounds.0.min(bounds.1), last: bounds.0.max(bounds.1) };
        prop_assert_eq!(replicas().contains(&bytes), matches!(key, Key::Replica(_)));
        prop_assert_eq!(super::shard(shard).contains(&bytes), this_shard);
        prop_assert_eq!(super::generation(shard, generation).contains(&bytes), this_generation);
        prop_assert_eq!(
            range::generations_from(shard, generation).contains(&bytes),
            this_shard && in_generation.is_some_and(|g| g >= generation)
        );
        prop_assert_eq!(items(shard, generation).contains(&bytes), this_generation && hash.is_some());
        prop_assert_eq!(
            prepared(shard, generation).contains(&bytes),
            this_generation && is_prepared
        );
        prop_assert_eq!(requests(shard, generation).contains(&bytes), this_generation && is_requests);
        prop_assert_eq!(
            range::contents(shard, generation).contains(&bytes),
            this_generation && (is_requests || is_prepared || hash.is_some())
        );
        for range in [hash_range, HashRange::ALL] {
            prop_assert_eq!(
                hashes(shard, generation, range).contains(&bytes),
                this_generation && hash.is_some_and(|h| range.contains(h))
            );
        }
    }

    #[test]
    fn a_key_moves_to_another_generation_and_keeps_its_part(
        key in key(), shard in shard_id(), generation in generation_number(),
    ) {
        let bytes = key.encode();
        match key {
            Key::Replica(_) | Key::Generation(_) => {}
            _ => {
                let (moved, _) =
                    from_generation_part(shard, generation, generation_part(&bytes)).unwrap();
                prop_assert_eq!(generation_part(&moved), generation_part(&bytes));
                prop_assert!(super::generation(shard, generation).contains(&moved.to_vec()));
            }
        }
    }
}

#[test]
fn the_layout_is_pinned_because_it_is_on_disk() {
    let shard = ShardId {
        table: TableId(0x0102_0304_0506_0708),
        index: 9,
    };
    let prefix = [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9];
    let expect = |key: Key, rest: &[u8]| {
        assert_eq!(key.encode().as_ref(), [&prefix[..], rest].concat());
    };
    let generation = 5;
    expect(Key::Generation(shard), &[0]);
    expect(Key::Meta { shard, generation }, &[1, 0, 0, 0, 5, 0]);
    expect(
        Key::Requests {
            shard,
            generation,
            index: 7,
        },
        &[1, 0, 0, 0, 5, 1, 0, 0, 0, 0, 0, 0, 0, 7],
    );
    let key = model::Key {
        partition: Bytes::from_static(b"a"),
        sort: Bytes::from_static(b"s"),
    };
    let item_bytes = [
        0xe6, 0xc6, 0x32, 0xb6, 0x1e, 0x96, 0x4e, 0x1f, 0, 1, b'a', b's',
    ];
    expect(
        Key::Item {
            shard,
            generation,
            key: key.clone(),
        },
        &[&[1, 0, 0, 0, 5, 2], &item_bytes[..]].concat(),
    );
    assert_eq!(item_part(&item(shard, generation, &key)), item_bytes);
    expect(
        Key::Prepared {
            shard,
            generation,
            transaction: TransactionId(0x0a0b),
        },
        &[&[1, 0, 0, 0, 5, 3], &[0; 14][..], &[0x0a, 0x0b]].concat(),
    );
    assert_eq!(
        Key::Replica(shard).encode().as_ref(),
        [&[0; 13][..], &prefix].concat()
    );
}

#[test]
fn what_is_wrong_with_a_key_is_named() {
    let shard = ShardId {
        table: TableId(1),
        index: 0,
    };
    let mut long = Key::Generation(shard).encode().to_vec();
    long.push(0);
    assert_eq!(Key::decode(&long), Err(KeyDecodeError::TooLong(1)));
    assert_eq!(Key::decode(&long[..12]), Err(KeyDecodeError::TooShort(12)));
    long[12] = 7;
    assert_eq!(
        Key::decode(&long),
        Err(KeyDecodeError::UnknownTag { tag: 7, at: 12 })
    );
    let reserved = ShardId {
        table: TableId(0),
        index: 1,
    };
    assert_eq!(
        Key::decode(&Key::Generation(reserved).encode()),
        Err(KeyDecodeError::ReservedTable)
    );
    let key = model::Key::new(Bytes::from_static(b"key")).unwrap();
    let mut wrong = item(shard, 1, &key).to_vec();
    wrong[GENERATION_LEN + 1] ^= 1;
    assert_eq!(Key::decode(&wrong), Err(KeyDecodeError::WrongHash));
}
