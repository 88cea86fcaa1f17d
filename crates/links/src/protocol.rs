//! What travels to a data node, as a lane wants to know it.

use api::internal::operation::Kind;
use api::internal::{Operation, OperationBatch, OperationResult, TransactionItem};
use bytes::Bytes;
use lanes::{Bounds, Protocol};
use model::limits;

use crate::Answer;

/// Room for an operation's frame, besides key and value.
const OPERATION_FRAME_BYTES: usize = 64;
/// … and of each participant of a transaction beside its key.
const PARTICIPANT_FRAME_BYTES: usize = 16;

/// Of the lane to a data node.
pub(crate) const BOUNDS: Bounds = Bounds {
    operations: limits::MAX_NODE_OPERATIONS,
    bytes: limits::MAX_NODE_BYTES / 2,
};

/// `DataNode.Operate`.
#[derive(Debug)]
pub enum Operate {}

impl Protocol for Operate {
    type Operation = Operation;
    type Frame = OperationBatch;
    type Result = OperationResult;
    type Answer = Answer;

    fn bytes(operation: &Operation) -> usize {
        operation_bytes(operation)
    }

    fn stamp(operation: &mut Operation, correlation: u64, timeout_millis: u32) {
        operation.correlation = correlation;
        operation.timeout_millis = timeout_millis;
    }

    fn frame(operations: Vec<Operation>, cancelled: Vec<u64>) -> OperationBatch {
        OperationBatch {
            operations,
            cancelled,
        }
    }

    fn correlation(result: &OperationResult) -> u64 {
        result.correlation
    }

    fn answer(result: OperationResult) -> Answer {
        Answer::from(result)
    }
}

fn operation_bytes(operation: &Operation) -> usize {
    let content = match &operation.kind {
        Some(Kind::Get(get)) => get.key.len(),
        Some(Kind::Put(put)) => put.key.len() + put.value.len(),
        Some(Kind::Delete(delete)) => delete.key.len(),
        Some(Kind::TransactWrite(write)) => items_bytes(&write.items),
        Some(Kind::Prepare(prepare)) => {
            let participants = prepare.participants.iter();
            let participants = participants.map(|p| PARTICIPANT_FRAME_BYTES + p.key.len());
            items_bytes(&prepare.items) + participants.sum::<usize>()
        }
        Some(Kind::Inquire(inquire)) => inquire.keys.iter().map(Bytes::len).sum(),
        Some(Kind::TransactRead(read)) => read.keys.iter().map(|key| key.key.len()).sum(),
        Some(Kind::Seal(_) | Kind::Checkpoint(_) | Kind::Decide(_)) | None => 0,
    };
    OPERATION_FRAME_BYTES + content
}

fn items_bytes(items: &[TransactionItem]) -> usize {
    let items = items.iter();
    items.map(|item| item.key.len() + item.value.len()).sum()
}
