//! What a checker answers.

use std::fmt;

use crate::{Operation, render};

/// How much a checker has looked at, so that a test can demand that it was not nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Operations that said something about the property.
    pub operations: usize,
    /// Keys they touched.
    pub keys: usize,
}

/// What kind of failure a [`Violation`] reports. Every one of them fails a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The property does not hold.
    Broken,
    /// The search was given up at its bound; the property may or may not hold.
    Undecided,
    /// The history itself is not one: an answer that doesn't fit its call, or that came before it.
    Malformed,
}

/// A property that does not hold, or could not be shown to hold, of a history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    /// Which property: `linearizability`, `versions`, `eventual-reads`, `confirmed-writes` or
    /// `strict-serializability`.
    pub property: &'static str,
    /// Whether it is broken, undecided, or the history no history.
    pub kind: Kind,
    /// What is wrong, in sentences.
    pub detail: String,
    /// The operations that show it, as few as the checker could make it.
    pub history: Vec<Operation>,
}

impl Violation {
    pub(crate) fn broken<'h>(
        property: &'static str,
        detail: String,
        operations: impl IntoIterator<Item = &'h Operation>,
    ) -> Self {
        let mut history: Vec<Operation> = operations.into_iter().cloned().collect();
        history.sort_by_key(|operation| (operation.invoked, operation.client, operation.sequence));
        history.dedup();
        Self {
            property,
            kind: Kind::Broken,
            detail,
            history,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Broken => "violated",
            Kind::Undecided => "undecided",
            Kind::Malformed => "not checked",
        };
        writeln!(f, "{} {kind}: {}", self.property, self.detail)?;
        f.write_str(&render(&self.history))
    }
}
