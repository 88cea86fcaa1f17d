use super::*;
use model::{TableId, limits};
use proptest::prelude::*;

fn bytes(range: std::ops::Range<usize>) -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), range).prop_map(Bytes::from)
}

fn key() -> impl Strategy<Value = Key> {
    (bytes(1..40), bytes(0..3)).prop_map(|(partition, sort)| Key { partition, sort })
}

fn request() -> impl Strategy<Value = RequestId> {
    any::<(u64, u64, u64)>().prop_map(|(issued_millis, client, sequence)| RequestId {
        issued_millis,
        client,
        sequence,
    })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (key(), bytes(0..200), request(), condition()).prop_map(
            |(key, value, request, condition)| Command::Put {
                key,
                value,
                request,
                condition,
            }
        ),
        (key(), request(), condition()).prop_map(|(key, request, condition)| {
            Command::Delete {
                key,
                request,
                condition,
            }
        }),
        Just(Command::Seal),
        any::<u64>().prop_map(|verify_id| Command::Checkpoint { verify_id }),
        (any::<u128>(), any::<u64>(), items()).prop_map(|(id, issued_millis, items)| {
            Command::TransactWrite {
                transaction: TransactionId(id),
                issued_millis,
                items,
            }
        }),
        (any::<u128>(), any::<u64>(), items(), participants()).prop_map(
            |(id, timestamp, items, participants)| Command::Prepare {
                transaction: TransactionId(id),
                timestamp: Timestamp(timestamp),
                items,
                participants,
            }
        ),
        any::<(u128, u64, bool)>().prop_map(|(id, timestamp, commit)| Command::Decide {
            transaction: TransactionId(id),
            timestamp: Timestamp(timestamp),
            commit,
        }),
        (any::<(u128, u64)>(), proptest::collection::vec(key(), 0..3)).prop_map(
            |((id, timestamp), keys)| Command::Inquire {
                transaction: TransactionId(id),
                timestamp: Timestamp(timestamp),
                keys,
            }
        ),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::Always),
        Just(Condition::Exists),
        Just(Condition::NotExists),
        any::<u64>().prop_map(Condition::VersionIs),
    ]
}

fn items() -> impl Strategy<Value = Vec<TransactionItem>> {
    let item = (key(), bytes(0..50), condition());
    let item = item.prop_map(|(key, value, condition)| TransactionItem {
        key,
        value,
        condition,
    });
    proptest::collection::vec(item, 0..5)
}

fn participants() -> impl Strategy<Value = Vec<Participant>> {
    let one = (any::<u64>(), key());
    let one = one.prop_map(|(table, key)| Participant {
        table: TableId(table),
        key,
    });
    proptest::collection::vec(one, 0..5)
}

fn batch() -> impl Strategy<Value = CommandBatch> {
    let commands = proptest::collection::vec(command(), 0..8);
    (any::<u64>(), commands).prop_map(|(now_millis, commands)| CommandBatch {
        now_millis,
        commands,
    })
}

proptest! {
    #[test]
    fn a_batch_survives_its_encoding(batch in batch()) {
        let payload = batch.encode();
        let sizes: usize = batch.commands.iter().map(Command::size).sum();
        prop_assert!(payload.len() <= sizes + 20, "{} > {sizes} + 20", payload.len());
        prop_assert_eq!(CommandBatch::decode(&payload), Ok(batch));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_but_never_panic(bytes in bytes(0..200)) {
        let _ = CommandBatch::decode(&bytes);
        let formatted = Bytes::from([&[FORMAT], &bytes[..]].concat());
        let _ = CommandBatch::decode(&formatted);
    }

    #[test]
    fn a_cut_batch_is_refused(batch in batch(), at in any::<prop::sample::Index>()) {
        let payload = batch.encode();
        prop_assert!(CommandBatch::decode(&payload.slice(..at.index(payload.len()))).is_err());
    }
}

const REQUEST: RequestId = RequestId {
    issued_millis: 5,
    client: 6,
    sequence: 7,
};

fn put(key: &'static [u8], value: &'static [u8]) -> Command {
    Command::Put {
        key: Key {
            partition: Bytes::from_static(key),
            sort: Bytes::new(),
        },
        value: Bytes::from_static(value),
        request: REQUEST,
        condition: Condition::Always,
    }
}

#[test]
fn the_format_is_pinned() {
    let delete = Command::Delete {
        key: Key {
            partition: Bytes::from_static(b"d"),
            sort: Bytes::from_static(b"s"),
        },
        request: REQUEST,
        condition: Condition::VersionIs(4),
    };
    let short = |name: &'static [u8]| Key {
        partition: Bytes::from_static(name),
        sort: Bytes::new(),
    };
    let items = vec![TransactionItem {
        key: short(b"i"),
        value: Bytes::from_static(b"v"),
        condition: Condition::NotExists,
    }];
    let transaction = TransactionId(1);
    let timestamp = Timestamp(2);
    let batch = CommandBatch {
        now_millis: 300,
        commands: vec![
            put(b"k", b"vw"),
            delete,
            Command::Seal,
            Command::Checkpoint { verify_id: 9 },
            Command::TransactWrite {
                transaction,
                issued_millis: 3,
                items: items.clone(),
            },
            Command::Prepare {
                transaction,
                timestamp,
                items,
                participants: vec![Participant {
                    table: TableId(6),
                    key: short(b"p"),
                }],
            },
            Command::Decide {
                transaction,
                timestamp,
                commit: true,
            },
            Command::Inquire {
                transaction,
                timestamp,
                keys: vec![short(b"i")],
            },
        ],
    };
    let pinned = [
        &[3, 0xac, 2, 8][..], // format, clock, number of commands
        &[0, 1, b'k', 0, 2, b'v', b'w', 5, 6, 7, 0][..], // put
        &[1, 1, b'd', 1, b's', 5, 6, 7, 3, 4][..], // delete
        &[2][..],             // seal
        &[3, 9][..],          // checkpoint
        &[4, 1, 3, 1, 1, b'i', 0, 1, b'v', 2][..], // transaction
        &[5, 1, 2, 1, 1, b'i', 0, 1, b'v', 2][..], // prepare: the items
        &[1, 6, 1, b'p', 0][..], // ... and the participants
        &[6, 1, 2, 1][..],    // decide
        &[7, 1, 2, 1, 1, b'i', 0][..], // inquire
    ]
    .concat();
    assert_eq!(batch.encode().as_ref(), pinned);
    assert_eq!(CommandBatch::decode(&pinned.into()), Ok(batch));
}

#[test]
fn decoded_values_are_slices_of_the_payload() {
    let batch = CommandBatch {
        now_millis: 1,
        commands: vec![put(b"key", b"value")],
    };
    let payload = batch.encode();
    let decoded = CommandBatch::decode(&payload).unwrap();
    let Command::Put { value, .. } = &decoded.commands[0] else {
        panic!("{decoded:?}")
    };
    assert!(payload.as_ptr_range().contains(&value.as_ptr()));
}

#[test]
fn what_is_wrong_with_a_payload_is_named() {
    let decode = |bytes: &[u8]| CommandBatch::decode(&Bytes::copy_from_slice(bytes));
    assert_eq!(decode(&[]), Err(CommandDecodeError::Empty));
    assert_eq!(
        decode(&[2, 0, 0]),
        Err(CommandDecodeError::UnknownFormat(2)),
        "an older one, whose inquiries name no keys"
    );
    for malformed in [&[3][..], &[3, 0, 1, 99], &[3, 0, 0, 0]] {
        let decoded = decode(malformed);
        assert!(
            matches!(decoded, Err(CommandDecodeError::Malformed(_))),
            "{decoded:?}"
        );
    }
}

#[test]
fn a_key_beyond_the_limits_is_refused() {
    let decode = |command| {
        let commands = vec![command];
        let batch = CommandBatch {
            now_millis: 1,
            commands,
        };
        CommandBatch::decode(&batch.encode())
    };
    let long: &'static [u8] = &[7; limits::MAX_KEY_BYTES + 1];
    assert_eq!(decode(put(b"", b"v")), Err(InvalidKey::Empty.into()));
    assert_eq!(
        decode(put(long, b"v")),
        Err(InvalidKey::TooLong(long.len()).into())
    );
    assert!(decode(put(&long[1..], b"v")).is_ok());
}

#[test]
fn a_transaction_of_too_many_items_is_refused() {
    let item = TransactionItem {
        key: Key::new(Bytes::from_static(b"k")).unwrap(),
        value: Bytes::new(),
        condition: Condition::Always,
    };
    let decode = |count| {
        let command = Command::TransactWrite {
            transaction: TransactionId(1),
            issued_millis: 0,
            items: vec![item.clone(); count],
        };
        let batch = CommandBatch {
            now_millis: 1,
            commands: vec![command],
        };
        CommandBatch::decode(&batch.encode()).map(|_| ())
    };
    assert_eq!(decode(limits::MAX_BATCH_ITEMS), Ok(()));
    let more = limits::MAX_BATCH_ITEMS + 1;
    assert_eq!(decode(more), Err(CommandDecodeError::TooManyItems(more)));
}

#[test]
fn debug_shows_no_user_data() {
    let shown = format!("{:?}", put(b"secret key", b"secret value"));
    assert!(!shown.contains("secret"), "{shown}");
    assert!(shown.contains("12 B"), "{shown}");
    let secret = TransactionItem {
        key: Key::new(Bytes::from_static(b"secret key")).unwrap(),
        value: Bytes::from_static(b"secret value"),
        condition: Condition::Always,
    };
    let prepare = Command::Prepare {
        transaction: TransactionId(1),
        timestamp: Timestamp(1),
        participants: vec![Participant {
            table: TableId(1),
            key: secret.key.clone(),
        }],
        items: vec![secret],
    };
    let shown = format!("{prepare:?}");
    assert!(!shown.contains("secret"), "{shown}");
}
