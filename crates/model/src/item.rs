//! Items as a shard stores them, and the one place that owns their encoding.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Timestamp, TransactionId};

/// A shard's sequence number of changes: each applied command that changes something gets the next one.
///
/// It is the `version` that callers see: it grows with every change to a key and is never used again for
/// one, deletion included. 0 means "no change yet".
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// What a shard keeps of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The value; `None` for the placeholder that a prepared transaction leaves on an absent key, which
    /// no read ever shows.
    pub value: Option<Bytes>,
    /// Of the write that made the value. Never falls for a key.
    pub timestamp: Timestamp,
    /// Of the change that made the value.
    pub lsn: Lsn,
    /// The write of a transaction that is prepared on this key and not decided yet.
    pub intent: Option<Intent>,
}

/// A transaction's write between prepare and decision. While it is there, no other write gets in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The transaction.
    pub transaction: TransactionId,
    /// The timestamp of all its writes.
    pub timestamp: Timestamp,
    /// The value if it commits.
    pub value: Bytes,
}

/// Bytes that are not an item of a format known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemDecodeError {
    /// No bytes at all.
    #[error("an item has no bytes")]
    Empty,
    /// Written by a newer version of this software.
    #[error("item format {0} is not known to this version")]
    UnknownFormat(u8),
    /// Damaged.
    #[error("an item can't be decoded: {0}")]
    Malformed(String),
}

/// Number of the encoding, the first byte of every stored item.
const FORMAT: u8 = 1;

impl Item {
    /// The stored form: the format's number, then the fields in [postcard](https://postcard.jamesmunns.com)'s
    /// wire format. Equal items have equal bytes, which the content hashes of replicas rely on.
    pub fn encode(&self) -> Bytes {
        let value_len = self.value.as_ref().map_or(0, Bytes::len);
        let mut buffer = Vec::with_capacity(value_len + 40);
        buffer.push(FORMAT);
        // Serialising plain structs into a growing vector has no failing case.
        postcard::to_extend(self, buffer)
            .map(Bytes::from)
            .unwrap_or_default()
    }

    /// The inverse of [`Item::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ItemDecodeError> {
        match bytes.split_first() {
            None => Err(ItemDecodeError::Empty),
            Some((&FORMAT, rest)) => match postcard::take_from_bytes(rest) {
                Ok((item, [])) => Ok(item),
                Ok((_, rest)) => Err(ItemDecodeError::Malformed(format!(
                    "{} bytes too many",
                    rest.len()
                ))),
                Err(error) => Err(ItemDecodeError::Malformed(error.to_string())),
            },
            Some((&other, _)) => Err(ItemDecodeError::UnknownFormat(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
    }

    fn intent() -> impl Strategy<Value = Intent> {
        (any::<u128>(), any::<u64>(), bytes()).prop_map(|(id, ts, value)| Intent {
            transaction: TransactionId(id),
            timestamp: Timestamp(ts),
            value,
        })
    }

    proptest! {
        #[test]
        fn an_item_survives_its_encoding(
            value in proptest::option::of(bytes()),
            timestamp: u64,
            lsn: u64,
            intent in proptest::option::of(intent()),
        ) {
            let item = Item { value, timestamp: Timestamp(timestamp), lsn: Lsn(lsn), intent };
            prop_assert_eq!(Item::decode(&item.encode()), Ok(item));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused_but_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let _ = Item::decode(&bytes);
        }
    }

    #[test]
    fn the_format_is_pinned() {
        let item = Item {
            value: Some(Bytes::from_static(b"v")),
            timestamp: Timestamp(3),
            lsn: Lsn(7),
            intent: None,
        };
        assert_eq!(item.encode().as_ref(), [1, 1, 1, b'v', 3, 7, 0]);
    }

    #[test]
    fn an_item_of_a_newer_format_is_named() {
        assert_eq!(
            Item::decode(&[9, 1, 2]),
            Err(ItemDecodeError::UnknownFormat(9))
        );
        assert_eq!(Item::decode(&[]), Err(ItemDecodeError::Empty));
        assert!(matches!(
            Item::decode(&[1, 1, 50]),
            Err(ItemDecodeError::Malformed(_))
        ));
    }
}
