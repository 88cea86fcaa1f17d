//! Reads that saw nothing where every explanation is excluded.
//!
//! What is missing was removed by a delete, or never there. Which delete it was is not told, and each of them alone may fit: so no
//! edge says what such a read came after. But each of them puts the read into a gap, behind the delete and before all writes
//! that surely came after it, and the edges that are certain may exclude each gap in turn:
//!
//! ```text
//! door     absent ──┤ put ├───────────────────────┤ delete ├── absent
//! lamp                      ┤ on ├─────┤ off ├
//! reader     sees no door                          sees no door      and a lamp that is on
//!            excluded: "on" came first             excluded: "off" did not
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;

use super::PROPERTY;
use super::anomaly::because;
use super::graph::{Edge, Graph};
use super::nodes::{Delete, Id, Key, Nodes, Read, Saw};
use super::real_time::Timeline;
use crate::render::{brief, place};
use crate::touch::Place;
use crate::violation::Violation;

/// Looks at every read that saw nothing.
pub(super) fn check<'h>(nodes: &Nodes<'h>, graph: &Graph<'h>) -> Result<(), Violation> {
    let mut search = Search::new(nodes, graph);
    for (at, key) in &nodes.places {
        let writes = Timeline::new(key.writes.iter().map(|write| write.node), nodes);
        let reads = key.reads.iter();
        for read in reads.filter(|read| read.saw == Saw::Missing) {
            let gaps = gaps(read, key, &writes, nodes);
            if let Some(excluded) = search.exclude(read.node, &gaps) {
                return Err(report(*at, read, &excluded, nodes));
            }
        }
    }
    Ok(())
}

/// The deletes that may be why a read saw nothing.
pub(super) fn explanations<'k>(
    read: &Read<'_>,
    key: &'k Key<'_>,
    nodes: &Nodes<'_>,
) -> Vec<&'k Delete> {
    let end = nodes.end(read.node);
    let existed = existed(read, key, nodes);
    let deletes = key.deletes.iter();
    let possible = deletes
        .filter(|delete| delete.invoked <= end && delete.node != Some(read.node))
        .filter(|delete| existed.is_none_or(|existed| delete.end >= existed));
    possible.collect()
}

/// A moment after which the key existed, and still before the read, unless it was deleted since.
fn existed(read: &Read<'_>, key: &Key<'_>, nodes: &Nodes<'_>) -> Option<u64> {
    let invoked = nodes.invoked(read.node);
    let writes = key.writes.iter().map(|write| write.node);
    let over = writes.filter(|write| nodes.end(*write) < invoked);
    over.map(|write| nodes.invoked(write)).max()
}

/// A time in which the key was absent.
struct Gap {
    /// What began it. None: it is the beginning, or a delete that may not have happened.
    from: Option<Id>,
    /// When that was over.
    over: Option<u64>,
    /// The first writes that surely came later.
    until: Vec<Id>,
}

fn gaps(read: &Read<'_>, key: &Key<'_>, writes: &Timeline, nodes: &Nodes<'_>) -> Vec<Gap> {
    let gap = |from, over| {
        let later = writes.first_after(over);
        Gap {
            from,
            over,
            until: later.filter(|write| *write != read.node).collect(),
        }
    };
    let beginning = existed(read, key, nodes).is_none();
    let beginning = beginning.then(|| gap(None, None));
    let explained = explanations(read, key, nodes).into_iter();
    let explained = explained.map(|delete| gap(delete.node, Some(delete.end)));
    beginning.into_iter().chain(explained).collect()
}

/// Searches the graph around one read at a time.
struct Search<'s, 'h> {
    nodes: &'s Nodes<'h>,
    edges: [Vec<Vec<Edge<'h>>>; 2],
    /// By which edge a node was reached, in which search.
    came: [Vec<Option<(usize, Edge<'h>)>>; 2],
    searches: usize,
}

/// Of the two directions in which edges are followed.
const FORWARD: usize = 0;
const BACK: usize = 1;

impl<'s, 'h> Search<'s, 'h> {
    fn new(nodes: &'s Nodes<'h>, graph: &Graph<'h>) -> Self {
        let mut edges = [FORWARD, BACK].map(|_| vec![Vec::new(); nodes.len()]);
        for edge in graph.edges() {
            edges[FORWARD][edge.from].push(*edge);
            edges[BACK][edge.to].push(*edge);
        }
        Self {
            nodes,
            edges,
            came: [FORWARD, BACK].map(|_| vec![None; nodes.len()]),
            searches: 0,
        }
    }

    /// Why each of these gaps is not the one in which a read took place. `None`: one of them may be.
    fn exclude(&mut self, read: Id, gaps: &[Gap]) -> Option<Vec<Vec<Edge<'h>>>> {
        // Of less than two the graph knows.
        if gaps.len() < 2
            || gaps
                .iter()
                .any(|gap| gap.until.is_empty() && gap.from.is_none())
        {
            return None;
        }
        self.searches += 1;
        // Nothing that began after the last delete was over comes before it, and the like: further there is no use in looking.
        let last = gaps.iter().filter_map(|gap| gap.over).max().unwrap_or(0);
        let writes = gaps.iter().flat_map(|gap| &gap.until);
        let first = writes.map(|write| self.nodes.invoked(*write)).min();
        let first = first.unwrap_or(u64::MAX);
        self.spread(FORWARD, read, |nodes, node| nodes.invoked(node) <= last);
        self.spread(BACK, read, |nodes, node| nodes.end(node) >= first);
        gaps.iter().map(|gap| self.excluded(read, gap)).collect()
    }

    fn excluded(&self, read: Id, gap: &Gap) -> Option<Vec<Edge<'h>>> {
        let before = gap.from.and_then(|delete| self.way(FORWARD, read, delete));
        let mut writes = gap.until.iter();
        before.or_else(|| writes.find_map(|write| self.way(BACK, read, *write)))
    }

    /// Finds what comes after a node, or before it, within bounds.
    fn spread(&mut self, direction: usize, from: Id, within: impl Fn(&Nodes<'h>, Id) -> bool) {
        let mut queue = VecDeque::from([from]);
        while let Some(node) = queue.pop_front() {
            for edge in &self.edges[direction][node] {
                let next = if direction == FORWARD {
                    edge.to
                } else {
                    edge.from
                };
                let known =
                    self.came[direction][next].is_some_and(|(search, _)| search == self.searches);
                if next != from && !known && within(self.nodes, next) {
                    self.came[direction][next] = Some((self.searches, *edge));
                    queue.push_back(next);
                }
            }
        }
    }

    /// The way between a read and a node that was reached, from the earlier to the later.
    fn way(&self, direction: usize, read: Id, reached: Id) -> Option<Vec<Edge<'h>>> {
        let mut way = Vec::new();
        let mut at = reached;
        while at != read {
            let (search, edge) = self.came[direction][at]?;
            if search != self.searches {
                return None;
            }
            way.push(edge);
            at = if direction == FORWARD {
                edge.from
            } else {
                edge.to
            };
        }
        if direction == FORWARD {
            way.reverse();
        }
        Some(way)
    }
}

fn report(
    at: Place<'_>,
    read: &Read<'_>,
    excluded: &[Vec<Edge<'_>>],
    nodes: &Nodes<'_>,
) -> Violation {
    let reader = nodes.operations[read.node];
    let mut detail = format!(
        "unexplained absence: {} saw nothing at {}, and came neither before it was written nor after it was deleted",
        brief(reader),
        place(at.0, at.1),
    );
    let mut shown = vec![reader];
    let mut said = BTreeSet::new();
    for edge in excluded.iter().flatten() {
        shown.extend([nodes.operations[edge.from], nodes.operations[edge.to]]);
        let why = because(edge, nodes);
        if said.insert(why.clone()) {
            // Writing to a string has no failing case.
            let _ = write!(detail, "\n  {why}");
        }
    }
    Violation::broken(PROPERTY, detail, shown)
}
