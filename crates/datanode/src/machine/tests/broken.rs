//! What stops a machine, and that nothing is written then.

use super::*;

/// Applies and expects to break; nothing is written, and the machine stays broken until it is opened again.
fn break_with(replica: &mut Replica, entries: &[Entry]) -> Broken {
    let before = dump(&replica.store);
    let meta = replica.machine.meta().clone();
    let broken = replica.machine.apply(entries).unwrap_err();
    assert_eq!(dump(&replica.store), before);
    assert_eq!(replica.machine.meta(), &meta);
    let next = entry(
        meta.applied_index + 1,
        NOW,
        vec![put("z", "z", request(NOW, 99))],
    );
    let again = replica.machine.apply(&[next]).unwrap_err();
    assert_eq!(again.to_string(), broken.to_string());
    assert_eq!(dump(&replica.store), before);
    broken
}

fn replica() -> Replica {
    let mut replica = Replica::new();
    replica.one(put("a", "1", request(NOW, 1)));
    replica.one(put("a", "2", request(NOW, 2)));
    replica
}

#[test]
fn an_entry_that_comes_again_is_passed_over() {
    let mut replica = replica();
    let before = dump(&replica.store);
    let again = replica.log.clone();
    assert_eq!(replica.machine.apply(&again).unwrap(), []);
    assert_eq!(dump(&replica.store), before);
    let mut more = again;
    more.push(entry(3, NOW, vec![put("b", "3", request(NOW, 3))]));
    let applied = replica.machine.apply(&more).unwrap();
    assert_eq!(applied.len(), 1);
    assert_eq!(
        (applied[0].index, &applied[0].outcomes[..]),
        (Index(3), &[written(3)][..])
    );
}

#[test]
fn a_gap_in_the_log_stops_the_replica() {
    let mut replica = replica();
    let broken = break_with(&mut replica, &[noop(3, 1), noop(5, 1)]);
    let expected = (Index(4), Index(5));
    assert!(
        matches!(broken, Broken::Gap { expected: e, found: f, .. } if (e, f) == expected),
        "{broken:?}"
    );
}

#[test]
fn a_term_that_falls_stops_the_replica() {
    let mut replica = replica();
    let broken = break_with(&mut replica, &[noop(3, 5), noop(4, 4)]);
    assert!(
        matches!(
            broken,
            Broken::TermFell {
                index: Index(4),
                ..
            }
        ),
        "{broken:?}"
    );
}

#[test]
fn an_entry_that_cannot_be_decoded_stops_the_replica_and_is_never_skipped() {
    for payload in [&b""[..], &[9, 0, 0], &[2, 0, 1, 77]] {
        let mut replica = replica();
        let bad = Entry {
            payload: Bytes::from_static(payload),
            ..entry(4, NOW, Vec::new())
        };
        let broken = break_with(&mut replica, &[noop(3, 1), bad, noop(5, 1)]);
        assert!(
            matches!(
                broken,
                Broken::Commands {
                    index: Index(4),
                    ..
                }
            ),
            "{broken:?}"
        );
        // After a start, what comes before it is applied and then it stops again.
        replica.restart();
        replica.machine.apply(&[noop(3, 1)]).unwrap();
        assert!(replica.machine.apply(&[noop(5, 1)]).is_err());
    }
}

#[test]
fn a_damaged_item_stops_the_replica_that_has_to_change_it() {
    let mut replica = replica();
    let mut batch = Batch::new();
    let at = keys::item(SHARD, replica.machine.generation(), &key("a"));
    batch.put(at, &b"\x01\x02rubbish"[..]);
    replica.store.write(batch).unwrap();
    // Until then it knows what it has written without reading it.
    replica.machine.reload().unwrap();
    let entry = entry(3, NOW, vec![put("a", "3", request(NOW, 3))]);
    let broken = break_with(&mut replica, &[entry]);
    assert!(broken.to_string().contains("damaged"), "{broken}");
    let read = replica.machine.reader().get(&key("a")).unwrap_err();
    assert!(read.to_string().contains("damaged"), "{read}");
}

#[test]
fn a_shard_with_a_damaged_record_is_not_opened() {
    let generation = replica().machine.generation();
    let damaged = [
        keys::Key::Generation(SHARD),
        keys::Key::Meta {
            shard: SHARD,
            generation,
        },
        keys::Key::Requests {
            shard: SHARD,
            generation,
            index: 1,
        },
    ];
    for key in damaged {
        let replica = replica();
        let mut batch = Batch::new();
        batch.put(key.encode(), &b"\x01"[..]);
        replica.store.write(batch).unwrap();
        let Err(broken) = Machine::open(Arc::new(replica.store), SHARD) else {
            panic!("opened with a damaged {key:?}");
        };
        assert!(broken.to_string().contains("damaged"), "{broken}");
    }
}

#[test]
fn a_store_that_fails_stops_the_replica() {
    let mut replica = replica();
    replica.store.fail_next_persist("no disk");
    assert!(replica.store.persist().is_err());
    let entry = entry(3, NOW, vec![put("b", "3", request(NOW, 3))]);
    let broken = break_with(&mut replica, &[entry]);
    assert!(matches!(broken, Broken::Store(_)), "{broken:?}");
    assert_eq!(
        replica.get("a"),
        Some(("2".into(), 2)),
        "eventual reads go on"
    );
}

#[test]
fn a_shard_is_made_once_and_opened_only_if_it_is_there() {
    let store = MemoryStore::new();
    assert!(
        Machine::open(Arc::new(store.clone()), SHARD)
            .unwrap()
            .is_none()
    );
    let made = Machine::create(Arc::new(store.clone()), SHARD, voters()).unwrap();
    assert_eq!(made.meta(), &ShardMeta::new(voters()));
    assert_eq!(made.meta().applied_index, 0);
    let again = Machine::create(Arc::new(store.clone()), SHARD, voters());
    assert!(matches!(again, Err(Broken::AlreadyThere(SHARD))));
    let opened = Machine::open(Arc::new(store), SHARD).unwrap().unwrap();
    assert_eq!((opened.shard(), opened.meta()), (SHARD, made.meta()));
}
