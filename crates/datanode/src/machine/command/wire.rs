//! Commands as they lie in a payload: what is read of them points into it, and becomes a slice of it when it is taken out.

use bytes::Bytes;
use model::key::InvalidKey;
use model::{
    Condition, Key, Participant, RequestId, TableId, Timestamp, TransactionId, TransactionItem,
    limits,
};
use serde::Deserialize;

use super::{Command, CommandDecodeError};

/// [`CommandBatch`] with everything of variable length still in the payload.
#[derive(Deserialize)]
pub(super) struct WireBatch<'a> {
    pub(super) now_millis: u64,
    #[serde(borrow)]
    pub(super) commands: Vec<WireCommand<'a>>,
}

/// [`Command`], the same variants in the same order.
#[derive(Deserialize)]
pub(super) enum WireCommand<'a> {
    Put {
        #[serde(borrow)]
        key: WireKey<'a>,
        value: &'a [u8],
        request: RequestId,
        condition: Condition,
    },
    Delete {
        #[serde(borrow)]
        key: WireKey<'a>,
        request: RequestId,
        condition: Condition,
    },
    Seal,
    Checkpoint {
        verify_id: u64,
    },
    TransactWrite {
        transaction: TransactionId,
        issued_millis: u64,
        #[serde(borrow)]
        items: Vec<WireItem<'a>>,
    },
    Prepare {
        transaction: TransactionId,
        timestamp: Timestamp,
        #[serde(borrow)]
        items: Vec<WireItem<'a>>,
        #[serde(borrow)]
        participants: Vec<WireParticipant<'a>>,
    },
    Decide {
        transaction: TransactionId,
        timestamp: Timestamp,
        commit: bool,
    },
    Inquire {
        transaction: TransactionId,
        timestamp: Timestamp,
        #[serde(borrow)]
        keys: Vec<WireKey<'a>>,
    },
}

/// [`TransactionItem`].
#[derive(Deserialize)]
pub(super) struct WireItem<'a> {
    #[serde(borrow)]
    key: WireKey<'a>,
    value: &'a [u8],
    condition: Condition,
}

/// [`Participant`].
#[derive(Deserialize)]
pub(super) struct WireParticipant<'a> {
    table: TableId,
    #[serde(borrow)]
    key: WireKey<'a>,
}

/// [`Key`], unchecked.
#[derive(Deserialize)]
pub(super) struct WireKey<'a> {
    partition: &'a [u8],
    sort: &'a [u8],
}

impl WireCommand<'_> {
    pub(super) fn own(self, payload: &Bytes) -> Result<Command, CommandDecodeError> {
        Ok(match self {
            Self::Put {
                key,
                value,
                request,
                condition,
            } => Command::Put {
                key: key.own(payload)?,
                value: payload.slice_ref(value),
                request,
                condition,
            },
            Self::Delete {
                key,
                request,
                condition,
            } => Command::Delete {
                key: key.own(payload)?,
                request,
                condition,
            },
            Self::Seal => Command::Seal,
            Self::Checkpoint { verify_id } => Command::Checkpoint { verify_id },
            Self::TransactWrite {
                transaction,
                issued_millis,
                items,
            } => Command::TransactWrite {
                transaction,
                issued_millis,
                items: own_all(items, |item| item.own(payload))?,
            },
            Self::Prepare {
                transaction,
                timestamp,
                items,
                participants,
            } => Command::Prepare {
                transaction,
                timestamp,
                items: own_all(items, |item| item.own(payload))?,
                participants: own_all(participants, |one| one.own(payload))?,
            },
            Self::Decide {
                transaction,
                timestamp,
                commit,
            } => Command::Decide {
                transaction,
                timestamp,
                commit,
            },
            Self::Inquire {
                transaction,
                timestamp,
                keys,
            } => Command::Inquire {
                transaction,
                timestamp,
                keys: own_all(keys, |key| key.own(payload))?,
            },
        })
    }
}

fn own_all<W, T>(
    wire: Vec<W>,
    own: impl FnMut(W) -> Result<T, InvalidKey>,
) -> Result<Vec<T>, CommandDecodeError> {
    if wire.len() > limits::MAX_BATCH_ITEMS {
        return Err(CommandDecodeError::TooManyItems(wire.len()));
    }
    Ok(wire.into_iter().map(own).collect::<Result<_, _>>()?)
}

impl WireItem<'_> {
    fn own(self, payload: &Bytes) -> Result<TransactionItem, InvalidKey> {
        Ok(TransactionItem {
            key: self.key.own(payload)?,
            value: payload.slice_ref(self.value),
            condition: self.condition,
        })
    }
}

impl WireParticipant<'_> {
    fn own(self, payload: &Bytes) -> Result<Participant, InvalidKey> {
        Ok(Participant {
            table: self.table,
            key: self.key.own(payload)?,
        })
    }
}

impl WireKey<'_> {
    fn own(self, payload: &Bytes) -> Result<Key, InvalidKey> {
        Ok(Key {
            sort: payload.slice_ref(self.sort),
            ..Key::new(payload.slice_ref(self.partition))?
        })
    }
}
