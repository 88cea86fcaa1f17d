//! What is to happen when: a heap, ordered by time and then by when it was decided.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Things of the future.
pub(super) struct Agenda<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    added: u64,
}

struct Entry<T> {
    /// In microseconds, then the number of the addition: two of the same time keep their order.
    due: (u64, u64),
    thing: T,
}

impl<T> Agenda<T> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            added: 0,
        }
    }

    pub(super) fn add(&mut self, due: u64, thing: T) {
        self.added += 1;
        self.heap.push(Reverse(Entry {
            due: (due, self.added),
            thing,
        }));
    }

    /// The next thing that is due by now, and when it was due.
    pub(super) fn take_due(&mut self, now: u64) -> Option<(u64, T)> {
        let Reverse(next) = self.heap.peek()?;
        if next.due.0 > now {
            return None;
        }
        let Reverse(next) = self.heap.pop()?;
        Some((next.due.0, next.thing))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_in_the_order_of_their_times_and_then_of_their_addition() {
        let mut agenda = Agenda::new();
        for (due, thing) in [(2, 'c'), (1, 'a'), (2, 'd'), (1, 'b'), (9, 'e')] {
            agenda.add(due, thing);
        }
        let mut taken = String::new();
        while let Some((_, thing)) = agenda.take_due(8) {
            taken.push(thing);
        }
        assert_eq!(taken, "abcd");
        assert_eq!(agenda.take_due(9), Some((9, 'e')));
        assert_eq!(agenda.take_due(u64::MAX), None);
    }
}
