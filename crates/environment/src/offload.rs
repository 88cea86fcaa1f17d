//! Work that blocks: file systems, the state store, hashing much.

use std::fmt;

/// Where work that blocks is done, so that it holds up no task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Offload {
    /// On the runtime's threads for such work.
    #[default]
    Threads,
    /// At once, in place: where nothing really blocks, and where the order of things must not depend on threads.
    Inline,
}

/// The work has panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panicked;

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the work has panicked")
    }
}

impl std::error::Error for Panicked {}

impl Offload {
    /// Does the work and waits for it. Work that was begun goes on to its end even if nobody waits any more.
    pub async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work)
                .await
                .map_err(|_| Panicked),
            Self::Inline => Ok(work()),
        }
    }
}
