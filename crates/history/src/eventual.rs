//! What even a stale read promises: it shows what somebody really wrote to this key.
//!
//! An eventual read may be answered by any replica, however far behind. So it may show any value that the key
//! ever had, or none (every key begins absent). It may never show
//!
//! | | what | the literature's name |
//! |---|---|---|
//! | 1 | a value that nobody wrote | thin-air read, corruption |
//! | 2 | the value of a put that was refused | aborted read (Adya 1999: G1a) |
//! | 3 | a value that was put under another key, or into another table | |
//! | 4 | a value before its put began | read from the future |
//!
//! The same holds of consistent reads and of `TransactGet`, and is checked of them too: the message says more than
//! "not linearizable".
//!
//! # Algorithm
//!
//! A table from value to the writes that carry it, then one look per read.
//!
//! # Caveats
//!
//! Values that several operations write are judged leniently: one possible writer is enough. Monotonic reads are no promise
//! of ours: two eventual reads may be answered by two replicas.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::render::{brief, place, text};
use crate::touch::{Effect, Fate, Touch, touches};
use crate::{Checked, History, Violation};

/// The name of the property.
pub const PROPERTY: &str = "eventual-reads";

/// Checks that every value that was read was written to that key before.
pub fn check(history: &History) -> Result<Checked, Violation> {
    let touches = touches(history, PROPERTY)?;
    let writers = writers(&touches);
    let mut places = std::collections::BTreeSet::new();
    let mut operations = 0;
    for read in &touches {
        let Effect::Read { found, .. } = read.effect else {
            continue;
        };
        operations += 1;
        places.insert(read.place);
        if let Some((value, _)) = found {
            let writers = writers.get(value).map_or(&[][..], Vec::as_slice);
            written(read, value, writers)?;
        }
    }
    let keys = places.len();
    Ok(Checked { operations, keys })
}

/// A put of some value.
struct Writer<'h> {
    touch: Touch<'h>,
    refused: bool,
}

fn writers<'h>(touches: &[Touch<'h>]) -> BTreeMap<&'h Bytes, Vec<Writer<'h>>> {
    let mut writers: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for touch in touches {
        if let Effect::Write {
            value: Some(value),
            fate,
            ..
        } = touch.effect
        {
            writers.entry(value).or_default().push(Writer {
                touch: *touch,
                refused: fate == Fate::Refused,
            });
        }
    }
    writers
}

fn written(read: &Touch<'_>, value: &Bytes, writers: &[Writer<'_>]) -> Result<(), Violation> {
    let here = || {
        let same = |writer: &&Writer<'_>| writer.touch.place == read.place;
        writers.iter().filter(same)
    };
    if here().any(|writer| !writer.refused && writer.touch.invoked() <= read.end()) {
        return Ok(());
    }
    let shown = format!(
        "{} shows {} under {}",
        brief(read.operation),
        text(value),
        place(read.place.0, read.place.1)
    );
    let (why, writer) = if let Some(writer) = here().find(|writer| writer.refused) {
        ("its put was refused (aborted read)", Some(writer))
    } else if let Some(writer) = here().next() {
        ("its put had not begun (read from the future)", Some(writer))
    } else if let Some(writer) = writers.first() {
        let same_table = writer.touch.place.0 == read.place.0;
        let why = if same_table {
            "it was put under another key"
        } else {
            "it was put into another table"
        };
        (why, Some(writer))
    } else {
        ("nobody ever wrote it (corruption)", None)
    };
    let operations = [read.operation]
        .into_iter()
        .chain(writer.map(|writer| writer.touch.operation));
    Err(Violation::broken(
        PROPERTY,
        format!("{shown}, but {why}"),
        operations,
    ))
}
