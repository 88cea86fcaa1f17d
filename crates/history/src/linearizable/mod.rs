//! Linearizability: every operation takes effect at one moment between its invocation and its return.
//!
//! A history is linearizable if there is one order of its operations that agrees with real time (what was over before
//! another began comes first) and in which every answer is right for a store that does one thing at a time (Herlihy and
//! Wing, *Linearizability: A Correctness Condition for Concurrent Objects*, TOPLAS 1990). Each key is a register:
//! absent at first, with puts, deletes and writes on condition.
//!
//! ```text
//! put a  ├────────────┤
//! get            ├─┤ a           linearizable: put a, get, get
//! get                 ├─┤ a
//!
//! put a  ├────────────┤
//! get       ├─┤ a               not: a was seen, then unseen
//! get            ├─┤ missing
//! ```
//!
//! # Algorithm
//!
//! | step | source |
//! |---|---|
//! | one search per key | linearizability is local (Herlihy and Wing, theorem 1); *P-compositionality* in Horn and Kroening 2015 |
//! | depth-first search over the next operation, among those that nothing unplaced precedes | Wing and Gong, *Testing and Verifying Concurrent Objects*, 1993 |
//! | never visit a pair (set of placed operations, state) twice | Lowe, *Testing for Linearizability*, 2017 |
//! | an observation that agrees with the state is placed at once; a state is not left while reads of it are outstanding that no other write can serve | after the zones of Gibbons and Korach, *Testing Shared Memories*, 1997 |
//!
//! A write of **unknown outcome** may take effect at any moment after its invocation, or never. It is placed only right
//! before an operation that needs it: in any valid order, one that nothing needs can be left out, and one that is needed
//! later can wait. So unknown puts that nobody read cost nothing, and of several unknown deletes, which are all
//! alike, only their number matters.
//!
//! # What takes part
//!
//! Puts, deletes, consistent gets, and transactions, each of whose items counts as an operation on its key. A write that was
//! refused by its condition is an observation of the key. Eventual reads are not looked at, except that they tell
//! which version a value has.
//!
//! # Caveats
//!
//! Versions are used only to judge conditions; [`crate::versions`] has the rest. The problem is NP-complete, so the search
//! has a bound; beyond it the answer is [`Kind::Undecided`]. Without conditions a correct store's history stays far below it,
//! with 32 clients on one key and a third of the outcomes unknown. Where any operation on a key has a condition, a put that
//! nobody read may matter, and all orders of concurrent ones are distinct: let no more than about 8 clients write
//! to such a key at once.

mod problem;
mod search;
mod shrink;

use crate::render::{brief, place};
use crate::touch::{by_place, touches};
use crate::violation::Kind;
use crate::{Checked, History, Operation, Violation};

use problem::Problem;
use search::Verdict;

/// The name of the property.
pub const PROPERTY: &str = "linearizability";

/// Configurations that are visited per key before the search is given up. A history that a correct store made needs
/// about as many as it has operations.
pub const EFFORT: usize = 1_000_000;

/// Checks every key.
pub fn check(history: &History) -> Result<Checked, Violation> {
    check_within(history, EFFORT)
}

/// Like [`check`], with a bound of one's own on the configurations visited per key.
pub fn check_within(history: &History, effort: usize) -> Result<Checked, Violation> {
    let mut checked = Checked::default();
    for (at, touches) in by_place(touches(history, PROPERTY)?) {
        let problem = Problem::new(&touches);
        checked.operations += problem.steps.len();
        checked.keys += usize::from(!problem.steps.is_empty());
        let steps = || problem.steps.iter().map(|step| step.touch.operation);
        match search::search(&problem.steps, &problem.facts, effort) {
            Verdict::Linearizable => {}
            Verdict::Impossible => {
                let shrunk = shrink::shrink(&problem, effort);
                return Err(violation(&place(at.0, at.1), &shrunk));
            }
            Verdict::Exhausted => {
                let count = problem.steps.len();
                return Err(Violation {
                    kind: Kind::Undecided,
                    ..Violation::broken(
                        PROPERTY,
                        format!(
                            "key {}: no answer for {count} operations after {effort} configurations",
                            place(at.0, at.1)
                        ),
                        steps(),
                    )
                });
            }
        }
    }
    Ok(checked)
}

fn violation(place: &str, shrunk: &shrink::Shrunk<'_>) -> Violation {
    let operations: &[&Operation] = &shrunk.operations;
    let detail = format!(
        "key {place}: no order of these operations explains every answer; \
         up to the return of {} there was one",
        brief(shrunk.breaking)
    );
    Violation::broken(PROPERTY, detail, operations.iter().copied())
}
