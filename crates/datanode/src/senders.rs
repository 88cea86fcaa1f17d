//! Who sends Raft messages as which node.
//!
//! A process on a copy of another node's data directory has that node's id, and an old log: its vote and what it
//! confirms must not count. The [record of the member](crate::node) keeps it away as long as the coordination store can
//! tell; where it can't, because the original is cut off from there, the nodes that hear the original can. As long as a
//! stream of one process is open, no other process of the same node is listened to.
//!
//! A process that ends takes its streams along; one whose machine has gone loses them to the keep-alive, within seconds.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::NodeId;
use parking_lot::Mutex;

/// See the [module](self).
#[derive(Clone, Default)]
pub(crate) struct Senders {
    open: Arc<Mutex<BTreeMap<NodeId, Open>>>,
}

struct Open {
    incarnation: u64,
    streams: usize,
}

/// An open stream. It counts until it is dropped.
pub(crate) struct Sending {
    senders: Senders,
    node: NodeId,
    incarnation: u64,
}

impl Senders {
    /// A stream of a process begins; `None` if another process of this node has one open.
    pub(crate) fn begin(&self, node: NodeId, incarnation: u64) -> Option<Sending> {
        let mut nodes = self.open.lock();
        let open = nodes.entry(node).or_insert(Open {
            incarnation,
            streams: 0,
        });
        if open.incarnation != incarnation {
            return None;
        }
        open.streams += 1;
        Some(Sending {
            senders: self.clone(),
            node,
            incarnation,
        })
    }
}

impl Sending {
    /// Whether this is the sender.
    pub(crate) fn is(&self, node: NodeId, incarnation: u64) -> bool {
        (self.node, self.incarnation) == (node, incarnation)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let mut nodes = self.senders.open.lock();
        if let Some(open) = nodes.get_mut(&self.node) {
            open.streams -= 1;
            if open.streams == 0 {
                nodes.remove(&self.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_of_the_same_node_is_listened_to_once_the_first_has_no_stream_left() {
        let senders = Senders::default();
        let first = senders.begin(NodeId(1), 10).unwrap();
        let second = senders.begin(NodeId(1), 10).unwrap();
        assert!(senders.begin(NodeId(1), 11).is_none());
        assert!(senders.begin(NodeId(2), 11).is_some());
        drop(first);
        assert!(senders.begin(NodeId(1), 11).is_none());
        drop(second);
        let other = senders.begin(NodeId(1), 11).unwrap();
        assert!(other.is(NodeId(1), 11) && !other.is(NodeId(1), 10));
        assert!(senders.begin(NodeId(1), 10).is_none());
    }
}
