//! A small part of a history that is not linearizable either.
//!
//! 1. The shortest prefix that fails. Prefixes of linearizable histories are linearizable, so it is found by
//!    halving; its last return is the answer that can't be explained.
//! 2. Without the observations that the failure doesn't need.
//! 3. Without the writes that nobody in the rest observes.
//!
//! Leaving these out of a linearizable history would leave a linearizable one, so what remains does show a fault of the
//! whole.

use std::collections::BTreeSet;

use super::problem::{Problem, Step, Test};
use super::search::{Verdict, search};
use crate::Operation;

/// A search within the shrinking may not take longer than this: there are many.
const EFFORT: usize = 20_000;

pub(super) struct Shrunk<'h> {
    pub(super) operations: Vec<&'h Operation>,
    /// The first to return that makes the history fail.
    pub(super) breaking: &'h Operation,
}

/// Shrinks a problem that has no solution.
pub(super) fn shrink<'h>(problem: &Problem<'h>, effort: usize) -> Shrunk<'h> {
    let effort = effort.min(EFFORT);
    let fails = |steps: &[Step<'h>]| search(steps, &problem.facts, effort) == Verdict::Impossible;
    let last = shortest(problem, &fails);
    let mut steps = prefix(&problem.steps, last);
    loop {
        let before = steps.len();
        thin(&mut steps, |step, _| step.to.is_none(), &fails);
        thin(&mut steps, unobserved, &fails);
        if steps.len() == before {
            break;
        }
    }
    let mut operations: Vec<&Operation> = steps.iter().map(|step| step.touch.operation).collect();
    operations.dedup_by(|a, b| std::ptr::eq(*a, *b));
    let at_last = |step: &&Step<'h>| step.end == last;
    let breaking = steps.iter().find(at_last).or(steps.last());
    let whole = &problem.steps;
    let breaking = breaking.or(whole.iter().find(at_last)).unwrap_or(&whole[0]);
    Shrunk {
        operations,
        breaking: breaking.touch.operation,
    }
}

/// The return that ends the shortest prefix that fails.
fn shortest<'h>(problem: &Problem<'h>, fails: &impl Fn(&[Step<'h>]) -> bool) -> u64 {
    let ends: BTreeSet<u64> = problem.steps.iter().map(|step| step.end).collect();
    let ends: Vec<u64> = ends.into_iter().filter(|end| *end != u64::MAX).collect();
    let first = ends.partition_point(|end| !fails(&prefix(&problem.steps, *end)));
    ends.get(first).or(ends.last()).copied().unwrap_or(u64::MAX)
}

/// What was known at a moment: what had not returned by then may have happened or not.
fn prefix<'h>(steps: &[Step<'h>], moment: u64) -> Vec<Step<'h>> {
    let begun = steps.iter().filter(|step| step.call <= moment);
    begun
        .filter(|step| step.end <= moment || step.to.is_some())
        .map(|step| Step {
            end: if step.end <= moment {
                step.end
            } else {
                u64::MAX
            },
            ..*step
        })
        .collect()
}

/// Leaves out what may be left out, in large pieces first, as long as the rest fails.
fn thin<'h>(
    steps: &mut Vec<Step<'h>>,
    removable: impl Fn(&Step<'h>, &Observed) -> bool,
    fails: &impl Fn(&[Step<'h>]) -> bool,
) {
    let mut piece = steps.len();
    while piece > 0 {
        let mut from = 0;
        while from < steps.len() {
            let observed = Observed::new(steps);
            let rest: Vec<Step<'h>> = steps
                .iter()
                .enumerate()
                .filter(|(i, step)| {
                    !(from..from + piece).contains(i) || !removable(step, &observed)
                })
                .map(|(_, step)| *step)
                .collect();
            if rest.len() < steps.len() && fails(&rest) {
                *steps = rest;
            } else {
                from += piece;
            }
        }
        piece /= 2;
    }
}

/// What the steps look at.
struct Observed {
    states: BTreeSet<u32>,
    /// Some look at more than the value.
    conditions: bool,
}

impl Observed {
    fn new(steps: &[Step<'_>]) -> Self {
        let mut states = BTreeSet::new();
        let mut conditions = false;
        for step in steps {
            match step.test {
                Test::Any => {}
                Test::Is(state) => {
                    states.insert(state);
                }
                Test::Present | Test::Version(_) | Test::NotVersion(_) => conditions = true,
            }
        }
        Self { states, conditions }
    }
}

fn unobserved(step: &Step<'_>, observed: &Observed) -> bool {
    !observed.conditions && step.to.is_some_and(|to| !observed.states.contains(&to))
}
