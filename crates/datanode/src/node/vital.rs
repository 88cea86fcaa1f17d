//! The tasks that a node can't do without. One that is gone leaves a node that looks alive and is not: it would hold its
//! registration and answer nothing, or answer and follow no change of the tables. So the node ends instead, and says
//! why; whoever has started it starts it again.
//!
//! | the task | the node |
//! |---|---|
//! | ends with an error | ends with that error |
//! | ends before the node was told to stop | ends, and names the task |
//! | panics | ends, and names the task; the panic itself was printed |
//! | ends after the node was told to stop | stops as it was to |

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio::sync::watch;

/// Watches over one such task. See the [module](self).
pub(super) struct Vital {
    name: &'static str,
    stop: watch::Receiver<bool>,
    fail: watch::Sender<Option<String>>,
}

impl Vital {
    /// `fail` is told why the node must end, unless `stop` says that it is to end anyway.
    pub(super) fn new(
        name: &'static str,
        stop: &watch::Receiver<bool>,
        fail: &watch::Sender<Option<String>>,
    ) -> Self {
        let (stop, fail) = (stop.clone(), fail.clone());
        Self { name, stop, fail }
    }

    /// Runs the task to its end.
    pub(super) async fn watch(self, task: impl Future<Output = Result<(), String>>) {
        // Nothing of the task is used afterwards, whatever state the panic has left it in.
        let reason = match AssertUnwindSafe(task).catch_unwind().await {
            Ok(Ok(())) if *self.stop.borrow() => return,
            Ok(Ok(())) => format!("{} of the node has ended unexpectedly", self.name),
            Ok(Err(reason)) => reason,
            Err(_) => format!("{} of the node has panicked", self.name),
        };
        tracing::error!(reason, "the node can't go on");
        // What was first is what the others follow from.
        self.fail.send_if_modified(|told| {
            let first = told.is_none();
            told.get_or_insert(reason);
            first
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    async fn told(stopped: bool, task: impl Future<Output = Result<(), String>>) -> Option<String> {
        let (_stop, stopping) = watch::channel(stopped);
        let (fail, failed) = watch::channel(None);
        Vital::new("the task", &stopping, &fail).watch(task).await;
        failed.borrow().clone()
    }

    #[tokio::test]
    async fn an_error_is_the_node_s() {
        let error = Err("no more".to_owned());
        assert_eq!(told(false, ready(error)).await.unwrap(), "no more");
    }

    #[tokio::test]
    async fn an_end_that_nobody_has_asked_for_ends_the_node() {
        let reason = told(false, ready(Ok(()))).await.unwrap();
        assert_eq!(reason, "the task of the node has ended unexpectedly");
        assert_eq!(told(true, ready(Ok(()))).await, None);
    }

    #[tokio::test]
    async fn a_panic_ends_the_node() {
        for stopped in [false, true] {
            let reason = told(stopped, async { panic!("on purpose") }).await.unwrap();
            assert_eq!(reason, "the task of the node has panicked");
        }
    }

    #[tokio::test]
    async fn what_was_first_is_the_reason() {
        let (_stop, stopping) = watch::channel(false);
        let (fail, failed) = watch::channel(None);
        for reason in ["first", "second"] {
            let vital = Vital::new("the task", &stopping, &fail);
            vital.watch(ready(Err(reason.to_owned()))).await;
        }
        assert_eq!(failed.borrow().as_deref(), Some("first"));
    }
}
