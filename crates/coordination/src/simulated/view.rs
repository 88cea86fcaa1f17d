//! What one session sees: the tree of the server that it is connected to, which may lag.

use std::collections::VecDeque;
use std::sync::Arc;

use super::random::Random;
use crate::tree_state::{State, Transaction};

/// How long a server keeps its lag, in microseconds.
const KEEPS_ITS_LAG: std::ops::RangeInclusive<u64> = 200_000..=2_000_000;

/// A copy of the tree that follows the committed one. It only moves forward.
#[derive(Clone)]
pub(super) struct View {
    state: State,
    /// What is committed and not seen yet, with the time from which on it is seen. Times only grow.
    unseen: VecDeque<(u64, Arc<Transaction>)>,
    lag: u64,
    lag_until: u64,
    /// When this view is to be looked at next, if anything is unseen.
    pub(super) wake_at: Option<u64>,
}

impl View {
    /// In step with a tree.
    pub(super) fn of(state: State) -> Self {
        Self {
            state,
            unseen: VecDeque::new(),
            lag: 0,
            lag_until: 0,
            wake_at: None,
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Whether something is committed that it does not show.
    pub(super) fn is_behind(&self) -> bool {
        !self.unseen.is_empty()
    }

    /// When it moves next by itself.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.unseen.front().map(|(due, _)| *due)
    }

    /// Takes up a transaction that is committed now; with a lag of 0 it is due at once.
    pub(super) fn follow(
        &mut self,
        transaction: &Arc<Transaction>,
        now: u64,
        max_lag: u64,
        random: &mut Random,
    ) {
        if now >= self.lag_until {
            self.draw_lag(now, max_lag, random);
        }
        self.follow_by(transaction, now, self.lag);
    }

    /// The same, with this lag.
    pub(super) fn follow_by(&mut self, transaction: &Arc<Transaction>, now: u64, lag: u64) {
        let last = self.unseen.back().map_or(0, |(due, _)| *due);
        let due = last.max(now + lag);
        self.unseen.push_back((due, Arc::clone(transaction)));
    }

    fn draw_lag(&mut self, now: u64, max_lag: u64, random: &mut Random) {
        self.lag = random.within(&(0..=max_lag));
        self.lag_until = now + random.within(&KEEPS_ITS_LAG);
    }

    /// Moves to where it is due by now; returns what it newly shows.
    pub(super) fn move_on(&mut self, now: u64) -> Vec<Arc<Transaction>> {
        let count = self.unseen.partition_point(|(due, _)| *due <= now);
        self.show(count)
    }

    /// Moves to all that is committed.
    pub(super) fn catch_up(&mut self) -> Vec<Arc<Transaction>> {
        self.show(self.unseen.len())
    }

    /// Goes on as another server shows it: not behind this one, and perhaps before it.
    pub(super) fn change_server(&mut self, now: u64, max_lag: u64, random: &mut Random) {
        let ahead = random.within(&(0..=self.unseen.len() as u64));
        drop(self.show(ahead as usize));
        self.draw_lag(now, max_lag, random);
        let latest = now + self.lag;
        for (due, _) in &mut self.unseen {
            *due = latest.min(*due);
        }
    }

    fn show(&mut self, count: usize) -> Vec<Arc<Transaction>> {
        let shown: Vec<_> = self.unseen.drain(..count).map(|(_, t)| t).collect();
        for transaction in &shown {
            // They were committed one after the other on the tree that this is a copy of.
            let applied = self.state.apply(transaction);
            debug_assert_eq!(applied, Ok(()));
        }
        shown
    }
}
