//! A barrier that calls share: whoever waits while one is on its way needs one that starts later, and all
//! who wait need only one.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::Error;

/// Numbers the barriers by their start.
#[derive(Default)]
pub(super) struct Barrier {
    started: AtomicU64,
    /// The number of the last one that was passed. Held while one is on its way.
    passed: Mutex<u64>,
}

impl Barrier {
    /// Returns when a barrier that started after this call has been passed, by this call or another.
    pub(super) async fn pass<F>(&self, cross: impl FnOnce() -> F) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Error>>,
    {
        let before = self.started.load(Ordering::SeqCst);
        let mut passed = self.passed.lock().await;
        if *passed > before {
            return Ok(());
        }
        let number = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        cross().await?;
        *passed = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn those_who_wait_share_one_barrier_that_started_after_them() {
        let barrier = Arc::new(Barrier::default());
        let gate = Arc::new(Semaphore::new(0));
        let crossings = Arc::new(AtomicU64::new(0));
        let call = || {
            let (barrier, gate) = (Arc::clone(&barrier), Arc::clone(&gate));
            let crossings = Arc::clone(&crossings);
            async move {
                let cross = || async {
                    crossings.fetch_add(1, Ordering::SeqCst);
                    gate.acquire().await.unwrap().forget();
                    Ok(())
                };
                barrier.pass(cross).await
            }
        };
        let mut first = Box::pin(call());
        assert!(futures::poll!(&mut first).is_pending());
        let mut rest: Vec<_> = (0..10).map(|_| Box::pin(call())).collect();
        for call in &mut rest {
            assert!(futures::poll!(call).is_pending());
        }
        gate.add_permits(2);
        first.await.unwrap();
        for call in rest {
            call.await.unwrap();
        }
        // One for the first, one for all who came while it was on its way.
        assert_eq!(crossings.load(Ordering::SeqCst), 2);
        assert_eq!(gate.available_permits(), 0);
    }

    #[tokio::test]
    async fn a_barrier_that_fails_is_nobody_elses() {
        let barrier = Barrier::default();
        let failed = barrier.pass(|| async { Err(Error::ConnectionLoss) }).await;
        assert_eq!(failed, Err(Error::ConnectionLoss));
        assert_eq!(barrier.pass(|| async { Ok(()) }).await, Ok(()));
    }
}
