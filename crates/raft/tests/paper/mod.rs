//! The paper's sentences (Ongaro and Ousterhout, 2014, and the thesis), each as a test.

mod callers;
mod elections;
mod extensions;
mod reads;
mod replication;
mod safety;
mod snapshots;

use raft::{AppendResult, Body, Index, Message, Term};

use crate::common::{Node, config, entries, group, matched, message, sent_to};

pub fn node(number: u64) -> Node {
    Node::new(config(number, group(3)))
}

pub fn node_with(terms: &[u64], term: u64, applied: u64) -> Node {
    Node::restored(config(1, group(3)), term, entries(1, terms), applied)
}

pub fn ticks(node: &mut Node, count: u32) -> Vec<Message> {
    let mut sent = Vec::new();
    for _ in 0..count {
        node.replica.tick();
        sent.extend(node.settle());
    }
    sent
}

pub fn rejected(rejected: u64, hint: (u64, u64)) -> Body {
    let result = AppendResult::Reject {
        rejected: Index(rejected),
        hint_index: Index(hint.0),
        hint_term: Term(hint.1),
    };
    Body::Appended {
        result,
        read_sequence: 0,
    }
}

pub fn heartbeat(committed: u64) -> Body {
    Body::Heartbeat {
        committed: Index(committed),
        read_sequence: 0,
    }
}

pub fn granted(answer: &[Message], to: u64) -> bool {
    let votes = sent_to(answer, to);
    assert_eq!(votes.len(), 1, "{votes:?}");
    matches!(
        votes[0],
        Body::Vote { granted: true } | Body::PreVote { granted: true }
    )
}

/// The entries and the previous index of the appends to a follower.
pub fn appends(sent: &[Message], to: u64) -> Vec<(u64, Vec<u64>)> {
    let read = |body| match body {
        Body::Append {
            previous_index,
            entries,
            ..
        } => Some((
            previous_index.0,
            entries.iter().map(|entry| entry.index.0).collect(),
        )),
        _ => None,
    };
    sent_to(sent, to).into_iter().filter_map(read).collect()
}

/// A leader of term 1 whose no-op both followers have.
pub fn replicating() -> Node {
    let mut node = node(1);
    node.win(&[2]);
    for from in [2, 3] {
        node.answer(message(from, 1, 1, matched(1)));
    }
    assert_eq!(node.replica.committed(), Index(1));
    node
}

pub fn reject(rejected: u64, hint: (u64, u64)) -> AppendResult {
    let (hint_index, hint_term) = (Index(hint.0), Term(hint.1));
    AppendResult::Reject {
        rejected: Index(rejected),
        hint_index,
        hint_term,
    }
}
