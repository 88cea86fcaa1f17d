//! What versions promise: every write of a key gets a higher one, and it names one value for ever.
//!
//! Linearizability is about values only. The store also answers versions, and callers build on them (a write
//! on condition of a version is only as safe as the version is unique). Of each key:
//!
//! | | promise | what breaks it |
//! |---|---|---|
//! | 1 | a version names one value | replicas that diverge |
//! | 2 | two writes never get the same version | a counter that falls back after a crash |
//! | 3 | a read that shows version *v* shows what the write that was answered *v* wrote | a write answered with another's version |
//! | 4 | a value that one operation wrote has one version | a write applied twice by a retry |
//! | 5 | a write that begins after another ended, or after a version was seen, gets a higher one | the same counter; two leaders |
//! | 6 | a consistent read shows no version below one that was confirmed or seen before it began | a stale read |
//! | 7 | after a confirmed delete, no consistent read shows a version that was known before the delete began | a resurrected item |
//!
//! # Source and algorithm
//!
//! 5 and 6 are the timestamp properties by which Lamport's and Lynch's atomic registers are proved (Lynch, *Distributed
//! Algorithms*, lemma 13.16): if versions order the writes and respect real time, the register is atomic. They
//! need no search: one sweep over each key's operations by time, holding the highest version confirmed so far.
//! So this is the first checker to run on a long history.
//!
//! # Caveats
//!
//! Versions count a shard's changes, so no two keys of a shard share one, unless one transaction wrote both; a history
//! doesn't tell shards, so only single keys are judged. Eventual reads may show old versions, but what
//! they have shown was committed. 4 asks that values are unique and says nothing of others.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::render::{brief, place, text};
use crate::touch::{Effect, Fate, Place, Touch, by_place, touches};
use crate::{Checked, History, Operation, Version, Violation};

/// The name of the property.
pub const PROPERTY: &str = "versions";

/// Checks every key's versions.
pub fn check(history: &History) -> Result<Checked, Violation> {
    let mut checked = Checked::default();
    for (place, touches) in by_place(touches(history, PROPERTY)?) {
        let facts: Vec<Fact<'_>> = touches.iter().filter_map(fact).collect();
        identities(place, &facts, &touches)?;
        real_time(place, &facts, &touches)?;
        checked.operations += facts.len();
        checked.keys += usize::from(!facts.is_empty());
    }
    Ok(checked)
}

/// A version that was answered.
#[derive(Clone, Copy)]
struct Fact<'h> {
    operation: &'h Operation,
    value: &'h Bytes,
    version: Version,
    written: bool,
    /// A write or a consistent read: it has to respect real time.
    current: bool,
}

fn fact<'h>(touch: &Touch<'h>) -> Option<Fact<'h>> {
    let (value, version, written, current) = match touch.effect {
        Effect::Write {
            value: Some(value),
            version: Some(version),
            ..
        } => (value, version, true, true),
        Effect::Read {
            found: Some((value, version)),
            consistent,
        } => (value, version, false, consistent),
        Effect::Write { .. } | Effect::Read { .. } | Effect::Tested { .. } => return None,
    };
    Some(Fact {
        operation: touch.operation,
        value,
        version,
        written,
        current,
    })
}

fn broken(at: Place<'_>, detail: &str, operations: &[&Operation]) -> Violation {
    let detail = format!("key {}: {detail}", place(at.0, at.1));
    Violation::broken(PROPERTY, detail, operations.iter().copied())
}

/// Promises 1 to 4.
fn identities(at: Place<'_>, facts: &[Fact<'_>], touches: &[Touch<'_>]) -> Result<(), Violation> {
    let mut by_version: BTreeMap<Version, Fact<'_>> = BTreeMap::new();
    let mut by_value: BTreeMap<&Bytes, Fact<'_>> = BTreeMap::new();
    let mut put_by: BTreeMap<&Bytes, usize> = BTreeMap::new();
    for touch in touches {
        if let Effect::Write {
            value: Some(value), ..
        } = touch.effect
        {
            *put_by.entry(value).or_default() += 1;
        }
    }
    // Writes first, so that what they were answered is the measure of reads.
    let (writes, reads): (Vec<Fact<'_>>, Vec<Fact<'_>>) =
        facts.iter().partition(|fact| fact.written);
    for fact in writes.into_iter().chain(reads) {
        let known = *by_version.entry(fact.version).or_insert(fact);
        let both = [known.operation, fact.operation];
        if known.written && fact.written && !std::ptr::eq(known.operation, fact.operation) {
            let detail = format!("two writes were answered version {}", fact.version);
            return Err(broken(at, &detail, &both));
        }
        if known.value != fact.value {
            let (version, one, other) = (fact.version, text(known.value), text(fact.value));
            let verb = if known.written { "written" } else { "read" };
            let detail =
                format!("version {version} was {verb} as {one} and read as {other}, by another");
            return Err(broken(at, &detail, &both));
        }
        let known = *by_value.entry(fact.value).or_insert(fact);
        if known.version != fact.version && put_by.get(fact.value) == Some(&1) {
            let detail = format!(
                "{} was written by one operation but has versions {} and {}: applied twice",
                text(fact.value),
                known.version,
                fact.version
            );
            return Err(broken(at, &detail, &[known.operation, fact.operation]));
        }
    }
    Ok(())
}

/// Promises 5 to 7.
fn real_time(at: Place<'_>, facts: &[Fact<'_>], touches: &[Touch<'_>]) -> Result<(), Violation> {
    let confirmed = Confirmed::new(facts.iter().copied());
    let deletes = Deletes::new(touches, &confirmed);
    for fact in facts.iter().filter(|fact| fact.current) {
        if let Some(earlier) = confirmed.before(fact.operation.invoked) {
            let falls = if fact.written {
                fact.version <= earlier.version
            } else {
                fact.version < earlier.version
            };
            if falls {
                let detail = format!(
                    "{} got version {}, but {} had got version {} before it began",
                    brief(fact.operation),
                    fact.version,
                    brief(earlier.operation),
                    earlier.version
                );
                return Err(broken(at, &detail, &[earlier.operation, fact.operation]));
            }
        }
        if let Some((delete, gone)) = deletes.before(fact.operation.invoked)
            && fact.version <= gone.version
        {
            let detail = format!(
                "{} got version {}, but {} had removed version {} before it began",
                brief(fact.operation),
                fact.version,
                brief(delete),
                gone.version
            );
            let operations = [gone.operation, delete, fact.operation];
            return Err(broken(at, &detail, &operations));
        }
    }
    Ok(())
}

/// The highest version known by each moment.
struct Confirmed<'h> {
    /// By the time at which it was known, versions rising.
    rising: Vec<(u64, Fact<'h>)>,
}

impl<'h> Confirmed<'h> {
    fn new(facts: impl Iterator<Item = Fact<'h>>) -> Self {
        let mut known: Vec<_> = facts.map(|fact| (fact.operation.end(), fact)).collect();
        known.sort_by_key(|(at, _)| *at);
        let mut highest = None;
        known.retain(|(_, fact)| {
            let rises = highest.is_none_or(|highest| fact.version > highest);
            highest = highest.max(Some(fact.version));
            rises
        });
        Self { rising: known }
    }

    /// The highest version known before a moment.
    fn before(&self, moment: u64) -> Option<Fact<'h>> {
        let count = self.rising.partition_point(|(at, _)| *at < moment);
        let (_, fact) = self.rising.get(count.checked_sub(1)?)?;
        Some(*fact)
    }
}

/// Confirmed deletes, each with the highest version that it certainly removed.
struct Deletes<'h> {
    rising: Vec<(u64, &'h Operation, Fact<'h>)>,
}

impl<'h> Deletes<'h> {
    fn new(touches: &[Touch<'h>], confirmed: &Confirmed<'h>) -> Self {
        let deletes = touches.iter().filter(|touch| {
            matches!(
                touch.effect,
                Effect::Write {
                    value: None,
                    fate: Fate::Confirmed,
                    ..
                }
            )
        });
        let gone = |touch: &Touch<'h>| {
            let gone = confirmed.before(touch.invoked())?;
            Some((touch.end(), touch.operation, gone))
        };
        let mut known: Vec<_> = deletes.filter_map(gone).collect();
        known.sort_by_key(|(at, ..)| *at);
        let mut highest = None;
        known.retain(|(_, _, gone)| {
            let rises = highest.is_none_or(|highest| gone.version > highest);
            highest = highest.max(Some(gone.version));
            rises
        });
        Self { rising: known }
    }

    fn before(&self, moment: u64) -> Option<(&'h Operation, Fact<'h>)> {
        let count = self.rising.partition_point(|(at, ..)| *at < moment);
        let (_, delete, gone) = self.rising.get(count.checked_sub(1)?)?;
        Some((delete, *gone))
    }
}
