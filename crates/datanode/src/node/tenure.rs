//! Which of several processes with the same node id is the node: pure rules.
//!
//! A lock keeps a second process out of a data directory, and nothing keeps anybody from copying the directory. Two processes
//! with the same id vote twice and confirm what they don't have, so one of them has to go. Sessions can't tell which: the
//! node goes on serving when its own has ended. So every process that starts as a node begins a **tenure**, a number
//! with the process's incarnation, and writes it in this order:
//!
//! 1. into its data directory, as begun,
//! 2. into `/members/<node>`, by a write that fails if the record has changed since it was judged,
//! 3. into its data directory, as the last one it held.
//!
//! It serves, and sends Raft messages, only after that. A directory that does not hold the tenure that the record names is a
//! copy of before that tenure, with an old log.
//!
//! What a process that starts finds ([`begin`]):
//!
//! | the record | so |
//! |---|---|
//! | is not there, or names no tenure | the node is new here, was forgotten, or the store is empty: it may begin |
//! | names the last tenure of the directory, or one that it had begun | it may begin: the node was ended, killed or moved |
//! | names an older one | the store was restored from a backup: it may begin |
//! | the same, and the directory's is void | a copy that was started beside the original: refused |
//! | names a newer one, or another one of that number | a copy of before that: refused |
//!
//! Before that it asks at the address that the record names. If another process of this node answers there, the original
//! runs, whatever its session: refused.
//!
//! What a process that runs finds ([`go_on`]):
//!
//! | the record | so |
//! |---|---|
//! | names its tenure | all is well |
//! | is not there, or names no tenure, or an older one | it was forgotten, or the store was restored: it writes its own |
//! | names an older one, and its own is void | an older process runs: this one is on a copy, and ends |
//! | names a newer one, or another one of that number | a copy was started while this one was cut off: it writes its own, and that all up to the newer one are void |
//!
//! So of two that run the older one stays, and the copy is void for good. Until one of them sees the other by way of the
//! record, [other nodes](crate::senders) listen to the one whose stream was there first.
//!
//! | what happens | what comes of it |
//! |---|---|
//! | the original starts again in its place, after a shutdown or a SIGKILL | at once |
//! | the directory was moved, and the original never starts again | goes on, once the old session has ended |
//! | then the original starts all the same | refused: its log is old |
//! | a copy starts while the original runs and is reached | refused |
//! | the same, and the original is cut off from the coordination store and reached by the copy | refused |
//! | the same, and the copy can't reach it either | the copy runs; it ends when the original is back at the store |
//! | the original ends before it is back | the copy is the node; the original is refused |
//! | two copies start at the same time | one of them |
//! | a copy of a forgotten node, or an old one into a store that was restored from before it | it may begin: nothing is left that tells |

use coordination::records::{MemberRecord, Tenure};
use serde::{Deserialize, Serialize};

/// What a data directory knows of its node's tenures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    /// The last one in which a process on this directory was the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<Tenure>,
    /// Those that were begun after it: nobody knows whether the record has come to name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) begun: Vec<Tenure>,
}

impl Held {
    fn holds(&self, tenure: Tenure) -> bool {
        self.last == Some(tenure) || self.begun.contains(&tenure)
    }

    fn newest(&self) -> u64 {
        let all = self.last.iter().chain(&self.begun);
        all.map(|tenure| tenure.number).max().unwrap_or_default()
    }
}

/// Why a process must not be the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// See the [module](self).
    #[error(
        "this is an old copy of its directory: since it was made, the node has started elsewhere, and its log here is old. Start \
         it with the directory that it used last, or give this process an empty one, which makes it a new node"
    )]
    OldCopy,
    /// See the [module](self).
    #[error(
        "this is a copy of its directory that was started while the original was running: the original goes on. Remove this copy, \
         or give this process an empty directory, which makes it a new node"
    )]
    StartedBeside,
}

/// The number of the tenure that a process may begin.
pub(super) fn begin(held: &Held, record: Option<&MemberRecord>) -> Result<u64, Refusal> {
    let named = record.and_then(|record| record.tenure);
    let void_to = record.and_then(|record| record.void_to).unwrap_or_default();
    let newest = held.newest();
    if let Some(named) = named.filter(|named| !held.holds(*named)) {
        if newest <= named.number {
            return Err(Refusal::OldCopy);
        }
        if newest <= void_to {
            return Err(Refusal::StartedBeside);
        }
    }
    let highest = named.map_or(0, |named| named.number);
    Ok(highest.max(void_to).max(newest) + 1)
}

/// What a process whose record is `own` has to write, if anything.
pub(super) fn go_on(
    own: &MemberRecord,
    found: Option<&MemberRecord>,
) -> Result<Option<MemberRecord>, Refusal> {
    let (Some(found), Some(tenure)) = (found, own.tenure) else {
        return Ok(Some(own.clone()));
    };
    let void_to = found.void_to.unwrap_or_default();
    let mut next = own.clone();
    match found.tenure {
        Some(named) if named == tenure => next.void_to = found.void_to,
        Some(named) if named.number <= tenure.number && tenure.number <= void_to => {
            return Err(Refusal::StartedBeside);
        }
        Some(named) if named.number >= tenure.number => {
            next.void_to = Some(named.number.max(void_to));
        }
        Some(_) | None => {}
    }
    Ok((next != *found).then_some(next))
}

#[cfg(test)]
mod tests {
    use model::NodeId;

    use super::*;

    fn tenure(number: u64, incarnation: u64) -> Tenure {
        Tenure {
            number,
            incarnation,
        }
    }

    fn record(tenure: Option<Tenure>, void_to: Option<u64>) -> MemberRecord {
        MemberRecord {
            id: NodeId(1),
            address: "h:1".into(),
            zone: None,
            tenure,
            void_to,
        }
    }

    fn named(number: u64, incarnation: u64) -> MemberRecord {
        record(Some(tenure(number, incarnation)), None)
    }

    fn held(last: Tenure) -> Held {
        Held {
            last: Some(last),
            begun: Vec::new(),
        }
    }

    #[test]
    fn a_node_begins_anew_where_it_was_the_last_or_where_nothing_is_known() {
        let last = held(tenure(3, 30));
        assert_eq!(begin(&last, Some(&named(3, 30))), Ok(4));
        assert_eq!(begin(&last, None), Ok(4), "forgotten, or an empty store");
        assert_eq!(begin(&last, Some(&record(None, None))), Ok(4));
        assert_eq!(begin(&last, Some(&named(1, 10))), Ok(4), "an older backup");
        assert_eq!(begin(&Held::default(), None), Ok(1));
        assert_eq!(begin(&Held::default(), Some(&record(None, None))), Ok(1));
    }

    #[test]
    fn a_tenure_that_was_begun_and_may_have_been_recorded_is_the_node_s_own() {
        let crashed = Held {
            begun: vec![tenure(4, 40), tenure(5, 50)],
            ..held(tenure(3, 30))
        };
        for recorded in [named(3, 30), named(4, 40), named(5, 50)] {
            assert_eq!(begin(&crashed, Some(&recorded)), Ok(6));
        }
        let first = Held {
            begun: vec![tenure(1, 10)],
            ..Held::default()
        };
        assert_eq!(begin(&first, Some(&named(1, 10))), Ok(2));
    }

    #[test]
    fn a_copy_of_before_the_recorded_tenure_is_refused() {
        for old in [held(tenure(3, 30)), Held::default()] {
            assert_eq!(begin(&old, Some(&named(4, 40))), Err(Refusal::OldCopy));
        }
        let another = begin(&held(tenure(4, 41)), Some(&named(4, 40)));
        assert_eq!(another, Err(Refusal::OldCopy));
    }

    #[test]
    fn of_two_that_run_the_older_one_stays_and_the_copy_is_void_for_good() {
        let (original, copy) = (named(3, 30), named(4, 40));
        let back = go_on(&original, Some(&copy)).unwrap().unwrap();
        assert_eq!((back.tenure, back.void_to), (original.tenure, Some(4)));
        assert_eq!(go_on(&original, Some(&back)), Ok(None), "it is settled");
        assert_eq!(go_on(&copy, Some(&back)), Err(Refusal::StartedBeside));
        let again = begin(&held(tenure(4, 40)), Some(&back));
        assert_eq!(again, Err(Refusal::StartedBeside));
        // The original's next tenure is none that the copy had, and the copy is old then.
        assert_eq!(begin(&held(tenure(3, 30)), Some(&back)), Ok(5));
        let later = begin(&held(tenure(4, 40)), Some(&named(5, 50)));
        assert_eq!(later, Err(Refusal::OldCopy));
    }

    #[test]
    fn a_copy_of_a_copy_is_void_as_well() {
        let back = go_on(&named(3, 30), Some(&named(5, 50))).unwrap().unwrap();
        for copy in [named(4, 40), named(5, 50)] {
            assert_eq!(go_on(&copy, Some(&back)), Err(Refusal::StartedBeside));
        }
    }

    #[test]
    fn a_store_that_was_restored_from_an_older_backup_ends_nobody() {
        let own = named(7, 70);
        for older in [
            named(5, 50),
            record(None, None),
            record(Some(tenure(3, 30)), Some(4)),
        ] {
            let written = go_on(&own, Some(&older)).unwrap();
            assert_eq!(written, Some(own.clone()));
        }
        assert_eq!(go_on(&own, None), Ok(Some(own.clone())));
    }

    #[test]
    fn a_tie_after_a_restored_backup_is_ended_by_the_one_that_sees_it() {
        let back = go_on(&named(7, 70), Some(&named(7, 71))).unwrap().unwrap();
        let other = go_on(&named(7, 71), Some(&back));
        assert_eq!(other, Err(Refusal::StartedBeside));
        assert_eq!(go_on(&named(7, 70), Some(&back)), Ok(None));
    }

    #[test]
    fn another_address_is_written_and_what_is_void_stays_void() {
        let found = record(Some(tenure(3, 30)), Some(4));
        let moved = MemberRecord {
            address: "h:2".into(),
            ..named(3, 30)
        };
        let written = go_on(&moved, Some(&found)).unwrap().unwrap();
        assert_eq!((&*written.address, written.void_to), ("h:2", Some(4)));
    }
}
