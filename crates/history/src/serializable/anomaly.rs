//! Names and reports.

use std::fmt::Write as _;

use super::PROPERTY;
use super::cycle::{Class, Named};
use super::graph::{Edge, Kind};
use super::nodes::{Key, Nodes, Read, Saw};
use crate::render::{brief, place, text};
use crate::touch::Place;
use crate::violation::Violation;
use crate::{Operation, Version};

/// Reads that are wrong by themselves: G1a, G1b and values out of thin air.
pub(super) fn reads(nodes: &Nodes<'_>) -> Result<(), Violation> {
    for (at, key) in &nodes.places {
        for read in &key.reads {
            wrong(*at, key, read, nodes)?;
        }
    }
    Ok(())
}

fn wrong(
    at: Place<'_>,
    key: &Key<'_>,
    read: &Read<'_>,
    nodes: &Nodes<'_>,
) -> Result<(), Violation> {
    let Saw::Value(value, _) = read.saw else {
        return Ok(());
    };
    let reader = nodes.operations[read.node];
    let mut writers = key.writes.iter().filter(|write| write.value == value);
    let (name, why, writer): (_, _, Option<&Operation>) = match writers.next() {
        Some(write) if write.intermediate && writers.next().is_none() => {
            let writer = nodes.operations[write.node];
            let why = format!("which {} replaced itself", brief(writer));
            ("G1b (intermediate read)", why, Some(writer))
        }
        Some(_) => return Ok(()),
        None => match key.refused.get(value) {
            Some(writer) => {
                let why = format!("but {} was refused", brief(writer));
                ("G1a (aborted read)", why, Some(writer))
            }
            None => ("thin-air read", "which nobody wrote".to_owned(), None),
        },
    };
    let detail = format!(
        "{name}: {} saw {} = {}, {why}",
        brief(reader),
        place(at.0, at.1),
        text(value)
    );
    Err(Violation::broken(
        PROPERTY,
        detail,
        [reader].into_iter().chain(writer),
    ))
}

/// A cycle, in words.
pub(super) fn report(named: Named, cycle: &[Edge<'_>], nodes: &Nodes<'_>) -> Violation {
    let mut detail = format!(
        "{}: each must come before the next, in a circle",
        name(named, cycle)
    );
    for edge in cycle {
        // Writing to a string has no failing case.
        let _ = write!(detail, "\n  {}", because(edge, nodes));
    }
    let operations = cycle.iter().map(|edge| nodes.operations[edge.from]);
    Violation::broken(PROPERTY, detail, operations)
}

/// An edge, in words.
pub(super) fn because(edge: &Edge<'_>, nodes: &Nodes<'_>) -> String {
    let [from, to] = [edge.from, edge.to].map(|node| brief(nodes.operations[node]));
    format!("{from} before {to}: {}", reason(edge, nodes))
}

fn name(named: Named, cycle: &[Edge<'_>]) -> String {
    let class = match named.class {
        Class::G0 => "G0",
        Class::G1c => "G1c",
        Class::GSingle => "G-single",
        Class::G2Item => "G2-item",
    };
    let real_time = if named.real_time { "-realtime" } else { "" };
    let also = match also_known_as(named.class, cycle) {
        Some(also) => format!(" ({also})"),
        None => String::new(),
    };
    format!("{class}{real_time}{also}")
}

/// The name that the literature has for this very shape. A cycle begins with the edge that makes its class.
fn also_known_as(class: Class, cycle: &[Edge<'_>]) -> Option<&'static str> {
    use Kind::{ReadWrite, RealTime, WriteRead, WriteWrite};
    let kinds: Vec<Kind> = cycle.iter().map(|edge| edge.kind).collect();
    let one_key = cycle.iter().all(|edge| edge.place == cycle[0].place);
    let timed = kinds.contains(&RealTime);
    match (class, kinds.as_slice()) {
        (Class::G0, _) if !timed => Some("dirty write"),
        (Class::G0, _) => Some("writes against real time"),
        (Class::G1c, [WriteRead, RealTime]) => Some("read from the future"),
        (Class::G1c, _) if !timed => Some("circular information flow"),
        (Class::GSingle, [ReadWrite, WriteWrite]) if one_key => Some("lost update"),
        (Class::GSingle, [ReadWrite, WriteRead]) => Some("fractured read, a read skew"),
        (Class::GSingle, [ReadWrite, RealTime]) => Some("stale read"),
        (Class::GSingle, [ReadWrite, RealTime, WriteRead]) => Some("causal reverse"),
        (Class::GSingle, _) if !timed => Some("read skew"),
        (Class::G2Item, [ReadWrite, ReadWrite]) => Some("write skew"),
        (Class::G2Item, [ReadWrite, WriteRead, ReadWrite, WriteRead]) => Some("long fork"),
        _ => None,
    }
}

fn reason(edge: &Edge<'_>, nodes: &Nodes<'_>) -> String {
    let Some(at) = edge.place else {
        let (end, began) = (nodes.end(edge.from), nodes.invoked(edge.to));
        return format!("it was over at {end}, the other began at {began} (real time)");
    };
    let key = &nodes.places[&at];
    let place = place(at.0, at.1);
    let (from, to) = (changed(key, edge.from), changed(key, edge.to));
    match edge.kind {
        Kind::WriteWrite => format!("{place}: {from} was replaced by {to} (write-write)"),
        Kind::WriteRead => format!("{place}: {from} was seen by the other (write-read)"),
        Kind::ReadWrite => {
            let saw = seen(key, edge.from);
            format!("{place}: it saw {saw}, which {to} replaced (read-write)")
        }
        Kind::RealTime => String::new(),
    }
}

/// What a node left under a key.
fn changed(key: &Key<'_>, node: usize) -> String {
    match key.writes.iter().rfind(|write| write.node == node) {
        Some(write) => format!("{}{}", text(write.value), numbered(write.version)),
        None => "the delete".to_owned(),
    }
}

/// What a node saw of a key.
fn seen(key: &Key<'_>, node: usize) -> String {
    match key.reads.iter().find(|read| read.node == node) {
        Some(read) => match read.saw {
            Saw::Value(value, version) => format!("{}{}", text(value), numbered(Some(version))),
            Saw::Version(version) => format!("version {version}"),
            Saw::Missing => "nothing".to_owned(),
        },
        None => String::new(),
    }
}

fn numbered(version: Option<Version>) -> String {
    version.map_or_else(String::new, |version| format!(" (version {version})"))
}
