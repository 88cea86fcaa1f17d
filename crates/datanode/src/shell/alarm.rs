//! Stages that panic: a node without one of its stages would look alive and serve nothing.

use environment::{Stage, Step, Wait};
use tokio::sync::watch;

/// A stage with an alarm that goes off if it panics.
pub(super) struct Guarded<S> {
    stage: S,
    _alarm: Alarm,
}

impl<S: Stage> Guarded<S> {
    /// `fail` gets the reason.
    pub(super) fn new(stage: S, fail: watch::Sender<Option<String>>) -> Self {
        let alarm = Alarm::new(stage.name().to_owned(), fail);
        Self {
            stage,
            _alarm: alarm,
        }
    }
}

impl<S: Stage> Stage for Guarded<S> {
    fn name(&self) -> &str {
        self.stage.name()
    }

    fn step(&mut self, wait: Wait) -> Step {
        self.stage.step(wait)
    }
}

/// Whoever steps a stage that panics drops it while the panic goes on.
pub(super) struct Alarm {
    name: String,
    fail: watch::Sender<Option<String>>,
}

impl Alarm {
    /// `fail` gets the reason.
    pub(super) fn new(name: String, fail: watch::Sender<Option<String>>) -> Self {
        Self { name, fail }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self
                .fail
                .send(Some(format!("the thread `{}` has panicked", self.name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use environment::{SystemThreads, Threads};

    use super::*;

    struct Unlucky;

    impl Stage for Unlucky {
        fn name(&self) -> &'static str {
            "unlucky"
        }

        fn step(&mut self, _: Wait) -> Step {
            panic!("for the test")
        }
    }

    #[test]
    fn a_thread_that_panics_ends_the_node() {
        let (fail, failed) = watch::channel(None);
        let guarded = Guarded::new(Unlucky, fail);
        SystemThreads.start(Box::new(guarded)).unwrap().join();
        assert_eq!(
            failed.borrow().as_deref(),
            Some("the thread `unlucky` has panicked")
        );
    }
}
