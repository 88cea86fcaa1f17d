//! A machine with one process on it: a runtime of its own, stages, clocks.
//!
//! Each process has a tokio runtime whose clock stands still by itself. A step lets the runtime do what it
//! can do in one step's time and moves its clock by as much, more or less where the host's clock drifts;
//! then the stages are stepped, each as often as its disk or processor lets it. So a process is killed by
//! dropping its runtime and its stages between two steps: nothing of it runs any more, and nothing was
//! told. It is paused by leaving it out.

mod clock;
mod stages;

use std::sync::Arc;
use std::time::Duration;

use environment::{Environment, Offload};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

pub use self::clock::HostClock;
use self::stages::Stages;
use crate::STEP_MICROS;
use crate::dice::Dice;
use crate::fabric::{Fabric, HostId};

/// See the [module](self).
pub struct Host {
    id: HostId,
    clock: HostClock,
    process: Option<Process>,
    paused: bool,
    /// How fast the stages of this host are.
    pub speed: Speed,
    dice: Dice,
}

/// How long the stages take for one piece of work, microseconds on average.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// To write to the log and sync it.
    pub log: u64,
    /// To apply what one turn has committed.
    pub apply: u64,
    /// To make the state store durable.
    pub store: u64,
}

impl Default for Speed {
    fn default() -> Self {
        Self {
            log: 500,
            apply: 100,
            store: 5_000,
        }
    }
}

struct Process {
    runtime: Runtime,
    stages: Stages,
    /// The host's clock when the runtime was last moved.
    moved_millis: u64,
    exit: Exit,
}

/// Where a process says that it has ended, and why, and is told that it should.
#[derive(Clone, Default)]
pub struct Exit {
    reason: Arc<Mutex<Option<String>>>,
    asked: Arc<Notify>,
}

impl Exit {
    /// The process ends.
    pub fn with(&self, reason: impl Into<String>) {
        self.reason.lock().get_or_insert(reason.into());
    }

    /// Waits until the process is asked to end (SIGTERM).
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    fn reason(&self) -> Option<String> {
        self.reason.lock().clone()
    }
}

impl Host {
    /// A host on which nothing runs.
    pub fn new(id: HostId, dice: Dice) -> Self {
        Self {
            id,
            clock: HostClock::default(),
            process: None,
            paused: false,
            speed: Speed::default(),
            dice,
        }
    }

    /// Which it is.
    pub fn id(&self) -> HostId {
        self.id
    }

    /// Its clock.
    pub fn clock(&self) -> &HostClock {
        &self.clock
    }

    /// Whether a process runs, paused or not.
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Whether its process is paused.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Stops and continues its process.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Starts a process: `main` gets what its machine offers it and where to say that it ends.
    pub fn start<F>(&mut self, fabric: &Fabric, main: impl FnOnce(Environment, Exit) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let built = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let Ok(runtime) = built else { return };
        let stages = Stages::new(self.dice.split());
        let exit = Exit::default();
        let environment = Environment {
            clock: Arc::new(self.clock.clone()),
            network: Arc::new(fabric.start(self.id)),
            threads: Arc::new(stages.clone()),
            offload: Offload::Inline,
        };
        let main = main(environment, exit.clone());
        runtime.spawn(main);
        self.paused = false;
        self.process = Some(Process {
            runtime,
            stages,
            moved_millis: self.clock.monotonic_millis(),
            exit,
        });
    }

    /// Asks the process to end (SIGTERM). It says when it has.
    pub fn ask_to_end(&self) {
        if let Some(process) = &self.process {
            process.exit.asked.notify_one();
        }
    }

    /// Ends the process at once, wherever it is. Its network and its coordination must have been ended
    /// before, so that nothing that is dropped here can say anything.
    pub fn kill(&mut self) {
        self.paused = false;
        if let Some(process) = self.process.take() {
            {
                let _context = process.runtime.enter();
                process.stages.clear();
            }
            process.runtime.shutdown_background();
        }
    }

    /// One step of simulated time. Says why if the process has ended by itself.
    pub fn step(&mut self, now_micros: u64) -> Option<String> {
        self.clock.advance(STEP_MICROS);
        let process = self.process.as_mut().filter(|_| !self.paused)?;
        let now_millis = self.clock.monotonic_millis();
        let behind = now_millis.saturating_sub(process.moved_millis);
        process.moved_millis = now_millis;
        let step = Duration::from_millis(behind);
        let jumped = behind * 1000 > 8 * STEP_MICROS;
        let _span = tracing::error_span!("host", id = self.id.0).entered();
        process.runtime.block_on(async move {
            if jumped {
                // It was paused: all its timers have run out at once.
                tokio::time::advance(step).await;
            } else if !step.is_zero() {
                tokio::time::sleep(step).await;
            }
        });
        let _context = process.runtime.enter();
        process.stages.step(now_micros, self.speed);
        process.exit.reason()
    }
}
