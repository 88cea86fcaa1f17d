//! What a process gets from its machine, through interfaces that a simulation replaces.
//!
//! | part | on a machine | in the simulation |
//! |---|---|---|
//! | [`Clock`] | the system's clocks | clocks that drift and jump |
//! | [`Network`] | TCP | pipes that delay, stall and break |
//! | [`Threads`] | one thread per [`Stage`] | stages that are stepped in turn, as slowly as wanted |
//! | [`Offload`] | the runtime's threads for work that blocks | done at once, in place |
//!
//! Disks stand behind `storage::disk`, the coordination store behind `coordination`; tasks and timers are
//! tokio's, whose time can be stopped and moved; randomness is the thread's generator, which gets its
//! seed from the operating system. With those, all that a process does follows from what it is given.

mod clock;
mod network;
mod offload;
mod threads;

use std::sync::Arc;

pub use clock::{Clock, Now, SystemClock};
pub use network::{Incoming, Listen, Network, Socket, Stream, Tcp, UntilStopped};
pub use offload::{Offload, Panicked};
pub use threads::{Running, Stage, Step, SystemThreads, Threads, Wait};

/// All of it, as a process is started with it. Clones share the parts.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Connections to other processes.
    pub network: Arc<dyn Network>,
    /// Where stages run.
    pub threads: Arc<dyn Threads>,
    /// Where work that blocks is done.
    pub offload: Offload,
}

impl Default for Environment {
    /// The machine's own.
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::default()),
            network: Arc::new(Tcp),
            threads: Arc::new(SystemThreads),
            offload: Offload::Threads,
        }
    }
}
