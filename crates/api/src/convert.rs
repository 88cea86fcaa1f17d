//! Between messages and the nouns of `model`. The way in checks every limit and names the field.

use bytes::Bytes;
use model::{
    Condition, Key, Objection, Participant, RequestId, TableId, TableName, TableState, Timestamp,
    TransactionId, TransactionItem, TransactionState, Undecided, limits,
};

use crate::{Error, internal, v1};

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

/// A condition from a request; none stands for [`Condition::Always`].
pub fn condition(condition: Option<&v1::Condition>) -> Condition {
    use v1::condition::Kind;
    match condition.and_then(|condition| condition.kind.as_ref()) {
        None => Condition::Always,
        Some(Kind::Exists(_)) => Condition::Exists,
        Some(Kind::NotExists(_)) => Condition::NotExists,
        Some(Kind::VersionIs(version)) => Condition::VersionIs(*version),
    }
}

/// A condition for a request.
pub fn condition_message(condition: Condition) -> Option<v1::Condition> {
    use v1::condition::{Exists, Kind, NotExists};
    let kind = match condition {
        Condition::Always => return None,
        Condition::Exists => Kind::Exists(Exists {}),
        Condition::NotExists => Kind::NotExists(NotExists {}),
        Condition::VersionIs(version) => Kind::VersionIs(version),
    };
    Some(v1::Condition { kind: Some(kind) })
}

/// A transaction's id between processes: 16 bytes, big-endian.
pub fn transaction_id(bytes: &[u8]) -> Result<TransactionId, Error> {
    let bytes = <[u8; 16]>::try_from(bytes);
    let id = bytes.map(|bytes| TransactionId(u128::from_be_bytes(bytes)));
    id.map_err(|_| Error::invalid("transaction", "a transaction's id has 16 bytes"))
}

/// The inverse of [`transaction_id`].
pub fn transaction_bytes(id: TransactionId) -> Bytes {
    Bytes::copy_from_slice(&id.0.to_be_bytes())
}

impl From<TransactionItem> for internal::TransactionItem {
    fn from(item: TransactionItem) -> Self {
        Self {
            key: item.key.partition,
            value: item.value,
            condition: condition_message(item.condition),
        }
    }
}

impl TryFrom<internal::TransactionItem> for TransactionItem {
    type Error = Error;

    fn try_from(item: internal::TransactionItem) -> Result<Self, Error> {
        Ok(Self {
            key: key(item.key)?,
            value: value(item.value)?,
            condition: condition(item.condition.as_ref()),
        })
    }
}

impl From<Participant> for internal::Participant {
    fn from(participant: Participant) -> Self {
        Self {
            table: participant.table.0,
            key: participant.key.partition,
        }
    }
}

impl TryFrom<internal::Participant> for Participant {
    type Error = Error;

    fn try_from(participant: internal::Participant) -> Result<Self, Error> {
        Ok(Self {
            table: TableId(participant.table),
            key: key(participant.key)?,
        })
    }
}

impl TryFrom<internal::UndecidedTransaction> for Undecided {
    type Error = Error;

    fn try_from(told: internal::UndecidedTransaction) -> Result<Self, Error> {
        let participants = told.participants.into_iter().map(TryInto::try_into);
        Ok(Self {
            transaction: transaction_id(&told.transaction)?,
            timestamp: Timestamp(told.timestamp),
            participants: participants.collect::<Result<_, _>>()?,
        })
    }
}

impl From<Option<Objection>> for internal::ItemObjection {
    fn from(objection: Option<Objection>) -> Self {
        use internal::item_objection::Kind;
        let (kind, timestamp) = match objection {
            None => (Kind::None, 0),
            Some(Objection::ConditionFailed) => (Kind::ConditionFailed, 0),
            Some(Objection::TransactionConflict) => (Kind::TransactionConflict, 0),
            Some(Objection::TimestampTooOld(timestamp)) => (Kind::TimestampTooOld, timestamp.0),
            Some(Objection::Invalid) => (Kind::Invalid, 0),
        };
        Self {
            kind: kind.into(),
            timestamp,
        }
    }
}

impl From<internal::ItemObjection> for Option<Objection> {
    /// A kind that only a newer version could send is taken for the most general one.
    fn from(message: internal::ItemObjection) -> Self {
        use internal::item_objection::Kind;
        match Kind::try_from(message.kind) {
            Ok(Kind::None) => None,
            Ok(Kind::ConditionFailed) => Some(Objection::ConditionFailed),
            Ok(Kind::TransactionConflict) => Some(Objection::TransactionConflict),
            Ok(Kind::TimestampTooOld) => {
                Some(Objection::TimestampTooOld(Timestamp(message.timestamp)))
            }
            Ok(Kind::Invalid) | Err(_) => Some(Objection::Invalid),
        }
    }
}

impl From<TransactionState> for internal::TransactionStateOnShard {
    fn from(state: TransactionState) -> Self {
        use internal::transaction_state_on_shard::State;
        let state = match state {
            TransactionState::Unknown => State::Unknown,
            TransactionState::Prepared => State::Prepared,
            TransactionState::Committed => State::Committed,
            TransactionState::Cancelled => State::Cancelled,
            TransactionState::Forgotten => State::Forgotten,
        };
        Self {
            state: state.into(),
        }
    }
}

impl From<internal::TransactionStateOnShard> for TransactionState {
    fn from(message: internal::TransactionStateOnShard) -> Self {
        use internal::transaction_state_on_shard::State;
        match State::try_from(message.state) {
            Ok(State::Unknown) => Self::Unknown,
            // A state that a newer node knows: nothing may be concluded.
            Ok(State::Forgotten) | Err(_) => Self::Forgotten,
            Ok(State::Prepared) => Self::Prepared,
            Ok(State::Committed) => Self::Committed,
            Ok(State::Cancelled) => Self::Cancelled,
        }
    }
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
    fn conditions_and_objections_survive_the_wire() {
        for there in [
            Condition::Always,
            Condition::Exists,
            Condition::NotExists,
            Condition::VersionIs(0),
        ] {
            assert_eq!(condition(condition_message(there).as_ref()), there);
        }
        for there in [
            None,
            Some(Objection::ConditionFailed),
            Some(Objection::TransactionConflict),
            Some(Objection::TimestampTooOld(Timestamp(7))),
            Some(Objection::Invalid),
        ] {
            let back: Option<Objection> = internal::ItemObjection::from(there).into();
            assert_eq!(back, there);
        }
        let id = TransactionId(7 << 100);
        assert_eq!(transaction_id(&transaction_bytes(id)), Ok(id));
        assert!(transaction_id(&[0; 15]).is_err());
    }

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
