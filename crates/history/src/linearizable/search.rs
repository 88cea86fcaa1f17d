//! The search of Wing and Gong with Lowe's memory, over one key.
//!
//! A *configuration* is the set of steps that are placed and the state they lead to. From each, first every
//! observation that agrees is placed: it changes nothing, so sooner is as good as later. Then one of the changes that may come
//! next is chosen; a dead end goes back to the last choice.

use std::collections::BTreeSet;

use super::problem::{ABSENT, Facts, State, Step, Test};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Linearizable,
    Impossible,
    /// Given up.
    Exhausted,
}

/// Whether the steps, which are in the order of their calls, can be put in a valid order, visiting no more than `effort`
/// configurations.
pub(super) fn search(steps: &[Step<'_>], facts: &Facts, effort: usize) -> Verdict {
    let mut search = Search::new(steps, facts);
    let mut frames: Vec<Frame> = Vec::new();
    let mut visited = BTreeSet::new();
    let mut root = search.mark();
    loop {
        // A new configuration.
        search.settle();
        if search.done() {
            return Verdict::Linearizable;
        }
        let choices = if search.doomed() || !visited.insert(search.key()) {
            Vec::new()
        } else {
            search.choices()
        };
        if visited.len() > effort {
            return Verdict::Exhausted;
        }
        frames.push(Frame {
            before: root,
            settled: search.mark(),
            choices,
        });
        // The next choice of the latest frame that has one.
        loop {
            let Some(frame) = frames.last_mut() else {
                return Verdict::Impossible;
            };
            if let Some(choice) = frame.choices.pop() {
                let settled = frame.settled;
                search.back_to(settled);
                root = settled;
                search.take(choice);
                break;
            }
            let before = frame.before;
            search.back_to(before);
            frames.pop();
        }
    }
}

/// A configuration with what is left to try from it.
struct Frame {
    /// Before the choice that led here.
    before: Mark,
    /// After its observations were placed.
    settled: Mark,
    /// The best last.
    choices: Vec<Choice>,
}

#[derive(Clone, Copy)]
struct Choice {
    /// A step to place; none: only the unread puts.
    step: Option<usize>,
    /// Whether all unread puts that may come next are placed before it.
    flush: bool,
}

/// A point to go back to.
#[derive(Clone, Copy)]
struct Mark {
    placed: usize,
    state: State,
    high: usize,
}

struct Search<'p, 'h> {
    steps: &'p [Step<'h>],
    facts: &'p Facts,
    state: State,
    /// Steps placed so far, in order.
    order: Vec<usize>,
    placed: Vec<u64>,
    /// One above the highest word of `placed` that is not 0.
    high: usize,
    /// Steps of known outcome that are not placed, as a list in the order of calls; the last index is its anchor.
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Steps of unknown outcome, in the order of calls.
    unknown: Vec<usize>,
    /// By state: unplaced reads that must see it, and unplaced writes that make it.
    readers: Vec<u32>,
    writers: Vec<u32>,
    /// By state: whether nothing ever reads it.
    unread: Vec<bool>,
}

impl<'p, 'h> Search<'p, 'h> {
    fn new(steps: &'p [Step<'h>], facts: &'p Facts) -> Self {
        let count = steps.len();
        let states = steps.iter().map(|step| {
            let tested = match step.test {
                Test::Is(state) => state,
                _ => ABSENT,
            };
            tested.max(step.to.unwrap_or(ABSENT))
        });
        let states = states.max().unwrap_or(ABSENT) as usize + 1;
        let mut search = Self {
            steps,
            facts,
            state: ABSENT,
            order: Vec::with_capacity(count),
            placed: vec![0; count.div_ceil(64)],
            high: 0,
            next: vec![count; count + 1],
            previous: vec![count; count + 1],
            unknown: Vec::new(),
            readers: vec![0; states],
            writers: vec![0; states],
            unread: Vec::new(),
        };
        let mut last = count;
        for (i, step) in steps.iter().enumerate() {
            if step.unknown() {
                search.unknown.push(i);
            } else {
                search.next[last] = i;
                search.previous[i] = last;
                last = i;
            }
            search.count(i, 1);
        }
        search.next[last] = count;
        search.previous[count] = last;
        search.unread = search.readers.iter().map(|readers| *readers == 0).collect();
        search
    }

    fn anchor(&self) -> usize {
        self.steps.len()
    }

    /// Every step that has happened is placed.
    fn done(&self) -> bool {
        self.next[self.anchor()] == self.anchor()
    }

    /// Whether reads of the present state are outstanding that can only be placed after something else was, while nothing
    /// can make this state again. To be asked of a settled configuration, where every step that may come next changes
    /// the state or needs another one.
    fn doomed(&self) -> bool {
        let state = self.state as usize;
        self.readers[state] > 0 && self.writers[state] == 0
    }

    /// Known steps that may come next, and the moment at which the first of them must have happened.
    fn candidates(&self) -> (Vec<usize>, u64) {
        let mut found = Vec::new();
        let mut deadline = u64::MAX;
        let mut i = self.next[self.anchor()];
        while i != self.anchor() && self.steps[i].call <= deadline {
            deadline = deadline.min(self.steps[i].end);
            found.push(i);
            i = self.next[i];
        }
        (found, deadline)
    }

    /// Places every observation that agrees with the state, again and again, since each may let others begin.
    fn settle(&mut self) {
        loop {
            let before = self.order.len();
            let mut deadline = u64::MAX;
            let mut i = self.next[self.anchor()];
            while i != self.anchor() && self.steps[i].call <= deadline {
                let (step, following) = (&self.steps[i], self.next[i]);
                if step.to.is_none() && self.facts.accepts(step.test, self.state) {
                    self.place(i);
                } else {
                    deadline = deadline.min(step.end);
                }
                i = following;
            }
            if self.order.len() == before {
                return;
            }
        }
    }

    /// The changes that may come next, the most promising last.
    fn choices(&self) -> Vec<Choice> {
        let (known, deadline) = self.candidates();
        let flushable = known.iter().any(|i| self.flushable(*i));
        let mut choices = self.unknown_choices(&known, deadline);
        let mut changes: Vec<usize> = known
            .into_iter()
            .filter(|i| {
                let step = &self.steps[*i];
                step.to.is_some()
                    && self.facts.accepts(step.test, self.state)
                    && !self.flushable(*i)
            })
            .collect();
        // What had to happen first most likely did.
        changes.sort_by_key(|i| std::cmp::Reverse(self.steps[*i].end));
        choices.extend(changes.into_iter().map(|i| self.choice(i)));
        if flushable {
            let (step, flush) = (None, true);
            choices.push(Choice { step, flush });
        }
        choices
    }

    fn choice(&self, i: usize) -> Choice {
        let flush = self.steps[i].test == Test::Any && !self.facts.conditions;
        let step = Some(i);
        Choice { step, flush }
    }

    /// Unknown writes that may come next and that make something acceptable which is not so now: a known step, or another
    /// unknown write that does.
    fn unknown_choices(&self, known: &[usize], deadline: u64) -> Vec<Choice> {
        let open = self.unknown.iter().copied().filter(|i| !self.is_placed(*i));
        // Of several alike, the first stands for all.
        let mut open_kinds: Vec<(usize, Test, State)> = Vec::new();
        for i in open.take_while(|i| self.steps[*i].call <= deadline) {
            let step = &self.steps[i];
            let to = step.to.unwrap_or(self.state);
            let alike = |(_, test, other): &(_, Test, State)| (*test, *other) == (step.test, to);
            if to != self.state && !open_kinds.iter().any(alike) {
                open_kinds.push((i, step.test, to));
            }
        }
        let now = |test: Test| self.facts.accepts(test, self.state);
        let tests = known.iter().map(|i| self.steps[*i].test);
        let mut wanted: Vec<Test> = tests.filter(|test| !now(*test)).collect();
        let mut choices = Vec::new();
        // Backwards from what is wanted: what leads there, what leads to that, ...
        let mut next = 0;
        while let Some(test) = wanted.get(next).copied() {
            next += 1;
            let leads = |(_, _, to): &(_, _, State)| self.facts.accepts(test, *to);
            for (i, test, _) in open_kinds.extract_if(.., |kind| leads(kind)) {
                if now(test) {
                    choices.push(self.choice(i));
                } else {
                    wanted.push(test);
                }
            }
        }
        choices
    }

    /// A put that nobody reads, where no condition looks at it: right before another write it changes nothing.
    fn flushable(&self, i: usize) -> bool {
        let step = &self.steps[i];
        !self.facts.conditions
            && step.test == Test::Any
            && step
                .to
                .is_some_and(|to| to != ABSENT && self.unread[to as usize])
    }

    fn take(&mut self, choice: Choice) {
        if choice.flush {
            for i in self.candidates().0 {
                if self.flushable(i) && Some(i) != choice.step {
                    self.place(i);
                }
            }
        }
        if let Some(i) = choice.step {
            self.place(i);
        }
    }

    fn place(&mut self, i: usize) {
        if !self.steps[i].unknown() {
            let (before, after) = (self.previous[i], self.next[i]);
            self.next[before] = after;
            self.previous[after] = before;
        }
        self.placed[i / 64] |= 1 << (i % 64);
        self.high = self.high.max(i / 64 + 1);
        self.count(i, -1);
        if let Some(to) = self.steps[i].to {
            self.state = to;
        }
        self.order.push(i);
    }

    fn mark(&self) -> Mark {
        Mark {
            placed: self.order.len(),
            state: self.state,
            high: self.high,
        }
    }

    fn back_to(&mut self, mark: Mark) {
        while self.order.len() > mark.placed {
            let Some(i) = self.order.pop() else { break };
            self.placed[i / 64] &= !(1 << (i % 64));
            self.count(i, 1);
            if !self.steps[i].unknown() {
                let (before, after) = (self.previous[i], self.next[i]);
                self.next[before] = i;
                self.previous[after] = i;
            }
        }
        self.state = mark.state;
        self.high = mark.high;
    }

    fn count(&mut self, i: usize, by: i32) {
        let step = &self.steps[i];
        let add = |count: &mut u32| *count = count.saturating_add_signed(by);
        match (step.test, step.to) {
            (Test::Is(state), None) => add(&mut self.readers[state as usize]),
            (_, Some(to)) => add(&mut self.writers[to as usize]),
            _ => {}
        }
    }

    fn is_placed(&self, i: usize) -> bool {
        self.placed[i / 64] >> (i % 64) & 1 == 1
    }

    /// This configuration, exactly: equal keys mean equal sets of placed steps and equal states.
    fn key(&self) -> Box<[u64]> {
        // Words of only placed steps in front are left out, but counted.
        let words = &self.placed[..self.high];
        let full = words.iter().take_while(|word| **word == u64::MAX).count();
        let head = (u64::from(self.state) << 32) | full as u64;
        std::iter::once(head)
            .chain(words[full..].iter().copied())
            .collect()
    }
}
