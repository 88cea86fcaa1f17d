//! What every coordination store must do, as cases that run against any of them (feature `testing`).
//!
//! A store shows itself to the suite as a [`Fixture`], which opens sessions. [`cases`] lists all cases, to
//! be run one by one; [`run`] runs all of them:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # async fn example(fixture: Arc<dyn coordination::conformance::Fixture>) {
//! coordination::conformance::run(fixture).await;
//! # }
//! ```
//!
//! Each case has a store of its own, empty at first, and opens as many sessions with it as it needs. A
//! case panics when the store does something else than it must. Nothing here reads a clock or draws random
//! numbers; deadlines are tokio's, so that the suite runs under simulated time as well.

// A case that finds a fault panics.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sessions;
mod watches;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::{Change, SharedCoordination, Watch};

/// A kind of store, for the suite.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// A new session with the store of this number. Different numbers are different stores, or roots
    /// within one; each is empty when it is first named.
    async fn session(&self, store: u32) -> SharedCoordination;
}

/// A case of the suite.
#[derive(Clone, Copy)]
pub struct Case {
    /// What it shows.
    pub name: &'static str,
    run: fn(Store) -> BoxFuture<'static, ()>,
}

impl Case {
    /// Runs the case on a store that is empty.
    pub async fn run(&self, fixture: Arc<dyn Fixture>, store: u32) {
        (self.run)(Store { fixture, store }).await;
    }
}

/// A case's store.
#[derive(Clone)]
struct Store {
    fixture: Arc<dyn Fixture>,
    store: u32,
}

impl Store {
    async fn session(&self) -> SharedCoordination {
        self.fixture.session(self.store).await
    }
}

/// All cases.
pub fn cases() -> Vec<Case> {
    [writes::all(), sessions::all(), watches::all()].concat()
}

/// Runs all cases, each on a store of its own, numbered from 0. Names the case that fails.
pub async fn run(fixture: Arc<dyn Fixture>) {
    for (store, case) in (0..).zip(cases()) {
        let named = NameOnPanic(case.name);
        case.run(Arc::clone(&fixture), store).await;
        drop(named);
    }
}

struct NameOnPanic(&'static str);

impl Drop for NameOnPanic {
    // The test's own output.
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the case that failed: {}", self.0);
        }
    }
}

/// Lists cases by the names of their functions.
macro_rules! list {
    ($($case:ident,)*) => {
        pub(super) fn all() -> Vec<super::Case> {
            vec![$(super::Case {
                name: stringify!($case),
                run: |store| Box::pin($case(store)),
            },)*]
        }
    };
}
use list;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until a watch says that this path, or everything, may have changed.
async fn await_change(watch: &mut Watch, path: &str) {
    let named = async {
        loop {
            match watch.changed().await.unwrap() {
                Change::Paths(paths) if !paths.contains(path) => {}
                _ => return,
            }
        }
    };
    let named = tokio::time::timeout(DEADLINE, named).await;
    assert!(named.is_ok(), "the watch does not tell of {path}");
}
