//! No confirmed write is lost: what was answered "done" is there at rest, or something that came after it is.
//!
//! When all is quiet, healed and read once more, each key holds the effect of some write *X* (or is
//! absent by a delete, or because nothing was written). A confirmed write *W* is lost if *X* was surely over before *W* began:
//! then nothing could have replaced *W* but *X*, and *X* came first.
//!
//! ```text
//! put v1 ├──┤                       at rest: v1
//! put v2       ├──┤ confirmed       → v2 is lost: v1 was written before it began
//! ```
//!
//! # Source and algorithm
//!
//! It follows from linearizability (Herlihy and Wing 1990) once the reads at rest are part of the history. It stands
//! alone because its message names the lost write. Per key, the latest-begun confirmed write
//! against every write that could have made the final state; a write of unknown outcome may have landed at any time after
//! its invocation, so it excuses everything. Versions say more: a key never ends below a version that was confirmed.
//!
//! # Caveats
//!
//! Only the keys in the final state are judged: leave out those of tables that were deleted. A condition is not looked at;
//! an unknown conditional write may have landed.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::render::{brief, place, text};
use crate::touch::{Effect, Fate, Place, Touch, borrow, by_place, touches};
use crate::{Checked, History, Register, Version, Violation};

/// The name of the property.
pub const PROPERTY: &str = "confirmed-writes";

/// What each key holds when all is quiet: value and version, or `None` if it doesn't exist.
pub type FinalState = BTreeMap<Register, Option<(Bytes, Version)>>;

/// Checks that the final state holds every confirmed write that nothing can have replaced.
pub fn check(history: &History, at_rest: &FinalState) -> Result<Checked, Violation> {
    let places = by_place(touches(history, PROPERTY)?);
    let mut checked = Checked::default();
    for (register, item) in at_rest {
        let at = borrow(register);
        let touches = places.get(&at).map_or(&[][..], Vec::as_slice);
        let writes: Vec<Write<'_>> = touches.iter().filter_map(write).collect();
        let found = item.as_ref().map(|(value, version)| (value, *version));
        Rest { at, found }.explained_by(&writes)?;
        checked.keys += 1;
        checked.operations += writes.len();
    }
    Ok(checked)
}

#[derive(Clone, Copy)]
struct Write<'h> {
    touch: Touch<'h>,
    value: Option<&'h Bytes>,
    version: Option<Version>,
    fate: Fate,
}

fn write<'h>(touch: &Touch<'h>) -> Option<Write<'h>> {
    match touch.effect {
        Effect::Write {
            value,
            version,
            fate,
            ..
        } => Some(Write {
            touch: *touch,
            value,
            version,
            fate,
        }),
        Effect::Read { .. } | Effect::Tested { .. } => None,
    }
}

/// A key and what it holds at rest.
struct Rest<'h> {
    at: Place<'h>,
    found: Option<(&'h Bytes, Version)>,
}

impl Rest<'_> {
    fn explained_by(&self, writes: &[Write<'_>]) -> Result<(), Violation> {
        let value = self.found.map(|(value, _)| value);
        let could = |write: &&Write<'_>| write.value == value && write.fate != Fate::Refused;
        let makers = || writes.iter().filter(could);
        let confirmed = || writes.iter().filter(|w| w.fate == Fate::Confirmed);
        // None: absent, as every key begins.
        let latest = makers().max_by_key(|write| write.touch.end());
        if latest.is_none() && value.is_some() {
            let refused = writes.iter().find(|write| write.value == value);
            let why = if refused.is_some() {
                "whose put was refused"
            } else {
                "which nobody wrote to it"
            };
            return Err(self.lost(why, refused.into_iter()));
        }
        let over = |write: &&Write<'_>| match latest {
            Some(latest) => latest.touch.end() < write.touch.invoked(),
            // Nothing deleted it, so any confirmed put should be there.
            None => true,
        };
        if let Some(lost) = confirmed()
            .filter(over)
            .max_by_key(|write| write.touch.invoked())
        {
            let why = match latest {
                Some(latest) => format!(
                    "as {} left it, which was over before {} began; that one was confirmed and is lost",
                    brief(latest.touch.operation),
                    brief(lost.touch.operation)
                ),
                None => format!(
                    "but {} was confirmed and nothing deletes it: it is lost",
                    brief(lost.touch.operation)
                ),
            };
            return Err(self.lost(&why, [lost].into_iter().chain(latest)));
        }
        let Some((_, version)) = self.found else {
            return Ok(());
        };
        let above = |write: &&Write<'_>| write.version.is_some_and(|higher| higher > version);
        if let Some(lost) = confirmed().filter(above).max_by_key(|write| write.version) {
            let why = format!(
                "but {} was confirmed with a higher version and is lost",
                brief(lost.touch.operation)
            );
            return Err(self.lost(&why, [lost].into_iter().chain(latest)));
        }
        Ok(())
    }

    fn lost<'a>(&self, why: &str, writes: impl Iterator<Item = &'a Write<'a>>) -> Violation {
        let holds = match self.found {
            Some((value, version)) => format!("holds {} (version {version})", text(value)),
            None => "is absent".to_owned(),
        };
        let detail = format!(
            "at rest, key {} {holds}, {why}",
            place(self.at.0, self.at.1)
        );
        Violation::broken(PROPERTY, detail, writes.map(|write| write.touch.operation))
    }
}
