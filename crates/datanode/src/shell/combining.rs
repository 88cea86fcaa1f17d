//! Work that is done by whoever brings it, if nobody is at it, and else by a thread of its own.
//!
//! To wake a thread takes longer than most of what there is to do for one request, both until it runs and in CPU time. So who brings work to a stage
//! that has nothing to do does it on the spot (*flat combining*, Hendler and others, 2010), but one turn only: if more has queued up by
//! then, the stage's thread is woken and takes over, until there is nothing left. Work is never done by two at once, and always in the
//! order in which it was brought.
//!
//! Whoever brings work must not hold a lock that the work needs. What the environment runs one by one
//! ([`Threads::are_real`](environment::Threads::are_real)), and what the work says is better left to it, is done by the thread alone.

use std::sync::Arc;
use std::time::Duration;

use environment::{Stage, Step, Wait};
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::watch;

use super::alarm::Alarm;

/// Something that is done by one at a time, in turns.
pub(super) trait Work: Send + 'static {
    /// What is brought to it.
    type Item: Send;
    /// One turn takes at most so many, so that what it brings forth does not wait too long.
    const TURN: usize;

    /// Does what was brought, and what it is time for.
    fn turn(&mut self, items: Vec<Self::Item>) -> Turned;

    /// After how long there is something to do even if nobody brings anything.
    fn due_in(&self) -> Option<Duration>;

    /// Whether this is better left to the thread.
    fn is_for_thread(&mut self, items: &[Self::Item]) -> bool;
}

/// What a turn came to.
pub(super) enum Turned {
    /// There was nothing to do.
    Idle,
    /// Something was done.
    Worked,
    /// And this is to be done as well, by the same thread, once others can be at the work.
    Then(Box<dyn FnOnce()>),
}

/// See the [module](self).
pub(super) struct Combining<W: Work> {
    state: Mutex<State<W>>,
    changed: Condvar,
}

struct State<W: Work> {
    queued: Vec<W::Item>,
    place: Place<W>,
    /// Nothing more is taken in; what has queued up is done.
    ending: bool,
    thread: Thread,
    /// Whoever brings work may do it.
    at_once: bool,
    alarm: Option<Alarm>,
}

/// What the work's own thread does.
#[derive(PartialEq, Eq)]
enum Thread {
    /// Waits for something to do, or does it.
    Own,
    /// Was woken and takes over: nobody else is to begin.
    Called,
    /// Waits for whoever is at it.
    Awaiting,
}

/// Where the work is.
enum Place<W> {
    /// Not started yet.
    Empty,
    /// Nobody is at it.
    Free(Box<W>),
    /// Somebody is.
    Taken,
    /// It has ended.
    Gone,
}

impl<W: Work> Default for Combining<W> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                queued: Vec::new(),
                place: Place::Empty,
                ending: false,
                thread: Thread::Own,
                at_once: false,
                alarm: None,
            }),
            changed: Condvar::new(),
        }
    }
}

impl<W: Work> State<W> {
    fn queue(&mut self, item: W::Item) {
        if !self.ending {
            self.queued.push(item);
        }
    }

    /// Whether there is something to do, and nobody at it or about to be.
    fn waits_for_somebody(&self) -> bool {
        let free = matches!(self.place, Place::Free(_));
        free && self.thread != Thread::Called && !self.queued.is_empty()
    }

    fn is_for_thread(&mut self) -> bool {
        match &mut self.place {
            Place::Free(work) => !self.at_once || work.is_for_thread(&self.queued),
            _ => false,
        }
    }

    /// Takes the work, to do it.
    fn take(&mut self) -> Option<(Box<W>, Vec<W::Item>)> {
        match std::mem::replace(&mut self.place, Place::Taken) {
            Place::Free(work) => {
                let all = self.queued.len() <= W::TURN;
                let items = if all {
                    std::mem::take(&mut self.queued)
                } else {
                    self.queued.drain(..W::TURN).collect()
                };
                Some((work, items))
            }
            other => {
                self.place = other;
                None
            }
        }
    }
}

impl<W: Work> Combining<W> {
    /// Brings an item and does it, or has it done. It is dropped if the work has ended.
    pub(super) fn bring(&self, item: W::Item) {
        let mut state = self.state.lock();
        state.queue(item);
        self.attend_in(state);
    }

    /// Queues an item, for somebody who [attends](Self::attend) to it. It is dropped if the work has ended.
    pub(super) fn leave(&self, item: W::Item) {
        self.state.lock().queue(item);
    }

    /// Does what has queued up if nobody is at it, or wakes the thread.
    pub(super) fn attend(&self) {
        self.attend_in(self.state.lock());
    }

    /// Has what has queued up done by the thread.
    pub(super) fn hand_over(&self) {
        let mut state = self.state.lock();
        if state.waits_for_somebody() {
            self.call(&mut state);
        }
    }

    fn attend_in(&self, mut state: MutexGuard<'_, State<W>>) {
        if !state.waits_for_somebody() {
            return;
        }
        if state.is_for_thread() {
            return self.call(&mut state);
        }
        let taken = state.take();
        drop(state);
        if let Some((work, items)) = taken {
            self.run(work, items);
        }
    }

    /// Wakes the thread, for it to take over.
    fn call(&self, state: &mut State<W>) {
        state.thread = Thread::Called;
        self.changed.notify_one();
    }

    /// One turn. False if there was nothing to do.
    fn run(&self, work: Box<W>, items: Vec<W::Item>) -> bool {
        let mut taken = Taken {
            of: self,
            work: Some(work),
        };
        let turned = taken.work.as_mut().map(|work| work.turn(items));
        drop(taken);
        match turned {
            None | Some(Turned::Idle) => return false,
            Some(Turned::Worked) => {}
            Some(Turned::Then(then)) => then(),
        }
        true
    }

    /// Lets no more in. The thread ends when all that has queued up is done.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.ending = true;
        self.changed.notify_one();
    }

    /// Begins, with what has been brought before. `at_once`: whoever brings work may do it. `fail` is told if a turn panics.
    pub(super) fn start(
        self: &Arc<Self>,
        name: String,
        work: W,
        at_once: bool,
        fail: watch::Sender<Option<String>>,
    ) -> Attendant<W> {
        let mut state = self.state.lock();
        state.place = Place::Free(Box::new(work));
        state.at_once = at_once;
        state.alarm = Some(Alarm::new(name.clone(), fail));
        Attendant {
            name,
            at: self.clone(),
        }
    }

    /// Waits until there is something to do.
    fn next(&self, wait: Wait) -> Next<W> {
        let mut state = self.state.lock();
        loop {
            match &state.place {
                Place::Empty | Place::Gone => return Next::Ended,
                Place::Taken => {
                    state.thread = Thread::Awaiting;
                    self.changed.wait(&mut state);
                    if state.thread == Thread::Awaiting {
                        state.thread = Thread::Own;
                    }
                }
                Place::Free(work) => {
                    if wait == Wait::Never || state.ending || !state.queued.is_empty() {
                        break;
                    }
                    match work.due_in() {
                        Some(Duration::ZERO) => break,
                        Some(left) => drop(self.changed.wait_for(&mut state, left)),
                        None => self.changed.wait(&mut state),
                    }
                    // Whoever has woken this thread is often about to bring more, and loses its core to it. On a free core this returns
                    // at once; on a busy one a turn gets more to do, and there are fewer of them.
                    MutexGuard::unlocked(&mut state, std::thread::yield_now);
                }
            }
        }
        state.thread = Thread::Own;
        let last = state.ending && state.queued.len() <= W::TURN;
        match state.take() {
            Some((work, items)) => Next::Turn { work, items, last },
            None => Next::Ended,
        }
    }

    /// Drops the work, or has whoever is at it do that.
    fn close(&self) {
        let mut state = self.state.lock();
        state.ending = true;
        let place = std::mem::replace(&mut state.place, Place::Gone);
        let queued = std::mem::take(&mut state.queued);
        drop(state);
        // Both may answer somebody.
        drop((place, queued));
    }
}

enum Next<W: Work> {
    Turn {
        work: Box<W>,
        items: Vec<W::Item>,
        /// Nothing comes after it.
        last: bool,
    },
    Ended,
}

/// Somebody is at it, until this is dropped.
struct Taken<'a, W: Work> {
    of: &'a Combining<W>,
    work: Option<Box<W>>,
}

impl<W: Work> Drop for Taken<'_, W> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        let mut state = self.of.state.lock();
        if std::thread::panicking() {
            // What it has left half done must not go on.
            state.place = Place::Gone;
            state.ending = true;
            // Goes off when it is dropped.
            state.alarm = None;
            self.of.changed.notify_one();
        }
        if matches!(state.place, Place::Gone) {
            drop(state);
            drop(work);
            return;
        }
        state.place = Place::Free(work);
        let more = !state.queued.is_empty() || state.ending;
        if more {
            self.of.call(&mut state);
        } else if state.thread == Thread::Awaiting {
            self.of.changed.notify_one();
        }
    }
}

/// The thread of the work.
pub(super) struct Attendant<W: Work> {
    name: String,
    at: Arc<Combining<W>>,
}

impl<W: Work> Stage for Attendant<W> {
    fn name(&self) -> &str {
        &self.name
    }

    fn step(&mut self, wait: Wait) -> Step {
        match self.at.next(wait) {
            Next::Ended => Step::Ended,
            Next::Turn { work, items, last } => {
                let worked = self.at.run(work, items);
                match last {
                    true => Step::Ended,
                    false if worked => Step::Worked,
                    false => Step::Idle,
                }
            }
        }
    }
}

impl<W: Work> Drop for Attendant<W> {
    fn drop(&mut self) {
        self.at.close();
    }
}

#[cfg(test)]
mod tests;
