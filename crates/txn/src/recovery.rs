//! What becomes of somebody else's transaction, as a pure state machine: [`Event`]s in, [`Effect`]s out.
//!
//! It is run by routers for the transactions of a router that is gone, for entries that stay pending for too long,
//! and for intents that shards have held for too long. Any number of them may be at it at once, the coordinator
//! included: the version of the ledger's entry lets one of them decide, and everything after that may be repeated.
//!
//! ```text
//!             pending               Written, or found decided
//!  Reading ─────────────▶ Cancelling ──────────────────────────┐
//!   │ │ ▲                     │ EntryGone: read again          ▼
//!   │ │ └─────────────────────┘            decided      Applying(d) ──all applied──▶ Removing ──▶ Ended
//!   │ └──────────────────────────────────────────────────▶ ▲   ▲       (an entry there is)
//!   │ missing                                              │   │
//!   ▼             one has committed (there is no entry)    │   │
//!  Inquiring ──────────────────────────────────────────────┘   │ Written (version 1, never 0), or found decided
//!   │   │         some prepared, none committed or forgotten   │
//!   │   └───────────────────────────────────────────────▶ Creating
//!   └──▶ Ended: nobody holds an intent, or somebody has forgotten
//! ```
//!
//! A missing entry proves nothing by itself: the store may have been restored, or the transaction may be over and
//! this intent that of a prepare that came late. So all participants are asked, and only if none of them has
//! committed, and all have answered, is the cancellation written. What can't be finished is given up until the next
//! time: nothing is lost by that but time.

use model::TransactionState;

use crate::{Decision, Standing};

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The recovery begins.
    Begin,
    /// A look at the ledger, after a sync. `None`: it has no such entry.
    Read(Option<Standing>),
    /// The ledger could not be read.
    ReadFailed,
    /// What a group knows.
    Answered {
        /// Which.
        group: usize,
        /// Of the transaction.
        state: TransactionState,
    },
    /// A group could not be asked.
    InquiryFailed {
        /// Which.
        group: usize,
    },
    /// The table of a group is proven to be deleted.
    TableDeleted {
        /// Which.
        group: usize,
    },
    /// The ledger has what was written.
    Written,
    /// The ledger has a decision already.
    FoundDecided(Decision),
    /// The entry is gone.
    EntryGone,
    /// The write has failed, or its outcome is not known.
    WriteFailed,
    /// A group has applied the decision.
    Applied {
        /// Which.
        group: usize,
    },
    /// A group was not reached.
    ApplyFailed {
        /// Which.
        group: usize,
    },
    /// The entry is gone from the ledger.
    Removed,
    /// The entry was not removed, as far as is known.
    RemoveFailed,
}

/// What to do. What comes of each effect but the last is an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Look into the ledger, after a sync.
    Read,
    /// Ask a group what it knows.
    Inquire {
        /// Which.
        group: usize,
    },
    /// Set the entry from pending to this, by a version check.
    Write(Decision),
    /// Make the entry and set it to cancelled, in one step.
    CreateCancelled,
    /// Tell a group.
    Apply {
        /// Which.
        group: usize,
        /// As it stands in the ledger, or as a participant has applied it.
        decision: Decision,
    },
    /// Remove the entry.
    Remove,
    /// The recovery is over.
    End(End),
}

/// How a recovery ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All participants have applied this.
    Finished(Decision),
    /// There was nothing to do: no entry, and no intent anywhere.
    Nothing,
    /// Something could not be reached. The same recovery has to begin again later.
    GivenUp,
    /// The ledger has lost it, and a participant may have committed it so long ago that nobody knows: either end may be wrong.
    Undecidable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    No,
    With(TransactionState),
    Gone,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    No,
    Yes,
    Failed,
}

#[derive(Debug, Clone)]
enum State {
    Reading,
    Inquiring(Vec<Answered>),
    Cancelling,
    Creating,
    Applying {
        decision: Decision,
        /// There is an entry to remove afterwards.
        entry: bool,
        groups: Vec<Reached>,
    },
    Removing(Decision),
    Ended,
}

/// One recovery.
#[derive(Debug, Clone)]
pub struct Recovery {
    groups: usize,
    state: State,
    /// Looks that were in vain because the entry went meanwhile.
    reread: bool,
}

impl Recovery {
    /// Of a transaction over so many groups.
    pub fn new(groups: usize) -> Self {
        Self {
            groups,
            state: State::Reading,
            reread: false,
        }
    }

    /// Takes note of an event and says what to do.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        match (&mut self.state, event) {
            (State::Reading, Event::Begin) => vec![Effect::Read],
            (State::Reading, Event::Read(standing)) => self.read(standing),
            (State::Inquiring(answers), event) => {
                let (group, answer) = match event {
                    Event::Answered { group, state } => (group, Answered::With(state)),
                    Event::InquiryFailed { group } => (group, Answered::Failed),
                    // Nobody will ever see what it holds.
                    Event::TableDeleted { group } => (group, Answered::Gone),
                    _ => return Vec::new(),
                };
                if let Some(slot) = answers.get_mut(group) {
                    *slot = answer;
                }
                self.judge()
            }
            (State::Cancelling, Event::Written) => {
                let decision = if mutant!(RecoveryCommitsPending) {
                    Decision::Committed
                } else {
                    Decision::Cancelled
                };
                self.apply(decision, true)
            }
            (State::Creating, Event::Written) => self.apply(Decision::Cancelled, true),
            (State::Cancelling | State::Creating, Event::FoundDecided(decision)) => {
                self.apply(decision, true)
            }
            (State::Cancelling | State::Creating, Event::EntryGone) if !self.reread => {
                self.reread = true;
                self.state = State::Reading;
                vec![Effect::Read]
            }
            (State::Reading, Event::ReadFailed)
            | (State::Cancelling | State::Creating, Event::WriteFailed | Event::EntryGone) => {
                self.end(End::GivenUp)
            }
            (State::Applying { groups, .. }, event) => {
                let (group, reached) = match event {
                    Event::Applied { group } | Event::TableDeleted { group } => {
                        (group, Reached::Yes)
                    }
                    Event::ApplyFailed { group } => (group, Reached::Failed),
                    _ => return Vec::new(),
                };
                if let Some(slot) = groups.get_mut(group) {
                    *slot = reached;
                }
                self.finish()
            }
            (State::Removing(decision), Event::Removed) => {
                let decision = *decision;
                self.end(End::Finished(decision))
            }
            (State::Removing(_), Event::RemoveFailed) => self.end(End::GivenUp),
            // Late, or of a step that is over.
            (_, _) => Vec::new(),
        }
    }

    fn read(&mut self, standing: Option<Standing>) -> Vec<Effect> {
        match standing {
            Some(Standing::Decided(decision)) => self.apply(decision, true),
            Some(Standing::Pending) => {
                self.state = State::Cancelling;
                let decision = if mutant!(RecoveryCommitsPending) {
                    Decision::Committed
                } else {
                    Decision::Cancelled
                };
                vec![Effect::Write(decision)]
            }
            None if mutant!(MissingTakenForCancelled) => self.apply(Decision::Cancelled, false),
            None => {
                self.state = State::Inquiring(vec![Answered::No; self.groups]);
                (0..self.groups)
                    .map(|group| Effect::Inquire { group })
                    .collect()
            }
        }
    }

    /// What the participants have said so far.
    fn judge(&mut self) -> Vec<Effect> {
        let State::Inquiring(answers) = &self.state else {
            return Vec::new();
        };
        let some = |state| answers.contains(&Answered::With(state));
        if some(TransactionState::Committed) {
            return self.apply(Decision::Committed, false);
        }
        if answers.contains(&Answered::No) {
            return Vec::new();
        }
        if answers.contains(&Answered::Failed) {
            return self.end(End::GivenUp);
        }
        if !some(TransactionState::Prepared) {
            return self.end(End::Nothing);
        }
        // Who has neither committed it nor holds it prepared shows that it was not committed.
        let denied = some(TransactionState::Unknown) || some(TransactionState::Cancelled);
        if some(TransactionState::Forgotten) && !denied {
            return self.end(End::Undecidable);
        }
        self.state = State::Creating;
        vec![Effect::CreateCancelled]
    }

    fn apply(&mut self, decision: Decision, entry: bool) -> Vec<Effect> {
        self.state = State::Applying {
            decision,
            entry,
            groups: vec![Reached::No; self.groups],
        };
        (0..self.groups)
            .map(|group| Effect::Apply { group, decision })
            .collect()
    }

    fn finish(&mut self) -> Vec<Effect> {
        let State::Applying {
            decision,
            entry,
            groups,
        } = &self.state
        else {
            return Vec::new();
        };
        let (decision, entry) = (*decision, *entry);
        if groups.contains(&Reached::No) {
            return Vec::new();
        }
        if groups.contains(&Reached::Failed) {
            return self.end(End::GivenUp);
        }
        if !entry {
            return self.end(End::Finished(decision));
        }
        self.state = State::Removing(decision);
        vec![Effect::Remove]
    }

    fn end(&mut self, end: End) -> Vec<Effect> {
        self.state = State::Ended;
        vec![Effect::End(end)]
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
