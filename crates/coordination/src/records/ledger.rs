//! What stands in the ledger of transactions, and at the tokens.
//!
//! ```text
//! [zk: zk1:2181(CONNECTED) 0] get /transactions/01/00000000000000000000000000000041
//! {"format":1,"state":"pending","router":"5e0d…","started_millis":1700000000000,
//!  "participants":{"00000000000000aa":["YWxpY2U=","Ym9i"]}}
//! [zk: zk1:2181(CONNECTED) 1] get /tokens/0000000000000000000000000000beef
//! {"format":1,"transaction":"…41","contents":"…","started_millis":1700000000000}
//! ```
//!
//! Participants are listed by table, so that 100 keys of 2 KiB, in base64, stay well below what fits into a znode.

use bytes::Bytes;
use model::limits::{MAX_BATCH_ITEMS, MAX_KEY_BYTES, MAX_ZNODE_BYTES};
use model::{Decision, Participant, RouterId, Timestamp, TransactionId};
use serde::{Deserialize, Serialize};

use super::{Envelope, FORMAT, Record, RecordFault, from_json, to_json};
use crate::tree::{Node, TokenHash};

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryState {
    /// Not decided.
    Pending,
    /// All of its writes happen.
    Committed,
    /// None of them does.
    Cancelled,
}

impl EntryState {
    /// The decision, once there is one.
    pub fn decision(self) -> Option<Decision> {
        match self {
            Self::Pending => None,
            Self::Committed => Some(Decision::Committed),
            Self::Cancelled => Some(Decision::Cancelled),
        }
    }
}

impl From<Decision> for EntryState {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Committed => Self::Committed,
            Decision::Cancelled => Self::Cancelled,
        }
    }
}

/// At `/transactions/<bucket>/<transaction>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRecord {
    /// Where it stands.
    pub state: EntryState,
    /// Who drives it; once it is gone, others do.
    pub router: RouterId,
    /// When it began, by that router's clock, milliseconds since the Unix epoch.
    pub started_millis: u64,
    /// Of all its writes, where it is known: it is drawn after the entry was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// The client token that it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenHash>,
    /// What it writes. In the order of tables, not of the request.
    #[serde(with = "by_table")]
    pub participants: Vec<Participant>,
}

/// At `/tokens/<hash>`: a client token that was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// The transaction that it stands for.
    pub transaction: TransactionId,
    /// Hash of what that transaction was to write, by which another request with the same token is told.
    pub contents: ContentsHash,
    /// When it was first used, by its router's clock, milliseconds since the Unix epoch.
    pub started_millis: u64,
    /// When the transaction was finished, committed and applied everywhere, by the clock of who finished it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_millis: Option<u64>,
}

/// Hash of a transaction's items: 128 bits, so that two different ones don't meet by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentsHash(pub u128);

macro_rules! hexadecimal {
    ($($name:ident)*) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&format_args!("{:032x}", self.0))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

hexadecimal! { ContentsHash TokenHash }

/// Participants as a map from table to keys in base64.
mod by_table {
    use std::collections::BTreeMap;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use model::{Key, Participant, TableId};
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        participants: &[Participant],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut tables: BTreeMap<TableId, Vec<String>> = BTreeMap::new();
        for participant in participants {
            let keys = tables.entry(participant.table).or_default();
            keys.push(STANDARD.encode(&participant.key.partition));
        }
        tables.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Participant>, D::Error> {
        let tables = BTreeMap::<TableId, Vec<String>>::deserialize(deserializer)?;
        let mut participants = Vec::new();
        for (table, keys) in tables {
            for key in keys {
                let key = STANDARD.decode(key).map_err(D::Error::custom)?;
                let key = Key::new(Bytes::from(key)).map_err(D::Error::custom)?;
                participants.push(Participant { table, key });
            }
        }
        Ok(participants)
    }
}

impl Record for EntryRecord {
    fn encode(&self) -> Bytes {
        to_json(&Envelope {
            format: FORMAT,
            body: self,
        })
    }

    fn decode_content(data: &[u8]) -> Result<Self, RecordFault> {
        from_json(data)
    }

    fn belongs_to(&self, node: &Node) -> bool {
        matches!(node, Node::Transaction(_))
    }
}

impl Record for TokenRecord {
    fn encode(&self) -> Bytes {
        to_json(&Envelope {
            format: FORMAT,
            body: self,
        })
    }

    fn decode_content(data: &[u8]) -> Result<Self, RecordFault> {
        from_json(data)
    }

    fn belongs_to(&self, node: &Node) -> bool {
        matches!(node, Node::Token(_))
    }
}

const _: () = {
    // The longest keys of the largest transaction, in base64 and with their quotes and tables, fit twice into a znode:
    // an entry that is made and cancelled in one step is written twice.
    assert!(2 * (MAX_BATCH_ITEMS * (MAX_KEY_BYTES.div_ceil(3) * 4 + 32) + 1024) < MAX_ZNODE_BYTES);
};

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Key, TableId};
    use proptest::prelude::*;

    fn participant(table: u64, key: &'static [u8]) -> Participant {
        Participant {
            table: TableId(table),
            key: Key::new(Bytes::from_static(key)).unwrap(),
        }
    }

    fn entry() -> EntryRecord {
        EntryRecord {
            state: EntryState::Pending,
            router: RouterId(5),
            started_millis: 1_700_000_000_000,
            timestamp: None,
            token: None,
            participants: vec![
                participant(0xaa, b"alice"),
                participant(0xaa, b"bob"),
                participant(0xbb, b"\xff"),
            ],
        }
    }

    #[test]
    fn the_json_is_pinned_because_other_versions_read_it() {
        let committed = EntryRecord {
            state: EntryState::Committed,
            timestamp: Some(Timestamp(9)),
            token: Some(TokenHash(0xbeef)),
            participants: vec![participant(1, b"k")],
            ..entry()
        };
        let token = TokenRecord {
            transaction: TransactionId(0x41),
            contents: ContentsHash(0xc),
            started_millis: 1,
            ended_millis: Some(2),
        };
        let cases = [
            (
                entry().encode(),
                r#"{"format":1,"state":"pending","router":"0000000000000005","started_millis":1700000000000,"participants":{"00000000000000aa":["YWxpY2U=","Ym9i"],"00000000000000bb":["/w=="]}}"#,
            ),
            (
                committed.encode(),
                r#"{"format":1,"state":"committed","router":"0000000000000005","started_millis":1700000000000,"timestamp":9,"token":"0000000000000000000000000000beef","participants":{"0000000000000001":["aw=="]}}"#,
            ),
            (
                token.encode(),
                r#"{"format":1,"transaction":"00000000000000000000000000000041","contents":"0000000000000000000000000000000c","started_millis":1,"ended_millis":2}"#,
            ),
        ];
        for (encoded, json) in cases {
            assert_eq!(std::str::from_utf8(&encoded).unwrap(), json);
        }
        assert_eq!(EntryRecord::decode("/", &entry().encode()), Ok(entry()));
        let committed_again = EntryRecord::decode("/", &committed.encode());
        assert_eq!(committed_again, Ok(committed));
        assert_eq!(TokenRecord::decode("/", &token.encode()), Ok(token));
    }

    #[test]
    fn the_largest_transaction_fits_into_a_znode_twice() {
        let participants = (0..MAX_BATCH_ITEMS as u64).map(|table| Participant {
            table: TableId(table),
            key: Key::new(Bytes::from(vec![0xff; MAX_KEY_BYTES])).unwrap(),
        });
        let largest = EntryRecord {
            participants: participants.collect(),
            ..entry()
        };
        assert!(2 * largest.encode().len() + 1024 < MAX_ZNODE_BYTES);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused_but_never_panic(
            data in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = EntryRecord::decode("/", &data);
            let _ = TokenRecord::decode("/", &data);
        }
    }
}
