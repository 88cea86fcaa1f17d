//! The stages of a process, stepped in the order in which they were started, each in its own time.

use std::fmt;
use std::io;
use std::sync::Arc;

use environment::{Running, Stage, Step, Threads, Wait};
use parking_lot::Mutex;

use super::Speed;
use crate::STEP_MICROS;
use crate::dice::Dice;

/// A stage works off at most so many pieces in one step, if it has the time.
const PIECES: usize = 64;

/// See the [module](self). Clones are the same stages.
#[derive(Clone)]
pub(super) struct Stages {
    seats: Arc<Mutex<Vec<Arc<Mutex<Seat>>>>>,
    dice: Arc<Mutex<Dice>>,
}

struct Seat {
    stage: Option<Box<dyn Stage>>,
    /// It is at work until then.
    busy_until: u64,
    /// How long a piece of work takes now.
    takes: u64,
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stages")
    }
}

impl Stages {
    pub(super) fn new(dice: Dice) -> Self {
        Self {
            seats: Arc::default(),
            dice: Arc::new(Mutex::new(dice)),
        }
    }

    /// Drops all stages.
    pub(super) fn clear(&self) {
        let seats = std::mem::take(&mut *self.seats.lock());
        for seat in seats {
            let stage = seat.lock().stage.take();
            drop(stage);
        }
    }

    /// Lets every stage work for one step of time.
    pub(super) fn step(&self, now: u64, speed: Speed) {
        let seats = self.seats.lock().clone();
        for seat in seats {
            let mut seat = seat.lock();
            let Seat {
                stage,
                busy_until,
                takes: took,
            } = &mut *seat;
            let Some(running) = stage else { continue };
            let takes = time_of(running.name(), speed);
            if takes < *took {
                // What it was slow at is done as fast as the rest.
                *busy_until = (*busy_until).min(now + takes);
            }
            *took = takes;
            for _ in 0..PIECES {
                if *busy_until > now {
                    break;
                }
                match running.step(Wait::Never) {
                    Step::Worked if takes > 0 => {
                        let from = (*busy_until).max(now.saturating_sub(STEP_MICROS));
                        *busy_until = from + self.dice.lock().around(takes);
                    }
                    // A worker takes all that there is; what comes meanwhile is for its next turn.
                    Step::Worked | Step::Idle => break,
                    Step::Ended => {
                        *stage = None;
                        break;
                    }
                }
            }
        }
    }
}

/// How long a stage takes for one piece of work.
fn time_of(stage: &str, speed: Speed) -> u64 {
    match stage {
        "log" => speed.log,
        "store-sync" => speed.store,
        name if name.starts_with("apply") => speed.apply,
        "log-reader" => 200,
        _ => 0,
    }
}

impl Threads for Stages {
    fn start(&self, stage: Box<dyn Stage>) -> io::Result<Box<dyn Running>> {
        let seat = Seat {
            stage: Some(stage),
            busy_until: 0,
            takes: 0,
        };
        let seat = Arc::new(Mutex::new(seat));
        self.seats.lock().push(seat.clone());
        Ok(Box::new(Seated(seat)))
    }
}

struct Seated(Arc<Mutex<Seat>>);

impl Running for Seated {
    /// Lets the stage work off what it has. It can't get more from anybody while this goes on.
    fn join(self: Box<Self>) {
        let mut seat = self.0.lock();
        if let Some(mut stage) = seat.stage.take() {
            while stage.step(Wait::Never) == Step::Worked {}
        }
    }
}
