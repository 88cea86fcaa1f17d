//! The clocks of a host, which drift and jump.

use std::sync::Arc;

use environment::{Clock, Now};
use parking_lot::Mutex;

use crate::system::EPOCH_SECONDS;

/// The wall clocks start here, milliseconds since the Unix epoch.
const EPOCH_MILLIS: i64 = EPOCH_SECONDS.cast_signed() * 1000;

/// The clocks of one host. Clones are the same clocks.
#[derive(Debug, Clone)]
pub struct HostClock {
    reading: Arc<Mutex<Reading>>,
}

#[derive(Debug)]
struct Reading {
    /// Of the host's own time, nanoseconds.
    nanos: u64,
    /// Of true time, microseconds.
    true_micros: u64,
    /// How fast it runs, millionths of true time.
    rate: u64,
    /// What was set by hand, milliseconds.
    offset: i64,
}

impl Default for HostClock {
    fn default() -> Self {
        let reading = Reading {
            nanos: 0,
            true_micros: 0,
            rate: 1_000_000,
            offset: 0,
        };
        Self {
            reading: Arc::new(Mutex::new(reading)),
        }
    }
}

impl HostClock {
    /// So much true time has passed.
    pub fn advance(&self, micros: u64) {
        let mut reading = self.reading.lock();
        reading.true_micros += micros;
        reading.nanos += micros * reading.rate / 1000;
    }

    /// Runs so fast from now on, in millionths of true time.
    pub fn set_rate(&self, rate: u64) {
        self.reading.lock().rate = rate;
    }

    /// Sets the wall clock by so much.
    pub fn jump(&self, millis: i64) {
        self.reading.lock().offset += millis;
    }

    /// Sets the wall clock right again.
    pub fn set_right(&self) {
        let mut reading = self.reading.lock();
        let (is, should) = (reading.nanos / 1_000_000, reading.true_micros / 1000);
        reading.offset = should.cast_signed() - is.cast_signed();
        reading.rate = 1_000_000;
    }

    /// The host's monotonic clock.
    pub fn monotonic_millis(&self) -> u64 {
        self.reading.lock().nanos / 1_000_000
    }
}

impl Clock for HostClock {
    fn now(&self) -> Now {
        let reading = self.reading.lock();
        let monotonic_millis = reading.nanos / 1_000_000;
        let wall = EPOCH_MILLIS + reading.offset + monotonic_millis.cast_signed();
        Now {
            monotonic_millis,
            wall_millis: wall.max(0) as u64,
        }
    }
}
