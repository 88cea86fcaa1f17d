//! Identities: 64 or 128 random bits, drawn once by whoever makes the thing, never used again.
//!
//! All of them print and parse as fixed-width lowercase hexadecimal, so that they sort, line up in tables
//! and can stand in a path of the coordination store.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not the hexadecimal form of an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected} hexadecimal digits")]
pub struct ParseIdError {
    text: String,
    expected: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $digits:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:0", $digits, "x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let error = || ParseIdError { text: text.to_owned(), expected: $digits };
                let hexadecimal = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                if text.len() != $digits || !hexadecimal {
                    return Err(error());
                }
                <$inner>::from_str_radix(text, 16).map(Self).map_err(|_| error())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    <$inner>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

id!(
    /// A cluster: drawn when the first process meets an empty coordination store.
    ClusterId, u64, 16
);
id!(
    /// A data node: born with its data directory. An emptied directory is a new node.
    NodeId, u64, 16
);
id!(
    /// A router: fresh for each session with the coordination store.
    RouterId, u64, 16
);
id!(
    /// A table: a table made again under the same name has another id.
    TableId, u64, 16
);
id!(
    /// A transaction.
    TransactionId, u128, 32
);

/// One shard of one table, and the name of its Raft group. Shows as `table/index`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId {
    /// The table.
    pub table: TableId,
    /// Position among the table's shards, from 0, in the order of their hash ranges.
    pub index: u32,
}

impl ShardId {
    /// Bytes of the form in which a shard id stands in keys and log records.
    pub const ENCODED_LEN: usize = 12;

    /// The form in keys and log records: big-endian, so that it sorts like the id.
    pub fn to_bytes(self) -> [u8; Self::ENCODED_LEN] {
        let mut bytes = [0; Self::ENCODED_LEN];
        bytes[..8].copy_from_slice(&self.table.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    /// The inverse of [`ShardId::to_bytes`].
    pub fn from_bytes(bytes: [u8; Self::ENCODED_LEN]) -> Self {
        let [t0, t1, t2, t3, t4, t5, t6, t7, i0, i1, i2, i3] = bytes;
        Self {
            table: TableId(u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7])),
            index: u32::from_be_bytes([i0, i1, i2, i3]),
        }
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.table, self.index)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_print_at_full_width_and_parse_back() {
        assert_eq!(NodeId(0xab).to_string(), "00000000000000ab");
        assert_eq!("00000000000000ab".parse(), Ok(NodeId(0xab)));
    }

    #[test]
    fn a_text_that_is_not_an_id_is_refused() {
        for text in [
            "",
            "ab",
            "00000000000000AB",
            "+0000000000000ab",
            "00000000000000ag",
        ] {
            assert!(text.parse::<NodeId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn shard_ids_sort_like_their_bytes(a: (u64, u32), b: (u64, u32)) {
            let [a, b] = [a, b].map(|(table, index)| ShardId { table: TableId(table), index });
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
            prop_assert_eq!(ShardId::from_bytes(a.to_bytes()), a);
        }
    }
}
