//! What stands at the paths of [`crate::tree`]: JSON that `zkCli.sh` shows readably.
//!
//! Every record carries the number of its format. A process that meets a newer one than it knows refuses
//! it by name instead of guessing, and fields that it does not know within a format it knows are
//! ignored.
//!
//! ```text
//! [zk: zk1:2181(CONNECTED) 0] get /members/2f1d0a7c5b3e9486
//! {"format":1,"id":"2f1d0a7c5b3e9486","address":"10.0.0.7:7801","zone":"b"}
//! ```

use std::collections::BTreeSet;

use bytes::Bytes;
use model::table::InvalidTable;
use model::{ClusterId, NodeId, TableId, TableName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::tree::Node;

mod ledger;
mod table;

pub use ledger::{ContentsHash, EntryRecord, EntryState, TokenRecord};

/// The format of the whole tree, and of every record in it, that this version writes.
pub const FORMAT: u32 = 1;

/// A znode's content that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the record at {path} {fault}")]
pub struct RecordError {
    /// Of the znode.
    pub path: String,
    /// What is wrong with its content.
    pub fault: RecordFault,
}

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// Written by a newer version of this software.
    #[error("has format {0}; this version knows formats up to {FORMAT}")]
    NewerFormat(u32),
    /// Not JSON of the right shape.
    #[error("can't be decoded: {0}")]
    Malformed(String),
    /// A table that contradicts itself.
    #[error("describes an impossible table: {0}")]
    Table(InvalidTable),
    /// It says that it belongs elsewhere.
    #[error("is that of another znode")]
    Misplaced,
}

/// A typed content of a znode.
pub trait Record: Sized {
    /// The JSON.
    fn encode(&self) -> Bytes;

    /// The content of the znode at `path`.
    fn decode(path: &str, data: &[u8]) -> Result<Self, RecordError> {
        Self::decode_content(data).map_err(|fault| RecordError {
            path: path.to_owned(),
            fault,
        })
    }

    /// The same without the path.
    fn decode_content(data: &[u8]) -> Result<Self, RecordFault>;

    /// Whether it may stand at this place.
    fn belongs_to(&self, _node: &Node) -> bool {
        true
    }
}

/// At `/cluster`: which cluster this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Drawn once, by the process that met an empty store first.
    pub cluster_id: ClusterId,
    /// Of the whole tree.
    pub format: u32,
}

/// At `/members/<node>`: a data node that has ever joined. Outlives its sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// The node.
    pub id: NodeId,
    /// Where it was last reached, `host:port`.
    pub address: String,
    /// A label of the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Of the process that is this node. A process on a copy of its data directory has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenure: Option<Tenure>,
    /// Tenures after `tenure` up to this number were taken with copies while that one lasted. They are void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void_to: Option<u64>,
}

/// A process's time as a data node, from its start to its end. Also written into the node's data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenure {
    /// Grows from one to the next.
    pub number: u64,
    /// Of the process.
    pub incarnation: u64,
}

/// At `/nodes/<node>`: a data node that is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveNodeRecord {
    /// The node.
    pub id: NodeId,
    /// Where it is reached, `host:port`.
    pub address: String,
    /// Differs for each start of its process.
    pub incarnation: u64,
    /// When its process started, milliseconds since the Unix epoch by its clock.
    pub started_millis: u64,
    /// The machine. Together with `data_dir` it tells the node itself, restarted, from a copy of its
    /// directory.
    pub host: String,
    /// The data directory, absolute.
    pub data_dir: String,
}

impl LiveNodeRecord {
    /// Whether both are the same data directory on the same machine.
    pub fn same_place(&self, other: &Self) -> bool {
        self.id == other.id && self.host == other.host && self.data_dir == other.data_dir
    }
}

/// At `/routers/<router>`: a router that is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterRecord {
    /// Where it is reached, `host:port`.
    pub address: String,
}

/// At `/names/<name>`: the table of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// The table.
    pub table: TableId,
}

/// At `/deleted/<table>`: a removed table that some node still has replicas of, or that one would have if it came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedRecord {
    /// The name that it had, for people who look.
    pub name: TableName,
    /// Nodes that were forgotten before they confirmed. None of them has a tombstone, and as long as there are any, the table
    /// can't be listed again from what they would bring.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub forgotten: BTreeSet<NodeId>,
}

/// At `/deleted/<table>/<node>`: this node has not confirmed yet. Empty, unless there is something to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneRecord {
    /// The table was removed while it had never been available, as far as the store knew: what was written to it all the same
    /// is not destroyed but quarantined.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub never_available: bool,
}

/// A record with the number of its format in front.
#[derive(Serialize)]
struct Envelope<'a, T> {
    format: u32,
    #[serde(flatten)]
    body: &'a T,
}

/// The one field that every record has.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

/// Serialises the shapes of this module, none of which can fail: their keys are texts.
fn to_json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .unwrap_or_default()
}

fn from_json<T: DeserializeOwned>(data: &[u8]) -> Result<T, RecordFault> {
    let malformed = |error: serde_json::Error| RecordFault::Malformed(error.to_string());
    let FormatOnly { format } = serde_json::from_slice(data).map_err(malformed)?;
    if format > FORMAT {
        return Err(RecordFault::NewerFormat(format));
    }
    serde_json::from_slice(data).map_err(malformed)
}

macro_rules! record_in_envelope {
    ($($record:ty: $belongs:expr,)*) => {$(
        impl Record for $record {
            fn encode(&self) -> Bytes {
                to_json(&Envelope { format: FORMAT, body: self })
            }

            fn decode_content(data: &[u8]) -> Result<Self, RecordFault> {
                from_json(data)
            }

            fn belongs_to(&self, node: &Node) -> bool {
                let belongs: fn(&Self, &Node) -> bool = $belongs;
                belongs(self, node)
            }
        }
    )*};
}

record_in_envelope! {
    MemberRecord: |record, node| *node == Node::Member(record.id),
    LiveNodeRecord: |record, node| *node == Node::Live(record.id),
    RouterRecord: |_, node| matches!(node, Node::Router(_)),
    NameRecord: |_, node| matches!(node, Node::Name(_)),
    DeletedRecord: |_, node| matches!(node, Node::Tombstones(_)),
}

impl Record for TombstoneRecord {
    fn encode(&self) -> Bytes {
        if *self == Self::default() {
            return Bytes::new();
        }
        to_json(&Envelope {
            format: FORMAT,
            body: self,
        })
    }

    fn decode_content(data: &[u8]) -> Result<Self, RecordFault> {
        if data.is_empty() {
            return Ok(Self::default());
        }
        from_json(data)
    }

    fn belongs_to(&self, node: &Node) -> bool {
        matches!(node, Node::Tombstone(..))
    }
}

impl Record for ClusterRecord {
    fn encode(&self) -> Bytes {
        to_json(self)
    }

    fn decode_content(data: &[u8]) -> Result<Self, RecordFault> {
        from_json(data)
    }
}

/// Decodes the record at a place and checks that it is the one of that place.
pub fn decode_at<T: Record>(node: &Node, data: &[u8]) -> Result<T, RecordError> {
    let path = node.path();
    let record = T::decode(&path, data)?;
    if record.belongs_to(node) {
        Ok(record)
    } else {
        Err(RecordError {
            path,
            fault: RecordFault::Misplaced,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn live() -> LiveNodeRecord {
        LiveNodeRecord {
            id: NodeId(5),
            address: "127.0.0.1:7801".into(),
            incarnation: 3,
            started_millis: 1_700_000_000_000,
            host: "a".into(),
            data_dir: "/var/lib/minidynamo".into(),
        }
    }

    #[test]
    fn the_json_is_pinned_because_other_versions_read_it() {
        let cluster = ClusterRecord {
            cluster_id: ClusterId(7),
            format: FORMAT,
        };
        let member = MemberRecord {
            id: NodeId(5),
            address: "h:1".into(),
            zone: Some("b".into()),
            tenure: None,
            void_to: None,
        };
        let held = MemberRecord {
            zone: None,
            tenure: Some(Tenure {
                number: 3,
                incarnation: 4,
            }),
            void_to: Some(5),
            ..member.clone()
        };
        let cases = [
            (
                cluster.encode(),
                r#"{"cluster_id":"0000000000000007","format":1}"#,
            ),
            (
                member.encode(),
                r#"{"format":1,"id":"0000000000000005","address":"h:1","zone":"b"}"#,
            ),
            (
                held.encode(),
                r#"{"format":1,"id":"0000000000000005","address":"h:1","tenure":{"number":3,"incarnation":4},"void_to":5}"#,
            ),
            (
                live().encode(),
                r#"{"format":1,"id":"0000000000000005","address":"127.0.0.1:7801","incarnation":3,"started_millis":1700000000000,"host":"a","data_dir":"/var/lib/minidynamo"}"#,
            ),
            (
                RouterRecord {
                    address: "h:2".into(),
                }
                .encode(),
                r#"{"format":1,"address":"h:2"}"#,
            ),
            (
                NameRecord { table: TableId(9) }.encode(),
                r#"{"format":1,"table":"0000000000000009"}"#,
            ),
            (
                DeletedRecord {
                    name: "people".parse().unwrap(),
                    forgotten: BTreeSet::new(),
                }
                .encode(),
                r#"{"format":1,"name":"people"}"#,
            ),
            (TombstoneRecord::default().encode(), ""),
            (
                TombstoneRecord {
                    never_available: true,
                }
                .encode(),
                r#"{"format":1,"never_available":true}"#,
            ),
        ];
        for (encoded, json) in cases {
            assert_eq!(std::str::from_utf8(&encoded).unwrap(), json);
        }
    }

    #[test]
    fn records_survive_their_encoding() {
        let member = MemberRecord {
            id: NodeId(5),
            address: "h:1".into(),
            zone: None,
            tenure: None,
            void_to: None,
        };
        assert_eq!(MemberRecord::decode("/", &member.encode()), Ok(member));
        assert_eq!(LiveNodeRecord::decode("/", &live().encode()), Ok(live()));
        let cluster = ClusterRecord {
            cluster_id: ClusterId(7),
            format: 1,
        };
        assert_eq!(ClusterRecord::decode("/", &cluster.encode()), Ok(cluster));
        for never_available in [false, true] {
            let record = TombstoneRecord { never_available };
            assert_eq!(TombstoneRecord::decode("/", &record.encode()), Ok(record));
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_name_and_an_unknown_field_is_ignored() {
        let newer = br#"{"format":2,"address":["something","else"]}"#;
        let error = RouterRecord::decode("/routers/x", newer).unwrap_err();
        assert_eq!(error.fault, RecordFault::NewerFormat(2));
        assert_eq!(
            error.to_string(),
            "the record at /routers/x has format 2; this version knows formats up to 1"
        );
        let known = br#"{"format":1,"address":"h:2","later":true}"#;
        assert!(RouterRecord::decode("/routers/x", known).is_ok());
    }

    #[test]
    fn a_record_of_another_znode_is_refused() {
        let error = decode_at::<LiveNodeRecord>(&Node::Live(NodeId(6)), &live().encode());
        assert_eq!(error.unwrap_err().fault, RecordFault::Misplaced);
        assert!(decode_at::<LiveNodeRecord>(&Node::Live(NodeId(5)), &live().encode()).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused_but_never_panic(
            data in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = ClusterRecord::decode("/cluster", &data);
            let _ = LiveNodeRecord::decode("/nodes/x", &data);
            let _ = model::Table::decode("/tables/x", &data);
        }
    }
}
