//! Operations between nodes: a router's frame from its bytes to operations, and their answers to bytes again.
//!
//! Frames are of so many puts of 128 B under keys of 16 B, or of gets of such items. Items are operations.
//!
//! ```text
//! cargo bench --package datanode --bench operation
//! ```

#![allow(clippy::unwrap_used)]

use api::internal;
use bytes::Bytes;
use datanode::operation::{Answer, Operation, decode, encode, encode_answer};
use divan::Bencher;
use divan::counter::ItemsCount;
use model::{Condition, Key, NodeId, RequestId};
use prost::Message as _;

const OPERATIONS: [usize; 2] = [1, 32];
const VALUE: usize = 128;

fn main() {
    divan::main();
}

/// A frame of puts: protobuf, and the limits of each operation.
#[divan::bench(args = OPERATIONS)]
fn decode_puts(bencher: Bencher<'_, '_>, operations: usize) {
    decode_frame(bencher, operations, put);
}

/// A frame of gets.
#[divan::bench(args = OPERATIONS)]
fn decode_gets(bencher: Bencher<'_, '_>, operations: usize) {
    decode_frame(bencher, operations, get);
}

/// What a router writes for the puts of a frame.
#[divan::bench(args = OPERATIONS)]
fn encode_puts(bencher: Bencher<'_, '_>, operations: usize) {
    let frame = frame(operations, put);
    let counted = bencher.counter(ItemsCount::new(operations));
    counted.bench_local(|| frame.encode_to_vec());
}

/// The answers to gets.
#[divan::bench(args = OPERATIONS)]
fn encode_found(bencher: Bencher<'_, '_>, operations: usize) {
    let value = Bytes::from(vec![7; VALUE]);
    let counted = bencher.counter(ItemsCount::new(operations));
    counted.bench_local(|| {
        let results = (0..operations as u64).map(|correlation| {
            let value = value.clone();
            let version = correlation;
            let found = Answer::Found { value, version };
            encode_answer(correlation, Some(NodeId(1)), found)
        });
        let results = results.collect();
        internal::ResultBatch { results }.encode_to_vec()
    });
}

fn decode_frame(bencher: Bencher<'_, '_>, operations: usize, make: fn(u64) -> Operation) {
    let bytes = Bytes::from(frame(operations, make).encode_to_vec());
    let counted = bencher.counter(ItemsCount::new(operations));
    counted.bench_local(|| {
        let frame = internal::OperationBatch::decode(bytes.clone()).unwrap();
        let kinds = frame.operations.into_iter().filter_map(|one| one.kind);
        let decoded: Result<Vec<_>, _> = kinds.map(decode).collect();
        assert_eq!(decoded.as_ref().map(Vec::len), Ok(operations));
        decoded
    });
}

fn frame(operations: usize, make: fn(u64) -> Operation) -> internal::OperationBatch {
    let operations = (1..=operations as u64).map(|correlation| internal::Operation {
        correlation,
        table: 1,
        shard: 3,
        timeout_millis: 5_000,
        kind: Some(encode(make(correlation))),
        ..internal::Operation::default()
    });
    internal::OperationBatch {
        operations: operations.collect(),
        cancelled: Vec::new(),
    }
}

fn key(number: u64) -> Key {
    Key::new(format!("{number:016x}").into()).unwrap()
}

fn put(number: u64) -> Operation {
    Operation::Put {
        key: key(number),
        value: Bytes::from(vec![7; VALUE]),
        request: RequestId {
            issued_millis: 1_700_000_000_000,
            client: 0x0123_4567_89ab_cdef,
            sequence: number,
        },
        condition: Condition::Always,
    }
}

fn get(number: u64) -> Operation {
    Operation::Get {
        key: key(number),
        consistent: true,
    }
}
