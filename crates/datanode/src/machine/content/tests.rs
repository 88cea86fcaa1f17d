use super::Verdict::{Agree, Disputed, NoMajority, OthersDiffer, OwnDiffers, Undecided};
use super::*;

const OWN: NodeId = NodeId(1);

fn comparison(voters: u64) -> ContentComparison {
    ContentComparison::new((1..=voters).map(NodeId).collect(), OWN)
}

fn report(comparison: &mut ContentComparison, node: u64, index: u64, hash: u8) -> Verdict {
    comparison.report(NodeId(node), index, ContentHash(hash.into()))
}

/// The verdict after each of these reports at one index: node and hash.
fn verdicts(voters: u64, reports: &[(u64, u8)]) -> Vec<Verdict> {
    let mut comparison = comparison(voters);
    let each = reports.iter();
    each.map(|(node, hash)| report(&mut comparison, *node, 10, *hash))
        .collect()
}

fn others(nodes: &[u64]) -> Verdict {
    OthersDiffer(nodes.iter().copied().map(NodeId).collect())
}

/// Row 13 of the checklist (etcd's post-mortem).
#[test]
fn replicas_content_hashes_are_compared_at_the_same_index() {
    let (x, y, z) = (b'x', b'y', b'z');
    assert_eq!(verdicts(1, &[(1, x)]), [Agree]);
    assert_eq!(
        verdicts(3, &[(1, x), (2, x), (3, x)]),
        [Undecided, Agree, Agree]
    );
    assert_eq!(
        verdicts(3, &[(1, x), (2, y), (3, x)]),
        [Undecided, Disputed, others(&[2])]
    );
    assert_eq!(
        verdicts(3, &[(1, x), (2, x), (3, y)]),
        [Undecided, Agree, others(&[3])]
    );
    assert_eq!(
        verdicts(3, &[(1, x), (2, y), (3, y)]),
        [Undecided, Disputed, OwnDiffers]
    );
    assert_eq!(
        verdicts(3, &[(1, x), (2, y), (3, z)]),
        [Undecided, Disputed, NoMajority]
    );
    assert_eq!(
        verdicts(3, &[(2, y), (3, y), (1, x)]),
        [Undecided, Undecided, OwnDiffers]
    );
    assert_eq!(
        verdicts(5, &[(1, x), (2, x), (3, y), (4, z), (5, x)]),
        [Undecided, Undecided, Disputed, Disputed, others(&[3, 4])]
    );
    assert_eq!(
        verdicts(5, &[(1, x), (2, x), (3, y), (4, y), (5, z)]),
        [Undecided, Undecided, Disputed, Disputed, NoMajority]
    );
    assert_eq!(
        verdicts(5, &[(2, b'a'), (3, b'b'), (4, b'c')]),
        [Undecided, Disputed, Disputed],
        "the two that are out may still agree with one"
    );
    assert_eq!(
        verdicts(5, &[(2, b'a'), (3, b'b'), (4, b'c'), (5, b'd')]),
        [Undecided, Disputed, Disputed, NoMajority],
        "ours can't make a majority any more"
    );
}

#[test]
fn different_hashes_at_different_indexes_are_no_difference() {
    let mut comparison = comparison(3);
    assert_eq!(report(&mut comparison, 1, 10, b'x'), Undecided);
    assert_eq!(report(&mut comparison, 2, 20, b'y'), Undecided);
    assert_eq!(report(&mut comparison, 3, 30, b'z'), Undecided);
    assert_eq!(report(&mut comparison, 2, 10, b'x'), Agree);
}

#[test]
fn agreement_at_a_later_index_lifts_no_majority_and_nothing_less_does() {
    let mut comparison = comparison(3);
    for (node, hash) in [(1, b'x'), (2, b'y'), (3, b'z')] {
        report(&mut comparison, node, 10, hash);
    }
    assert_eq!(comparison.verdict(), &NoMajority);
    assert_eq!(report(&mut comparison, 1, 20, b'x'), NoMajority);
    assert_eq!(report(&mut comparison, 2, 20, b'x'), Agree);
}

#[test]
fn a_late_report_of_an_earlier_index_changes_nothing() {
    let mut comparison = comparison(3);
    report(&mut comparison, 1, 10, b'x');
    report(&mut comparison, 1, 20, b'x');
    assert_eq!(report(&mut comparison, 2, 20, b'x'), Agree);
    assert_eq!(report(&mut comparison, 2, 10, b'y'), Agree);
    assert_eq!(report(&mut comparison, 3, 10, b'z'), Agree);
    assert_eq!(report(&mut comparison, 3, 20, b'z'), others(&[3]));
}

#[test]
fn a_stranger_has_no_voice() {
    let mut comparison = comparison(3);
    report(&mut comparison, 1, 10, b'x');
    assert_eq!(report(&mut comparison, 9, 10, b'x'), Undecided);
    assert_eq!(report(&mut comparison, 8, 10, b'y'), Undecided);
}

#[test]
fn one_replica_counts_once_and_its_last_word_counts() {
    let mut comparison = comparison(3);
    report(&mut comparison, 1, 10, b'x');
    assert_eq!(report(&mut comparison, 1, 10, b'x'), Undecided);
    assert_eq!(report(&mut comparison, 2, 10, b'y'), Disputed);
    assert_eq!(report(&mut comparison, 2, 10, b'x'), Agree);
}

#[test]
fn only_the_last_few_indexes_are_kept() {
    let mut comparison = comparison(3);
    for index in 1..1000 {
        assert_eq!(report(&mut comparison, 2, index, b'x'), Undecided);
        assert!(comparison.reports.len() <= KEPT);
    }
    assert_eq!(
        report(&mut comparison, 1, 1, b'x'),
        Undecided,
        "that report is gone"
    );
    assert_eq!(report(&mut comparison, 1, 999, b'x'), Agree);
    assert_eq!(comparison.reports.len(), 1);
}

#[test]
fn the_order_of_reports_at_one_index_does_not_matter_in_the_end() {
    let cases: [([u8; 3], Verdict); 4] = [
        (*b"xxx", Agree),
        (*b"xxy", others(&[3])),
        (*b"xyy", OwnDiffers),
        (*b"xyz", NoMajority),
    ];
    for (hashes, expected) in cases {
        for order in [
            [1, 2, 3],
            [1, 3, 2],
            [2, 1, 3],
            [2, 3, 1],
            [3, 1, 2],
            [3, 2, 1],
        ] {
            let reports = order.map(|node: u64| (node, hashes[node as usize - 1]));
            assert_eq!(
                verdicts(3, &reports).pop(),
                Some(expected.clone()),
                "{order:?}"
            );
        }
    }
}
