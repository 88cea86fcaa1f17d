//! Between messages and the nouns of `model`. The way in checks every limit and names the field.

use bytes::Bytes;
use model::{Key, RequestId, TableName, TableState, limits};

use crate::{Error, v1};

/// A table's name from a request, in which it stands as `field`.
pub fn table_name(field: &str, name: &str) -> Result<TableName, Error> {
    name.parse().map_err(|error| Error::invalid(field, error))
}

/// A key from a request.
pub fn key(bytes: Bytes) -> Result<Key, Error> {
    Key::new(bytes).map_err(|error| Error::invalid("key", error))
}

/// A value from a request.
pub fn value(bytes: Bytes) -> Result<Bytes, Error> {
    if bytes.len() > limits::MAX_VALUE_BYTES {
        let message = format!(
            "a value has at most {} bytes, this one has {}",
            limits::MAX_VALUE_BYTES,
            bytes.len()
        );
        return Err(Error::invalid("value", message));
    }
    Ok(bytes)
}

/// The number of shards from a request.
pub fn shard_count(shards: u32) -> Result<u32, Error> {
    if (1..=limits::MAX_SHARDS).contains(&shards) {
        return Ok(shards);
    }
    let message = format!(
        "a table has 1 to {} shards, not {shards}",
        limits::MAX_SHARDS
    );
    Err(Error::invalid("shards", message))
}

/// The number of items of a batch.
pub fn batch_len(field: &str, items: usize) -> Result<(), Error> {
    if (1..=limits::MAX_BATCH_ITEMS).contains(&items) {
        return Ok(());
    }
    let message = format!(
        "a batch has 1 to {} items, not {items}",
        limits::MAX_BATCH_ITEMS
    );
    Err(Error::invalid(field, message))
}

impl From<v1::RequestId> for RequestId {
    fn from(id: v1::RequestId) -> Self {
        Self {
            issued_millis: id.issued_at_millis,
            client: id.client_id,
            sequence: id.sequence,
        }
    }
}

impl From<RequestId> for v1::RequestId {
    fn from(id: RequestId) -> Self {
        Self {
            client_id: id.client,
            sequence: id.sequence,
            issued_at_millis: id.issued_millis,
        }
    }
}

impl From<TableState> for v1::TableState {
    fn from(state: TableState) -> Self {
        match state {
            TableState::Creating => Self::Creating,
            TableState::Available => Self::Available,
            TableState::Deleting => Self::Deleting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_of_the_limits_is_refused_with_its_field() {
        let field = |error: Error| error.metadata["field"].clone();
        assert_eq!(field(table_name("table", "a b").unwrap_err()), "table");
        assert_eq!(field(key(Bytes::new()).unwrap_err()), "key");
        assert_eq!(field(key(Bytes::from(vec![0; 2049])).unwrap_err()), "key");
        assert!(value(Bytes::from(vec![0; 400 * 1024])).is_ok());
        assert_eq!(
            field(value(Bytes::from(vec![0; 400 * 1024 + 1])).unwrap_err()),
            "value"
        );
        assert_eq!(field(shard_count(0).unwrap_err()), "shards");
        assert_eq!(field(shard_count(4097).unwrap_err()), "shards");
        assert!(shard_count(4096).is_ok());
        assert_eq!(field(batch_len("items", 0).unwrap_err()), "items");
        assert_eq!(field(batch_len("items", 101).unwrap_err()), "items");
        assert!(batch_len("items", 100).is_ok());
    }
}
