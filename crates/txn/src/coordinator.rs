//! The coordinator of one `TransactPut`, as a pure state machine: [`Event`]s in, [`Effect`]s out.
//!
//! ```text
//!            Lost: a new id
//!            ┌───┐
//!            │   ▼        Confirmed             every vote is in                Written, or found
//!  Begin ──▶ Creating ─────────────▶ Preparing ─────────────────▶ Deciding(d) ────────────────▶ Applying(d)
//!               │                                                   │   ▲ │                         │ all have
//!    NotCreated │                                         EntryGone │   └─┘ WriteFailed             │ applied
//!               ▼                                                   ▼                               ▼
//!             Ended ◀────────────────────────────────────────────  ·  ◀──────────────────────── Removing
//!                       SessionLost, from everywhere                              Removed
//! ```
//!
//! | rule | where |
//! |---|---|
//! | no prepare before the ledger's entry is confirmed, and no timestamp | `Creating` sends nothing |
//! | no decision to a shard before it stands in the ledger | `Deciding` sends nothing |
//! | committed only if every group has prepared | [`Effect::Write`] |
//! | success only when every group has applied | the end of `Applying` |
//! | "cancelled" only after the ledger was seen cancelled | from `Applying(Cancelled)` on |
//! | the entry goes when all groups have applied, not before | `Removing` |
//! | one decision is sought and never another | `Deciding(d)` writes *d* until it knows |
//!
//! Once a group has refused, the others get a moment to say what they have against it ([`Event::Hasten`]); then it is cancelled,
//! and who has not voted by then is told when it has. Otherwise a shard without a leader would keep the
//! items of all others locked.
//!
//! The participants are grouped by shard; to the machine a *group* is a number. A group that was certainly never
//! prepared needs no decision, so that a shard without a majority does not keep the entry of each transaction that
//! has failed because of it.
//!
//! # Caveats
//!
//! The machine goes on after its [`Effect::Answer`]: until the last group has applied the decision, or the session
//! is lost and others take the transaction over.

use model::{Objection, TransactionId};

use crate::Decision;

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The transaction begins.
    Begin,
    /// The ledger has the entry.
    Confirmed,
    /// The answer to the create was lost and a look at the ledger has not found the entry. It may land yet, so its
    /// id is given up for good; this is a new one.
    Lost {
        /// Never used before.
        next: TransactionId,
    },
    /// The entry was certainly not made, or nothing will ever come of it.
    NotCreated,
    /// A group holds its intents.
    Prepared {
        /// Which.
        group: usize,
    },
    /// A group has refused.
    Rejected {
        /// Which.
        group: usize,
        /// One for each of its items.
        objections: Vec<Option<Objection>>,
    },
    /// A prepare has failed.
    PrepareFailed {
        /// Of which group.
        group: usize,
        /// Nothing was prepared, and nothing will be. Otherwise the group may hold intents, or may come to.
        certain: bool,
    },
    /// The table of a group is proven to be deleted.
    TableDeleted {
        /// Which.
        group: usize,
    },
    /// The ledger has the decision, from this coordinator.
    Written,
    /// The ledger has a decision already.
    FoundDecided(Decision),
    /// The ledger has no entry any more.
    EntryGone,
    /// Whether the decision was written is not known yet, or it was not.
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
    /// A group has refused a while ago: the others' reasons are waited for no longer.
    Hasten,
    /// The caller waits no longer.
    Deadline,
    /// The session with the coordination store is over: others take over what was begun.
    SessionLost,
}

/// What to do. What comes of each effect but [`Effect::Stamp`] and [`Effect::Answer`] is an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make the entry, once for this id.
    Create(TransactionId),
    /// Take the timestamp now.
    Stamp,
    /// Send its items to a group.
    Prepare {
        /// Which.
        group: usize,
    },
    /// Set the entry from pending to this, by a version check.
    Write(Decision),
    /// Tell a group. May be repeated, as long as it takes.
    Apply {
        /// Which.
        group: usize,
        /// As it stands in the ledger.
        decision: Decision,
    },
    /// Remove the entry.
    Remove,
    /// Answer the caller. Once, at the most.
    Answer(Answer),
}

/// What the caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// All writes have happened and every consistent read shows them.
    Committed,
    /// None has and none will. [`Coordinator::votes`] says why.
    Cancelled,
    /// None has and none will: nothing was begun.
    NotBegun,
    /// They may have happened, or may yet.
    Unknown {
        /// They have or will.
        committed: bool,
    },
}

/// What is known of a group's prepare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    /// Nothing yet.
    Awaited,
    /// It holds its intents.
    Prepared,
    /// It has refused, with these objections.
    Rejected(Vec<Option<Objection>>),
    /// Its table is deleted.
    TableDeleted,
    /// It was not reached and holds nothing.
    Untouched,
    /// It may hold intents.
    Doubtful,
}

#[derive(Debug, Clone)]
struct Group {
    vote: Vote,
    applied: bool,
}

impl Group {
    /// The caller will be told what there is against it. What has only failed, or come too late, is tried again.
    fn refuses_for_good(&self) -> bool {
        let too_old = |objection: &Objection| matches!(objection, Objection::TimestampTooOld(_));
        match &self.vote {
            Vote::Rejected(objections) => !objections.iter().flatten().all(too_old),
            Vote::TableDeleted => true,
            _ => false,
        }
    }

    /// And never will.
    fn holds_nothing(&self) -> bool {
        matches!(self.vote, Vote::Untouched | Vote::TableDeleted)
    }
}

/// The group of a vote, and what it says.
fn vote_of(event: Event) -> Option<(usize, Vote)> {
    Some(match event {
        Event::Prepared { group } => (group, Vote::Prepared),
        Event::Rejected { group, objections } => (group, Vote::Rejected(objections)),
        Event::TableDeleted { group } => (group, Vote::TableDeleted),
        Event::PrepareFailed {
            group,
            certain: true,
        } => (group, Vote::Untouched),
        Event::PrepareFailed { group, .. } => (group, Vote::Doubtful),
        _ => return None,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Creating,
    Preparing,
    Deciding(Decision),
    Applying(Decision),
    Removing,
    Ended,
}

/// One transaction.
#[derive(Debug, Clone)]
pub struct Coordinator {
    id: TransactionId,
    groups: Vec<Group>,
    state: State,
    answered: bool,
    /// The caller has gone before anything was prepared.
    abandoned: bool,
}

impl Coordinator {
    /// A transaction over so many groups.
    pub fn new(id: TransactionId, groups: usize) -> Self {
        let group = Group {
            vote: Vote::Awaited,
            applied: false,
        };
        Self {
            id,
            groups: vec![group; groups],
            state: State::Creating,
            answered: false,
            abandoned: false,
        }
    }

    /// Its id: a new one after each [`Event::Lost`].
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// What each group said.
    pub fn votes(&self) -> impl Iterator<Item = &Vote> {
        self.groups.iter().map(|group| &group.vote)
    }

    /// Whether nothing is in the ledger yet, as far as is known: whoever leaves now can be sure that nothing happens.
    pub fn is_creating(&self) -> bool {
        self.state == State::Creating
    }

    /// Whether the items may have to be sent to somebody yet.
    pub fn needs_items(&self) -> bool {
        matches!(self.state, State::Creating | State::Preparing)
    }

    /// Whether there is nothing left to do.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Takes note of an event and says what to do, in this order. An event that does not fit the state changes
    /// nothing: answers may come late.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::SessionLost => self.session_lost(&mut effects),
            Event::Deadline => self.deadline(&mut effects),
            event => self.advance(event, &mut effects),
        }
        effects
    }

    fn advance(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match (self.state, event) {
            (State::Creating, Event::Begin) => {
                effects.push(Effect::Create(self.id));
                if mutant!(PrepareBeforeLedger) {
                    self.prepare(effects);
                }
            }
            (State::Creating, Event::Lost { next }) if !self.abandoned => {
                self.id = next;
                effects.push(Effect::Create(next));
            }
            (State::Creating, Event::Lost { .. } | Event::NotCreated) => {
                self.state = State::Ended;
                self.answer(Answer::NotBegun, effects);
            }
            (State::Creating, Event::Confirmed) if self.abandoned => {
                for group in &mut self.groups {
                    group.vote = Vote::Untouched;
                }
                self.decide(effects);
            }
            (State::Creating, Event::Confirmed) => {
                self.state = State::Preparing;
                if mutant!(PrepareBeforeLedger) {
                    self.decide_when_complete(effects);
                } else {
                    self.prepare(effects);
                }
            }
            (State::Preparing, Event::Hasten) => self.decide_if_refused(effects),
            (State::Creating | State::Preparing, event) => self.vote(event, effects),
            (State::Deciding(decision), Event::Written) => self.decided(decision, effects),
            (State::Deciding(_), Event::FoundDecided(found)) => self.decided(found, effects),
            (State::Deciding(decision), Event::WriteFailed) => {
                effects.push(Effect::Write(decision));
            }
            (State::Deciding(_), Event::EntryGone) => {
                // Somebody has decided, driven and removed it: which way is not known here.
                self.state = State::Ended;
                self.answer(Answer::Unknown { committed: false }, effects);
            }
            (
                State::Applying(_) | State::Deciding(_),
                Event::Applied { group } | Event::TableDeleted { group },
            ) => self.applied(group, effects),
            (State::Applying(decision), Event::ApplyFailed { group }) => {
                effects.push(Effect::Apply { group, decision });
            }
            (State::Deciding(_) | State::Applying(_), event) => self.late_vote(event, effects),
            (State::Removing, Event::Removed) => self.state = State::Ended,
            (State::Removing, Event::RemoveFailed) => effects.push(Effect::Remove),
            // Late, or of a step that is over.
            (_, _) => {}
        }
    }

    /// Sends the first phase.
    fn prepare(&mut self, effects: &mut Vec<Effect>) {
        effects.push(Effect::Stamp);
        effects.extend((0..self.groups.len()).map(|group| Effect::Prepare { group }));
    }

    fn vote(&mut self, event: Event, effects: &mut Vec<Effect>) {
        let Some((group, vote)) = vote_of(event) else {
            return;
        };
        if let Some(group) = self.groups.get_mut(group) {
            group.vote = vote;
        }
        if self.state == State::Preparing {
            self.decide_when_complete(effects);
        }
    }

    /// A vote that was not waited for. The group is told the decision now, where it may hold something.
    fn late_vote(&mut self, event: Event, effects: &mut Vec<Effect>) {
        let Some((index, vote)) = vote_of(event) else {
            return;
        };
        let awaited = |group: &&mut Group| group.vote == Vote::Awaited;
        let Some(group) = self.groups.get_mut(index).filter(awaited) else {
            return;
        };
        group.vote = vote;
        let State::Applying(decision) = self.state else {
            return;
        };
        if group.holds_nothing() {
            self.applied(index, effects);
        } else {
            let group = index;
            effects.push(Effect::Apply { group, decision });
        }
    }

    /// Nothing can become of it: the healthy groups need not hold their intents until the last one has answered.
    fn decide_if_refused(&mut self, effects: &mut Vec<Effect>) {
        let open = |vote: &Vote| matches!(vote, Vote::Awaited | Vote::Prepared);
        if !self.votes().all(open) {
            self.decide(effects);
        }
    }

    fn decide_when_complete(&mut self, effects: &mut Vec<Effect>) {
        if !self.votes().any(|vote| *vote == Vote::Awaited) {
            self.decide(effects);
        }
    }

    /// Seeks the decision that the votes allow.
    fn decide(&mut self, effects: &mut Vec<Effect>) {
        let decision = if self.votes().all(|vote| *vote == Vote::Prepared) {
            Decision::Committed
        } else {
            Decision::Cancelled
        };
        self.state = State::Deciding(decision);
        effects.push(Effect::Write(decision));
        if mutant!(DecisionBeforeLedger) {
            self.apply(decision, effects);
        }
    }

    /// The ledger has a decision, which is the one that holds whatever this coordinator wanted.
    fn decided(&mut self, decision: Decision, effects: &mut Vec<Effect>) {
        self.state = State::Applying(decision);
        for group in &mut self.groups {
            // What holds nothing, and never will, needs no decision.
            group.applied |= group.holds_nothing();
        }
        if mutant!(SuccessBeforeApplied) {
            self.answer_decided(decision, effects);
        }
        if mutant!(EntryRemovedEarly) {
            effects.push(Effect::Remove);
        }
        if !mutant!(DecisionBeforeLedger) {
            self.apply(decision, effects);
        }
        self.remove_when_applied(effects);
    }

    fn apply(&mut self, decision: Decision, effects: &mut Vec<Effect>) {
        let groups = self.groups.iter().enumerate();
        // Who has not voted yet is told when it has.
        let told = |group: &Group| !group.applied && group.vote != Vote::Awaited;
        let open = groups.filter(|(_, group)| told(group));
        effects.extend(open.map(|(group, _)| Effect::Apply { group, decision }));
    }

    fn applied(&mut self, group: usize, effects: &mut Vec<Effect>) {
        if let Some(group) = self.groups.get_mut(group) {
            group.applied = true;
        }
        self.remove_when_applied(effects);
    }

    fn remove_when_applied(&mut self, effects: &mut Vec<Effect>) {
        let State::Applying(decision) = self.state else {
            return;
        };
        // A group that has refused holds nothing that anybody could meet. It is told all the same, because a prepare that
        // was sent twice may come late, but the caller need not wait for that.
        // Nor for those who have not said anything yet, unless it will try again at once: it must not meet its own intents then.
        let is_final = self.groups.iter().any(Group::refuses_for_good);
        let refused = |group: &Group| match group.vote {
            Vote::Rejected(_) => true,
            Vote::Awaited => is_final,
            _ => false,
        };
        let settled =
            |group: &Group| group.applied || (decision == Decision::Cancelled && refused(group));
        if self.groups.iter().all(settled) {
            self.answer_decided(decision, effects);
        }
        if self.groups.iter().all(|group| group.applied) {
            self.state = State::Removing;
            effects.push(Effect::Remove);
        }
    }

    fn answer_decided(&mut self, decision: Decision, effects: &mut Vec<Effect>) {
        let answer = match decision {
            Decision::Committed => Answer::Committed,
            Decision::Cancelled => Answer::Cancelled,
        };
        self.answer(answer, effects);
    }

    fn answer(&mut self, answer: Answer, effects: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.answered, true) {
            effects.push(Effect::Answer(answer));
        }
    }

    /// What can be said at this moment to a caller who will not wait.
    fn answer_now(&mut self, effects: &mut Vec<Effect>) {
        let answer = match self.state {
            State::Creating => Answer::NotBegun,
            State::Applying(Decision::Cancelled) => Answer::Cancelled,
            State::Applying(Decision::Committed) => Answer::Unknown { committed: true },
            State::Preparing | State::Deciding(_) => Answer::Unknown { committed: false },
            // Answered before.
            State::Removing | State::Ended => return,
        };
        self.answer(answer, effects);
    }

    fn deadline(&mut self, effects: &mut Vec<Effect>) {
        self.answer_now(effects);
        match self.state {
            State::Creating => self.abandoned = true,
            State::Preparing => {
                for group in &mut self.groups {
                    if group.vote == Vote::Awaited {
                        group.vote = Vote::Doubtful;
                    }
                }
                self.decide(effects);
            }
            State::Deciding(_) | State::Applying(_) | State::Removing | State::Ended => {}
        }
    }

    fn session_lost(&mut self, effects: &mut Vec<Effect>) {
        self.answer_now(effects);
        self.state = State::Ended;
    }
}

#[cfg(test)]
#[path = "coordinator_tests.rs"]
mod tests;
