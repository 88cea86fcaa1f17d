//! The term of each index, as runs.
//!
//! Terms change once per election and indexes once per entry, so the terms of millions of entries are a
//! handful of runs:
//!
//! | index | 1 | 2 | 3 | 4 | 5 | 6 |
//! |---|---|---|---|---|---|---|
//! | term | 1 | 1 | 1 | 3 | 3 | 4 |
//! | run starts | `1 → 1` | | | `4 → 3` | | `6 → 4` |
//!
//! The map is a function over all indexes: it says nothing about which entries exist. Before the first
//! run the term is 0, after the last one it stays the same.

use std::collections::BTreeMap;

/// Terms by index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// First index of a run → its term.
    runs: BTreeMap<u64, u64>,
}

impl Terms {
    /// The term of an index.
    pub(super) fn get(&self, index: u64) -> u64 {
        self.runs
            .range(..=index)
            .next_back()
            .map_or(0, |(_, term)| *term)
    }

    /// Gives the indexes from `first` on these terms, and all behind them the last one.
    pub(super) fn append(&mut self, first: u64, terms: impl Iterator<Item = u64>) {
        self.runs.split_off(&first);
        let mut last = self.runs.last_key_value().map_or(0, |(_, term)| *term);
        for (index, term) in (first..).zip(terms) {
            if term != last {
                self.runs.insert(index, term);
                last = term;
            }
        }
    }

    /// Gives the indexes from `first` on these terms and leaves all others as they are.
    pub(super) fn assign(&mut self, first: u64, terms: impl Iterator<Item = u64>) {
        for (index, term) in (first..).zip(terms) {
            self.assign_one(index, term);
        }
    }

    fn assign_one(&mut self, index: u64, term: u64) {
        if self.get(index) == term {
            return;
        }
        let after = self.get(index + 1);
        self.set_run(index, term);
        self.set_run(index + 1, after);
    }

    /// Starts a run, or drops the start if the run before it has the same term.
    fn set_run(&mut self, index: u64, term: u64) {
        self.runs.remove(&index);
        if self.get(index) != term {
            self.runs.insert(index, term);
        }
    }

    /// Forgets runs that end before `index`.
    pub(super) fn forget_before(&mut self, index: u64) {
        while let Some(next) = self.runs.keys().nth(1).copied() {
            if next > index {
                break;
            }
            self.runs.pop_first();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn appended_terms_become_runs() {
        let mut terms = Terms::default();
        terms.append(1, [1, 1, 1, 3, 3, 4].into_iter());
        assert_eq!(terms.runs, BTreeMap::from([(1, 1), (4, 3), (6, 4)]));
        terms.append(4, [5].into_iter());
        assert_eq!(terms.runs, BTreeMap::from([(1, 1), (4, 5)]));
        // What is there already makes no new runs.
        terms.assign(2, [1, 1, 5].into_iter());
        assert_eq!(terms.runs, BTreeMap::from([(1, 1), (4, 5)]));
    }

    proptest! {
        #[test]
        fn they_equal_a_table_of_all_indexes(
            changes in proptest::collection::vec(
                (any::<bool>(), 0u64..30, proptest::collection::vec(0u64..4, 1..6)),
                0..20,
            ),
            forgotten in 0u64..30,
        ) {
            let mut terms = Terms::default();
            let mut table = [0u64; 40];
            for (appended, first, new) in changes {
                if appended {
                    terms.append(first, new.iter().copied());
                    table[first as usize..].fill(new[new.len() - 1]);
                } else {
                    terms.assign(first, new.iter().copied());
                }
                for (position, term) in new.iter().enumerate() {
                    table[first as usize + position] = *term;
                }
            }
            terms.forget_before(forgotten);
            for index in forgotten..36 {
                prop_assert_eq!(terms.get(index), table[index as usize]);
            }
        }
    }
}
