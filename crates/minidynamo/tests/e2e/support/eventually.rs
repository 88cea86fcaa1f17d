//! Waiting for conditions.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

/// Ticks at the pace at which conditions are asked again.
pub(crate) fn now_and_then() -> Interval {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Asks again and again until the answer is `Ok`, and fails with the last `Err` when the time is over.
pub(crate) async fn eventually<T, E, F, Fut>(what: &str, within: Duration, mut ask: F) -> T
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + within;
    let mut ticks = now_and_then();
    let mut last = String::from("no answer yet");
    loop {
        ticks.tick().await;
        match tokio::time::timeout_at(deadline, ask()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(error)) => last = error.to_string(),
            Err(_late) => {}
        }
        assert!(
            Instant::now() < deadline,
            "not within {within:?}: {what}; last: {last}"
        );
    }
}
