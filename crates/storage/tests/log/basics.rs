//! What each record does, and what is refused.

use storage::disk::SimDisk;
use storage::log::{Log, LogError, Read, Record};

use crate::harness::open;
use crate::model::{Model, append, entry, group};

/// Writes batches, and gives what a restart finds, having held it against the model.
fn after(batches: &[&[Record]]) -> (Log, Model) {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let mut model = Model::default();
    for batch in batches {
        log.write(batch).unwrap();
        model.apply_all(batch);
    }
    log.close().unwrap();
    let (log, found) = open(&disk).unwrap();
    assert_eq!(found, model);
    (log, found)
}

#[test]
fn an_append_replaces_everything_from_its_first_index_on() {
    let a = group(0);
    let (_, found) = after(&[
        &[append(a, 1, 10, 1, b"old")],
        &[append(a, 5, 2, 2, b"new")],
    ]);
    assert_eq!(found.groups[&a].last(), 6);
    assert_eq!(found.groups[&a].term_of(4), 1);
    assert_eq!(found.groups[&a].term_of(5), 2);
}

#[test]
fn groups_share_a_log_and_nothing_else() {
    let [a, b] = [0, 1].map(group);
    let (_, found) = after(&[&[
        append(a, 1, 2, 1, b"a"),
        append(b, 1, 3, 7, b"b"),
        Record::HardState {
            group: b,
            term: 7,
            vote: Some(9),
        },
    ]]);
    assert_eq!(found.groups[&a].last(), 2);
    assert_eq!(found.groups[&a].term, 0);
    assert_eq!(found.groups[&b].last(), 3);
    assert_eq!(found.groups[&b].vote, Some(9));
}

#[test]
fn a_purge_keeps_what_lies_behind_it_and_remembers_its_term() {
    let a = group(0);
    let purge = |index, term| Record::Purge {
        group: a,
        index,
        term,
    };
    let (log, found) = after(&[&[append(a, 1, 10, 3, b"x")], &[purge(4, 3), purge(2, 3)]]);
    assert_eq!(found.groups[&a].point, (4, 3));
    assert_eq!(log.reader().read(a, 4, 100).unwrap(), Read::Compacted);
    let (log, found) = after(&[
        &[append(a, 1, 10, 3, b"x")],
        &[purge(12, 4), append(a, 13, 1, 4, b"y")],
    ]);
    assert_eq!(found.groups[&a].point, (12, 4));
    let read = log.reader().read(a, 13, 100).unwrap();
    let expected = Read::Entries {
        previous_term: 4,
        entries: vec![entry(13, 4, "y")],
    };
    assert_eq!(read, expected);
}

#[test]
fn a_reset_begins_anew_ahead_or_behind() {
    let a = group(0);
    for index in [3, 10, 50] {
        let reset = Record::Reset {
            group: a,
            index,
            term: 6,
        };
        let (_, found) = after(&[&[append(a, 1, 10, 1, b"x")], &[reset]]);
        assert_eq!(found.groups[&a].point, (index, 6));
        assert_eq!(found.groups[&a].last(), index);
    }
}

#[test]
fn a_forgotten_group_is_gone_and_may_begin_afresh() {
    let a = group(0);
    let vote = Record::HardState {
        group: a,
        term: 5,
        vote: Some(1),
    };
    let forget = Record::Forget { group: a };
    let (log, found) = after(&[
        &[vote, append(a, 1, 5, 5, b"x")],
        std::slice::from_ref(&forget),
    ]);
    assert!(found.groups.is_empty());
    let nothing = Read::Entries {
        previous_term: 0,
        entries: vec![],
    };
    assert_eq!(log.reader().read(a, 1, 100).unwrap(), nothing);
    let (_, found) = after(&[
        &[append(a, 1, 5, 5, b"x")],
        &[forget, append(a, 1, 1, 1, b"new")],
    ]);
    assert_eq!(found.groups[&a].last(), 1);
    assert_eq!(found.groups[&a].term, 0);
}

#[test]
fn a_large_append_is_read_back_in_parts() {
    let a = group(0);
    // 3 MB: more than a segment, and many times what one record takes.
    let (log, _) = after(&[&[append(a, 1, 300, 1, &[7; 10_000])]]);
    let Read::Entries { entries, .. } = log.reader().read(a, 100, 50_000).unwrap() else {
        panic!("compacted");
    };
    assert_eq!(entries.len(), 5);
    let one = log.reader().read(a, 300, 1).unwrap();
    assert!(matches!(one, Read::Entries { entries, .. } if entries.len() == 1));
}

#[test]
fn empty_batches_and_empty_appends_are_nothing() {
    let entries = vec![];
    let group = group(0);
    let (log, found) = after(&[&[], &[Record::Append { group, entries }]]);
    assert!(found.groups.is_empty());
    assert_eq!(log.stats().live_bytes, 0);
}

#[test]
fn what_does_not_fit_is_refused_and_the_log_goes_on() {
    let a = group(0);
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let purge = |index| Record::Purge {
        group: a,
        index,
        term: 1,
    };
    log.write(&[append(a, 1, 5, 1, b"x"), purge(2)]).unwrap();
    let gap_inside = Record::Append {
        group: a,
        entries: vec![entry(6, 1, ""), entry(8, 1, "")],
    };
    let refused: [&[Record]; 7] = [
        &[append(a, 7, 1, 1, b"gap")],
        &[append(a, 2, 1, 1, b"at the point")],
        &[append(group(1), 0, 1, 1, b"index 0")],
        &[append(group(1), 2, 1, 1, b"gap in a new group")],
        &[gap_inside],
        &[purge(u64::MAX)],
        // Judged by what the records before it leave.
        &[purge(5), append(a, 5, 1, 1, b"purged")],
    ];
    for batch in refused {
        let error = log.write(batch).unwrap_err();
        assert!(
            matches!(error, LogError::Refused { .. }),
            "{batch:?}: {error}"
        );
    }
    log.write(&[purge(9), append(a, 10, 1, 1, b"fits")])
        .unwrap();
    log.sync().unwrap();
    drop(log);
    let (_, found) = open(&disk).unwrap();
    assert_eq!(found.groups.len(), 1);
    assert_eq!(found.groups[&a].point, (9, 1));
    assert_eq!(found.groups[&a].last(), 10);
}
