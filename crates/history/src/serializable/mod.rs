//! Strict serializability: all writes and transactions have one order, and it agrees with real time.
//!
//! Linearizability speaks of one key at a time. Of transactions over several keys more is promised: there is one order
//! of all of them in which each, alone, would have seen and done what it did, and in which what was over before another
//! began comes first (Papadimitriou 1979; Herlihy and Wing 1990, section 3.4.1).
//!
//! # Algorithm
//!
//! After Adya (*Weak Consistency: A Generalized Theory and Optimistic Implementations for Distributed Transactions*, 1999) and
//! Kingsbury and Alvaro (*Elle: Inferring Isolation Anomalies from Experimental Observations*, VLDB 2020): operations are nodes; an
//! edge says that one must come before another, and why.
//!
//! | edge | from | to | known by |
//! |---|---|---|---|
//! | `ww` | a write of a key | the next write of that key | the versions answered, or seen by reads |
//! | `wr` | a write | a read that saw it | values are unique |
//! | `rw` | a read | the write that replaced what it saw | both of the above |
//! | `rt` | an operation | one that began after its end | the observer's clock |
//!
//! A cycle means that there is no order. It is found by strongly connected components (Tarjan 1972), the shortest one is
//! shown, and its name tells what it is made of:
//!
//! | name | cycle | also known as |
//! |---|---|---|
//! | G0 | `ww` only | dirty write |
//! | G1a | – | aborted read: a value of what was refused |
//! | G1b | – | intermediate read: a value that its own transaction replaced |
//! | G1c | `ww`, `wr` | circular information flow |
//! | G-single | exactly one `rw` | read skew, fractured read, lost update |
//! | G2-item | several `rw` | write skew, long fork |
//! | …-realtime | the same, but only with `rt` edges | stale read |
//!
//! A read that saw nothing may be due to any of several deletes, so there is no edge to it. It is a violation if the edges that
//! are certain exclude them all (`absence`).
//!
//! Where a key's version order is not told, real time tells some of it: a write that began after another's end replaced it,
//! since each key by itself is linearizable. This holds for deletes, which have no versions.
//!
//! # What takes part
//!
//! Confirmed puts, deletes and `TransactPut`s; answered `TransactGet`s. A condition that held is a read of what it names. A write of
//! unknown outcome takes part, without an end, if anybody read one of its values: then all of it happened. **Plain gets take no part**:
//! two of them may fall before and after a transaction that becomes visible on their keys one after the other,
//! which is no fault. They only tell versions.
//!
//! # Caveats
//!
//! Every edge is certain, so a report is never wrong; but not everything is known (the version of a write that nobody read,
//! which of several deletes two missing items are due to), so some violations stay unseen. A value that several operations wrote to
//! one key names a writer only if the version does.

mod absence;
mod anomaly;
mod cycle;
mod dependencies;
mod graph;
mod nodes;
mod real_time;

use crate::touch::touches;
use crate::{Checked, History, Violation};

use graph::Graph;
use nodes::Nodes;

/// The name of the property.
pub const PROPERTY: &str = "strict-serializability";

/// Checks all writes and transactions together. `detail` of a violation begins with the anomaly's name.
pub fn check(history: &History) -> Result<Checked, Violation> {
    let touches = touches(history, PROPERTY)?;
    let nodes = Nodes::new(&touches);
    anomaly::reads(&nodes)?;
    let mut graph = Graph::new(nodes.len());
    dependencies::add(&nodes, &mut graph);
    real_time::add(&nodes, &mut graph);
    if let Some((class, cycle)) = cycle::worst(&graph) {
        return Err(anomaly::report(class, &cycle, &nodes));
    }
    absence::check(&nodes, &graph)?;
    Ok(Checked {
        operations: nodes.len(),
        keys: nodes.places.len(),
    })
}
