//! Loops that have a thread of their own: a queue, and something that is done with what comes out of it.
//!
//! A [`Stage`] is such a loop, cut into steps. On a machine a thread steps it until it has ended, waiting
//! in each step for work; a simulation steps all stages of all its processes in turn and never waits, so
//! that they run on one thread in an order that it decides.

use std::fmt;
use std::io;
use std::thread::JoinHandle;

/// Whether a step may wait for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until there is some.
    ForWork,
    /// Not at all.
    Never,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something was done.
    Worked,
    /// There was nothing to do.
    Idle,
    /// There will never be anything to do again.
    Ended,
}

/// A loop, cut into steps.
pub trait Stage: Send + 'static {
    /// A short name, for threads and traces.
    fn name(&self) -> &str;

    /// Does what has queued up.
    fn step(&mut self, wait: Wait) -> Step;
}

/// Runs stages.
pub trait Threads: fmt::Debug + Send + Sync + 'static {
    /// Runs a stage from now on until it has ended.
    fn start(&self, stage: Box<dyn Stage>) -> io::Result<Box<dyn Running>>;

    /// Whether they are threads of a machine, each of which may do what is another's to do. A simulation decides itself when
    /// a stage does something and how long that takes.
    fn are_real(&self) -> bool {
        false
    }
}

/// A stage that runs.
pub trait Running: Send + Sync {
    /// Waits for its end. A stage that has panicked has ended.
    fn join(self: Box<Self>);
}

/// The machine's threads, one for each stage.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemThreads;

impl Threads for SystemThreads {
    fn start(&self, mut stage: Box<dyn Stage>) -> io::Result<Box<dyn Running>> {
        let thread = std::thread::Builder::new()
            .name(stage.name().to_owned())
            .spawn(move || while stage.step(Wait::ForWork) != Step::Ended {})?;
        Ok(Box::new(Thread(thread)))
    }

    fn are_real(&self) -> bool {
        true
    }
}

struct Thread(JoinHandle<()>);

impl Running for Thread {
    fn join(self: Box<Self>) {
        // A panic was reported by the thread itself.
        let _ = self.0.join();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    struct Echo(Receiver<u32>, Sender<u32>);

    impl Stage for Echo {
        fn name(&self) -> &'static str {
            "echo"
        }

        fn step(&mut self, wait: Wait) -> Step {
            let next = match wait {
                Wait::ForWork => self.0.recv().ok(),
                Wait::Never => self.0.try_recv().ok(),
            };
            match next {
                Some(number) => {
                    self.1.send(number).unwrap();
                    Step::Worked
                }
                None if wait == Wait::Never => Step::Idle,
                None => Step::Ended,
            }
        }
    }

    #[test]
    fn a_thread_steps_its_stage_until_it_ends() {
        let (work, queue) = channel();
        let (done, results) = channel();
        let running = SystemThreads.start(Box::new(Echo(queue, done))).unwrap();
        for number in 0..3 {
            work.send(number).unwrap();
        }
        drop(work);
        running.join();
        assert_eq!(results.iter().collect::<Vec<_>>(), [0, 1, 2]);
    }
}
