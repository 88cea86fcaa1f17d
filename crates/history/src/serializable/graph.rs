//! A directed graph whose edges have kinds and reasons.

use std::collections::VecDeque;

use super::nodes::Id;
use crate::touch::Place;

/// Why one operation comes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    WriteWrite,
    WriteRead,
    ReadWrite,
    RealTime,
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds {
    pub(super) write_read: bool,
    pub(super) read_write: bool,
    pub(super) real_time: bool,
}

impl Kinds {
    pub(super) fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::WriteWrite => true,
            Kind::WriteRead => self.write_read,
            Kind::ReadWrite => self.read_write,
            Kind::RealTime => self.real_time,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Edge<'h> {
    pub(super) from: Id,
    pub(super) to: Id,
    pub(super) kind: Kind,
    /// On account of which key; none for real time.
    pub(super) place: Option<Place<'h>>,
}

pub(super) struct Graph<'h> {
    edges: Vec<Vec<Edge<'h>>>,
}

impl<'h> Graph<'h> {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            edges: vec![Vec::new(); nodes],
        }
    }

    /// Adds an edge; an operation does not come before itself.
    pub(super) fn add(&mut self, from: Id, to: Id, kind: Kind, place: Option<Place<'h>>) {
        if from != to {
            self.edges[from].push(Edge {
                from,
                to,
                kind,
                place,
            });
        }
    }

    pub(super) fn edges(&self) -> impl Iterator<Item = &Edge<'h>> {
        self.edges.iter().flatten()
    }

    /// The strongly connected component of each node, by Tarjan's algorithm (1972), without recursion.
    pub(super) fn components(&self, kinds: Kinds) -> Components {
        let mut tarjan = Tarjan::new(self.edges.len());
        for root in 0..self.edges.len() {
            tarjan.visit(root, self, kinds);
        }
        let mut sizes = vec![0; tarjan.components];
        for component in &tarjan.component {
            sizes[*component] += 1;
        }
        Components {
            of: tarjan.component,
            sizes,
        }
    }
}

/// Searches for short ways.
pub(super) struct Ways<'g, 'h> {
    graph: &'g Graph<'h>,
    /// By which edge a node was reached, and in which search.
    came: Vec<Option<(usize, Edge<'h>)>>,
    searches: usize,
    /// Nodes reached so far, in all searches.
    pub(super) effort: usize,
}

impl<'g, 'h> Ways<'g, 'h> {
    pub(super) fn new(graph: &'g Graph<'h>) -> Self {
        Self {
            graph,
            came: vec![None; graph.edges.len()],
            searches: 0,
            effort: 0,
        }
    }

    /// The shortest way from one node to another within their component, of less than so many edges.
    pub(super) fn shortest(
        &mut self,
        (from, to): (Id, Id),
        kinds: Kinds,
        within: &Components,
        below: usize,
    ) -> Option<Vec<Edge<'h>>> {
        self.searches += 1;
        let mut queue = VecDeque::from([(from, 1)]);
        while let Some((node, length)) = queue.pop_front() {
            if length >= below {
                return None;
            }
            for edge in &self.graph.edges[node] {
                let old = edge.to == from || self.edge_to(edge.to).is_some();
                if old || !kinds.has(edge.kind) || !within.together(from, edge.to) {
                    continue;
                }
                self.came[edge.to] = Some((self.searches, *edge));
                self.effort += 1;
                if edge.to == to {
                    return Some(self.way(to));
                }
                queue.push_back((edge.to, length + 1));
            }
        }
        None
    }

    fn edge_to(&self, node: Id) -> Option<Edge<'h>> {
        let (search, edge) = self.came[node]?;
        (search == self.searches).then_some(edge)
    }

    fn way(&self, to: Id) -> Vec<Edge<'h>> {
        let mut way = Vec::new();
        let mut at = to;
        while let Some(edge) = self.edge_to(at) {
            way.push(edge);
            at = edge.from;
        }
        way.reverse();
        way
    }
}

/// Which nodes can reach each other.
pub(super) struct Components {
    of: Vec<usize>,
    sizes: Vec<usize>,
}

impl Components {
    /// Whether there is a cycle through both.
    pub(super) fn together(&self, one: Id, other: Id) -> bool {
        self.of[one] == self.of[other]
    }

    /// Whether no node reaches another one and is reached by it.
    pub(super) fn trivial(&self) -> bool {
        self.sizes.iter().all(|size| *size == 1)
    }
}

const NONE: usize = usize::MAX;

struct Tarjan {
    next: usize,
    number: Vec<usize>,
    low: Vec<usize>,
    stack: Vec<Id>,
    component: Vec<usize>,
    components: usize,
}

impl Tarjan {
    fn new(nodes: usize) -> Self {
        Self {
            next: 0,
            number: vec![NONE; nodes],
            low: vec![NONE; nodes],
            stack: Vec::new(),
            component: vec![NONE; nodes],
            components: 0,
        }
    }

    fn visit(&mut self, root: Id, graph: &Graph<'_>, kinds: Kinds) {
        if self.number[root] != NONE {
            return;
        }
        let mut path = vec![(root, 0)];
        self.enter(root);
        while let Some((node, edge)) = path.last_mut() {
            let node = *node;
            let Some(next) = graph.edges[node].get(*edge) else {
                path.pop();
                if let Some((parent, _)) = path.last() {
                    self.low[*parent] = self.low[*parent].min(self.low[node]);
                }
                self.leave(node);
                continue;
            };
            *edge += 1;
            if !kinds.has(next.kind) {
                continue;
            }
            if self.number[next.to] == NONE {
                self.enter(next.to);
                path.push((next.to, 0));
            } else if self.component[next.to] == NONE {
                self.low[node] = self.low[node].min(self.number[next.to]);
            }
        }
    }

    fn enter(&mut self, node: Id) {
        self.number[node] = self.next;
        self.low[node] = self.next;
        self.next += 1;
        self.stack.push(node);
    }

    fn leave(&mut self, node: Id) {
        if self.low[node] != self.number[node] {
            return;
        }
        while let Some(member) = self.stack.pop() {
            self.component[member] = self.components;
            if member == node {
                break;
            }
        }
        self.components += 1;
    }
}
