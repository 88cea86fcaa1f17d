//! What comes of an operation when it reaches the worker: taken on, handed on to the leader, or refused.

use api::{Error, Reason};
use model::limits;
use raft::Availability;

use super::group::{Group, Proposal, Read, Running, Waiter, no_leader};
use super::{ApplyJob, Turn, Worker};
use crate::admission::overloaded;
use crate::machine::Command;
use crate::operation::{Operation, Question, Request};
use crate::wire;

impl Worker {
    pub(super) fn request(&mut self, request: Request, turn: &mut Turn) {
        self.before_it_wakes(request.shard);
        match self.groups.get_mut(&request.shard) {
            None => request.reply.fail(None, not_hosted()),
            Some(Group::Stopped(detail)) => {
                let error = stopped(detail);
                request.reply.fail(None, error);
            }
            Some(Group::Running(group)) if group.quarantined => {
                request.reply.fail(None, not_hosted());
            }
            Some(Group::Running(group)) => {
                if request.deadline_millis <= turn.now.monotonic_millis {
                    request.reply.fail(group.leader(), too_late());
                } else if is_read_now(&request.operation) {
                    read_now(group, request, turn);
                } else if group.is_leader() {
                    turn.touched.insert(request.shard);
                    group.take_on(request, turn.now.wall_millis);
                } else {
                    // Its leader may have stopped since.
                    group.replica.wake();
                    turn.touched.insert(request.shard);
                    redirect(group, request, turn);
                }
            }
        }
    }
}

/// An eventual read that was not answered before it came here.
fn is_read_now(operation: &Operation) -> bool {
    match operation {
        Operation::Get { consistent, .. } => !consistent || mutant!(ConsistentReadAnywhere),
        Operation::TransactRead { .. } => mutant!(ConsistentReadAnywhere),
        _ => false,
    }
}

fn read_now(group: &Running, request: Request, turn: &mut Turn) {
    let question = match request.operation {
        Operation::Get { key, .. } => Question::Item(key),
        Operation::TransactRead { keys } => Question::Items(keys),
        _ => return,
    };
    let reads = vec![(question, request.reply)];
    let (shard, leader) = (request.shard, group.leader());
    turn.outputs.apply.push(ApplyJob::Reads {
        shard,
        reads,
        leader,
    });
}

/// Not the leader: hand the operation on to it, once, or say why not.
fn redirect(group: &Running, request: Request, turn: &mut Turn) {
    match group.replica.availability() {
        _ if request.reply.is_cancelled() => request.reply.fail(group.leader(), cancelled()),
        Availability::Leader(leader) if !request.forwarded => {
            turn.outputs.forward.push((wire::node_id(leader), request));
        }
        Availability::Leader(leader) => {
            request.reply.fail(Some(wire::node_id(leader)), no_leader());
        }
        Availability::NoLeader | Availability::NoQuorum => {
            request.reply.fail(None, group.unavailable());
        }
    }
}

impl Running {
    /// The leader takes an operation on, or refuses it for a reason of its own.
    fn take_on(&mut self, request: Request, wall_millis: u64) {
        let leader = self.leader();
        // What an operator does about it goes on: comparing the replicas, deleting the table.
        let touches_items = !matches!(
            request.operation,
            Operation::Seal | Operation::Checkpoint { .. }
        );
        if let Some(why) = self.distrust.as_ref().filter(|_| touches_items) {
            let error = Error::new(Reason::NoQuorum, why.clone());
            return request.reply.fail(leader, error);
        }
        if !self.make_room() {
            return request
                .reply
                .fail(leader, overloaded("the shard has too much in flight"));
        }
        let waiter = Waiter {
            reply: request.reply,
            deadline_millis: request.deadline_millis,
        };
        let command = match request.operation {
            Operation::Get { key, .. } => {
                let question = Question::Item(key);
                return self.reads.push(Read { question, waiter });
            }
            Operation::TransactRead { keys } => {
                let question = Question::Items(keys);
                return self.reads.push(Read { question, waiter });
            }
            Operation::Put {
                key,
                value,
                request,
                condition,
            } => Command::Put {
                key,
                value,
                request,
                condition,
            },
            Operation::Delete {
                key,
                request,
                condition,
            } => Command::Delete {
                key,
                request,
                condition,
            },
            Operation::Seal => Command::Seal,
            Operation::Checkpoint { verify_id } => Command::Checkpoint { verify_id },
            Operation::TransactWrite {
                transaction,
                issued_millis,
                items,
            } => Command::TransactWrite {
                transaction,
                issued_millis,
                items,
            },
            Operation::Prepare {
                transaction,
                timestamp,
                items,
                participants,
            } => Command::Prepare {
                transaction,
                timestamp,
                items,
                participants,
            },
            Operation::Decide {
                transaction,
                timestamp,
                commit,
            } => Command::Decide {
                transaction,
                timestamp,
                commit,
            },
            Operation::Inquire {
                transaction,
                timestamp,
                keys,
            } => Command::Inquire {
                transaction,
                timestamp,
                keys,
            },
        };
        if let Err(error) = check_issue_time(&command, wall_millis) {
            return waiter.reply.fail(leader, error);
        }
        self.proposals.push(Proposal {
            command,
            waiter: Some(waiter),
        });
    }
}

/// An identity from the future would outlive those of the present in the shard's memory, and a timestamp from the future
/// would keep every other transaction away from the item until then. A decision goes through whatever its
/// timestamp is: what was prepared must end.
fn check_issue_time(command: &Command, wall_millis: u64) -> Result<(), Error> {
    let (field, issued_millis) = match command {
        Command::Put { request, .. } | Command::Delete { request, .. } => {
            ("request_id", request.issued_millis)
        }
        Command::TransactWrite { issued_millis, .. } => ("issued_at_millis", *issued_millis),
        Command::Prepare { timestamp, .. } => ("timestamp", timestamp.millis()),
        Command::Seal
        | Command::Checkpoint { .. }
        | Command::Decide { .. }
        | Command::Inquire { .. } => return Ok(()),
    };
    if issued_millis <= wall_millis.saturating_add(limits::MAX_CLOCK_AHEAD_MILLIS) {
        return Ok(());
    }
    let ahead = issued_millis - wall_millis;
    let message = format!("issued {ahead} ms in the future by the leader's clock: set the clocks");
    Err(Error::invalid(field, message))
}

/// This node has no such replica.
pub(crate) fn not_hosted() -> Error {
    Error::new(
        Reason::ShardNotHosted,
        "this node does not hold the shard; ask the nodes of its table",
    )
}

/// This node's replica has stopped.
pub(crate) fn stopped(detail: &str) -> Error {
    Error::new(
        Reason::Corruption,
        format!("the replica has stopped: {detail}; others serve"),
    )
}

/// Nobody waits for it any more, and nothing was done.
pub(crate) fn cancelled() -> Error {
    Error::new(
        Reason::NoLeader,
        "the caller went away before the operation was begun; nothing was done",
    )
}

fn too_late() -> Error {
    Error::new(
        Reason::NoLeader,
        "the deadline passed before the operation was begun; retry",
    )
}
