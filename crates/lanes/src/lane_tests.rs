use super::*;
use futures::{FutureExt as _, StreamExt as _};

/// Operations of so many bytes; the answer says nothing.
#[derive(Debug)]
enum Script {}

#[derive(Debug)]
struct Sized {
    bytes: usize,
    correlation: u64,
}

impl Protocol for Script {
    type Operation = Sized;
    type Frame = (Vec<u64>, Vec<u64>);
    type Result = u64;
    type Answer = ();

    fn bytes(operation: &Sized) -> usize {
        operation.bytes
    }

    fn stamp(operation: &mut Sized, correlation: u64, timeout_millis: u32) {
        assert!(timeout_millis > 0);
        operation.correlation = correlation;
    }

    fn frame(operations: Vec<Sized>, cancelled: Vec<u64>) -> Self::Frame {
        let correlations = operations.iter().map(|operation| operation.correlation);
        (correlations.collect(), cancelled)
    }

    fn correlation(result: &u64) -> u64 {
        *result
    }

    fn answer(_: u64) {}
}

type Outgoing = super::Outgoing<Script>;
type Waiting = crate::Waiting<Script>;

const SMALL: Bounds = Bounds {
    operations: 10,
    bytes: 10_000,
};

fn lane(bounds: Bounds) -> Arc<Lane<Script>> {
    Arc::new(Lane::new(bounds))
}

fn get(bytes: usize) -> Sized {
    Sized {
        bytes,
        correlation: 0,
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn submit(lane: &Arc<Lane<Script>>) -> Waiting {
    lane.submit(get(1), soon()).unwrap()
}

/// The operations of the next frame, and its cancellations, if there is one.
fn batch(outgoing: &mut Outgoing) -> Option<(Vec<u64>, Vec<u64>)> {
    // At first it may be told to let others through.
    let first = outgoing.next().now_or_never();
    let batch = first.or_else(|| outgoing.next().now_or_never())?;
    Some(batch.expect("the connection has ended"))
}

/// The operations of the next frame, which cancels nothing.
fn frame(outgoing: &mut Outgoing) -> Vec<u64> {
    let (operations, cancelled) = batch(outgoing).unwrap_or_default();
    assert_eq!(cancelled, []);
    operations
}

fn full(lane: &Arc<Lane<Script>>) -> bool {
    lane.submit(get(1), soon()).map(drop) == Err(NotSent::Overloaded)
}

#[tokio::test]
async fn what_has_gathered_goes_in_one_frame() {
    let lane = lane(SMALL);
    let mut outgoing = lane.outgoing();
    assert!(frame(&mut outgoing).is_empty());
    let _outcomes: Vec<_> = (0..3).map(|_| submit(&lane)).collect();
    assert_eq!(frame(&mut outgoing), [1, 2, 3]);
    assert!(frame(&mut outgoing).is_empty());
}

#[tokio::test]
async fn others_go_first_and_what_they_bring_travels_along() {
    let lane = lane(SMALL);
    let mut outgoing = lane.outgoing();
    for numbers in [[1, 2], [3, 4]] {
        let first = submit(&lane);
        let mut second = None;
        let brings = async { second = Some(submit(&lane)) };
        let (frame, ()) = tokio::join!(outgoing.next(), brings);
        assert_eq!(frame.unwrap().0, numbers);
        lane.complete(numbers.to_vec());
        assert_eq!(first.await, Outcome::Answer(()));
        assert_eq!(second.unwrap().await, Outcome::Answer(()));
    }
}

#[tokio::test]
async fn a_frame_ends_at_its_bound_of_bytes_but_takes_one_operation_at_least() {
    let lane = lane(Bounds {
        operations: 10,
        bytes: 10 * MAX_ENTRY_BYTES,
    });
    let mut outgoing = lane.outgoing();
    let sizes = [
        MAX_ENTRY_BYTES / 2,
        MAX_ENTRY_BYTES / 2 + 1,
        MAX_ENTRY_BYTES * 2,
        1,
    ];
    let _outcomes: Vec<_> = sizes
        .map(|size| lane.submit(get(size), soon()).unwrap())
        .into();
    let frames: Vec<_> = (0..5).map(|_| frame(&mut outgoing)).collect();
    assert_eq!(frames, [vec![1], vec![2], vec![3], vec![4], vec![]]);
}

#[tokio::test]
async fn answers_in_any_order_find_their_operations_and_doubled_ones_nobody() {
    let lane = lane(SMALL);
    let mut outgoing = lane.outgoing();
    let outcomes: Vec<_> = (0..3).map(|_| submit(&lane)).collect();
    assert_eq!(frame(&mut outgoing), [1, 2, 3]);
    lane.complete(vec![3, 1, 1, 99]);
    let answered: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| matches!(outcome.now_or_never(), Some(Outcome::Answer(()))))
        .collect();
    assert_eq!(answered, [true, false, true]);
}

#[tokio::test]
async fn the_end_of_a_connection_tells_what_was_sent_from_what_was_not() {
    let lane = lane(SMALL);
    let mut outgoing = lane.outgoing();
    let sent = submit(&lane);
    assert_eq!(frame(&mut outgoing), [1]);
    let queued = submit(&lane);
    lane.close();
    assert_eq!(sent.await, Outcome::Lost);
    assert_eq!(queued.await, Outcome::NotSent(NotSent::Unreachable));
    assert_eq!(outgoing.next().await, None);
    let refused = lane.submit(get(1), soon()).map(drop);
    assert_eq!(refused, Err(NotSent::Unreachable));
}

#[tokio::test]
async fn an_old_connection_takes_nothing_that_is_meant_for_the_new_one() {
    let lane = lane(SMALL);
    let mut old = lane.outgoing();
    lane.close();
    let mut new = lane.outgoing();
    let outcome = submit(&lane);
    assert_eq!(old.next().now_or_never(), Some(None));
    assert_eq!(frame(&mut new), [1]);
    lane.complete(vec![1]);
    assert!(matches!(outcome.await, Outcome::Answer(())));
}

#[tokio::test]
async fn a_caller_that_has_gone_and_one_whose_time_is_up_are_not_sent() {
    let lane = lane(SMALL);
    let mut outgoing = lane.outgoing();
    drop(submit(&lane));
    let overdue = lane.submit(get(1), Instant::now()).unwrap();
    assert!(frame(&mut outgoing).is_empty());
    assert_eq!(overdue.await, Outcome::NotSent(NotSent::TooLate));
    // Nothing of them is left: the lane has all its room.
    for _ in 0..SMALL.operations {
        drop(submit(&lane));
    }
}

#[tokio::test]
async fn the_bounds_count_what_is_queued_and_in_flight_and_free_what_is_answered() {
    let lane = lane(Bounds {
        operations: 2,
        bytes: 1000,
    });
    let mut outgoing = lane.outgoing();
    let overloaded = |bytes| lane.submit(get(bytes), soon()).map(drop) == Err(NotSent::Overloaded);
    let _first = submit(&lane);
    assert_eq!(frame(&mut outgoing), [1]);
    assert!(overloaded(1000), "by bytes");
    let _second = submit(&lane);
    assert!(overloaded(1), "by operations");
    lane.complete(vec![1]);
    let _third = submit(&lane);
}

#[tokio::test]
async fn a_node_that_owes_answers_for_long_is_suspect_until_it_gives_one() {
    let patience = Duration::from_secs(1);
    let lane = lane(SMALL);
    let mut outgoing = lane.outgoing();
    let _outcomes = [submit(&lane), submit(&lane)];
    assert_eq!(frame(&mut outgoing), [1, 2]);
    let suspect_in = |seconds| {
        let now = Instant::now() + Duration::from_secs(seconds);
        lane.is_suspect(now, patience)
    };
    assert!(!suspect_in(0));
    assert!(suspect_in(1));
    lane.complete(vec![1]);
    assert!(!suspect_in(0));
    assert!(suspect_in(1));
    lane.complete(vec![2]);
    assert!(!suspect_in(10), "it owes nothing");
}

#[tokio::test]
async fn the_node_is_told_who_has_gone_together_with_what_comes_next() {
    let lane = lane(SMALL);
    let mut outgoing = lane.outgoing();
    let mut waiting: Vec<_> = (0..3).map(|_| submit(&lane)).collect();
    assert_eq!(frame(&mut outgoing), [1, 2, 3]);
    drop(waiting.remove(2));
    drop(waiting.remove(0));
    let _next = submit(&lane);
    assert_eq!(batch(&mut outgoing), Some((vec![4], vec![1, 3])));
    assert_eq!(batch(&mut outgoing), None, "each is told once");
}

#[tokio::test]
async fn a_transport_that_is_idle_is_woken_for_a_cancellation_alone() {
    let lane = lane(SMALL);
    let mut outgoing = lane.outgoing();
    let waiting = submit(&lane);
    assert_eq!(frame(&mut outgoing), [1]);
    let next = outgoing.next();
    tokio::pin!(next);
    assert_eq!(next.as_mut().now_or_never(), None);
    let (told, ()) = tokio::join!(next, async { drop(waiting) });
    let told = told.unwrap();
    assert_eq!(told, (Vec::new(), vec![1]));
}

#[tokio::test]
async fn what_is_cancelled_takes_its_room_until_the_node_answers() {
    let lane = lane(Bounds {
        operations: 1,
        bytes: 1000,
    });
    let mut outgoing = lane.outgoing();
    let waiting = submit(&lane);
    assert_eq!(frame(&mut outgoing), [1]);
    drop(waiting);
    assert!(full(&lane));
    assert_eq!(batch(&mut outgoing), Some((vec![], vec![1])));
    assert!(full(&lane));
    assert!(lane.is_suspect(soon(), Duration::from_secs(1)), "it owes");
    lane.complete(vec![1]);
    assert!(!full(&lane));
}

#[tokio::test]
async fn nothing_is_told_of_what_was_answered() {
    let lane = lane(SMALL);
    let mut outgoing = lane.outgoing();
    let waiting: [_; 3] = std::array::from_fn(|_| submit(&lane));
    assert_eq!(frame(&mut outgoing), [1, 2, 3]);
    let [looked_at, not_looked_at, gone_before] = waiting;
    drop(gone_before);
    lane.complete(vec![1, 2, 3]);
    assert!(matches!(looked_at.await, Outcome::Answer(())));
    drop(not_looked_at);
    assert_eq!(batch(&mut outgoing), None);
}

#[tokio::test]
async fn nothing_is_told_of_what_was_never_sent() {
    let lane = lane(SMALL);
    let mut outgoing = lane.outgoing();
    drop(submit(&lane));
    let _kept = submit(&lane);
    assert_eq!(frame(&mut outgoing), [2]);
    assert_eq!(batch(&mut outgoing), None);
}

#[tokio::test]
async fn a_new_connection_is_told_nothing_of_what_an_old_one_had() {
    let lane = lane(SMALL);
    let mut old = lane.outgoing();
    let (before, after) = (submit(&lane), submit(&lane));
    assert_eq!(frame(&mut old), [1, 2]);
    drop(before);
    lane.close();
    let mut new = lane.outgoing();
    drop(after);
    assert_eq!(batch(&mut new), None);
}

#[tokio::test]
async fn a_retired_lane_sends_what_it_has_and_ends() {
    let lane = lane(SMALL);
    let mut outgoing = lane.outgoing();
    let sent = submit(&lane);
    assert_eq!(frame(&mut outgoing), [1]);
    let queued = submit(&lane);
    lane.retire();
    let refused = lane.submit(get(1), soon()).map(drop);
    assert_eq!(refused, Err(NotSent::Unreachable));
    assert_eq!(frame(&mut outgoing), [2]);
    assert_eq!(outgoing.next().now_or_never(), Some(None));
    lane.complete(vec![2, 1]);
    assert_eq!(sent.await, Outcome::Answer(()));
    assert_eq!(queued.await, Outcome::Answer(()));
}

#[tokio::test]
async fn a_transport_that_is_idle_is_woken_when_the_lane_retires() {
    let lane = lane(SMALL);
    let mut outgoing = lane.outgoing();
    let next = outgoing.next();
    tokio::pin!(next);
    assert_eq!(next.as_mut().now_or_never(), None);
    let (ended, ()) = tokio::join!(next, async { lane.retire() });
    assert_eq!(ended, None);
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutant_is_noticed() {
    let test = answers_in_any_order_find_their_operations_and_doubled_ones_nobody;
    assert!(mutants::is_noticed(mutants::Mutant::AnswersByOrder, test));
}
