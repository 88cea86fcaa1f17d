//! Advances an ensemble with tokio's paused time.

use std::time::Duration;

use coordination::simulated::{Ensemble, EnsembleOptions, Faults};
use coordination::{SessionState, SharedCoordination};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, timeout};

/// An ensemble that advances every so often, until this is dropped.
pub(crate) struct Driven {
    pub(crate) ensemble: Ensemble,
    driver: JoinHandle<()>,
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Driven {
    pub(crate) fn new(seed: u64) -> Self {
        let options = EnsembleOptions::default();
        Self::looking_on(seed, options, Duration::from_millis(1), |_| {})
    }

    /// One that calls back after every step.
    pub(crate) fn looking_on(
        seed: u64,
        options: EnsembleOptions,
        step: Duration,
        mut look: impl FnMut(&Ensemble) + Send + 'static,
    ) -> Self {
        let ensemble = Ensemble::new(seed, options);
        let driver = tokio::spawn({
            let ensemble = ensemble.clone();
            async move {
                let start = Instant::now();
                let mut steps = interval(step);
                loop {
                    steps.tick().await;
                    ensemble.advance(start.elapsed().as_micros() as u64);
                    look(&ensemble);
                }
            }
        });
        Self { ensemble, driver }
    }

    /// A session of a process of this number, on a host of the same number.
    pub(crate) async fn session(&self, process: u64) -> SharedCoordination {
        let connect = self.ensemble.client(process, process);
        connect.connect().await.unwrap()
    }

    pub(crate) fn count(&self, kind: &str) -> u64 {
        self.ensemble.counts().get(kind).copied().unwrap_or(0)
    }

    /// What stands at a path in the committed tree.
    pub(crate) fn data(&self, path: &str) -> Option<String> {
        let tree = self.ensemble.tree();
        let data = tree.get(path).map(|znode| znode.data.to_vec());
        data.map(|data| String::from_utf8(data).unwrap())
    }

    pub(crate) fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = Faults::default();
        change(&mut faults);
        self.ensemble.set_faults(faults);
    }
}

pub(crate) fn id(session: &SharedCoordination) -> i64 {
    session.session().borrow().connected().unwrap()
}

/// Waits until a session's state is as wanted, and returns how long that took.
pub(crate) async fn until(
    session: &SharedCoordination,
    wanted: impl FnMut(&SessionState) -> bool,
) -> Duration {
    let since = Instant::now();
    let mut state = session.session();
    let reached = timeout(Duration::from_secs(60), state.wait_for(wanted)).await;
    assert!(reached.is_ok_and(|reached| reached.is_ok()));
    since.elapsed()
}
