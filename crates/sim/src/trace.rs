//! What happened, as a number: two runs did the same if theirs are equal.
//!
//! Every packet that arrives, every operation and every fault goes into it. With [`Trace::print`] the
//! faults, the operations and whatever else is said in words also go to standard error as they happen.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

/// The trace of a run. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    digest: u64,
    events: u64,
    print: bool,
    /// What was said last.
    last: VecDeque<(u64, String)>,
}

/// So much of what was said last is kept.
const LAST: usize = 12;

impl State {
    fn mix(&mut self, number: u64) {
        let mixed = (self.digest ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.digest = mixed ^ (mixed >> 29);
    }

    fn mix_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        self.mix(bytes.len() as u64);
    }
}

impl Trace {
    /// Prints what is said in words from now on.
    pub fn print(&self) {
        self.state.lock().print = true;
    }

    /// Bytes that have arrived somewhere.
    pub fn bytes(&self, micros: u64, pipe: u64, bytes: &[u8]) {
        let mut state = self.state.lock();
        state.events += 1;
        state.mix(micros);
        state.mix(pipe);
        state.mix_bytes(bytes);
    }

    /// Something that happened, in words.
    pub fn say(&self, micros: u64, what: impl FnOnce() -> String) {
        let what = what();
        let mut state = self.state.lock();
        state.events += 1;
        state.mix(micros);
        state.mix_bytes(what.as_bytes());
        if state.print {
            #[allow(clippy::print_stderr)] // It is asked for on the command line.
            {
                eprintln!("{:>12.6} {what}", micros as f64 / 1e6);
            }
        }
        if state.last.len() == LAST {
            state.last.pop_front();
        }
        state.last.push_back((micros, what));
    }

    /// What was said last, a line for each.
    pub fn last(&self) -> String {
        let state = self.state.lock();
        let lines = state.last.iter().map(|(micros, what)| {
            let line: String = what.chars().take(100).collect();
            format!("{:>12.6} {line}", *micros as f64 / 1e6)
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The number, and how many events are in it.
    pub fn digest(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.digest, state.events)
    }
}
