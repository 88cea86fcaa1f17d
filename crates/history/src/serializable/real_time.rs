//! What was over before something else began.
//!
//! All such pairs are many. Enough are those with nothing in between: of the operations that are over, only those that no
//! other one that is over came after. At most as many as there are clients, so the edges grow with the history
//! and not with its square.

use super::graph::{Graph, Kind};
use super::nodes::{Id, Nodes};

/// Adds the edges of real time.
pub(super) fn add(nodes: &Nodes<'_>, graph: &mut Graph<'_>) {
    // At equal times invocations come first: such operations count as concurrent.
    let invocations = (0..nodes.len()).map(|node| (nodes.invoked(node), false, node));
    let returns = (0..nodes.len()).map(|node| (nodes.end(node), true, node));
    let returns = returns.filter(|(end, ..)| *end != u64::MAX);
    let mut events: Vec<(u64, bool, Id)> = invocations.chain(returns).collect();
    events.sort_unstable();
    let mut latest: Vec<Id> = Vec::new();
    for (_, returns, node) in events {
        if returns {
            let began = nodes.invoked(node);
            latest.retain(|earlier| nodes.end(*earlier) >= began);
            latest.push(node);
        } else {
            for earlier in &latest {
                graph.add(*earlier, node, Kind::RealTime, None);
            }
        }
    }
}

/// Nodes by the time they began, to find those that began after a moment.
pub(super) struct Timeline {
    /// Invocation, end, node.
    spans: Vec<(u64, u64, Id)>,
}

impl Timeline {
    pub(super) fn new(ids: impl Iterator<Item = Id>, nodes: &Nodes<'_>) -> Self {
        let span = |node| (nodes.invoked(node), nodes.end(node), node);
        let mut spans: Vec<_> = ids.map(span).collect();
        spans.sort_unstable();
        Self { spans }
    }

    /// The first of those that began after a moment: every other one began after the end of one of these.
    pub(super) fn first_after(&self, moment: Option<u64>) -> impl Iterator<Item = Id> {
        let from = moment.map_or(0, |moment| {
            self.spans.partition_point(|(began, ..)| *began <= moment)
        });
        let mut deadline = u64::MAX;
        self.spans[from..]
            .iter()
            .take_while(move |(began, end, _)| {
                let first = *began <= deadline;
                deadline = deadline.min(*end);
                first
            })
            .map(|(.., node)| *node)
    }
}
