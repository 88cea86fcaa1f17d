use bytes::Bytes;
use model::{ShardId, TableId};
use proptest::prelude::*;

use super::super::LogEntry;
use super::super::record::{Body, EntryView, SPLIT_LEN, encode_keep, encode_state};
use super::*;

const SEAL: Seal = Seal(77);
const OFFSET: u64 = 4096;

fn group() -> ShardId {
    ShardId {
        table: TableId(1),
        index: 2,
    }
}

fn entries(first: u64, payloads: Vec<(u64, u8, Vec<u8>)>) -> Vec<LogEntry> {
    let numbered = (first..).zip(payloads);
    let entry = |(index, (term, kind, payload)): (u64, (u64, u8, Vec<u8>))| LogEntry {
        index,
        term,
        kind,
        payload: Bytes::from(payload),
    };
    numbered.map(entry).collect()
}

fn record() -> impl Strategy<Value = Record> {
    let payload = proptest::collection::vec(any::<u8>(), 0..100);
    let payloads = proptest::collection::vec((any::<u64>(), any::<u8>(), payload), 1..10);
    prop_oneof![
        (0..u64::MAX / 2, payloads).prop_map(|(first, payloads)| Record::Append {
            group: group(),
            entries: entries(first, payloads),
        }),
        any::<(u64, Option<u64>)>().prop_map(|(term, vote)| Record::HardState {
            group: group(),
            term,
            vote
        }),
        any::<(u64, u64)>().prop_map(|(index, term)| Record::Purge {
            group: group(),
            index,
            term
        }),
        any::<(u64, u64)>().prop_map(|(index, term)| Record::Reset {
            group: group(),
            index,
            term
        }),
        Just(Record::Forget { group: group() }),
    ]
}

fn to_record(view: &View<'_>) -> Record {
    let group = view.group;
    match view.body {
        Body::Append(entries) => Record::Append {
            group,
            entries: entries.iter().map(to_entry).collect(),
        },
        Body::HardState((term, vote)) => Record::HardState { group, term, vote },
        Body::Purge((index, term)) => Record::Purge { group, index, term },
        Body::Reset((index, term)) => Record::Reset { group, index, term },
        Body::Forget => Record::Forget { group },
        Body::Keep(_) | Body::State(..) => unreachable!(),
    }
}

fn to_entry(view: EntryView<'_>) -> LogEntry {
    LogEntry {
        index: view.index,
        term: view.term,
        kind: view.kind,
        payload: Bytes::copy_from_slice(view.payload),
    }
}

/// A finished batch: its header, and all its bytes up to the page's end.
fn batch(records: &[Record]) -> (Header, Vec<u8>) {
    let mut builder = Builder::default();
    builder.clear();
    for record in records {
        builder.push(record);
    }
    let (header, bytes) = builder.finish(9, 8, SEAL, OFFSET);
    (header, bytes.to_vec())
}

fn read(bytes: &[u8]) -> Option<(Header, Vec<Record>)> {
    let header = Header::decode(bytes, SEAL, OFFSET)?;
    let records = bytes.get(HEADER_LEN..HEADER_LEN + header.len as usize)?;
    let views = parse_records(&header, records, SEAL, OFFSET).ok()?;
    Some((
        header,
        views.iter().map(|(_, view)| to_record(view)).collect(),
    ))
}

proptest! {
    #[test]
    fn a_batch_survives_its_encoding(records in proptest::collection::vec(record(), 1..8)) {
        let (header, bytes) = batch(&records);
        prop_assert_eq!(bytes.len() % PAGE as usize, 0);
        prop_assert_eq!(read(&bytes), Some((header, records)));
    }

    #[test]
    fn a_batch_with_any_bit_flipped_is_refused(
        records in proptest::collection::vec(record(), 1..4),
        byte: prop::sample::Index,
        bit in 0u8..8,
    ) {
        let (header, mut bytes) = batch(&records);
        let byte = byte.index(HEADER_LEN + header.len as usize);
        bytes[byte] ^= 1 << bit;
        prop_assert_eq!(read(&bytes), None);
    }

    #[test]
    fn a_batch_at_another_place_is_refused(records in proptest::collection::vec(record(), 1..4)) {
        let (_, bytes) = batch(&records);
        prop_assert_eq!(Header::decode(&bytes, SEAL, OFFSET + SECTOR), None);
        prop_assert_eq!(Header::decode(&bytes, Seal(78), OFFSET), None);
    }

    #[test]
    fn any_bytes_are_a_record_or_not_but_never_a_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        kind in 0u8..9,
        count in 0u8..9,
        fit: bool,
    ) {
        if let Some(byte) = bytes.get_mut(12) {
            *byte = kind;
        }
        if fit && bytes.len() >= record::HEADER_LEN {
            let len = (bytes.len() - record::HEADER_LEN) as u32;
            bytes[8..12].copy_from_slice(&len.to_le_bytes());
            if let Some(field) = bytes.get_mut(36..40) {
                field.copy_from_slice(&[count, 0, 0, 0]);
            }
        }
        if let Ok(View { body: Body::Append(entries) | Body::Keep(entries), .. }) = record::view(&bytes) {
            prop_assert_eq!(entries.iter().count(), entries.count as usize);
        }
        let _ = split(&bytes, 0).count();
        let _ = Header::decode(&bytes, SEAL, 0);
    }
}

#[test]
fn seals_differ_by_segment_and_by_log() {
    let seals = [(1, 1), (1, 2), (2, 1)].map(|(salt, segment)| Seal::new(salt, segment));
    assert_ne!(seals[0], seals[1]);
    assert_ne!(seals[0], seals[2]);
    assert_eq!(seals[0], Seal::new(1, 1));
}

#[test]
fn a_header_fits_only_the_records_that_it_was_made_for() {
    let vote = |term| Record::HardState {
        group: group(),
        term,
        vote: None,
    };
    // Two attempts at the same place; of the first one, the second record was left behind.
    let (header, mut second) = batch(&[vote(1), vote(2)]);
    let (_, first) = batch(&[vote(1), vote(3)]);
    let len = (header.len / 2) as usize;
    let place = HEADER_LEN + len..HEADER_LEN + 2 * len;
    second[place.clone()].copy_from_slice(&first[place]);
    // Each record is right for its place, and yet this is no batch.
    assert_eq!(read(&second), None);
}

#[test]
fn an_append_is_cut_into_records_of_bounded_size() {
    let payloads = vec![(1, 0, vec![5; 100_000]); 7];
    let entries = entries(10, payloads);
    let (header, bytes) = batch(&[Record::Append {
        group: group(),
        entries: entries.clone(),
    }]);
    let records = &bytes[HEADER_LEN..HEADER_LEN + header.len as usize];
    let views = parse_records(&header, records, SEAL, OFFSET).unwrap();
    assert_eq!(views.len(), 4);
    assert!(views.iter().all(|(_, view)| view.len < SPLIT_LEN + 100));
    let read: Vec<_> = views
        .iter()
        .flat_map(|(_, view)| match to_record(view) {
            Record::Append { entries, .. } => entries,
            _ => unreachable!(),
        })
        .collect();
    assert_eq!(read, entries);
}

#[test]
fn what_the_log_writes_for_itself_survives_its_encoding() {
    let entries = entries(7, vec![(1, 2, vec![3]), (4, 5, vec![])]);
    let mut builder = Builder::default();
    builder.clear();
    builder.push_with(|buffer| encode_state(buffer, group(), Some((3, None)), (6, 2)));
    builder.push_with(|buffer| encode_state(buffer, group(), None, (6, 2)));
    builder.push_with(|buffer| {
        encode_keep(buffer, group(), 7, entries.iter().map(LogEntry::view));
    });
    let (header, bytes) = builder.finish(1, 0, SEAL, OFFSET);
    let records = &bytes[HEADER_LEN..HEADER_LEN + header.len as usize];
    let views = parse_records(&header, records, SEAL, OFFSET).unwrap();
    assert_eq!(views[0].1.body, Body::State(Some((3, None)), (6, 2)));
    assert_eq!(views[1].1.body, Body::State(None, (6, 2)));
    let Body::Keep(kept) = views[2].1.body else {
        panic!("not a keep");
    };
    assert!(kept.iter().map(to_entry).eq(entries));
}

#[test]
fn the_format_is_pinned() {
    let (_, bytes) = batch(&[
        Record::HardState {
            group: group(),
            term: 5,
            vote: Some(6),
        },
        Record::Append {
            group: group(),
            entries: entries(1, vec![(5, 9, b"payload".to_vec())]),
        },
    ]);
    let hex = |range: std::ops::Range<usize>| {
        let digits = bytes[range].iter().map(|byte| format!("{byte:02x}"));
        digits.collect::<String>()
    };
    // Header, without checksums: magic, kind, batch 9, synced 8, 105 bytes, 2 records.
    assert_eq!(
        hex(8..40),
        "6d6462740100000009000000000000000800000000000000\
         6900000002000000"
    );
    // Hard state: length 17, type 2, group, term 5, vote 6.
    assert_eq!(
        hex(56..93),
        "1100000002000000000000000000000100000002\
         0500000000000000010600000000000000"
    );
    // Append: length 32, type 1, group, first index 1, 1 entry: term 5, length 7, kind 9.
    assert_eq!(
        hex(101..153),
        "2000000001000000000000000000000100000002010000000000000001000000\
         05000000000000000700000009\
         7061796c6f6164"
    );
    // All of it, checksums included.
    assert_eq!(xxh3_64_with_seed(&bytes, 0), 14_153_261_584_258_188_294);
}
