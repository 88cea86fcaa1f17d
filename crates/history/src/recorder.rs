//! Recording of a history while it happens.

use std::collections::BTreeMap;

use crate::{Call, Operation, Outcome};

/// Operations in the order of their invocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    operations: Vec<Operation>,
}

impl History {
    /// A history of operations that were recorded in any order.
    pub fn new(mut operations: Vec<Operation>) -> Self {
        operations.sort_by_key(|operation| operation.invoked);
        Self { operations }
    }

    /// The operations, by invocation.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }
}

/// Writes down what clients do.
///
/// `begin` is called before a request leaves its client and `end` after the answer has arrived. Then the order of
/// these calls *is* real time, so the recorder keeps it even where the clock is too coarse: what happens in
/// one instant is written down one unit apart.
#[derive(Debug, Default)]
pub struct Recorder {
    operations: Vec<Operation>,
    sequences: BTreeMap<u64, u64>,
    last: Option<u64>,
}

/// An operation that was begun. Not clonable: it can end once.
#[derive(Debug)]
#[must_use = "an operation that never ends counts as one of unknown outcome"]
pub struct Token(usize);

impl Token {
    /// Which of the [operations](History::operations) this one is going to be.
    pub fn place(&self) -> usize {
        self.0
    }
}

impl Recorder {
    /// Nothing recorded yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client is about to ask.
    pub fn begin(&mut self, client: u64, now: u64, call: Call) -> Token {
        let sequence = self.sequences.entry(client).or_default();
        *sequence += 1;
        let sequence = *sequence;
        let invoked = self.tick(now);
        self.operations.push(Operation {
            client,
            sequence,
            invoked,
            returned: None,
            call,
            outcome: Outcome::Unknown,
        });
        Token(self.operations.len() - 1)
    }

    /// A client has its answer, or has given up.
    // The token is used up: an operation ends once.
    #[allow(clippy::needless_pass_by_value)]
    pub fn end(&mut self, token: Token, now: u64, outcome: Outcome) {
        let returned = self.tick(now);
        if let Some(operation) = self.operations.get_mut(token.0) {
            operation.returned = Some(returned);
            operation.outcome = outcome;
        }
    }

    /// Operations begun so far.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether nothing was begun.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// What was recorded so far; what has not ended has an unknown outcome.
    pub fn history(&self) -> History {
        History::new(self.operations.clone())
    }

    /// The end of recording.
    pub fn finish(self) -> History {
        History::new(self.operations)
    }

    fn tick(&mut self, now: u64) -> u64 {
        let at = self
            .last
            .map_or(now, |last| now.max(last.saturating_add(1)));
        self.last = Some(at);
        at
    }
}
