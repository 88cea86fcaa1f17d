//! The way of operations through a lane, without a network: submitted, taken as one frame, answered, each answer with its caller.
//!
//! ```text
//! cargo bench --package links --bench lane
//! ```

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use api::internal::{Absent, Get, Operation, OperationBatch, OperationResult, ResultBatch};
use api::internal::{operation, operation_result};
use divan::Bencher;
use divan::counter::ItemsCount;
use futures::FutureExt as _;
use links::Outcome;
use links::measured::Connected;
use tokio::time::Instant;

fn main() {
    divan::main();
}

/// So many gets that are there at once. The answers are made in between, which is the least of it. Items are operations.
#[divan::bench(args = [1, 32])]
fn submit_frame_complete(bencher: Bencher<'_, '_>, operations: u64) {
    let mut lane = Connected::new();
    let counted = bencher.counter(ItemsCount::new(operations as usize));
    let gets = || (0..operations).map(get).collect::<Vec<_>>();
    counted.with_inputs(gets).bench_local_values(|gets| {
        let deadline = Instant::now() + Duration::from_secs(5);
        let submit = |get| lane.submit(get, deadline).unwrap();
        let mut outcomes: Vec<_> = gets.into_iter().map(submit).collect();
        let frame = lane.frame().unwrap();
        lane.complete(answers(&frame));
        for outcome in &mut outcomes {
            assert!(matches!(outcome.now_or_never(), Some(Outcome::Answer(_))));
        }
        outcomes
    });
}

fn get(number: u64) -> Operation {
    let get = Get {
        key: format!("{number:016x}").into(),
        consistent: true,
    };
    Operation {
        table: 1,
        kind: Some(operation::Kind::Get(get)),
        ..Operation::default()
    }
}

fn answers(frame: &OperationBatch) -> ResultBatch {
    let answer = |operation: &Operation| OperationResult {
        correlation: operation.correlation,
        leader: 1,
        kind: Some(operation_result::Kind::Absent(Absent {})),
    };
    ResultBatch {
        results: frame.operations.iter().map(answer).collect(),
    }
}
