//! Who must come before whom on account of what they wrote and saw.
//!
//! ```text
//! versions of x:  1 (A)   2 (B)   3 (C)       A ─ww→ B ─ww→ C
//! R saw version 1                             A ─wr→ R ─rw→ B
//! S saw nothing                               S ─rw→ A          (if nothing was deleted)
//! ```

use super::absence::explanations;
use super::graph::{Graph, Kind};
use super::nodes::{Key, Nodes, Read, Saw, Write};
use super::real_time::Timeline;
use crate::touch::Place;

/// Adds the edges of every key.
pub(super) fn add<'h>(nodes: &Nodes<'h>, graph: &mut Graph<'h>) {
    for (place, key) in &nodes.places {
        Order::new(*place, key, nodes).add(graph);
    }
}

/// What is known of the order of one key's changes.
struct Order<'n, 'h> {
    place: Place<'h>,
    key: &'n Key<'h>,
    nodes: &'n Nodes<'h>,
    /// Writes of known version, in the order of versions.
    versioned: Vec<&'n Write<'h>>,
    /// Changes whose place among the versions is not known: only real time tells.
    loose: Timeline,
    /// All writes.
    writes: Timeline,
}

impl<'n, 'h> Order<'n, 'h> {
    fn new(place: Place<'h>, key: &'n Key<'h>, nodes: &'n Nodes<'h>) -> Self {
        let known = |write: &&Write<'_>| write.version.is_some() && !write.intermediate;
        let mut versioned: Vec<_> = key.writes.iter().filter(known).collect();
        versioned.sort_by_key(|write| write.version);
        let unversioned = key.writes.iter().filter(|write| write.version.is_none());
        let loose = unversioned.map(|write| write.node);
        let deletes = key.deletes.iter().filter_map(|delete| delete.node);
        Self {
            place,
            key,
            nodes,
            versioned,
            loose: Timeline::new(loose.chain(deletes), nodes),
            writes: Timeline::new(key.writes.iter().map(|write| write.node), nodes),
        }
    }

    fn add(&self, graph: &mut Graph<'h>) {
        for pair in self.versioned.windows(2) {
            if pair[0].version != pair[1].version {
                graph.add(
                    pair[0].node,
                    pair[1].node,
                    Kind::WriteWrite,
                    Some(self.place),
                );
            }
        }
        for read in &self.key.reads {
            if read.saw == Saw::Missing {
                self.missing(read, graph);
            } else if let Some(write) = self.key.source(read.saw) {
                self.saw(read, write, graph);
            }
        }
    }

    /// A read saw a write: it comes after that, and before whatever replaced it.
    fn saw(&self, read: &Read<'h>, write: &Write<'h>, graph: &mut Graph<'h>) {
        let place = Some(self.place);
        graph.add(write.node, read.node, Kind::WriteRead, place);
        let after = self
            .versioned
            .partition_point(|other| other.version <= write.version);
        if let Some(next) = self.versioned.get(after) {
            graph.add(read.node, next.node, Kind::ReadWrite, place);
        }
        for next in self.loose.first_after(Some(self.nodes.end(write.node))) {
            graph.add(read.node, next, Kind::ReadWrite, place);
        }
    }

    /// A read saw nothing: the beginning, or what a delete left. It comes before every write that surely followed each of
    /// these that is possible. If none is, that is every write, those that it should have seen among them.
    fn missing(&self, read: &Read<'h>, graph: &mut Graph<'h>) {
        let place = Some(self.place);
        let invoked = self.nodes.invoked(read.node);
        let over = |write: &&Write<'_>| self.nodes.end(write.node) < invoked;
        let began = |write: &&Write<'_>| self.nodes.invoked(write.node);
        let latest = self.key.writes.iter().filter(over).max_by_key(began);
        let possible = explanations(read, self.key, self.nodes);
        if let [delete] = possible.as_slice()
            && latest.is_some()
            && let Some(delete) = delete.node
        {
            graph.add(delete, read.node, Kind::WriteRead, place);
        }
        if possible.is_empty() {
            // The latest is the one to name.
            let first = self.versioned.first().copied();
            for next in latest.into_iter().chain(first) {
                graph.add(read.node, next.node, Kind::ReadWrite, place);
            }
        }
        let all_over = possible.iter().map(|delete| delete.end).max();
        for next in self.writes.first_after(all_over) {
            graph.add(read.node, next, Kind::ReadWrite, place);
        }
    }
}
