//! The cycle that says most.

use super::graph::{Components, Edge, Graph, Kind, Kinds, Ways};

/// Nodes reached in search of the shortest cycle of one class. A broken store makes components of thousands of nodes;
/// a short cycle is found long before.
const EFFORT: usize = 2_000_000;

/// What a cycle is made of, after Adya.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    G0,
    G1c,
    GSingle,
    G2Item,
}

/// A class, and whether it takes real time to make the cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) class: Class,
    pub(super) real_time: bool,
}

/// A shortest cycle of the first class that has any, the grossest first; those without real time before those with it.
pub(super) fn worst<'h>(graph: &Graph<'h>) -> Option<(Named, Vec<Edge<'h>>)> {
    let classes = [Class::G0, Class::G1c, Class::GSingle, Class::G2Item];
    [false, true].into_iter().find_map(|real_time| {
        classes.into_iter().find_map(|class| {
            let cycle = shortest(graph, class, real_time)?;
            Some((Named { class, real_time }, cycle))
        })
    })
}

fn shortest<'h>(graph: &Graph<'h>, class: Class, real_time: bool) -> Option<Vec<Edge<'h>>> {
    let kinds = Kinds {
        write_read: class != Class::G0,
        read_write: matches!(class, Class::GSingle | Class::G2Item),
        real_time,
    };
    let components = graph.components(kinds);
    if components.trivial() {
        return None;
    }
    let through = match class {
        Class::G0 => Kind::WriteWrite,
        Class::G1c => Kind::WriteRead,
        Class::GSingle | Class::G2Item => Kind::ReadWrite,
    };
    // A cycle of this class has an edge of its kind; all other edges are of the lesser kinds, or for the last class any.
    let back = Kinds {
        read_write: class == Class::G2Item,
        ..kinds
    };
    through_each(graph, through, back, &components)
}

/// The shortest cycle of an edge of one kind and a way back.
fn through_each<'h>(
    graph: &Graph<'h>,
    through: Kind,
    back: Kinds,
    components: &Components,
) -> Option<Vec<Edge<'h>>> {
    let mut best: Option<Vec<Edge<'h>>> = None;
    let mut ways = Ways::new(graph);
    let edges = graph.edges().filter(|edge| edge.kind == through);
    for edge in edges.filter(|edge| components.together(edge.from, edge.to)) {
        let below = best.as_ref().map_or(usize::MAX, |best| best.len() - 1);
        let ends = (edge.to, edge.from);
        if let Some(way) = ways.shortest(ends, back, components, below) {
            best = Some(std::iter::once(*edge).chain(way).collect());
        }
        let shortest = best.as_ref().is_some_and(|best| best.len() == 2);
        if shortest || ways.effort > EFFORT {
            break;
        }
    }
    best
}
