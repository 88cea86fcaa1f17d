//! Between Raft messages and their form on the wire.

use api::internal::{self, group_message::Body as Wire};
use bytes::Bytes;
use model::{NodeId, ShardId, TableId};
use raft::{AppendResult, Body, Entry, EntryKind, Index, Message, ReplicaId, Term};

/// What one replica of a shard says to another: Raft's messages, and what goes beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMessage {
    /// The consensus core's.
    Raft(Message),
    /// The content hash at the index of a checkpoint.
    Content {
        /// The checkpoint's index.
        index: u64,
        /// The hash of all items and what belongs to them.
        hash: u128,
    },
}

/// A message that is not of a form known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a peer sent a message that can't be read: {0}")]
pub struct MalformedMessage(&'static str);

/// The Raft id of a node's replica. A node has at most one of a group.
pub fn replica_id(node: NodeId) -> ReplicaId {
    ReplicaId(node.0)
}

/// The inverse of [`replica_id`].
pub fn node_id(replica: ReplicaId) -> NodeId {
    NodeId(replica.0)
}

/// Writes a message of one group.
pub fn encode(shard: ShardId, message: PeerMessage) -> internal::GroupMessage {
    let (term, body) = match message {
        PeerMessage::Content { index, hash } => {
            let hash = Bytes::copy_from_slice(&hash.to_be_bytes());
            (
                0,
                Wire::ContentReport(internal::ContentReport { index, hash }),
            )
        }
        PeerMessage::Raft(message) => (message.term.0, encode_body(message.body)),
    };
    internal::GroupMessage {
        table: shard.table.0,
        shard: shard.index,
        term,
        body: Some(body),
    }
}

fn encode_body(body: Body) -> Wire {
    let request = |last_index: Index, last_term: Term, transfer| internal::RequestVote {
        last_index: last_index.0,
        last_term: last_term.0,
        transfer,
    };
    match body {
        Body::RequestPreVote {
            last_index,
            last_term,
        } => Wire::RequestPreVote(request(last_index, last_term, false)),
        Body::PreVote { granted } => Wire::PreVote(internal::VoteAnswer { granted }),
        Body::RequestVote {
            last_index,
            last_term,
            transfer,
        } => Wire::RequestVote(request(last_index, last_term, transfer)),
        Body::Vote { granted } => Wire::Vote(internal::VoteAnswer { granted }),
        Body::Append {
            previous_index,
            previous_term,
            entries,
            committed,
            read_sequence,
        } => Wire::Append(internal::Append {
            previous_index: previous_index.0,
            previous_term: previous_term.0,
            entries: entries.into_iter().map(encode_entry).collect(),
            committed: committed.0,
            read_sequence,
        }),
        Body::Appended {
            result,
            read_sequence,
        } => {
            let (accepted, index, hint_index, hint_term) = match result {
                AppendResult::Match(index) => (true, index, Index(0), Term(0)),
                AppendResult::Reject {
                    rejected,
                    hint_index,
                    hint_term,
                } => (false, rejected, hint_index, hint_term),
            };
            Wire::Appended(internal::Appended {
                accepted,
                index: index.0,
                hint_index: hint_index.0,
                hint_term: hint_term.0,
                read_sequence,
            })
        }
        Body::Heartbeat {
            committed,
            read_sequence,
        } => Wire::Heartbeat(internal::Heartbeat {
            committed: committed.0,
            read_sequence,
        }),
        Body::HeartbeatAck {
            read_sequence,
            promise_millis,
        } => Wire::HeartbeatAck(internal::HeartbeatAck {
            read_sequence,
            promise_millis,
        }),
        Body::TimeoutNow => Wire::TimeoutNow(internal::TimeoutNow {}),
        Body::Rest {
            last_index,
            last_term,
        } => Wire::Rest(internal::Rest {
            last_index: last_index.0,
            last_term: last_term.0,
        }),
        Body::Wake => Wire::Wake(internal::Wake {}),
    }
}

fn encode_entry(entry: Entry) -> internal::Entry {
    internal::Entry {
        index: entry.index.0,
        term: entry.term.0,
        kind: u8::from(entry.kind).into(),
        payload: entry.payload,
    }
}

/// Reads a message that came from node `from` for node `to`.
pub fn decode(
    from: NodeId,
    to: NodeId,
    message: internal::GroupMessage,
) -> Result<(ShardId, PeerMessage), MalformedMessage> {
    let shard = ShardId {
        table: TableId(message.table),
        index: message.shard,
    };
    let body = match message.body.ok_or(MalformedMessage("no body"))? {
        Wire::ContentReport(report) => {
            let hash: [u8; 16] = report
                .hash
                .as_ref()
                .try_into()
                .map_err(|_| MalformedMessage("content hash"))?;
            let hash = u128::from_be_bytes(hash);
            return Ok((
                shard,
                PeerMessage::Content {
                    index: report.index,
                    hash,
                },
            ));
        }
        body => decode_body(body)?,
    };
    let message = Message {
        from: replica_id(from),
        to: replica_id(to),
        term: Term(message.term),
        body,
    };
    Ok((shard, PeerMessage::Raft(message)))
}

fn decode_body(body: Wire) -> Result<Body, MalformedMessage> {
    Ok(match body {
        Wire::RequestPreVote(request) => Body::RequestPreVote {
            last_index: Index(request.last_index),
            last_term: Term(request.last_term),
        },
        Wire::PreVote(answer) => Body::PreVote {
            granted: answer.granted,
        },
        Wire::RequestVote(request) => Body::RequestVote {
            last_index: Index(request.last_index),
            last_term: Term(request.last_term),
            transfer: request.transfer,
        },
        Wire::Vote(answer) => Body::Vote {
            granted: answer.granted,
        },
        Wire::Append(append) => Body::Append {
            previous_index: Index(append.previous_index),
            previous_term: Term(append.previous_term),
            entries: append
                .entries
                .into_iter()
                .map(decode_entry)
                .collect::<Result<_, _>>()?,
            committed: Index(append.committed),
            read_sequence: append.read_sequence,
        },
        Wire::Appended(appended) => Body::Appended {
            result: if appended.accepted {
                AppendResult::Match(Index(appended.index))
            } else {
                AppendResult::Reject {
                    rejected: Index(appended.index),
                    hint_index: Index(appended.hint_index),
                    hint_term: Term(appended.hint_term),
                }
            },
            read_sequence: appended.read_sequence,
        },
        Wire::Heartbeat(heartbeat) => Body::Heartbeat {
            committed: Index(heartbeat.committed),
            read_sequence: heartbeat.read_sequence,
        },
        Wire::HeartbeatAck(ack) => Body::HeartbeatAck {
            read_sequence: ack.read_sequence,
            promise_millis: ack.promise_millis,
        },
        Wire::TimeoutNow(_) => Body::TimeoutNow,
        Wire::Rest(rest) => Body::Rest {
            last_index: Index(rest.last_index),
            last_term: Term(rest.last_term),
        },
        Wire::Wake(_) => Body::Wake,
        Wire::ContentReport(_) => return Err(MalformedMessage("content report")),
    })
}

fn decode_entry(entry: internal::Entry) -> Result<Entry, MalformedMessage> {
    let kind = u8::try_from(entry.kind)
        .ok()
        .and_then(|kind| EntryKind::try_from(kind).ok());
    Ok(Entry {
        index: Index(entry.index),
        term: Term(entry.term),
        kind: kind.ok_or(MalformedMessage("entry kind"))?,
        payload: entry.payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_the_wire() {
        let entry = Entry {
            index: Index(8),
            term: Term(2),
            kind: EntryKind::Commands,
            payload: Bytes::from_static(b"commands"),
        };
        let append = Body::Append {
            previous_index: Index(7),
            previous_term: Term(1),
            entries: vec![entry],
            committed: Index(6),
            read_sequence: 4,
        };
        let reject = AppendResult::Reject {
            rejected: Index(7),
            hint_index: Index(3),
            hint_term: Term(1),
        };
        let bodies = [
            Body::RequestPreVote {
                last_index: Index(7),
                last_term: Term(1),
            },
            Body::PreVote { granted: true },
            Body::RequestVote {
                last_index: Index(7),
                last_term: Term(1),
                transfer: true,
            },
            Body::Vote { granted: false },
            append,
            Body::Appended {
                result: AppendResult::Match(Index(8)),
                read_sequence: 4,
            },
            Body::Appended {
                result: reject,
                read_sequence: 0,
            },
            Body::Heartbeat {
                committed: Index(6),
                read_sequence: 5,
            },
            Body::HeartbeatAck {
                read_sequence: 5,
                promise_millis: 450,
            },
            Body::TimeoutNow,
            Body::Rest {
                last_index: Index(7),
                last_term: Term(1),
            },
            Body::Wake,
        ];
        let shard = ShardId {
            table: TableId(1),
            index: 2,
        };
        let raft = bodies.map(|body| {
            let (from, to) = (ReplicaId(1), ReplicaId(2));
            PeerMessage::Raft(Message {
                from,
                to,
                term: Term(3),
                body,
            })
        });
        let content = PeerMessage::Content {
            index: 9,
            hash: u128::MAX - 1,
        };
        for message in raft.into_iter().chain([content]) {
            let wire = encode(shard, message.clone());
            assert_eq!(decode(NodeId(1), NodeId(2), wire), Ok((shard, message)));
        }
    }

    #[test]
    fn a_message_that_makes_no_sense_is_refused() {
        let empty = internal::GroupMessage::default();
        assert!(decode(NodeId(1), NodeId(2), empty).is_err());
        let entry = internal::Entry {
            kind: 77,
            ..Default::default()
        };
        let append = internal::Append {
            entries: vec![entry],
            ..Default::default()
        };
        let odd = internal::GroupMessage {
            body: Some(Wire::Append(append)),
            ..Default::default()
        };
        assert!(decode(NodeId(1), NodeId(2), odd).is_err());
    }
}
