//! What is on its way to the disk, and the messages that wait for it.
//!
//! Each [`Persist`] carries everything that has changed since the one before. A message that promises something (a vote, a match)
//! is tied to the latest `Persist` at the time it was made, and goes out when that is durable. Writes may be under way while the
//! log is cut by a new leader: what such a write makes durable then counts only up to the cut.

use std::collections::VecDeque;

use super::{Replica, State};
use crate::log::Point;
use crate::{Broken, HardState, Index, Message, Persist, PersistToken};

#[derive(Debug)]
pub(super) struct Persistence {
    /// The token of the next `Persist`.
    next: PersistToken,
    hard_changed: bool,
    /// The log is to begin anew after this point.
    reset: Option<Point>,
    /// Given out and not yet reported as durable; tokens rise.
    under_way: VecDeque<UnderWay>,
    /// Term and vote as they are on disk.
    pub(super) durable_hard: HardState,
}

#[derive(Debug)]
struct UnderWay {
    token: PersistToken,
    /// When it is durable, the log is so up to here.
    last: Index,
    hard: HardState,
    /// Wait for it.
    messages: Vec<Message>,
}

impl Persistence {
    pub(super) fn new(durable_hard: HardState, hard_changed: bool, reset: Option<Point>) -> Self {
        let under_way = VecDeque::new();
        Self {
            next: PersistToken(1),
            hard_changed,
            reset,
            under_way,
            durable_hard,
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.hard_changed || self.reset.is_some()
    }

    pub(super) fn hard_state_changed(&mut self) {
        self.hard_changed = true;
    }

    /// The log was cut: what is under way makes entries durable only before `index`.
    pub(super) fn log_was_cut(&mut self, index: Index) {
        for write in &mut self.under_way {
            write.last = write.last.min(index.previous());
        }
    }

    /// The log begins anew after `point`.
    pub(super) fn log_was_reset(&mut self, point: Point) {
        self.reset = Some(point);
        self.log_was_cut(Index(0));
    }
}

impl Replica {
    /// Everything that is new and must become durable, and ties the held messages to it.
    pub(super) fn persist(&mut self) -> Option<Persist> {
        let persistence = &mut self.persistence;
        let mut persist = None;
        if persistence.is_due() || self.log.has_unemitted() {
            let token = persistence.next;
            persistence.next = PersistToken(token.0 + 1);
            persist = Some(Persist {
                token,
                hard_state: std::mem::take(&mut persistence.hard_changed)
                    .then_some(self.hard)
                    .filter(|hard| hard.vote.is_some() || !mutant!(TermNotPersisted)),
                reset: persistence
                    .reset
                    .take()
                    .map(|point| (point.index, point.term)),
                append: self.log.emit(),
            });
            let last = self.log.last().index;
            let write = UnderWay {
                token,
                last,
                hard: self.hard,
                messages: Vec::new(),
            };
            persistence.under_way.push_back(write);
        }
        if !self.outbox.held.is_empty() {
            match persistence.under_way.back_mut() {
                Some(write) if write.messages.is_empty() => {
                    write.messages = std::mem::take(&mut self.outbox.held);
                }
                Some(write) => write.messages.append(&mut self.outbox.held),
                None => self.outbox.free.append(&mut self.outbox.held),
            }
        }
        persist
    }

    /// Everything up to and including the [`Persist`] of this token is durable. Saying so twice does no harm.
    pub fn persisted(&mut self, token: PersistToken) {
        if self.stopped.is_some() {
            return;
        }
        if token >= self.persistence.next {
            return self.check(Err(Broken::UnknownToken(token)));
        }
        while let Some(write) = self
            .persistence
            .under_way
            .pop_front_if(|write| write.token <= token)
        {
            self.log.persisted = self.log.persisted.max(write.last);
            self.persistence.durable_hard = write.hard;
            // What was promised in an earlier term is of no use to anyone now.
            let term = self.hard.term;
            self.outbox.free.extend(
                write
                    .messages
                    .into_iter()
                    .filter(|message| message.term == term),
            );
        }
        match self.state {
            State::Candidate { .. } => self.count_own_vote(),
            State::Leader(_) => self.advance_commit(),
            _ => {}
        }
        self.trim();
    }
}
