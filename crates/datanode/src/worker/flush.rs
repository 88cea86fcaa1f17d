//! From what a turn has gathered to proposals and ReadIndex rounds.
//!
//! This is the last moment at which nothing was begun: whose caller has gone by now is let go of here. After it a write
//! ends as it does, and a read may still be left out by the applier.

use api::Error;
use bytes::Bytes;
use model::limits;
use raft::{ReadToken, Refusal};

use super::group::{Proposal, Running, Waiter, no_leader};
use super::requests::cancelled;
use crate::admission::overloaded;
use crate::machine::{Command, CommandBatch};
use environment::Now;

impl Running {
    /// Lets go of what nobody waits for any more.
    pub(super) fn flush_cancelled(&mut self) {
        let leader = self.leader();
        let given_up = |proposal: &mut Proposal| {
            let waiter = proposal.waiter.as_ref();
            waiter.is_some_and(|waiter| waiter.reply.is_cancelled())
        };
        let proposals = self.proposals.extract_if(.., given_up);
        let reads = self
            .reads
            .extract_if(.., |read| read.waiter.reply.is_cancelled());
        let waiters = proposals.filter_map(|proposal| proposal.waiter);
        for waiter in waiters.chain(reads.map(|read| read.waiter)) {
            waiter.reply.fail(leader, cancelled());
        }
    }

    /// Joins the gathered commands into as few entries as their bounds allow, and proposes them.
    pub(super) fn flush_proposals(&mut self, now: Now) {
        let mut proposals = std::mem::take(&mut self.proposals).into_iter().peekable();
        while proposals.peek().is_some() {
            let (mut commands, mut waiters, mut bytes) = (Vec::new(), Vec::new(), 0);
            while commands.len() < limits::MAX_ENTRY_COMMANDS && bytes < limits::MAX_ENTRY_BYTES {
                let Some(Proposal { command, waiter }) = proposals.next() else {
                    break;
                };
                bytes += Command::size(&command);
                commands.push(command);
                waiters.push(waiter);
            }
            let payload = CommandBatch {
                now_millis: now.wall_millis,
                commands,
            }
            .encode();
            self.propose(payload, waiters);
        }
    }

    fn propose(&mut self, payload: Bytes, waiters: Vec<Option<Waiter>>) {
        match self.replica.propose(payload) {
            Ok((term, index)) => {
                self.waiting.insert((index, term), waiters);
            }
            Err(refusal) => {
                let leader = self.leader();
                for waiter in waiters.into_iter().flatten() {
                    waiter.reply.fail(leader, self.refused(refusal));
                }
            }
        }
    }

    /// Starts one ReadIndex round for all gathered reads.
    pub(super) fn flush_reads(&mut self, last_read: &mut u64) {
        let reads = std::mem::take(&mut self.reads);
        if reads.is_empty() {
            return;
        }
        *last_read += 1;
        let token = ReadToken(*last_read);
        match self.replica.read_index(token) {
            Ok(()) => {
                self.reading.insert(token, reads);
            }
            Err(refusal) => {
                let leader = self.leader();
                for read in reads {
                    read.waiter.reply.fail(leader, self.refused(refusal));
                }
            }
        }
    }

    /// What a refusal of the core means to a caller: in each case nothing was done.
    fn refused(&self, refusal: Refusal) -> Error {
        match refusal {
            Refusal::TooManyUncommitted | Refusal::NotReady => {
                overloaded("the shard has too much in flight")
            }
            Refusal::NotLeader { .. } => self.unavailable(),
            Refusal::Transferring | Refusal::Stale | Refusal::Stopped => no_leader(),
        }
    }
}
